// When outputs that relinks have patched are compared with links from scratch: when nobody wants anything.
#ifndef DAEMON_SHADOW_SCHEDULER_H_
#define DAEMON_SHADOW_SCHEDULER_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "core/session/link_report.h"
#include "daemon/log.h"
#include "daemon/session.h"
#include "daemon/shadow_job.h"

namespace kitlink::daemon {

struct ShadowOptions {
  enum class When { kNever, kOnMains, kAlways } when = When::kOnMains;  // kOnMains: not while a battery discharges
  absl::Duration idle = absl::Seconds(5);  // how long nobody must have linked
  std::string program = "/proc/self/exe";  // is run with --shadow-link, a ShadowJob on standard input
  std::string repro_folder;                // where to keep what differed; empty: nowhere
  std::string power_folder = "/sys/class/power_supply";
};

// What KITLINK_SHADOW (off, on, always) and KITLINK_SHADOW_SECONDS say, beside the defaults.
ShadowOptions ShadowOptionsFromEnvironment(const std::string& state_folder);

// Thread safe. One comparison at a time, in a process of its own; it is killed as soon as a request arrives. Of the
// processor it uses at most a tenth of the time: what took long is not repeated soon.
class ShadowScheduler {
 public:
  ShadowScheduler(ShadowOptions options, Log* log);
  // Kills what runs.
  ~ShadowScheduler();

  // A relink of `session` was answered. Patches are looked at some time later; whatever else a link did needs no look.
  void Linked(const std::shared_ptr<Session>& session, const LinkReport& report);
  // Somebody wants something.
  void Interrupt();

 private:
  struct Waiting {
    std::weak_ptr<Session> session;
    absl::Time due;
  };
  void Run();
  // The first whose time has come. Waits for it; null when there is to be no more.
  std::shared_ptr<Session> Next();
  void Compare(const std::shared_ptr<Session>& session);
  // True when the process ended by itself; then `status` is what waitpid says and `said` what it printed.
  bool RunProcess(const std::string& job, int* status, std::string* said, absl::Duration* used);
  bool OnBattery() const;

  const ShadowOptions options_;
  Log* const log_;

  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  bool interrupted_ ABSL_GUARDED_BY(mutex_) = false;
  pid_t child_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Time quiet_since_ ABSL_GUARDED_BY(mutex_) = absl::Now();
  absl::Time not_before_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // or too much processor time would be used
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_SHADOW_SCHEDULER_H_
