// A file that nobody else has open or mapped, for as long as we write into it.
#ifndef DAEMON_OUTPUT_EXCLUSIVE_FILE_H_
#define DAEMON_OUTPUT_EXCLUSIVE_FILE_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "daemon/output/file_identity.h"
#include "daemon/output/file_ops.h"

namespace kitlink::daemon {

// True for file systems where the kernel grants a write lease only if no other descriptor and no mapping of
// the file exists: ext2/3/4, xfs, btrfs, tmpfs. Not so on overlayfs, where the lease is on another inode than
// the one that processes map, nor on network and FUSE file systems. `magic` is statfs's f_type.
bool LeasesTellTheTruth(uint64_t magic);

// Holds a write lease (fcntl F_SETLEASE) on a regular file with one link. While it is held, whoever opens the
// file waits until we are done (the kernel takes the lease away after /proc/sys/fs/lease-break-time, 45 s),
// or gets EWOULDBLOCK if it asked not to wait; so does execve. The kernel announces a waiter by a signal:
// SIGIO, deadly by default. We ask for SIGURG instead, whose default is to be ignored, so that no handler has
// to be installed and nothing in the process changes. We never act on it: writing takes well under a
// millisecond.
//
// A child forked meanwhile would inherit the descriptor until its exec, and keep the file "busy" that long.
class ExclusiveFile {
 public:
  // FailedPrecondition with the reason when `path` is not (or no longer) the file `expected`, somebody has it
  // open, mapped or running, it has other names, or its file system is not to be trusted with leases.
  static absl::StatusOr<ExclusiveFile> Open(FileOps& ops, const std::string& path,
                                            const FileIdentity& expected);

  ExclusiveFile(ExclusiveFile&&) = default;
  ExclusiveFile& operator=(ExclusiveFile&&) = delete;
  ~ExclusiveFile();

  int fd() const { return file_.fd(); }

 private:
  ExclusiveFile(FileOps* ops, OpenFile file) : ops_(ops), file_(std::move(file)) {}

  FileOps* ops_;
  OpenFile file_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_EXCLUSIVE_FILE_H_
