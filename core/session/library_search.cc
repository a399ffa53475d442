#include "core/session/library_search.h"

#include <algorithm>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/input/input_search.h"

namespace kitlink {
namespace {

GateRefusal FindsAnother(const LinkOptions& options, size_t input) {
  return {GateReason::kInputListChanged, absl::StrCat("-l", options.inputs[input].name, " finds another file now")};
}

}  // namespace

std::optional<GateRefusal> LibrarySearch::Compare(const Memory& memory, const InputListChange& list,
                                                  const SharedOptions& options, FileSource& files) {
  if (last_ && last_->Is(options)) {
    for (const auto& [path, input] : absent_) {
      if (files.Stat(path).ok()) return FindsAnother(options, input);
    }
    return std::nullopt;
  }
  Forget();
  absent_.clear();
  absl::flat_hash_set<std::string> known;
  for (size_t i = 0; i < options->inputs.size(); ++i) {
    if (!options->inputs[i].library) continue;
    std::vector<std::string> candidates = LibraryCandidates(options, options->inputs[i]);
    const auto first = std::find_if(candidates.begin(), candidates.end(), [&](const std::string& c) { return files.Stat(c).ok(); });
    const std::string& found = memory.library_found[list.same_places() ? i : list.origins[i]];
    if (found != (first == candidates.end() ? std::string() : *first)) return FindsAnother(options, i);
    for (auto miss = candidates.begin(); miss != first; ++miss) {
      if (known.insert(*miss).second) absent_.emplace_back(std::move(*miss), i);
    }
  }
  last_ = options;
  return std::nullopt;
}

}  // namespace kitlink
