#include "daemon/file_source.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/mapping_guard.h"

namespace kitlink::daemon {
namespace {

absl::Status SystemError(int error, absl::string_view path) {
  std::string message = absl::StrCat(path, ": ", strerror(error));
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return absl::NotFoundError(message);
    case EACCES:
    case EPERM:
      return absl::PermissionDeniedError(message);
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::ResourceExhaustedError(message);
    case ENAMETOOLONG:
    case ELOOP:
    case EINVAL:
    case ENXIO:
      return absl::InvalidArgumentError(message);
    default:
      return absl::InternalError(message);
  }
}

int64_t Nanoseconds(const timespec& time) { return int64_t{time.tv_sec} * 1000000000 + time.tv_nsec; }

FileStamp StampOf(const struct stat& info) {
  FileStamp stamp;
  stamp.device = info.st_dev;
  stamp.inode = info.st_ino;
  stamp.size = static_cast<uint64_t>(info.st_size);
  stamp.mtime_ns = Nanoseconds(info.st_mtim);
  stamp.ctime_ns = Nanoseconds(info.st_ctim);
  return stamp;
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

class ReadBytes final : public InputBytes {
 public:
  explicit ReadBytes(const FileStamp& stamp) : stamp_(stamp), bytes_(new uint8_t[stamp.size]) {}

  // Reads the whole file; one that ends early is torn and padded with zeros.
  absl::Status Fill(int fd, absl::string_view path) {
    size_t done = 0;
    while (done < stamp_.size) {
      ssize_t count = pread(fd, &bytes_[done], stamp_.size - done, static_cast<off_t>(done));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return SystemError(errno, path);
      if (count == 0) {
        std::memset(&bytes_[done], 0, stamp_.size - done);
        torn_ = true;
        break;
      }
      done += static_cast<size_t>(count);
    }
    return absl::OkStatus();
  }

  ByteView bytes() const override { return ByteView(bytes_.get(), stamp_.size); }
  const FileStamp& stamp() const override { return stamp_; }
  bool torn() const override { return torn_; }
  bool copied() const override { return true; }

 private:
  const FileStamp stamp_;
  const std::unique_ptr<uint8_t[]> bytes_;  // stamp_.size of them
  bool torn_ = false;
};

class MappedBytes final : public InputBytes {
 public:
  // Takes over the mapping of `stamp.size` bytes at `begin`.
  MappedBytes(const FileStamp& stamp, void* begin) : stamp_(stamp), begin_(begin) {
    guard_.emplace(begin, stamp.size, &torn_);
  }
  ~MappedBytes() override {
    guard_.reset();
    munmap(begin_, stamp_.size);
  }

  ByteView bytes() const override { return ByteView(static_cast<const uint8_t*>(begin_), stamp_.size); }
  const FileStamp& stamp() const override { return stamp_; }
  bool torn() const override { return torn_.load(); }
  bool copied() const override { return false; }

 private:
  const FileStamp stamp_;
  void* const begin_;
  std::atomic<bool> torn_{false};
  std::optional<GuardedMapping> guard_;
};

absl::StatusOr<std::shared_ptr<InputBytes>> Read(int fd, const FileStamp& stamp, absl::string_view path) {
  auto file = std::make_shared<ReadBytes>(stamp);
  if (absl::Status status = file->Fill(fd, path); !status.ok()) return status;
  return file;
}

}  // namespace

MappedFileSource::MappedFileSource(std::string folder, uint64_t read_limit)
    : folder_(std::move(folder)), read_limit_(read_limit) {
  InstallMappingGuard();
}

void MappedFileSource::SetFolder(std::string folder) { folder_ = std::move(folder); }

std::string MappedFileSource::Absolute(absl::string_view path) const {
  if (!path.empty() && path[0] == '/') return std::string(path);
  return absl::StrCat(folder_, "/", path);
}

absl::StatusOr<FileStamp> MappedFileSource::Stat(absl::string_view path) {
  struct stat info;
  if (path.empty()) return SystemError(ENOENT, path);
  if (stat(Absolute(path).c_str(), &info) != 0) return SystemError(errno, path);
  return StampOf(info);
}

absl::StatusOr<std::shared_ptr<InputBytes>> MappedFileSource::Open(absl::string_view path) {
  if (path.empty()) return SystemError(ENOENT, path);
  std::string absolute = Absolute(path);
  // Without O_NONBLOCK a FIFO would wait for a writer.
  Descriptor fd(open(absolute.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (fd.get() < 0) return SystemError(errno, path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return SystemError(errno, path);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, S_ISDIR(info.st_mode) ? ": is a directory" : ": is not a regular file"));
  }
  {
    absl::MutexLock lock(&mutex_);
    opened_.insert(std::move(absolute));
  }
  FileStamp stamp = StampOf(info);
  if (stamp.size <= read_limit_) return Read(fd.get(), stamp, path);
  void* begin = mmap(nullptr, stamp.size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  // The number of mappings of a process is limited (65530 by default), and some file systems cannot map.
  if (begin == MAP_FAILED) return Read(fd.get(), stamp, path);
  return std::make_shared<MappedBytes>(stamp, begin);
}

std::vector<std::string> MappedFileSource::Opened() const {
  absl::MutexLock lock(&mutex_);
  // any order: sorted below.
  std::vector<std::string> paths(opened_.begin(), opened_.end());
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::flat_hash_set<std::string> MappedFileSource::TakeOpened() {
  absl::MutexLock lock(&mutex_);
  absl::flat_hash_set<std::string> paths;
  paths.swap(opened_);
  return paths;
}

void MappedFileSource::RestoreOpened(absl::flat_hash_set<std::string> paths) {
  absl::MutexLock lock(&mutex_);
  if (paths.size() > opened_.size()) paths.swap(opened_);
  opened_.merge(paths);
}

}  // namespace kitlink::daemon
