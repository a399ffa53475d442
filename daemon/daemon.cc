#include "daemon/daemon.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "daemon/direct_server.h"
#include "daemon/direct_service.h"
#include "daemon/lifecycle.h"
#include "daemon/listener.h"
#include "daemon/log.h"
#include "daemon/service.h"
#include "daemon/session_registry.h"
#include "daemon/worker_pool.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/server_posix.h"

namespace kitlink::daemon {
namespace {

// A predecessor that is ending has this long to finish its links; the client that waits for us has a little more.
constexpr int kPatienceMs = 8000;
constexpr size_t kMaxLinks = 16;
// What clients are given to take the last answers.
constexpr absl::Duration kLastAnswers = absl::Milliseconds(100);

uint64_t HalfOfMemory() {
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) / 2;
}

// Sessions hold mapped files, and connections descriptors.
void RaiseDescriptorLimit() {
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

// A descriptor that reads SIGTERM and SIGINT, which no thread gets otherwise.
int TakeSignals() {
  signal(SIGPIPE, SIG_IGN);
  // A session bus or terminal that goes away is none of the daemon's business.
  signal(SIGHUP, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

// Everything that serves, in the order in which it is made.
class Daemon {
 public:
  Daemon(const DaemonOptions& options, LinkerFactory& factory, std::unique_ptr<Listener> listener)
      : options_(options),
        factory_(factory),
        listener_(std::move(listener)),
        signals_(TakeSignals()),
        wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        log_(OpenLog(options.state_folder)),
        lifecycle_([this] { Wake(); }),
        pool_(std::make_unique<WorkerPool>(kMaxLinks)),
        sessions_(&factory, pool_.get(), options.memory_limit != 0 ? options.memory_limit : HalfOfMemory()),
        shadow_(std::make_unique<ShadowScheduler>(options.shadow, log_.get())),
        service_({&factory, &sessions_, pool_.get(), &lifecycle_, log_.get(), options.version, shadow_.get()}),
        direct_(DirectHandler(&service_), pool_.get()) {}

  ~Daemon() {
    EndDirect();
    // All answers are out; what is left are connections that their clients keep open, for which gRPC would wait.
    if (server_ != nullptr) server_->Shutdown(absl::ToChronoTime(absl::Now() + kLastAnswers));
    // It waits for the pool at times.
    shadow_ = nullptr;
    // Ends its threads, which use everything else, after they have settled what was linked.
    pool_ = nullptr;
    // The successor waits for the listener's lock, and looks for what sessions have left.
    factory_.Flush();
    log_->Info("ended");
    close(signals_);
    close(wake_);
  }

  bool Start() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(-1);
    builder.SetMaxSendMessageSize(-1);
    // A Unix socket has neither delay nor loss: no probing, no pings, and windows that a request fits into.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 4 << 20);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, std::numeric_limits<int>::max());
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return false;
    log_->Info(absl::StrCat("kitlinkd ", options_.version, " serves ", options_.rendezvous.socket));
    return true;
  }

  void Serve() {
    while (!lifecycle_.finished()) {
      Waits waits = {{{signals_, POLLIN, 0},
                      {wake_, POLLIN, 0},
                      {direct_.fd(), POLLIN, 0},
                      {listener_->fd(Listener::kDirect), POLLIN, 0},
                      {listener_->fd(Listener::kSocket), POLLIN, 0},
                      {options_.prepare ? factory_.bell() : -1, POLLIN, 0}}};
      nfds_t count = lifecycle_.draining() ? 3 : waits.size();
      int ready = poll(waits.data(), count, Timeout());
      if (ready < 0 && errno != EINTR) break;
      if (ready == 0 && IdleTooLong()) {
        log_->Info("idle for long enough");
        lifecycle_.Drain(nullptr);
      }
      if (ready > 0) Handle(waits);
      if (lifecycle_.draining()) CloseListener();
    }
    CloseListener();
  }

 private:
  using Waits = std::array<pollfd, 6>;

  void CloseListener() {
    if (listener_->fd(Listener::kSocket) < 0) return;
    listener_->Close();
    lifecycle_.ListenerClosed();
  }

  void Handle(const Waits& waits) {
    uint64_t count;
    signalfd_siginfo info;
    if (waits[1].revents != 0 && read(wake_, &count, sizeof(count)) < 0) return;
    if (waits[0].revents != 0 && read(signals_, &info, sizeof(info)) == sizeof(info)) {
      log_->Info(absl::StrCat("signal ", info.ssi_signo, " from process ", info.ssi_pid));
      lifecycle_.Drain(nullptr);
    }
    if (waits[2].revents != 0) direct_.Poll();
    if (lifecycle_.draining()) return;
    if (waits[3].revents != 0) Accept(Listener::kDirect);
    if (waits[4].revents != 0) Accept(Listener::kSocket);
    if (waits[5].revents != 0) factory_.BellRang();
  }

  void Accept(Listener::Door door) {
    uid_t user = 0;
    bool refused = false;
    int fd = listener_->Accept(door, &user, &refused);
    if (refused) log_->Warning(absl::StrCat("refused a connection of user ", user));
    if (fd < 0) {
      // Out of descriptors: the connection stays queued; without a pause this would be a busy loop.
      if (errno == EMFILE || errno == ENFILE) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    lifecycle_.Touch();
    if (door == Listener::kDirect) {
      direct_.Serve(fd);
    } else {
      // There is no handshake to be had: a user's own socket needs none.
      grpc::AddInsecureChannelFromFd(server_.get(), fd);
    }
  }

  // Nobody is begun any more; whoever connected and was not served asks the next daemon.
  void EndDirect() {
    direct_.Close();
    const absl::Time end = absl::Now() + kLastAnswers;
    for (absl::Time now = absl::Now(); now < end && !direct_.empty(); now = absl::Now()) {
      pollfd wait{direct_.fd(), POLLIN, 0};
      if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(end - now)) + 1) > 0) direct_.Poll();
    }
  }

  // Milliseconds until the daemon may have been idle for too long; -1 while it ends. What runs now may be over a moment
  // later without a word to this loop, so that waits no longer than if it were over already.
  int Timeout() const {
    if (lifecycle_.draining()) return -1;
    absl::Duration left = std::min(lifecycle_.idle_since(), absl::Now()) + options_.idle_exit - absl::Now();
    return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Milliseconds(left) + 1, 0, 1000000000));
  }

  bool IdleTooLong() const { return absl::Now() - lifecycle_.idle_since() >= options_.idle_exit; }

  void Wake() {
    uint64_t one = 1;
    [[maybe_unused]] ssize_t written = write(wake_, &one, sizeof(one));
  }

  const DaemonOptions& options_;
  LinkerFactory& factory_;
  std::unique_ptr<Listener> listener_;
  const int signals_;
  const int wake_;
  std::unique_ptr<Log> log_;
  Lifecycle lifecycle_;
  std::unique_ptr<WorkerPool> pool_;
  SessionRegistry sessions_;
  std::unique_ptr<ShadowScheduler> shadow_;
  LinkerService service_;
  DirectServer direct_;
  std::unique_ptr<grpc::Server> server_;
};

// Tells the client that waits; it sees the end of the pipe when the daemon did not start.
void TellReady(int fd, bool ready) {
  if (fd < 0) return;
  if (ready) {
    [[maybe_unused]] ssize_t written = write(fd, "R", 1);
  }
  close(fd);
}

}  // namespace

ExitStatus RunDaemon(const DaemonOptions& options, LinkerFactory& factory, std::string* error) {
  // Started by hand it does not push out a daemon that works.
  absl::StatusOr<std::unique_ptr<Listener>> listener =
      Listener::Take(options.rendezvous, options.ready_fd >= 0 ? kPatienceMs : 0);
  if (!listener.ok()) {
    *error = std::string(listener.status().message());
    TellReady(options.ready_fd, false);
    return absl::IsAlreadyExists(listener.status()) ? ExitStatus::kAlreadyThere : ExitStatus::kCannotStart;
  }
  RaiseDescriptorLimit();
  Daemon daemon(options, factory, *std::move(listener));
  bool started = daemon.Start();
  TellReady(options.ready_fd, started);
  if (!started) {
    *error = "cannot start the gRPC server";
    return ExitStatus::kCannotStart;
  }
  daemon.Serve();
  return ExitStatus::kOk;
}

bool ParseDaemonArguments(int argc, char** argv, DaemonOptions* options, int* status) {
  int64_t idle = 0, memory = 0;
  auto number = [](const char* text, int64_t* value) {
    return text != nullptr && absl::SimpleAtoi(text, value) && *value >= 0;
  };
  if (number(getenv("KITLINK_IDLE_SECONDS"), &idle)) options->idle_exit = absl::Seconds(idle);
  if (number(getenv("KITLINK_MEMORY_MB"), &memory)) options->memory_limit = static_cast<uint64_t>(memory) << 20;
  std::string error;
  if (!FindRendezvous(RendezvousEnvironment::FromProcess(), &options->rendezvous, &error)) {
    fprintf(stderr, "kitlinkd: error: %s\n", error.c_str());
    *status = static_cast<int>(ExitStatus::kUsage);
    return false;
  }
  if (const char* prepare = getenv("KITLINK_PREPARE")) options->prepare = absl::string_view(prepare) != "off";
  options->state_folder = StateFolder();
  options->shadow = ShadowOptionsFromEnvironment(options->state_folder);
  for (int i = 1; i < argc; ++i) {
    absl::string_view arg = argv[i];
    int64_t ready = -1;
    if (absl::ConsumePrefix(&arg, "--ready-fd=") && absl::SimpleAtoi(arg, &ready) && ready > 2) {
      options->ready_fd = static_cast<int>(ready);
    } else if (absl::ConsumePrefix(&arg, "--idle-seconds=") && absl::SimpleAtoi(arg, &idle) && idle >= 0) {
      options->idle_exit = absl::Seconds(idle);
    } else if (absl::ConsumePrefix(&arg, "--memory-mb=") && absl::SimpleAtoi(arg, &memory) && memory > 0) {
      options->memory_limit = static_cast<uint64_t>(memory) << 20;
    } else if (arg == "--version") {
      printf("kitlinkd %s\n", options->version.c_str());
      *status = 0;
      return false;
    } else {
      bool help = arg == "--help";
      fprintf(help ? stdout : stderr,
              "usage: kitlinkd [--idle-seconds=N] [--memory-mb=N]\n"
              "Serves links to this user's ld.kit and kitlinkc, which start it by themselves when needed.\n");
      *status = static_cast<int>(help ? ExitStatus::kOk : ExitStatus::kUsage);
      return false;
    }
  }
  return true;
}

}  // namespace kitlink::daemon
