#include "daemon/output/exclusive_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {
namespace {

constexpr uint64_t kXfsMagic = 0x58465342;  // "XFSB"; missing in older <linux/magic.h>

absl::Status NotExclusive(const std::string& path, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(path, " cannot be patched in place: ", why));
}

}  // namespace

bool LeasesTellTheTruth(uint64_t magic) {
  return magic == EXT4_SUPER_MAGIC || magic == kXfsMagic || magic == BTRFS_SUPER_MAGIC ||
         magic == TMPFS_MAGIC;
}

absl::StatusOr<ExclusiveFile> ExclusiveFile::Open(FileOps& ops, const std::string& path,
                                                  const FileIdentity& expected) {
  // O_NONBLOCK: another's lease must not make us wait for it.
  const int fd = ops.Open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0);
  if (fd == -ETXTBSY) return NotExclusive(path, "it is running");
  if (fd == -EWOULDBLOCK) return NotExclusive(path, "another process holds a lease on it");
  if (fd < 0) return NotExclusive(path, FileError("open", path, fd).message());
  OpenFile file(&ops, fd);

  uint64_t magic = 0;
  if (const int error = ops.FileSystemMagic(fd, &magic); error < 0) return FileError("examine", path, error);
  if (!LeasesTellTheTruth(magic)) return NotExclusive(path, "its file system does not tell who else uses it");
  // The signal before the lease: no moment when SIGIO could be sent.
  if (const int error = ops.SetLeaseSignal(fd, SIGURG); error < 0) return FileError("watch", path, error);
  if (const int error = ops.SetLease(fd, F_WRLCK); error < 0) {
    if (error == -EAGAIN) return NotExclusive(path, "another process has it open or mapped");
    return NotExclusive(path, FileError("lease", path, error).message());
  }
  ExclusiveFile exclusive(&ops, std::move(file));

  // Only now, when nobody can change it any more.
  struct stat opened;
  struct stat named;
  if (const int error = ops.Fstat(fd, &opened); error < 0) return FileError("examine", path, error);
  if (const int error = ops.Lstat(path, &named); error < 0) return FileError("examine", path, error);
  if (opened.st_nlink != 1) return NotExclusive(path, "it has other names (hard links)");
  if (FileIdentity::Of(opened) != expected || FileIdentity::Of(named) != expected) {
    return NotExclusive(path, "it has been changed or replaced");
  }
  return exclusive;
}

ExclusiveFile::~ExclusiveFile() {
  // Not left to close: should a forked child share the description, the lease would stay.
  if (file_.is_open()) ops_->SetLease(file_.fd(), F_UNLCK);
}

}  // namespace kitlink::daemon
