#include "core/base/memory_files.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kitlink {

void MemoryFiles::Put(absl::string_view path, std::vector<uint8_t> bytes) {
  absl::MutexLock lock(&mutex_);
  FileStamp stamp;
  stamp.device = 1;
  stamp.inode = ++clock_;
  stamp.mtime_ns = stamp.ctime_ns = static_cast<int64_t>(clock_);
  files_[std::string(path)] = std::make_shared<MemoryBytes>(std::move(bytes), stamp);
}

void MemoryFiles::Put(absl::string_view path, absl::string_view text) {
  Put(path, std::vector<uint8_t>(text.begin(), text.end()));
}

void MemoryFiles::Rewrite(absl::string_view path, std::vector<uint8_t> bytes) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<MemoryBytes>& file = files_.at(std::string(path));
  FileStamp stamp = file->stamp();
  stamp.mtime_ns = stamp.ctime_ns = static_cast<int64_t>(++clock_);
  file = std::make_shared<MemoryBytes>(std::move(bytes), stamp);
}

void MemoryFiles::Remove(absl::string_view path) {
  absl::MutexLock lock(&mutex_);
  files_.erase(std::string(path));
}

absl::StatusOr<std::shared_ptr<InputBytes>> MemoryFiles::Open(absl::string_view path) {
  absl::MutexLock lock(&mutex_);
  auto found = files_.find(std::string(path));
  if (found == files_.end()) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  return std::shared_ptr<InputBytes>(found->second);
}

absl::StatusOr<FileStamp> MemoryFiles::Stat(absl::string_view path) {
  absl::MutexLock lock(&mutex_);
  auto found = files_.find(std::string(path));
  if (found == files_.end()) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  return found->second->stamp();
}

}  // namespace kitlink
