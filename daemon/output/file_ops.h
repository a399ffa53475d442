// Every system call that publishing an output makes, behind one table, so that a test can fail, count or
// stop at each of them.
#ifndef DAEMON_OUTPUT_FILE_OPS_H_
#define DAEMON_OUTPUT_FILE_OPS_H_

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace kitlink::daemon {

// The operating system's file calls. Each returns what the call returns, or -errno; calls interrupted by a
// signal are repeated. Meanings are those of the manual pages of the same name. Stateless and thread safe;
// a test's subclass overrides what it wants to disturb.
class FileOps {
 public:
  virtual ~FileOps() = default;

  // The system itself. Lives for ever.
  static FileOps& System();

  virtual int Open(const std::string& path, int flags, mode_t mode);  // O_CLOEXEC is added
  virtual int Close(int fd);
  virtual int64_t Pread(int fd, void* into, size_t length, uint64_t offset);
  virtual int64_t Pwrite(int fd, const void* from, size_t length, uint64_t offset);
  virtual int64_t Write(int fd, const void* from, size_t length);
  virtual int Truncate(int fd, uint64_t size);
  virtual int Allocate(int fd, uint64_t size);  // fallocate from 0
  virtual int64_t Seek(int fd, uint64_t offset, int whence);
  virtual int Fstat(int fd, struct stat* into);
  virtual int Lstat(const std::string& path, struct stat* into);
  virtual int Stat(const std::string& path, struct stat* into);
  virtual int FileSystemMagic(int fd, uint64_t* magic);  // f_type of fstatfs
  virtual int Chmod(int fd, mode_t mode);
  virtual int TouchNow(int fd);       // futimens(UTIME_NOW): the clock that other writers' files get
  virtual int LockExclusive(int fd);  // flock(LOCK_EX | LOCK_NB)
  virtual int SetLeaseSignal(int fd, int signal);
  virtual int SetLease(int fd, int type);  // F_WRLCK or F_UNLCK
  virtual int Clone(int to, int from);     // FICLONE
  virtual int64_t CopyRange(int from, int to, uint64_t offset,
                            size_t length);  // copy_file_range, same offsets
  virtual int Rename(const std::string& from, const std::string& to);
  virtual int Exchange(const std::string& a, const std::string& b);  // renameat2(RENAME_EXCHANGE)
  virtual int Unlink(const std::string& path);
  virtual int ListFolder(const std::string& path, std::vector<std::string>* names);
  virtual int MapShared(int fd, uint64_t size, void** at);  // readable and writable
  virtual int Unmap(void* at, uint64_t size);
};

// "cannot WHAT PATH: No space left on device" under the matching canonical code: ResourceExhausted for a full
// disk or quota, PermissionDenied, NotFound, ... `error` is an errno value, either sign.
absl::Status FileError(absl::string_view what, absl::string_view path, int64_t error);

// Reads exactly `length` bytes; a file that ends before is an OutOfRange error. `path` is for messages.
absl::Status ReadExactly(FileOps& ops, int fd, absl::string_view path, uint64_t offset, size_t length,
                         void* into);

// Writes `length` bytes at `offset`. `written`, where given, counts how many of them have reached the file,
// also when this fails.
absl::Status WriteExactly(FileOps& ops, int fd, absl::string_view path, uint64_t offset, size_t length,
                          const void* from, size_t* written = nullptr);

// A descriptor that is closed with its owner. Movable.
class OpenFile {
 public:
  OpenFile() = default;
  OpenFile(FileOps* ops, int fd) : ops_(ops), fd_(fd) {}
  OpenFile(OpenFile&& other) noexcept : ops_(other.ops_), fd_(other.fd_) { other.fd_ = -1; }
  OpenFile& operator=(OpenFile&& other) noexcept;
  ~OpenFile() { Close(); }

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void Close();

 private:
  FileOps* ops_ = nullptr;
  int fd_ = -1;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_FILE_OPS_H_
