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
  gone_.clear();
  watched_ = static_cast<uint32_t>(memory.files.size());
  for (uint32_t f = 0; f < memory.files.size(); ++f) {
    const FileMemory& file = memory.files[f];
    if (file.gone) {
      gone_.insert(f);
      continue;
    }
    const absl::StatusOr<FileStamp> stamp = files.Stat(file.path);
    if (!stamp.ok() || *stamp != file.stamp || !file.settled) suspects_.insert(f);
  }
}

std::optional<std::vector<uint32_t>> WatchedInputs::Suspects() {
  if (!active_) return std::nullopt;
  std::vector<uint32_t> touched;
  active_ = watch_->Changed(&touched);
  if (!active_) return std::nullopt;
  for (uint32_t f : touched) {
    if (!gone_.contains(f)) suspects_.insert(f);
  }
  return std::vector<uint32_t>(suspects_.begin(), suspects_.end());
}

void WatchedInputs::Adopted(const Memory& memory, const Changes& changes, const std::vector<uint32_t>& fresh,
                            FileSource& files) {
  // The watch knows these by the names that they had.
  for (const Renamed& entry : changes.list.renamed) renamed_.insert(entry.file);
  gone_.insert(changes.list.removed.begin(), changes.list.removed.end());
  gone_.insert(changes.vanished.begin(), changes.vanished.end());
  absl::btree_set<uint32_t> left = renamed_;
  for (uint32_t f : suspects_) {
    if (!memory.files[f].settled) left.insert(f);
  }
  for (uint32_t f : gone_) left.erase(f);  // any order: all go
  suspects_ = std::move(left);
  Came(memory, fresh, files);
}

void WatchedInputs::Came(const Memory& memory, const std::vector<uint32_t>& fresh, FileSource& files) {
  if (active_ && watched_ < memory.files.size()) WatchFresh(memory, fresh, files);
}

// Files of relinks that came to nothing have indices, too.
void WatchedInputs::WatchFresh(const Memory& memory, const std::vector<uint32_t>& fresh, FileSource& files) {
  std::vector<std::string> paths;
  for (uint32_t f = watched_; f < memory.files.size(); ++f) {
    paths.push_back(memory.files[f].path);
    if (memory.files[f].gone) gone_.insert(f);
  }
  watched_ = static_cast<uint32_t>(memory.files.size());
  active_ = watch_->WatchMore(paths);
  for (uint32_t f : fresh) {
    const absl::StatusOr<FileStamp> stamp = files.Stat(memory.files[f].path);
    if (!stamp.ok() || *stamp != memory.files[f].stamp || !memory.files[f].settled) suspects_.insert(f);
  }
}

}  // namespace kitlink
