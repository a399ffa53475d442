#include "daemon/file_watch.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {
namespace {

constexpr uint32_t kUnwatched = 0xffffffff;
constexpr uint32_t kEvents = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_CREATE | IN_DELETE | IN_MOVED_FROM |
                             IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr uint32_t kFolderIsGone = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED;
// After these another file may have the name.
constexpr uint32_t kAnotherFile = IN_CREATE | IN_MOVED_TO | IN_ATTRIB;
constexpr uint32_t kBeingWritten = IN_CREATE | IN_MODIFY;
constexpr uint32_t kWritten = IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE;
// Somebody who writes faster than we read must not hold a link up.
constexpr size_t kMostEventBytes = 16 << 20;

constexpr uint32_t kXfsMagic = 0x58465342, kZfsMagic = 0x2fc12fc1, kBcachefsMagic = 0xca451a4e;

// Network file systems change without telling, and FUSE may.
bool TellsChanges(const char* path) {
  struct statfs info;
  if (statfs(path, &info) != 0) return false;
  switch (static_cast<uint32_t>(info.f_type)) {
    case EXT4_SUPER_MAGIC: case BTRFS_SUPER_MAGIC: case TMPFS_MAGIC: case OVERLAYFS_SUPER_MAGIC: case F2FS_SUPER_MAGIC:
    case kXfsMagic: case kZfsMagic: case kBcachefsMagic:
      return true;
    default:
      return false;
  }
}

}  // namespace

FileWatch::~FileWatch() { Stop(); }

void FileWatch::Stop() {
  if (fd_ >= 0 && bell_ != nullptr) bell_->Remove(fd_);
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
  writing_.clear();
  folders_.clear();
  folder_of_.clear();
  folders_at_.clear();
  always_.clear();
  count_ = 0;
}

bool FileWatch::Watch(const std::vector<std::string>& paths) {
  Stop();
  fd_ = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd_ < 0) return false;
  watched_from_ = folder_;
  if (!Add(paths, false)) return false;
  if (bell_ != nullptr && rung_ != nullptr) bell_->Add(fd_, rung_);
  return true;
}

bool FileWatch::WatchMore(const std::vector<std::string>& paths) {
  if (fd_ < 0 || watched_from_ != folder_) {
    Stop();
    return false;
  }
  return Add(paths, true);
}

bool FileWatch::Add(const std::vector<std::string>& paths, bool replace) {
  for (const std::string& given : paths) {
    const uint32_t f = count_++;
    const std::string path = !given.empty() && given[0] == '/' ? given : absl::StrCat(folder_, "/", given);
    const size_t slash = path.rfind('/');
    const std::string name = path.substr(slash + 1);
    uint32_t folder = kUnwatched;
    if (!AddFolder(slash == 0 ? "/" : path.substr(0, slash), &folder)) {
      Stop();
      return false;
    }
    bool watched = folder != kUnwatched && Watchable(path, folders_[folder]);
    // Two inputs of one path are one file to the session; should they not be, both are looked at.
    if (watched) watched = folders_[folder].files.emplace(name, f).second || replace;
    if (watched) folders_[folder].files[name] = f;
    if (!watched) always_.push_back(f);
  }
  return true;
}

// Gives kUnwatched for a folder whose file system does not tell. False when there is no room for more watches.
bool FileWatch::AddFolder(const std::string& path, uint32_t* index) {
  auto [it, fresh] = folder_of_.emplace(path, kUnwatched);
  *index = it->second;
  if (!fresh || !TellsChanges(path.c_str())) return true;
  struct stat before, after;
  if (stat(path.c_str(), &before) != 0) return true;
  const int wd = inotify_add_watch(fd_, path.c_str(), kEvents);
  if (wd < 0) return errno != ENOSPC && errno != ENOMEM;
  if (stat(path.c_str(), &after) != 0 || before.st_dev != after.st_dev || before.st_ino != after.st_ino) return false;
  *index = it->second = static_cast<uint32_t>(folders_.size());
  Folder folder;
  folder.path = path;
  folder.device = after.st_dev;
  folder.inode = after.st_ino;
  folders_.push_back(std::move(folder));
  folders_at_[wd].push_back(*index);
  return true;
}

bool FileWatch::Watchable(const std::string& path, const Folder& folder) {
  struct stat info;
  return lstat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1 && info.st_dev == folder.device;
}

bool FileWatch::Changed(std::vector<uint32_t>* files) {
  if (fd_ < 0) return false;
  // The folders after the events: one that was swapped since has moved, and its new name is another folder.
  if (watched_from_ != folder_ || !Drain(files) || !FoldersAreTheSame()) {
    Stop();
    return false;
  }
  if (bell_ != nullptr) bell_->Arm(fd_);
  files->insert(files->end(), always_.begin(), always_.end());
  return true;
}

bool FileWatch::Drain(std::vector<uint32_t>* files) {
  alignas(inotify_event) char buffer[64 << 10];
  for (size_t total = 0; total < kMostEventBytes;) {
    const ssize_t count = read(fd_, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 && errno == EAGAIN;
    total += static_cast<size_t>(count);
    for (const char* at = buffer; at < buffer + count;) {
      inotify_event event;
      std::memcpy(&event, at, sizeof(event));
      const char* name = at + sizeof(event);
      if (!HandleEvent(event.wd, event.mask, absl::string_view(name, event.len == 0 ? 0 : strnlen(name, event.len)), files)) {
        return false;
      }
      at += sizeof(event) + event.len;
    }
  }
  return false;
}

bool FileWatch::HandleEvent(int wd, uint32_t mask, absl::string_view name, std::vector<uint32_t>* files) {
  if (mask & (IN_Q_OVERFLOW | kFolderIsGone)) return false;
  const auto at = folders_at_.find(wd);
  if (at == folders_at_.end()) return true;
  for (uint32_t index : at->second) {
    const Folder& folder = folders_[index];
    const auto it = folder.files.find(name);
    if (it == folder.files.end()) continue;
    files->push_back(it->second);
    if (mask & kBeingWritten) writing_.insert(it->second);
    if (mask & kWritten) writing_.erase(it->second);
    if ((mask & kAnotherFile) && !Watchable(absl::StrCat(folder.path, "/", name), folder)) always_.push_back(it->second);
  }
  return true;
}

bool FileWatch::FoldersAreTheSame() const {
  return std::all_of(folders_.begin(), folders_.end(), [](const Folder& folder) {
    struct stat info;
    return stat(folder.path.c_str(), &info) == 0 && info.st_dev == folder.device && info.st_ino == folder.inode;
  });
}

}  // namespace kitlink::daemon
