// Every option of the command line: its name, whether it takes a value, and what it does.
#ifndef CORE_INPUT_OPTION_TABLE_H_
#define CORE_INPUT_OPTION_TABLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/input/options.h"

namespace kitlink {

enum class OptionValue : uint8_t {
  kNone,
  kRequired,  // after "=" or in the next argument; of one-letter options also right behind the letter
  kOptional,  // after "=" (of one-letter options right behind the letter), never in the next argument
};

enum class OptionAction : uint8_t { kFlag, kText, kList, kSpecial, kIgnored, kUnsupported };

// Options that do more than set a field.
enum class SpecialOption : uint8_t {
  kNone,
  // Positional state.
  kAsNeeded, kNoAsNeeded, kWholeArchive, kNoWholeArchive, kBstatic, kBdynamic, kStartGroup, kEndGroup, kStartLib,
  kEndLib, kPushState, kPopState,
  // Inputs and searching.
  kLibrary, kLibraryPath, kSysroot, kNostdlib, kSolarisPath,
  // Kind of output.
  kShared, kPie, kNoPie, kStatic,
  // Values that need looking at.
  kZ, kEmulation, kFormat, kHashStyle, kBuildId, kRpath, kRpathOrSymbols, kDefsym, kExcludeLibs, kUnresolvedSymbols,
  kWarnUnresolved, kErrorUnresolved, kDynamicList, kStripAll, kStripDebug, kDiscardNone, kImageBase, kErrorLimit,
  kThreads, kNoThreads, kPrintMap, kOrphanHandling,
  // kitlink's own.
  kIncremental, kNoIncremental, kMove, kGate, kPublish,
};

struct OptionSpec {
  const char* name;  // without dashes; one letter: short
  OptionValue value = OptionValue::kNone;
  OptionAction action = OptionAction::kIgnored;
  bool LinkOptions::*flag = nullptr;  // kFlag
  bool flag_value = true;
  std::string LinkOptions::*text = nullptr;               // kText
  std::vector<std::string> LinkOptions::*list = nullptr;  // kList
  SpecialOption special = SpecialOption::kNone;           // kSpecial
  const char* why = "";  // kIgnored: why it does not matter here; kUnsupported: what to say
};

// The option of that exact name, null if there is none.
const OptionSpec* FindOption(absl::string_view name);

// A keyword of -z. Without a field it is known and does not matter.
struct ZKeyword {
  const char* name;
  bool LinkOptions::*flag = nullptr;
  bool flag_value = true;
};

// Null for a keyword that is not known, or takes a value.
const ZKeyword* FindZKeyword(absl::string_view name);

}  // namespace kitlink

#endif  // CORE_INPUT_OPTION_TABLE_H_
