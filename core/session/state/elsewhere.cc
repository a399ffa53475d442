#include "core/session/state/elsewhere.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/digest.h"
#include "core/base/parallel.h"

namespace kitlink {
namespace {

// The stamp of the bytes that have this digest; nothing when the file has others.
std::optional<FileStamp> StampOf(const std::string& path, const ContentId& identity, FileSource& files) {
  if (!identity.known()) return std::nullopt;
  const absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files.Open(path);
  if (!bytes.ok() || HashContent((*bytes)->bytes()) != identity || (*bytes)->torn()) return std::nullopt;
  return (*bytes)->stamp();
}

class Renamer {
 public:
  Renamer(const std::string& from, const std::string& to) : from_(absl::StrCat(from, "/")), to_(absl::StrCat(to, "/")) {}
  bool Applies(const std::string& path) const { return from_ != to_ && absl::StartsWith(path, from_); }
  void operator()(std::string* path) const {
    if (Applies(*path)) path->replace(0, from_.size(), to_);
  }

 private:
  const std::string from_, to_;
};

}  // namespace

size_t IdentifyInputs(FileSource& files, absl::FunctionRef<bool()> stop, Memory* memory) {
  size_t found = 0;
  for (size_t f = 0; f < memory->files.size(); ++f) {
    const FileMemory& file = std::as_const(memory->files)[f];
    if (file.gone || file.identity.known()) continue;
    if (stop()) break;
    if (file.content.known()) {
      memory->files[f].identity = file.content;
      ++found;
      continue;
    }
    const absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files.Open(file.path);
    if (!bytes.ok() || (*bytes)->stamp() != file.stamp) continue;
    const ContentId identity = HashContent((*bytes)->bytes());
    // What was written meanwhile, within one tick of the clock, may have been hashed.
    const absl::StatusOr<FileStamp> after = files.Stat(file.path);
    if ((*bytes)->torn() || !file.settled || !after.ok() || *after != file.stamp) continue;
    memory->files[f].identity = identity;
    ++found;
  }
  return found;
}

absl::Status MoveMemory(const std::string& from, const std::string& to, FileSource& files, Memory* memory) {
  const Renamer rename(from, to);
  LinkOptions options = *memory->options;
  for (InputArgument& input : options.inputs) rename(&input.name);
  for (std::string& path : options.library_paths) rename(&path);
  for (std::string& path : options.dynamic_lists) rename(&path);
  for (std::string& path : options.response_files) rename(&path);
  rename(&options.version_script);
  rename(&options.output);
  memory->options = SharedOptions(std::move(options));
  for (size_t i = 0; i < memory->library_found.size(); ++i) {
    if (rename.Applies(std::as_const(memory->library_found)[i])) rename(&memory->library_found[i]);
  }
  memory->file_of.clear();
  std::vector<std::optional<FileStamp>> stamps(memory->files.size());
  for (uint32_t f = 0; f < memory->files.size(); ++f) {
    if (std::as_const(memory->files)[f].gone) continue;
    FileMemory& file = memory->files[f];
    // A library without a name of its own is needed by its path.
    if (rename.Applies(file.path) && file.role == OpenedFile::Role::kShared) {
      return absl::FailedPreconditionError(absl::StrCat("the image may say where ", file.path, " lay"));
    }
    rename(&file.path);
    memory->file_of.emplace(file.path, f);
  }
  const int64_t now_ns = absl::GetCurrentTimeNanos();
  ParallelFor(stamps.size(), 8, [&](size_t f) {
    const FileMemory& file = std::as_const(memory->files)[f];
    stamps[f] = StampOf(file.path, file.identity, files);
  });
  for (size_t f = 0; f < stamps.size(); ++f) {
    FileMemory& file = memory->files[f];
    file.stamp = stamps[f].value_or(FileStamp());
    file.settled = stamps[f] && OldEnough(*stamps[f], now_ns);
  }
  return absl::OkStatus();
}

}  // namespace kitlink
