#include "daemon/output/staged_image.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace kitlink::daemon {
namespace {

constexpr size_t kLongestName = 200;  // of NAME_MAX's 255, the rest for what we add
constexpr absl::string_view kNewSuffix = "new.";

// FNV-1a: only has to tell long names in one folder apart.
uint64_t HashName(absl::string_view name) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

bool ProcessIsGone(absl::string_view pid_and_number) {
  int pid = 0;
  const absl::string_view digits = pid_and_number.substr(0, pid_and_number.find('-'));
  if (!absl::SimpleAtoi(digits, &pid) || pid <= 0) return false;  // not a name of ours
  // Our own number may have been a killed daemon's (in a container it often is): the lock decides then.
  return pid == ::getpid() || (::kill(pid, 0) < 0 && errno == ESRCH);
}

}  // namespace

HiddenNames::HiddenNames(const std::string& output) {
  const size_t slash = output.rfind('/');
  folder_ = output.substr(0, slash + 1);
  std::string name = output.substr(slash + 1);
  if (name.size() > kLongestName) {
    name = absl::StrCat(name.substr(0, kLongestName - 17), "~", absl::Hex(HashName(name), absl::kZeroPad16));
  }
  stem_ = absl::StrCat(".", name, ".kitlink-");
}

std::string HiddenNames::New(uint64_t number) const {
  return absl::StrCat(folder_, stem_, kNewSuffix, ::getpid(), "-", number);
}

void HiddenNames::RemoveStale(FileOps& ops, bool keep_spare) const {
  if (!keep_spare) ops.Unlink(Spare());
  std::vector<std::string> entries;
  if (ops.ListFolder(folder_, &entries) < 0) return;
  for (const std::string& entry : entries) {
    absl::string_view rest = entry;
    if (!absl::ConsumePrefix(&rest, stem_) || !absl::ConsumePrefix(&rest, kNewSuffix)) continue;
    if (!ProcessIsGone(rest)) continue;
    const std::string path = folder_ + entry;
    OpenFile file(&ops, ops.Open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0));
    if (file.is_open() && ops.LockExclusive(file.fd()) == 0) ops.Unlink(path);
  }
}

absl::StatusOr<std::unique_ptr<StagedImage>> StagedImage::CreateFile(FileOps& ops, const HiddenNames& names,
                                                                     uint64_t size) {
  auto image = absl::WrapUnique(new StagedImage(ops, size));
  absl::Status status = image->OpenHidden(names);
  if (status.ok()) status = image->MapFile();
  if (!status.ok()) return status;
  return image;
}

absl::StatusOr<std::unique_ptr<StagedImage>> StagedImage::CreateInMemory(FileOps& ops, uint64_t size) {
  auto image = absl::WrapUnique(new StagedImage(ops, size));
  if (absl::Status status = image->MapMemory(); !status.ok()) return status;
  return image;
}

StagedImage::~StagedImage() {
  if (data_ != nullptr) Unmap().IgnoreError();
  if (!path_.empty()) ops_.Unlink(path_);
}

absl::Status StagedImage::OpenHidden(const HiddenNames& names) {
  static std::atomic<uint64_t> next_number{0};
  constexpr int kTries = 100;
  for (int i = 0; i < kTries; ++i) {
    const std::string path = names.New(next_number.fetch_add(1, std::memory_order_relaxed));
    const int fd = ops_.Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
    if (fd == -EEXIST) continue;
    if (fd < 0) return FileError("create an output file in", names.folder(), fd);
    file_ = OpenFile(&ops_, fd);
    path_ = path;
    // Refused where somebody is just cleaning up after the owner of this process number; unsupported on some
    // network file systems, which then do without cleaning.
    if (ops_.LockExclusive(fd) == -EWOULDBLOCK) continue;
    struct stat info;
    if (ops_.Fstat(fd, &info) == 0 && info.st_nlink == 0) continue;
    return absl::OkStatus();
  }
  return absl::AlreadyExistsError(absl::StrCat("cannot find a free name for a new file in ", names.folder()));
}

absl::Status StagedImage::MapFile() {
  if (size_ == 0) return absl::OkStatus();
  // A file that is grown by fallocate alone has no moment when a store could find no space.
  int error = ops_.Allocate(file_.fd(), size_);
  if (error == -EOPNOTSUPP || error == -ENOSYS) return MapMemory();
  if (error < 0) return FileError(absl::StrCat("allocate ", size_, " bytes for"), path_, error);
  void* at = nullptr;
  error = ops_.MapShared(file_.fd(), size_, &at);
  if (error == -ENODEV) return MapMemory();
  if (error < 0) return FileError("map", path_, error);
  data_ = static_cast<uint8_t*>(at);
  return absl::OkStatus();
}

absl::Status StagedImage::MapMemory() {
  in_memory_ = true;
  if (size_ == 0) return absl::OkStatus();
  void* const at = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no memory for an image of ", size_, " bytes"));
  }
  data_ = static_cast<uint8_t*>(at);
  return absl::OkStatus();
}

absl::Status StagedImage::Unmap() {
  uint8_t* const data = std::exchange(data_, nullptr);
  if (data == nullptr) return absl::OkStatus();
  const int error = in_memory_ ? (::munmap(data, size_) == 0 ? 0 : -errno) : ops_.Unmap(data, size_);
  return error < 0 ? FileError("unmap", path_, error) : absl::OkStatus();
}

absl::Status StagedImage::WriteOut() {
  constexpr uint64_t kChunk = 64 * 1024;
  if (const int error = ops_.Truncate(file_.fd(), size_); error < 0) return FileError("grow", path_, error);
  for (uint64_t offset = 0; offset < size_; offset += kChunk) {
    const ByteView chunk(data_ + offset, std::min(kChunk, size_ - offset));
    if (std::all_of(chunk.begin(), chunk.end(), [](uint8_t byte) { return byte == 0; })) continue;
    absl::Status status = WriteExactly(ops_, file_.fd(), path_, offset, chunk.size(), chunk.data());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<FileIdentity> StagedImage::Finish(mode_t mode) {
  absl::Status status = in_memory_ ? WriteOut() : absl::OkStatus();
  status.Update(Unmap());
  if (!status.ok()) return status;
  const int fd = file_.fd();
  if (const int error = ops_.Chmod(fd, mode); error < 0) return FileError("set the mode of", path_, error);
  if (const int error = ops_.TouchNow(fd); error < 0) return FileError("set the time of", path_, error);
  struct stat info;
  if (const int error = ops_.Fstat(fd, &info); error < 0) return FileError("examine", path_, error);
  file_.Close();
  return FileIdentity::Of(info);
}

absl::Status StagedImage::RenameTo(const std::string& output) {
  if (const int error = ops_.Rename(path_, output); error < 0) return FileError("replace", output, error);
  path_.clear();
  return absl::OkStatus();
}

}  // namespace kitlink::daemon
