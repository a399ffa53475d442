#include "daemon/output/special_output.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kitlink::daemon {
namespace {

constexpr absl::Duration kWaitForReader = absl::Seconds(5);
constexpr int kStalledReaderMs = 30'000;

// Keeps SIGPIPE, which a write to a closed pipe sends to the writing thread, from killing the process.
class SigPipeBlocked {
 public:
  SigPipeBlocked() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &old_);
  }
  ~SigPipeBlocked() {
    const timespec now = {};
    if (!was_pending_) sigtimedwait(&pipe_, nullptr, &now);
    pthread_sigmask(SIG_SETMASK, &old_, nullptr);
  }
  SigPipeBlocked(const SigPipeBlocked&) = delete;
  SigPipeBlocked& operator=(const SigPipeBlocked&) = delete;

 private:
  sigset_t pipe_;
  sigset_t old_;
  bool was_pending_ = false;
};

// ENXIO means a pipe without a reader, which may be about to come (`cat pipe & make`).
int OpenForWriting(FileOps& ops, const std::string& path) {
  const absl::Time until = absl::Now() + kWaitForReader;
  while (true) {
    const int fd = ops.Open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (fd != -ENXIO || absl::Now() > until) return fd;
    absl::SleepFor(absl::Milliseconds(5));
  }
}

}  // namespace

bool IsSpecialFile(FileOps& ops, const std::string& path) {
  struct stat info;
  return ops.Stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

absl::Status WriteSpecialFile(FileOps& ops, const std::string& path, ByteView bytes) {
  constexpr size_t kAtOnce = 1 << 20;
  const SigPipeBlocked blocked;
  OpenFile file(&ops, OpenForWriting(ops, path));
  if (!file.is_open()) return FileError("open", path, file.fd());
  while (!bytes.empty()) {
    const int64_t put = ops.Write(file.fd(), bytes.data(), std::min(bytes.size(), kAtOnce));
    if (put > 0) {
      bytes.remove_prefix(static_cast<size_t>(put));
      continue;
    }
    if (put != -EAGAIN) return FileError("write", path, put == 0 ? EIO : put);
    pollfd waiting = {file.fd(), POLLOUT, 0};
    const int ready = ::poll(&waiting, 1, kStalledReaderMs);
    if (ready == 0) {
      return absl::DeadlineExceededError(absl::StrCat("cannot write ", path, ": its reader does not read"));
    }
    if (ready < 0 && errno != EINTR) return FileError("wait for", path, errno);
  }
  return absl::OkStatus();
}

}  // namespace kitlink::daemon
