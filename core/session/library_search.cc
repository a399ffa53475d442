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

// Whether a cold link that looks there takes what it finds.
bool TakesPart(const Memory& memory, const std::string& path, FileSource& files) {
  if (!files.Stat(path).ok()) return false;
  if (IsInput(memory, path)) return true;
  const absl::StatusOr<std::shared_ptr<InputBytes>> file = files.Open(path);
  return file.ok() && IsCompatible(path, (*file)->bytes());
}

}  // namespace

LibraryPlace FindLibraryPlace(const LinkOptions& options, const InputArgument& argument, const Memory& memory, FileSource& files) {
  LibraryPlace place;
  for (std::string& candidate : LibraryCandidates(options, argument)) {
    if (TakesPart(memory, candidate, files)) {
      place.found = std::move(candidate);
      break;
    }
    place.before.push_back(std::move(candidate));
  }
  return place;
}

std::optional<GateRefusal> LibrarySearch::Compare(const Memory& memory, const InputListChange& list,
                                                  const SharedOptions& options, FileSource& files) {
  if (last_ && last_->Is(options)) {
    for (const auto& [path, input] : before_) {
      if (TakesPart(memory, path, files)) return FindsAnother(options, input);
    }
    return std::nullopt;
  }
  Forget();
  before_.clear();
  absl::flat_hash_set<std::string> known;
  for (size_t i = 0; i < options->inputs.size(); ++i) {
    if (!options->inputs[i].library) continue;
    LibraryPlace place = FindLibraryPlace(options, options->inputs[i], memory, files);
    if (place.found != memory.library_found[list.same_places() ? i : list.origins[i]]) return FindsAnother(options, i);
    for (std::string& path : place.before) {
      if (known.insert(path).second) before_.emplace_back(std::move(path), i);
    }
  }
  last_ = options;
  return std::nullopt;
}

}  // namespace kitlink
