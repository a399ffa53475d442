#include "client/daemon_starter.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "kitlink/v1/link.pb.h"

extern char** environ;

namespace kitlink::client {
namespace {

constexpr int kReadyFd = 3;
// A daemon is ready in 30 ms, but may have to wait for an ending predecessor's links.
constexpr int kReadyMs = 10000;
constexpr int kLockSeconds = 12;

void OnAlarm(int) {}

// flock that gives up: whoever holds the lock may be stopped in a debugger or by ^Z.
bool LockWithin(int fd, int seconds) {
  if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
  struct sigaction action {}, before {};
  action.sa_handler = OnAlarm;  // without SA_RESTART, so that it interrupts
  sigaction(SIGALRM, &action, &before);
  // Again every second afterwards: the first may come just before the call.
  itimerval timer{{1, 0}, {seconds, 0}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  bool locked = flock(fd, LOCK_EX) == 0;
  itimerval none{};
  setitimer(ITIMER_REAL, &none, nullptr);
  sigaction(SIGALRM, &before, nullptr);
  return locked;
}

// The daemon outlives this build, so only what concerns it goes along: not the build's LD_PRELOAD (fakeroot), not
// its secrets.
std::vector<char*> DaemonEnvironment() {
  std::vector<char*> kept;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    std::string_view text = *entry;
    for (std::string_view prefix : {"HOME=", "PATH=", "TMPDIR=", "XDG_", "KITLINK_", "LD_LIBRARY_PATH=", "TZ=",
                                    "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=", "LSAN_OPTIONS="}) {
      if (text.substr(0, prefix.size()) == prefix) {
        kept.push_back(*entry);
        break;
      }
    }
  }
  kept.push_back(nullptr);
  return kept;
}

// In the child: leaves everything of this process behind, then becomes the daemon. Never returns.
[[noreturn]] void BecomeDaemon(const std::string& program, int ready, char** environment) {
  setsid();
  for (int number = 1; number < NSIG; ++number) signal(number, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  int null = open("/dev/null", O_RDWR);
  if (null < 0 || dup2(ready, kReadyFd) < 0) _exit(127);
  // `ready` may have been 3 already, and then keeps its close-on-exec flag.
  fcntl(kReadyFd, F_SETFD, 0);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  syscall(SYS_close_range, kReadyFd + 1, ~0U, 0);
  umask(077);
  if (chdir("/") != 0) _exit(127);
  std::string option = "--ready-fd=" + std::to_string(kReadyFd);
  char* argv[] = {const_cast<char*>("kitlinkd"), option.data(), nullptr};
  execve(program.c_str(), argv, environment);
  _exit(127);
}

bool StartDaemon(std::string* error) {
  std::string program = ProgramFolder() + "/kitlinkd";
  if (access(program.c_str(), X_OK) != 0) {
    *error = program + ": " + strerror(errno);
    return false;
  }
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) {
    *error = strerror(errno);
    return false;
  }
  std::vector<char*> environment = DaemonEnvironment();
  pid_t child = fork();
  if (child == 0) BecomeDaemon(program, ready[1], environment.data());
  close(ready[1]);
  bool started = false;
  if (child > 0) {
    pollfd wait{ready[0], POLLIN, 0};
    char byte = 0;
    int got = 0;
    do {
      got = poll(&wait, 1, kReadyMs);
    } while (got < 0 && errno == EINTR);
    started = got > 0 && read(ready[0], &byte, 1) == 1;
    *error = got == 0 ? program + " is not ready in time" : program + " did not start";
    // One that failed has ended: no zombie. One that serves is not ours to wait for.
    if (!started && got > 0) waitpid(child, nullptr, WNOHANG);
  } else {
    *error = strerror(errno);
  }
  close(ready[0]);
  return started;
}

}  // namespace

std::string ProgramFolder() {
  char buffer[PATH_MAX];
  ssize_t length = readlink("/proc/self/exe", buffer, sizeof(buffer));
  if (length <= 0) return "";
  std::string path(buffer, static_cast<size_t>(length));
  return path.substr(0, path.rfind('/'));
}

bool ReadDaemonPolicy(DaemonPolicy* policy) {
  const char* value = getenv("KITLINK_DAEMON");
  std::string_view text = value == nullptr ? "" : value;
  if (text.empty() || text == "auto") {
    *policy = DaemonPolicy::kAuto;
  } else if (text == "off") {
    *policy = DaemonPolicy::kOff;
  } else if (text == "require") {
    *policy = DaemonPolicy::kRequire;
  } else {
    return false;
  }
  return true;
}

GrpcConnection::OpenResult Connect(const Rendezvous& rendezvous, Purpose purpose, GrpcConnection* connection,
                                   std::string* error) {
  if (!rendezvous.socket_given && !IsPrivateFolder(rendezvous.folder, geteuid(), error)) {
    return errno == ENOENT ? GrpcConnection::OpenResult::kNobody : GrpcConnection::OpenResult::kRefused;
  }
  if (purpose == Purpose::kLink) {
    // A daemon of another release may not have that door.
    const GrpcConnection::OpenResult direct = connection->Open(rendezvous.direct, geteuid(), error);
    if (direct != GrpcConnection::OpenResult::kNobody) return direct;
  }
  return connection->Open(rendezvous.socket, geteuid(), error);
}

bool ConnectOrStart(const Rendezvous& rendezvous, GrpcConnection* connection, std::string* error) {
  switch (Connect(rendezvous, Purpose::kLink, connection, error)) {
    case GrpcConnection::OpenResult::kOk:
      return true;
    case GrpcConnection::OpenResult::kRefused:
      return false;
    case GrpcConnection::OpenResult::kNobody:
      break;
  }
  if (!PrepareFolder(rendezvous, geteuid(), error)) return false;
  int lock = open(rendezvous.spawn_lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (lock < 0) {
    *error = rendezvous.spawn_lock + ": " + strerror(errno);
    return false;
  }
  bool reached = false;
  if (!LockWithin(lock, kLockSeconds)) {
    *error = "another client is starting the daemon and does not finish";
  } else {
    // Whoever had the lock before may have started it.
    GrpcConnection::OpenResult result = Connect(rendezvous, Purpose::kLink, connection, error);
    reached = result == GrpcConnection::OpenResult::kOk;
    if (result == GrpcConnection::OpenResult::kNobody && StartDaemon(error)) {
      reached = Connect(rendezvous, Purpose::kLink, connection, error) == GrpcConnection::OpenResult::kOk;
    }
  }
  close(lock);
  return reached;
}

void ReplaceDaemon(GrpcConnection* connection, const std::string& reason) {
  v1::ShutdownRequest request;
  request.set_reason(reason);
  connection->Call("/kitlink.v1.Linker/Shutdown", request.SerializeAsString(), [](std::string_view) { return true; });
}

}  // namespace kitlink::client
