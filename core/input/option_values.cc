#include "core/input/option_values.h"

#include <algorithm>
#include <limits>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace kitlink {
namespace {

absl::Status BadValue(absl::string_view shown, absl::string_view value) {
  return absl::InvalidArgumentError(absl::StrCat("option ", shown, ": invalid value '", value, "'"));
}

// One row of a table from words to enumerators.
template <typename T>
struct Choice {
  const char* word;
  T value;
};

template <typename T, size_t N>
absl::Status Choose(const Choice<T> (&choices)[N], absl::string_view shown, absl::string_view value, T& result) {
  for (const Choice<T>& choice : choices) {
    if (value == choice.word) {
      result = choice.value;
      return absl::OkStatus();
    }
  }
  return BadValue(shown, value);
}

constexpr Choice<HashStyle> kHashStyles[] = {
    {"gnu", HashStyle::kGnu}, {"sysv", HashStyle::kSysv}, {"both", HashStyle::kBoth}};
constexpr Choice<MovePolicy> kMoves[] = {{"auto", MovePolicy::kAuto},
                                         {"reapply", MovePolicy::kReapply},
                                         {"thunk", MovePolicy::kThunk},
                                         {"got", MovePolicy::kGot}};
constexpr Choice<GatePolicy> kGates[] = {{"strict", GatePolicy::kStrict}, {"exact", GatePolicy::kExact}};
constexpr Choice<PublishPolicy> kPublishes[] = {{"auto", PublishPolicy::kAuto},
                                                {"inplace", PublishPolicy::kInPlace},
                                                {"exchange", PublishPolicy::kExchange}};
constexpr Choice<bool> kSwitches[] = {{"", true}, {"on", true}, {"off", false}};
constexpr Choice<BuildIdStyle> kBuildIds[] = {
    {"", BuildIdStyle::kFast},     {"fast", BuildIdStyle::kFast}, {"none", BuildIdStyle::kNone},
    {"md5", BuildIdStyle::kMd5},   {"sha1", BuildIdStyle::kSha1}, {"tree", BuildIdStyle::kSha1},
    {"uuid", BuildIdStyle::kUuid},
};

absl::Status SetBuildId(absl::string_view shown, absl::string_view value, LinkOptions& options) {
  if (!absl::StartsWith(value, "0x") && !absl::StartsWith(value, "0X")) {
    return Choose(kBuildIds, shown, value, options.build_id);
  }
  std::string digits;
  for (char c : value.substr(2)) {
    if (c == '-' || c == ':') continue;  // separators that GNU ld allows
    if (!absl::ascii_isxdigit(c)) return BadValue(shown, value);
    digits.push_back(absl::ascii_tolower(c));
  }
  if (digits.empty() || digits.size() % 2 != 0) return BadValue(shown, value);
  options.build_id = BuildIdStyle::kHex;
  options.build_id_hex = std::move(digits);
  return absl::OkStatus();
}

absl::Status SetPageSize(absl::string_view value, LinkOptions& options) {
  uint64_t size = 0;
  constexpr uint64_t kSmallest = 0x1000, kLargest = uint64_t{1} << 30;
  if (!ParseNumber(value, &size) || size < kSmallest || size > kLargest || (size & (size - 1)) != 0) {
    return BadValue("-z max-page-size", value);
  }
  options.max_page_size = size;
  return absl::OkStatus();
}

absl::Status SetZ(absl::string_view keyword, LinkOptions& options, Diagnostics& diagnostics) {
  if (const ZKeyword* known = FindZKeyword(keyword)) {
    if (known->flag != nullptr) options.*known->flag = known->flag_value;
    // The last of the two wins, as in GNU ld.
    if (keyword == "execstack") options.z_noexec_stack_given = false;
    if (keyword == "noexecstack") options.z_exec_stack = false;
    return absl::OkStatus();
  }
  absl::string_view value = keyword;
  if (absl::ConsumePrefix(&value, "max-page-size=")) return SetPageSize(value, options);
  if (absl::ConsumePrefix(&value, "common-page-size=")) {
    uint64_t unused = 0;  // only saves padding
    return ParseNumber(value, &unused) ? absl::OkStatus() : BadValue("-z common-page-size", value);
  }
  if (absl::ConsumePrefix(&value, "stack-size=")) {
    return ParseNumber(value, &options.stack_size) ? absl::OkStatus() : BadValue("-z stack-size", value);
  }
  if (keyword == "cet-report=none" || keyword == "start-stop-visibility=protected") return absl::OkStatus();
  diagnostics.Warning(absl::StrCat("-z ", keyword, " ignored"));
  return absl::OkStatus();
}

absl::Status SetDefsym(absl::string_view shown, absl::string_view value, LinkOptions& options) {
  const size_t equals = value.find('=');
  if (equals == absl::string_view::npos || equals == 0 || equals + 1 == value.size()) return BadValue(shown, value);
  options.defsym.emplace_back(absl::StripAsciiWhitespace(value.substr(0, equals)),
                              absl::StripAsciiWhitespace(value.substr(equals + 1)));
  return absl::OkStatus();
}

absl::Status SetUnresolved(absl::string_view shown, absl::string_view value, LinkOptions& options) {
  if (value == "report-all") {
    options.unresolved = UnresolvedPolicy::kError;
  } else if (value == "ignore-all") {
    options.unresolved = UnresolvedPolicy::kIgnore;
    options.allow_shlib_undefined = true;
  } else if (value == "ignore-in-object-files") {
    options.unresolved = UnresolvedPolicy::kIgnore;
    options.allow_shlib_undefined = false;
  } else if (value == "ignore-in-shared-libs") {
    options.unresolved = UnresolvedPolicy::kError;
    options.allow_shlib_undefined = true;
  } else {
    return BadValue(shown, value);
  }
  return absl::OkStatus();
}

absl::Status SetCount(absl::string_view shown, absl::string_view value, int& count) {
  uint64_t number = 0;
  if (!ParseNumber(value, &number) || number > 1u << 20) return BadValue(shown, value);
  count = static_cast<int>(number);
  return absl::OkStatus();
}

// The words that may only be one thing.
absl::Status Expect(bool as_expected, absl::string_view message, absl::string_view value) {
  if (as_expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(message, value));
}

absl::Status ApplyPolicy(SpecialOption option, absl::string_view shown, absl::string_view value,
                         LinkOptions& options) {
  switch (option) {
    case SpecialOption::kIncremental:
      return Choose(kSwitches, shown, value, options.incremental);
    case SpecialOption::kNoIncremental:
      options.incremental = false;
      return absl::OkStatus();
    case SpecialOption::kMove:
      return Choose(kMoves, shown, value, options.move);
    case SpecialOption::kGate:
      return Choose(kGates, shown, value, options.gate);
    case SpecialOption::kPublish:
      return Choose(kPublishes, shown, value, options.publish);
    case SpecialOption::kThreads:
      return value.empty() ? absl::OkStatus() : SetCount(shown, value, options.threads);
    case SpecialOption::kNoThreads:
      options.threads = 1;
      return absl::OkStatus();
    case SpecialOption::kErrorLimit:
      return SetCount(shown, value, options.error_limit);
    case SpecialOption::kPrintMap:
      options.map_file = "-";
      return absl::OkStatus();
    default:
      return absl::InternalError(absl::StrCat("option ", shown, " is in the table and nowhere else"));
  }
}

absl::Status ApplySymbols(SpecialOption option, absl::string_view shown, absl::string_view value,
                          LinkOptions& options) {
  switch (option) {
    case SpecialOption::kDefsym:
      return SetDefsym(shown, value, options);
    case SpecialOption::kExcludeLibs:
      for (absl::string_view name : absl::StrSplit(value, absl::ByAnyChar(",:"), absl::SkipEmpty())) {
        options.exclude_libs.emplace(name);
      }
      return absl::OkStatus();
    case SpecialOption::kDynamicList:
      options.dynamic_lists.emplace_back(value);
      return absl::OkStatus();
    case SpecialOption::kUnresolvedSymbols:
      return SetUnresolved(shown, value, options);
    case SpecialOption::kWarnUnresolved:
      options.unresolved = UnresolvedPolicy::kWarn;
      return absl::OkStatus();
    case SpecialOption::kErrorUnresolved:
      options.unresolved = UnresolvedPolicy::kError;
      return absl::OkStatus();
    case SpecialOption::kStripAll:
      options.strip = Strip::kAll;
      return absl::OkStatus();
    case SpecialOption::kStripDebug:
      if (options.strip == Strip::kNone) options.strip = Strip::kDebug;
      return absl::OkStatus();
    case SpecialOption::kDiscardNone:
      options.discard_all = options.discard_locals = false;
      return absl::OkStatus();
    default:
      return ApplyPolicy(option, shown, value, options);
  }
}

}  // namespace

bool ParseNumber(absl::string_view text, uint64_t* number) {
  if (absl::StartsWith(text, "0x") || absl::StartsWith(text, "0X")) {
    return absl::SimpleHexAtoi(text.substr(2), number);
  }
  return absl::SimpleAtoi(text, number);
}

void AddRpath(absl::string_view value, LinkOptions& options) {
  for (absl::string_view folder : absl::StrSplit(value, ':', absl::SkipEmpty())) {
    const std::string path(folder);
    if (std::find(options.rpaths.begin(), options.rpaths.end(), path) == options.rpaths.end()) {
      options.rpaths.push_back(path);
    }
  }
}

absl::Status ApplyOptionValue(SpecialOption option, absl::string_view shown, absl::string_view value,
                              LinkOptions& options, Diagnostics& diagnostics) {
  switch (option) {
    case SpecialOption::kZ:
      return SetZ(value, options, diagnostics);
    case SpecialOption::kEmulation:
      return Expect(value == "elf_x86_64", "unrecognised emulation mode: ", value);
    case SpecialOption::kFormat:
      return Expect(value == "elf64-x86-64" || value == "elf" || value == "default", "unsupported format: ", value);
    case SpecialOption::kOrphanHandling:
      return Expect(value == "place", "option --orphan-handling is not supported: ", value);
    case SpecialOption::kHashStyle:
      return Choose(kHashStyles, shown, value, options.hash_style);
    case SpecialOption::kBuildId:
      return SetBuildId(shown, value, options);
    case SpecialOption::kRpath:
      AddRpath(value, options);
      return absl::OkStatus();
    case SpecialOption::kImageBase: {
      uint64_t base = 0;
      if (!ParseNumber(value, &base) || base % 0x1000 != 0 || base >= uint64_t{1} << 46) return BadValue(shown, value);
      options.image_base = base;
      return absl::OkStatus();
    }
    default:
      return ApplySymbols(option, shown, value, options);
  }
}

}  // namespace kitlink
