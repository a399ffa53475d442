#include "core/session/testing/disk_files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace kitlink::testing {
namespace {

// As the daemon does it.
constexpr size_t kReadLimit = 4 << 20;

class MappedBytes : public InputBytes {
 public:
  MappedBytes(const FileStamp& stamp, ByteView bytes, bool copied) : stamp_(stamp), bytes_(bytes), copied_(copied) {}
  ~MappedBytes() override {
    if (!bytes_.empty()) munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
  }
  ByteView bytes() const override { return bytes_; }
  const FileStamp& stamp() const override { return stamp_; }
  bool torn() const override { return false; }
  bool copied() const override { return copied_; }

 private:
  FileStamp stamp_;
  ByteView bytes_;
  bool copied_;
};

// `size` bytes of the file, copied or mapped; MAP_FAILED when that fails.
void* Load(int fd, size_t size, bool copied) {
  if (!copied) return mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  void* bytes = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (bytes != MAP_FAILED && read(fd, bytes, size) < 0) {
    munmap(bytes, size);
    return MAP_FAILED;
  }
  return bytes;
}

FileStamp StampOf(const struct stat& info) {
  FileStamp stamp;
  stamp.device = info.st_dev;
  stamp.inode = info.st_ino;
  stamp.size = static_cast<uint64_t>(info.st_size);
  stamp.mtime_ns = int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
  stamp.ctime_ns = int64_t{info.st_ctim.tv_sec} * 1000000000 + info.st_ctim.tv_nsec;
  return stamp;
}

}  // namespace

absl::StatusOr<std::shared_ptr<InputBytes>> DiskFiles::Open(absl::string_view path) {
  const int fd = open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  struct stat info;
  void* bytes = nullptr;
  const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const size_t size = regular ? static_cast<size_t>(info.st_size) : 0;
  const bool copied = size <= kReadLimit;
  if (size != 0) bytes = Load(fd, size, copied);
  close(fd);
  if (!regular) return absl::InvalidArgumentError(absl::StrCat(path, ": not a regular file"));
  if (bytes == MAP_FAILED) return absl::InternalError(absl::StrCat(path, ": cannot be read"));
  return std::make_shared<MappedBytes>(StampOf(info), ByteView(static_cast<uint8_t*>(bytes), size), copied);
}

absl::StatusOr<FileStamp> DiskFiles::Stat(absl::string_view path) {
  struct stat info;
  if (stat(std::string(path).c_str(), &info) != 0)
    return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  return StampOf(info);
}

}  // namespace kitlink::testing
