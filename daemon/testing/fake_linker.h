// A linker for tests of the daemon: "links" by writing its inputs one after the other, and misbehaves on request.
#ifndef DAEMON_TESTING_FAKE_LINKER_H_
#define DAEMON_TESTING_FAKE_LINKER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemon/linker.h"

namespace kitlink::daemon {

// What its linkers did, and how they meet the test.
struct FakeWorld {
  std::atomic<int> links{0};
  std::atomic<int> settles{0};
  std::atomic<int> keeps{0};        // that were not stopped
  std::atomic<int> running{0};      // links and settles right now
  std::atomic<int> most_running{0};
  std::atomic<bool> shadows{false};  // there is something to compare outputs with
  std::atomic<bool> nothing_to_prepare{false};
  std::atomic<int> prepared{0};         // how often somebody planned ahead
  absl::Mutex mutex;
  std::function<void()> touched ABSL_GUARDED_BY(mutex);  // what the last linker would call when an input changes
  void Touch() {
    absl::MutexLock lock(&mutex);
    touched();
  }
  std::atomic<bool> overlapped{false};  // two of one linker ran at once, or a link began before the last one settled
};

// Arguments: FILE... [-o OUT] [--session-key=KEY], and for misbehaviour
//   --fake-error=TEXT    the link fails with this diagnostic
//   --fake-warning=TEXT  the link warns
//   --fake-wait=PATH     the link goes on only once PATH exists
//   --fake-settle=PATH   likewise settling
//   --fake-keep=PATH     likewise keeping, which can be stopped
//   --fake-began=PATH    the link makes PATH when it begins
//   --fake-die           the process is killed during the link
//   --fake-bytes=N       the session says that it holds N bytes
// Anything else that begins with "-" is an unknown option.
class FakeFactory final : public LinkerFactory {
 public:
  // `world` must outlive the factory and its linkers.
  explicit FakeFactory(FakeWorld* world) : world_(world) {}
  absl::StatusOr<SharedOptions> Parse(absl::Span<const std::string> args, const ClientView& client,
                                    Diagnostics& diagnostics) override;
  std::unique_ptr<Linker> Create(absl::string_view output, std::function<void()> touched) override;

 private:
  FakeWorld* const world_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_TESTING_FAKE_LINKER_H_
