// Threads that run jobs: as many as there are jobs at once up to a limit, kept for the next ones.
#ifndef DAEMON_WORKER_POOL_H_
#define DAEMON_WORKER_POOL_H_

#include <deque>
#include <functional>
#include <map>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace kitlink::daemon {

// Thread safe. Jobs must not throw.
class WorkerPool {
 public:
  explicit WorkerPool(size_t max_threads) : max_threads_(max_threads) {}
  // Runs what is queued, also what is not due yet, then ends the threads.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Runs `job` on some thread, soon. Jobs begin in the order they were posted.
  void Post(std::function<void()> job);
  // The same, if a thread has nothing else to do; false (and no more) if not.
  bool PostIfFree(std::function<void()> job);
  // Post, not before `due` unless the pool ends.
  void PostAt(absl::Time due, std::function<void()> job);
  // True when nothing can wait any longer.
  bool ending() const;

 private:
  void Work();
  // Queues `job` for a thread that waits, or a new one.
  void Queue(std::function<void()> job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Queues what is due.
  void TakeDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Until there may be something to do. Of those who wait one watches the clock.
  void Wait() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_threads_;
  mutable absl::Mutex mutex_;
  absl::CondVar wake_;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  std::multimap<absl::Time, std::function<void()>> later_ ABSL_GUARDED_BY(mutex_);
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  bool clock_watched_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_WORKER_POOL_H_
