// What tells one state of a file from another without reading it.
#ifndef DAEMON_OUTPUT_FILE_IDENTITY_H_
#define DAEMON_OUTPUT_FILE_IDENTITY_H_

#include <sys/stat.h>

#include <cstdint>

namespace kitlink::daemon {

// Device, inode, size, modification and status-change time (nanoseconds since 1970). Nobody can change a
// file's bytes and keep all five, except within one tick of the kernel's clock.
struct FileIdentity {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  static FileIdentity Of(const struct stat& info) {
    return {info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size), Nanoseconds(info.st_mtim),
            Nanoseconds(info.st_ctim)};
  }

  bool SameInode(const FileIdentity& other) const { return device == other.device && inode == other.inode; }
  // All but the status-change time agrees: a chmod, link or rename, or a write whose author then forged the
  // modification time.
  bool SameButStatus(const FileIdentity& other) const {
    return SameInode(other) && size == other.size && mtime_ns == other.mtime_ns;
  }
  friend bool operator==(const FileIdentity& a, const FileIdentity& b) {
    return a.SameButStatus(b) && a.ctime_ns == b.ctime_ns;
  }
  friend bool operator!=(const FileIdentity& a, const FileIdentity& b) { return !(a == b); }

 private:
  static int64_t Nanoseconds(const struct timespec& time) {
    return static_cast<int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
  }
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_FILE_IDENTITY_H_
