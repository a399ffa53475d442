// What version scripts, dynamic lists and --export-dynamic-symbol say about names, read once and asked for each symbol.
//
// Source: the GNU ld manual, "VERSION Command", "--dynamic-list", "--export-dynamic-symbol".
#ifndef CORE_SYMBOLS_EXPORT_RULES_H_
#define CORE_SYMBOLS_EXPORT_RULES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/file_source.h"
#include "core/input/inputs.h"
#include "core/input/options.h"
#include "core/input/version_script.h"

namespace kitlink {

// A set of patterns, each with the number of what it stands for. Immutable once filled; thread safe to ask.
class PatternSet {
 public:
  static constexpr int32_t kNoMatch = -1;

  void Add(const SymbolPattern& pattern, int32_t meaning);
  bool empty() const { return patterns_.empty() && literals_.empty() && any_ == kNoMatch; }
  // The meaning of the best match for `name`: one that matches nothing else, then wildcards in the order they were
  // added, then a lone "*".
  int32_t Find(absl::string_view name) const;
  // The parts of Find, for sets that compete.
  int32_t FindLiteral(absl::string_view name, absl::string_view demangled) const;
  int32_t FindWildcard(absl::string_view name, absl::string_view demangled) const;
  int32_t any() const { return any_; }
  bool wants_demangled() const { return cxx_; }

 private:
  absl::flat_hash_map<std::string, int32_t> literals_, cxx_literals_;
  std::vector<std::pair<SymbolPattern, int32_t>> patterns_;
  int32_t any_ = kNoMatch;
  bool cxx_ = false;
};

struct ExportRules {
  VersionScript script;  // its named nodes are the versions that the output defines, in order
  PatternSet versions;   // meaning: index in script.nodes, or kLocal
  PatternSet dynamic;    // of --dynamic-list and --export-dynamic-symbol; meaning 0
  bool has_dynamic_list = false;
  std::vector<std::string> files;  // script and lists that were read

  static constexpr int32_t kLocal = 1 << 30;
  // The node that exports `name`, kLocal when the script hides it, kNoMatch when it does not mention it.
  int32_t VersionOf(absl::string_view name) const;
  // The index of the node called `version`, -1 without one.
  int32_t FindNode(absl::string_view version) const;
};

// Reads the files that `options` names and adds them to `opened`. Errors name the file, and the line if it can be
// opened.
absl::StatusOr<ExportRules> ReadExportRules(const LinkOptions& options, FileSource& files,
                                            std::vector<OpenedFile>* opened);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_EXPORT_RULES_H_
