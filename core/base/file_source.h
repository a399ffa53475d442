// Where a link reads files from. The core opens nothing by itself: the daemon supplies a FileSource that
// maps real files, tests supply one that serves bytes from memory.
#ifndef CORE_BASE_FILE_SOURCE_H_
#define CORE_BASE_FILE_SOURCE_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace kitlink {

// What stat says of a file. Equal stamps, older than 20 ms before the reading, mean an unchanged file;
// unequal ones mean "look again", never "different" (docs/design.md, "Content identity").
struct FileStamp {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  friend bool operator==(const FileStamp& a, const FileStamp& b) {
    return a.device == b.device && a.inode == b.inode && a.size == b.size && a.mtime_ns == b.mtime_ns &&
           a.ctime_ns == b.ctime_ns;
  }
  friend bool operator!=(const FileStamp& a, const FileStamp& b) { return !(a == b); }
};

// True when a stamp taken at `now_ns`, in nanoseconds since the epoch, would have changed with any write since: file time
// stamps may lag some milliseconds behind.
inline bool OldEnough(const FileStamp& stamp, int64_t now_ns) {
  constexpr int64_t kClockGrainNs = 20'000'000;
  return std::max(stamp.mtime_ns, stamp.ctime_ns) + kClockGrainNs < now_ns;
}

// The contents of one file, readable as long as this object lives. A mapped file that somebody truncates
// reads as zeros and becomes torn().
class InputBytes {
 public:
  virtual ~InputBytes() = default;
  virtual ByteView bytes() const = 0;
  virtual const FileStamp& stamp() const = 0;  // taken before the first byte was read
  // True when the file was cut short while it was read: what was read so far means nothing.
  virtual bool torn() const = 0;
  // True when the bytes are a copy of the file that nobody else can write to. Those of a mapped file change with it.
  virtual bool copied() const = 0;
};

// Thread safe.
class FileSource {
 public:
  virtual ~FileSource() = default;
  // Opens a regular file. `path` is absolute, or relative to the client's folder. NotFound when there is none.
  virtual absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) = 0;
  // NotFound when there is no such file.
  virtual absl::StatusOr<FileStamp> Stat(absl::string_view path) = 0;
};

}  // namespace kitlink

#endif  // CORE_BASE_FILE_SOURCE_H_
