#include "core/session/watched_inputs.h"

#include <string>
#include <utility>

namespace kitlink {

void WatchedInputs::Start(const Memory& memory, FileSource& files) {
  if (watch_ == nullptr || active_) return;
  std::vector<std::string> paths;
  paths.reserve(memory.files.size());
  for (const FileMemory& file : memory.files) paths.push_back(file.path);
  active_ = watch_->Watch(paths);
  if (!active_) return;
  suspects_.clear();
  renamed_.clear();
  for (uint32_t f = 0; f < memory.files.size(); ++f) {
    const FileMemory& file = memory.files[f];
    const absl::StatusOr<FileStamp> stamp = files.Stat(file.path);
    if (!stamp.ok() || *stamp != file.stamp || !file.settled) suspects_.insert(f);
  }
}

std::optional<std::vector<uint32_t>> WatchedInputs::Suspects() {
  if (!active_) return std::nullopt;
  std::vector<uint32_t> touched;
  active_ = watch_->Changed(&touched);
  if (!active_) return std::nullopt;
  suspects_.insert(touched.begin(), touched.end());
  return std::vector<uint32_t>(suspects_.begin(), suspects_.end());
}

void WatchedInputs::Adopted(const Memory& memory, const Changes& changes) {
  // The watch knows these by the names that they had.
  for (const Renamed& entry : changes.renamed) renamed_.insert(entry.file);
  absl::btree_set<uint32_t> left = renamed_;
  for (uint32_t f : suspects_) {
    if (!memory.files[f].settled) left.insert(f);
  }
  suspects_ = std::move(left);
}

}  // namespace kitlink
