#include "daemon/shadow_scheduler.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"

namespace kitlink::daemon {
namespace {

constexpr size_t kMostSaid = 64 << 10;
constexpr int kRest = 10;  // how many times as long as a comparison took there is none

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

// A descriptor that reads `text`.
int TextDescriptor(const std::string& text) {
  const int fd = memfd_create("kitlink-shadow", MFD_CLOEXEC);
  for (size_t at = 0; fd >= 0 && at < text.size();) {
    const ssize_t written = write(fd, text.data() + at, text.size() - at);
    if (written <= 0 && errno != EINTR) break;
    if (written > 0) at += static_cast<size_t>(written);
  }
  if (fd >= 0) lseek(fd, 0, SEEK_SET);
  return fd;
}

// Starts `program --shadow-link` with these descriptors and no others, and with signals as programs expect them.
pid_t Spawn(const std::string& program, int in, int out) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, in, 0);
  posix_spawn_file_actions_adddup2(&files, out, 1);
  posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addclosefrom_np(&files, 3);
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string name = "kitlinkd", flag = "--shadow-link";
  char* arguments[] = {name.data(), flag.data(), nullptr};
  pid_t pid = 0;
  if (posix_spawn(&pid, program.c_str(), &files, &attributes, arguments, environ) != 0) pid = -1;
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  return pid;
}

}  // namespace

ShadowOptions ShadowOptionsFromEnvironment(const std::string& state_folder) {
  ShadowOptions options;
  const char* when = getenv("KITLINK_SHADOW");
  const absl::string_view text = when == nullptr ? "" : when;
  if (text == "off" || text == "0") options.when = ShadowOptions::When::kNever;
  if (text == "always") options.when = ShadowOptions::When::kAlways;
  // For tests: what runs instead of this program.
  if (const char* program = getenv("KITLINK_SHADOW_PROGRAM")) options.program = program;
  const char* seconds = getenv("KITLINK_SHADOW_SECONDS");
  double value = 0;
  if (seconds != nullptr && absl::SimpleAtod(seconds, &value) && value >= 0) options.idle = absl::Seconds(value);
  if (!state_folder.empty()) options.repro_folder = absl::StrCat(state_folder, "/repro");
  return options;
}

ShadowScheduler::ShadowScheduler(ShadowOptions options, Log* log) : options_(std::move(options)), log_(log) {
  if (options_.when != ShadowOptions::When::kNever) thread_ = std::thread([this] { Run(); });
}

ShadowScheduler::~ShadowScheduler() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
    if (child_ > 0) kill(child_, SIGKILL);
  }
  if (thread_.joinable()) thread_.join();
}

void ShadowScheduler::Linked(const std::shared_ptr<Session>& session, const LinkReport& report) {
  if (report.outcome != Outcome::kPatched || report.patched_ranges.empty()) return;
  absl::MutexLock lock(&mutex_);
  std::erase_if(waiting_, [&](const Waiting& one) { return one.session.expired() || one.session.lock() == session; });
  waiting_.push_back({session, absl::Now() + options_.idle});
}

void ShadowScheduler::Interrupt() {
  absl::MutexLock lock(&mutex_);
  quiet_since_ = absl::Now();
  interrupted_ = true;
  if (child_ > 0) kill(child_, SIGKILL);
}

std::shared_ptr<Session> ShadowScheduler::Next() {
  absl::MutexLock lock(&mutex_);
  while (!stop_) {
    absl::Time due = absl::InfiniteFuture();
    auto first = waiting_.end();
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      if (it->due < due) due = it->due, first = it;
    }
    due = std::max({due, not_before_, quiet_since_ + options_.idle});
    if (first == waiting_.end()) due = absl::InfiniteFuture();
    if (due <= absl::Now()) {
      std::shared_ptr<Session> session = first->session.lock();
      waiting_.erase(first);
      interrupted_ = false;
      if (session != nullptr) return session;
      continue;
    }
    // What it waits for may come or go.
    const size_t known = waiting_.size();
    const absl::Time quiet = quiet_since_;
    const auto news = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return stop_ || waiting_.size() > known || quiet_since_ != quiet;
    };
    mutex_.AwaitWithDeadline(absl::Condition(&news), due);
  }
  return nullptr;
}

void ShadowScheduler::Run() {
  while (std::shared_ptr<Session> session = Next()) Compare(session);
}

void ShadowScheduler::Compare(const std::shared_ptr<Session>& session) {
  const auto again = [&](absl::Duration later) {
    absl::MutexLock lock(&mutex_);
    waiting_.push_back({session, absl::Now() + later});
  };
  if (options_.when == ShadowOptions::When::kOnMains && OnBattery()) return again(absl::Minutes(1));
  struct Asked {
    std::optional<ShadowJob> job;
    uint64_t generation = 0;
    absl::Notification answered;
  };
  auto asked = std::make_shared<Asked>();
  session->Post([asked](Session::Turn& turn) {
    if (turn.linker() != nullptr) {
      asked->job = turn.linker()->Shadow();
      asked->generation = turn.linker()->Status().generation;
    }
    asked->answered.Notify();
  });
  // A session that is at work now will be here again when it is done.
  if (!asked->answered.WaitForNotificationWithTimeout(absl::Seconds(1)) || !asked->job) return;
  ShadowJob job = *std::move(asked->job);
  if (!options_.repro_folder.empty()) {
    job.repro = absl::StrCat(options_.repro_folder, "/", absl::FormatTime("%Y%m%d-%H%M%S", absl::Now(), absl::UTCTimeZone()),
                             "-", std::filesystem::path(job.output).filename().string());
  }
  int status = 0;
  std::string said;
  absl::Duration used;
  if (!RunProcess(job.Serialize(), &status, &said, &used)) return again(options_.idle);
  {
    absl::MutexLock lock(&mutex_);
    not_before_ = absl::Now() + kRest * used;
  }
  const std::string seconds = absl::StrCat(absl::ToInt64Milliseconds(used), " ms of processor time");
  if (WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(ShadowExit::kEquivalent)) {
    log_->Info(absl::StrCat(job.output, ": as good as a link from scratch (", seconds, ")"));
    // Before anybody is told, who might ask for the next link.
    session->Post([generation = asked->generation](Session::Turn& turn) {
      if (turn.linker() != nullptr) turn.linker()->Confirm(generation);
    });
    session->NoteShadow("equivalent");
  } else if (WIFEXITED(status) && WEXITSTATUS(status) == static_cast<int>(ShadowExit::kDifferent)) {
    log_->Warning(absl::StrCat(job.output, ": A PATCHED OUTPUT DIFFERS FROM A LINK FROM SCRATCH; the next link will be full:\n", said));
    std::string detail = FirstLine(said);
    const size_t kept = said.rfind("kept in ");
    if (kept != std::string::npos) absl::StrAppend(&detail, "; ", FirstLine(said.substr(kept)));
    session->NoteShadow(absl::StrCat("DIFFERENT: ", detail));
    session->Post([detail](Session::Turn& turn) {
      if (turn.linker() != nullptr) turn.linker()->Distrust(detail);
    });
  } else {
    log_->Info(absl::StrCat(job.output, ": cannot be compared with a link from scratch: ",
                            WIFEXITED(status) ? FirstLine(said) : absl::StrCat("signal ", WTERMSIG(status))));
  }
}

bool ShadowScheduler::RunProcess(const std::string& job, int* status, std::string* said, absl::Duration* used) {
  const int in = TextDescriptor(job);
  int out[2];
  if (in < 0) return true;
  if (pipe2(out, O_CLOEXEC) != 0) {
    close(in);
    return true;
  }
  pid_t pid = 0;
  {
    absl::MutexLock lock(&mutex_);
    if (!stop_ && !interrupted_) pid = child_ = Spawn(options_.program, in, out[1]);
  }
  close(in);
  close(out[1]);
  char part[4096];
  for (;;) {
    const ssize_t size = pid > 0 ? read(out[0], part, sizeof(part)) : 0;
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    if (said->size() < kMostSaid) said->append(part, static_cast<size_t>(size));
  }
  close(out[0]);
  if (pid == 0) return false;
  if (pid < 0) {
    absl::MutexLock lock(&mutex_);
    child_ = 0;
    *said = absl::StrCat("cannot run ", options_.program);
    *status = static_cast<int>(ShadowExit::kCannotTell) << 8;
    return true;
  }
  // It may not be killed any more once somebody else could have its number: it is reaped with the lock held.
  siginfo_t info;
  while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  absl::MutexLock lock(&mutex_);
  child_ = 0;
  rusage usage{};
  wait4(pid, status, 0, &usage);
  *used = absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  return !interrupted_ && !stop_;
}

bool ShadowScheduler::OnBattery() const {
  std::error_code code;
  for (const auto& supply : std::filesystem::directory_iterator(options_.power_folder, code)) {
    std::string status;
    std::ifstream file(supply.path() / "status");
    if (std::getline(file, status) && status == "Discharging") return true;
  }
  return false;
}

}  // namespace kitlink::daemon
