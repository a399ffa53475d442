#include "daemon/listener.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {
namespace {

absl::Status SystemError(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat(what, ": ", strerror(errno)));
}

struct flock WholeFile() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

// Asks the daemon `pid` to end and waits for that. False when it still lives at `deadline`, or cannot be seen from here.
bool AwaitEnd(pid_t pid, std::chrono::steady_clock::time_point deadline) {
  if (pid <= 0) return false;
  int process = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (process < 0) return errno == ESRCH;
  syscall(SYS_pidfd_send_signal, process, SIGTERM, nullptr, 0);
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  pollfd wait{process, POLLIN, 0};
  bool ended = left.count() > 0 && poll(&wait, 1, static_cast<int>(left.count())) > 0;
  close(process);
  return ended;
}

// The lock is a POSIX one because the kernel can say who holds it, in the terms of our own process id namespace.
absl::Status TakeLock(int fd, int patience_ms) {
  struct flock lock = WholeFile();
  if (fcntl(fd, F_SETLK, &lock) == 0) return absl::OkStatus();
  if (patience_ms <= 0) return absl::AlreadyExistsError("another kitlinkd serves this socket");
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(patience_ms);
  for (;;) {
    struct flock holder = WholeFile();
    if (fcntl(fd, F_GETLK, &holder) != 0) return SystemError("the daemon's lock");
    if (holder.l_type != F_UNLCK && !AwaitEnd(holder.l_pid, deadline)) break;
    lock = WholeFile();
    if (fcntl(fd, F_SETLK, &lock) == 0) return absl::OkStatus();
  }
  return absl::AlreadyExistsError("another kitlinkd is still finishing its links");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Listener>> Listener::Take(const Rendezvous& rendezvous, int patience_ms) {
  std::string error;
  if (!PrepareFolder(rendezvous, geteuid(), &error)) return absl::PermissionDeniedError(error);
  std::unique_ptr<Listener> listener(new Listener);
  listener->lock_ = open(rendezvous.daemon_lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (listener->lock_ < 0) return SystemError(rendezvous.daemon_lock);
  if (absl::Status status = TakeLock(listener->lock_, patience_ms); !status.ok()) return status;
  // Without it clients come to the other door.
  if (!listener->sockets_[kDirect].Open(rendezvous.direct).ok()) listener->sockets_[kDirect].Close();
  if (absl::Status status = listener->sockets_[kSocket].Open(rendezvous.socket); !status.ok()) return status;
  return listener;
}

absl::Status Listener::Socket::Open(const std::string& at) {
  // Whoever listened there had the lock and is gone.
  if (unlink(at.c_str()) != 0 && errno != ENOENT) return SystemError(at);
  SocketAddress address(at);
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || !address.valid()) return SystemError(at);
  mode_t umask_before = umask(0177);
  int bound = bind(fd, address.address(), address.length());
  umask(umask_before);
  if (bound != 0) return SystemError(at);
  path = at;
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return SystemError(at);
  device = info.st_dev;
  inode = info.st_ino;
  return listen(fd, SOMAXCONN) == 0 ? absl::OkStatus() : SystemError(at);
}

Listener::~Listener() {
  Close();
  if (lock_ >= 0) close(lock_);
}

int Listener::Accept(Door door, uid_t* foreign, bool* refused) {
  *refused = false;
  int fd = accept4(sockets_[door].fd, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return -1;
  if (PeerUser(fd, foreign) && *foreign == geteuid()) return fd;
  *refused = true;
  close(fd);
  return -1;
}

void Listener::Close() {
  for (Socket& socket : sockets_) socket.Close();
}

void Listener::Socket::Close() {
  if (fd < 0) return;
  // Only our own: a user may have put another in its place.
  struct stat info;
  if (!path.empty() && stat(path.c_str(), &info) == 0 && info.st_dev == device && info.st_ino == inode) {
    unlink(path.c_str());
  }
  close(fd);
  fd = -1;
}

}  // namespace kitlink::daemon
