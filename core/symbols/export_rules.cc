#include "core/symbols/export_rules.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/dwarf/source_location.h"

namespace kitlink {
namespace {

absl::StatusOr<std::string> ReadText(const std::string& path, FileSource& files, std::vector<OpenedFile>* opened) {
  absl::StatusOr<std::shared_ptr<InputBytes>> file = files.Open(path);
  if (!file.ok()) return absl::NotFoundError(absl::StrCat("cannot open ", path, ": ", file.status().message()));
  std::string text(AsString((*file)->bytes()));
  if ((*file)->torn()) return absl::AbortedError(absl::StrCat(path, ": was cut short while it was being read"));
  OpenedFile entry;
  entry.path = path;
  entry.role = OpenedFile::Role::kScript;
  entry.stamp = (*file)->stamp();
  opened->push_back(std::move(entry));
  return text;
}

}  // namespace

void PatternSet::Add(const SymbolPattern& pattern, int32_t meaning) {
  cxx_ |= pattern.cxx;
  if (pattern.literal) {
    (pattern.cxx ? cxx_literals_ : literals_).try_emplace(pattern.text, meaning);
  } else if (pattern.text == "*") {
    if (any_ == kNoMatch) any_ = meaning;
  } else {
    patterns_.emplace_back(pattern, meaning);
  }
}

int32_t PatternSet::FindLiteral(absl::string_view name, absl::string_view demangled) const {
  if (auto it = literals_.find(name); it != literals_.end()) return it->second;
  if (cxx_literals_.empty()) return kNoMatch;
  auto it = cxx_literals_.find(demangled);
  return it == cxx_literals_.end() ? kNoMatch : it->second;
}

int32_t PatternSet::FindWildcard(absl::string_view name, absl::string_view demangled) const {
  for (const auto& [pattern, meaning] : patterns_) {
    if (GlobMatches(pattern.text, pattern.cxx ? demangled : name)) return meaning;
  }
  return kNoMatch;
}

int32_t PatternSet::Find(absl::string_view name) const {
  const std::string demangled = cxx_ ? dwarf::Demangle(name) : std::string();
  int32_t found = FindLiteral(name, demangled);
  if (found == kNoMatch) found = FindWildcard(name, demangled);
  return found == kNoMatch ? any_ : found;
}

int32_t ExportRules::VersionOf(absl::string_view name) const {
  return versions.empty() ? PatternSet::kNoMatch : versions.Find(name);
}

int32_t ExportRules::FindNode(absl::string_view version) const {
  for (size_t i = 0; i < script.nodes.size(); ++i) {
    if (script.nodes[i].name == version) return static_cast<int32_t>(i);
  }
  return -1;
}

absl::StatusOr<ExportRules> ReadExportRules(const LinkOptions& options, FileSource& files,
                                            std::vector<OpenedFile>* opened) {
  ExportRules rules;
  if (!options.version_script.empty()) {
    absl::StatusOr<std::string> text = ReadText(options.version_script, files, opened);
    if (!text.ok()) return text.status();
    absl::StatusOr<VersionScript> script = ParseVersionScript(options.version_script, *text);
    if (!script.ok()) return script.status();
    rules.script = *std::move(script);
    // Names that are exported somewhere win over names that are hidden somewhere.
    for (size_t i = 0; i < rules.script.nodes.size(); ++i) {
      for (const SymbolPattern& p : rules.script.nodes[i].globals) rules.versions.Add(p, static_cast<int32_t>(i));
    }
    for (const VersionNode& node : rules.script.nodes) {
      for (const SymbolPattern& pattern : node.locals) rules.versions.Add(pattern, ExportRules::kLocal);
    }
    rules.files.push_back(options.version_script);
  }
  for (const std::string& path : options.dynamic_lists) {
    absl::StatusOr<std::string> text = ReadText(path, files, opened);
    if (!text.ok()) return text.status();
    absl::StatusOr<std::vector<SymbolPattern>> list = ParseDynamicList(path, *text);
    if (!list.ok()) return list.status();
    for (const SymbolPattern& pattern : *list) rules.dynamic.Add(pattern, 0);
    rules.has_dynamic_list = true;
    rules.files.push_back(path);
  }
  for (const std::string& text : options.export_symbols) {
    SymbolPattern pattern;
    pattern.text = text;
    pattern.literal = text.find_first_of("*?[\\") == std::string::npos;
    rules.dynamic.Add(pattern, 0);
  }
  return rules;
}

}  // namespace kitlink
