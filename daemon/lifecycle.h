// When the daemon works, idles and ends.
#ifndef DAEMON_LIFECYCLE_H_
#define DAEMON_LIFECYCLE_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace kitlink::daemon {

// Counts what is running and turns new work away once the daemon is ending. Thread safe.
class Lifecycle {
 public:
  // `wake` is called (with no lock held) whenever the main loop should look again: at the first Drain and when the
  // last work ends afterwards.
  explicit Lifecycle(std::function<void()> wake) : wake_(std::move(wake)) {}

  // Announces work. False when the daemon is ending: then nothing may be begun. Each success needs one End.
  bool Begin();
  void End();
  // Anything that shows that somebody still uses the daemon.
  void Touch();

  // Starts to end the daemon. `drained` (may be null) is called once the listener is closed and nothing runs any
  // more, on whatever thread notices.
  void Drain(std::function<void()> drained);
  // The main loop says that the socket is gone.
  void ListenerClosed();

  bool draining() const;
  uint64_t running() const;
  // True when the daemon is ending and nothing holds it any more.
  bool finished() const;
  // When the last work ended; the infinite future while something runs.
  absl::Time idle_since() const;

 private:
  void CallDrained();

  const std::function<void()> wake_;
  mutable absl::Mutex mutex_;
  uint64_t running_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool listener_closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time last_ ABSL_GUARDED_BY(mutex_) = absl::Now();
  std::vector<std::function<void()>> drained_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kitlink::daemon

#endif  // DAEMON_LIFECYCLE_H_
