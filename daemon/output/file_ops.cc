#include "daemon/output/file_ops.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {
namespace {

template <typename Call>
auto Retried(Call call) -> decltype(call()) {
  while (true) {
    auto result = call();
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

}  // namespace

FileOps& FileOps::System() {
  static FileOps* const system = new FileOps;  // never destroyed: sinks may outlive static destructors
  return *system;
}

int FileOps::Open(const std::string& path, int flags, mode_t mode) {
  return Retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); });
}

int FileOps::Close(int fd) { return ::close(fd) == 0 ? 0 : -errno; }  // Linux closes even on EINTR

int64_t FileOps::Pread(int fd, void* into, size_t length, uint64_t offset) {
  return Retried([&] { return ::pread(fd, into, length, static_cast<off_t>(offset)); });
}

int64_t FileOps::Pwrite(int fd, const void* from, size_t length, uint64_t offset) {
  return Retried([&] { return ::pwrite(fd, from, length, static_cast<off_t>(offset)); });
}

int64_t FileOps::Write(int fd, const void* from, size_t length) {
  return Retried([&] { return ::write(fd, from, length); });
}

int FileOps::Truncate(int fd, uint64_t size) {
  return Retried([&] { return ::ftruncate(fd, static_cast<off_t>(size)); });
}

int FileOps::Allocate(int fd, uint64_t size) {
  return Retried([&] { return ::fallocate(fd, 0, 0, static_cast<off_t>(size)); });
}

int64_t FileOps::Seek(int fd, uint64_t offset, int whence) {
  return Retried([&] { return ::lseek(fd, static_cast<off_t>(offset), whence); });
}

int FileOps::Fstat(int fd, struct stat* into) { return ::fstat(fd, into) == 0 ? 0 : -errno; }

int FileOps::Lstat(const std::string& path, struct stat* into) {
  return ::lstat(path.c_str(), into) == 0 ? 0 : -errno;
}

int FileOps::Stat(const std::string& path, struct stat* into) {
  return ::stat(path.c_str(), into) == 0 ? 0 : -errno;
}

int FileOps::FileSystemMagic(int fd, uint64_t* magic) {
  struct statfs info;
  const int result = Retried([&] { return ::fstatfs(fd, &info); });
  if (result == 0) *magic = static_cast<uint32_t>(info.f_type);
  return result;
}

int FileOps::Chmod(int fd, mode_t mode) {
  return Retried([&] { return ::fchmod(fd, mode); });
}

int FileOps::TouchNow(int fd) {
  return Retried([&] { return ::futimens(fd, nullptr); });
}

int FileOps::LockExclusive(int fd) {
  return Retried([&] { return ::flock(fd, LOCK_EX | LOCK_NB); });
}

int FileOps::SetLeaseSignal(int fd, int signal) { return ::fcntl(fd, F_SETSIG, signal) == 0 ? 0 : -errno; }

int FileOps::SetLease(int fd, int type) { return ::fcntl(fd, F_SETLEASE, type) == 0 ? 0 : -errno; }

int FileOps::Clone(int to, int from) {
  return Retried([&] { return ::ioctl(to, FICLONE, from); });
}

int64_t FileOps::CopyRange(int from, int to, uint64_t offset, size_t length) {
  return Retried([&] {
    auto in = static_cast<loff_t>(offset);
    auto out = static_cast<loff_t>(offset);
    return ::copy_file_range(from, &in, to, &out, length, 0);
  });
}

int FileOps::Rename(const std::string& from, const std::string& to) {
  return ::rename(from.c_str(), to.c_str()) == 0 ? 0 : -errno;
}

int FileOps::Exchange(const std::string& a, const std::string& b) {
  return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0 ? 0 : -errno;
}

int FileOps::Unlink(const std::string& path) { return ::unlink(path.c_str()) == 0 ? 0 : -errno; }

int FileOps::ListFolder(const std::string& path, std::vector<std::string>* names) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return -errno;
  while (const dirent* entry = ::readdir(folder)) names->emplace_back(entry->d_name);
  ::closedir(folder);
  return 0;
}

int FileOps::MapShared(int fd, uint64_t size, void** at) {
  void* const mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return -errno;
  *at = mapped;
  return 0;
}

int FileOps::Unmap(void* at, uint64_t size) { return ::munmap(at, size) == 0 ? 0 : -errno; }

absl::Status FileError(absl::string_view what, absl::string_view path, int64_t error) {
  const int number = static_cast<int>(error < 0 ? -error : error);
  absl::StatusCode code = absl::ErrnoToStatusCode(number);
  if (number == ENOSPC || number == EDQUOT) code = absl::StatusCode::kResourceExhausted;
  if (number == EROFS) code = absl::StatusCode::kPermissionDenied;
  char buffer[128];
  return absl::Status(
      code, absl::StrCat("cannot ", what, " ", path, ": ", strerror_r(number, buffer, sizeof buffer)));
}

absl::Status ReadExactly(FileOps& ops, int fd, absl::string_view path, uint64_t offset, size_t length,
                         void* into) {
  auto* at = static_cast<uint8_t*>(into);
  while (length > 0) {
    const int64_t got = ops.Pread(fd, at, length, offset);
    if (got < 0) return FileError("read", path, got);
    if (got == 0) return absl::OutOfRangeError(absl::StrCat(path, " ends before offset ", offset + length));
    at += got;
    offset += static_cast<uint64_t>(got);
    length -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status WriteExactly(FileOps& ops, int fd, absl::string_view path, uint64_t offset, size_t length,
                          const void* from, size_t* written) {
  const auto* at = static_cast<const uint8_t*>(from);
  size_t done = 0;
  absl::Status status;
  while (done < length && status.ok()) {
    const int64_t put = ops.Pwrite(fd, at + done, length - done, offset + done);
    if (put <= 0) {
      status = FileError("write", path, put == 0 ? EIO : put);
    } else {
      done += static_cast<size_t>(put);
    }
  }
  if (written != nullptr) *written = done;
  return status;
}

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  if (this != &other) {
    Close();
    ops_ = other.ops_;
    fd_ = other.fd_;
    other.fd_ = -1;
  }
  return *this;
}

void OpenFile::Close() {
  if (fd_ >= 0) ops_->Close(fd_);
  fd_ = -1;
}

}  // namespace kitlink::daemon
