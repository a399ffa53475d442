#include "core/session/library_search.h"

#include <memory>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/input/input_search.h"

namespace kitlink {
namespace {

GateRefusal FindsAnother(const LinkOptions& options, size_t input) {
  return {GateReason::kInputListChanged, absl::StrCat("-l", options.inputs[input].name, " finds another file now")};
}

bool IsInput(const Memory& memory, const std::string& path) {
  const auto it = memory.file_of.find(path);
  return it != memory.file_of.end() && !memory.files[it->second].gone;
}

}  // namespace

LibraryPlace FindLibraryPlace(const LinkOptions& options, const InputArgument& argument, const Memory& memory, FileSource& files) {
  LibraryPlace place;
  for (std::string& candidate : LibraryCandidates(options, argument)) {
    if (!files.Stat(candidate).ok()) {
      place.absent.push_back(std::move(candidate));
      continue;
    }
    bool takes_part = IsInput(memory, candidate);
    if (!takes_part) {
      const absl::StatusOr<std::shared_ptr<InputBytes>> file = files.Open(candidate);
      takes_part = file.ok() && IsCompatible(candidate, (*file)->bytes());
    }
    if (takes_part) {
      place.found = std::move(candidate);
      break;
    }
    place.passed_over = true;
  }
  return place;
}

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
  bool passed_over = false;
  for (size_t i = 0; i < options->inputs.size(); ++i) {
    if (!options->inputs[i].library) continue;
    LibraryPlace place = FindLibraryPlace(options, options->inputs[i], memory, files);
    if (place.found != memory.library_found[list.same_places() ? i : list.origins[i]]) return FindsAnother(options, i);
    passed_over |= place.passed_over;
    for (std::string& path : place.absent) {
      if (known.insert(path).second) absent_.emplace_back(std::move(path), i);
    }
  }
  if (!passed_over) last_ = options;
  return std::nullopt;
}

}  // namespace kitlink
