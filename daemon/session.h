// One output's place in the daemon: its linker, the queue before it, and what it did.
#ifndef DAEMON_SESSION_H_
#define DAEMON_SESSION_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/linker.h"
#include "daemon/worker_pool.h"

namespace kitlink::daemon {

// A successful link, for Explain.
struct RecordedLink {
  LinkReport report;
  absl::Time finished;
};

// What is known of a session without waiting for what it is doing.
struct SessionSnapshot {
  std::string key;
  std::string output;
  SessionStatus status;
  std::string shadow;  // how the last comparison with a link from scratch came out; empty: none yet
  uint64_t queued = 0;
  bool busy = false;
  bool exists = false;  // a link succeeded since the session was made or closed
  absl::Time last_used;
};

// Runs its jobs one at a time in the order they came, whatever thread they came from. Thread safe.
class Session : public std::enable_shared_from_this<Session> {
 public:
  static constexpr size_t kHistoryLimit = 64;
  // How long nothing must have been asked of a session before it is written to disk. Whoever links again and again does not
  // wait for that, nor for a processor that is busy with it.
  static constexpr absl::Duration kCalm = absl::Milliseconds(200);
  // After something was prepared, nothing is for so many times as long: objects that a build writes one after the other must
  // not be planned again and again.
  static constexpr int kPrepareSeldom = 5;
  // Nor sooner than after a pause, which gets longer each time that there is nothing to prepare, until somebody asks for something.
  static constexpr absl::Duration kLeastPause = absl::Microseconds(200), kMostPause = absl::Milliseconds(100);

  // `key` is the output's absolute path, or the build system's key. `factory` and `pool` must outlive the session.
  Session(std::string key, LinkerFactory* factory, WorkerPool* pool);

  // What a job may touch while it runs.
  class Turn {
   public:
    // The linker for `output`, made when there is none yet or when the last one was for another output (a session
    // key can move from one path to another).
    Linker& LinkerFor(absl::string_view output);
    // Null when nothing was linked here.
    Linker* linker() { return session_->linker_.get(); }
    // Remembers a successful link; the linker settles before the next job.
    void Record(const LinkReport& report);
    // Writes to disk what is not there yet, calm or not.
    void KeepNow() { session_->KeepIfNeeded(); }
    // Forgets linker and history.
    void Close();

   private:
    friend class Session;
    explicit Turn(Session* session) : session_(session) {}
    Session* session_;
  };
  using Job = std::function<void(Turn&)>;

  // Queues `job`. When nothing is before it, it runs at once in the calling thread, which must be one of the pool's.
  void Run(Job job);
  // Queues `job` to run on a thread of the pool.
  void Post(Job job);
  // To be called when the answer to a link is on its way: settles on a thread of the pool, unless a request that came
  // meanwhile had that done already.
  void SettleSoon();

  // To be called when an input may have changed: prepares for the link that may come, on a thread of the pool. Takes no more than
  // a small part of a processor, however often it is called.
  void PrepareSoon();

  // Remembers how a comparison came out, for the snapshot.
  void NoteShadow(std::string verdict);

  const std::string& key() const { return key_; }
  SessionSnapshot Snapshot() const;
  std::vector<RecordedLink> History() const;
  // True when nothing runs, waits or is held, so that the session may be dropped.
  bool Empty() const;

 private:
  // Queues `job`; true when the caller is to drain the queue.
  bool Enqueue(Job job);
  // Runs queued jobs until there are none. REQUIRES: the caller set running_.
  void Drain();
  // Settles what the last link left to be done. What a job has stopped is done again once there are no jobs left (`idle`).
  void SettleIfNeeded(bool idle);
  void KeepIfNeeded();
  void PrepareNow();
  // Runs `work` of the linker, which a job that comes stops. False when one did.
  bool RunUntilStopped(void (Linker::*work)());
  // Asks for KeepIfNeeded when it has been calm, else looks again later.
  void KeepWhenCalm();
  // Takes the linker's status over into the snapshot.
  void Refresh();

  const std::string key_;
  LinkerFactory* const factory_;
  WorkerPool* const pool_;

  // Owned by whoever set running_; no lock.
  std::unique_ptr<Linker> linker_;
  bool settle_needed_ = false;
  bool settle_unfinished_ = false;  // it was stopped
  bool keep_needed_ = false;

  mutable absl::Mutex mutex_;
  std::deque<Job> jobs_ ABSL_GUARDED_BY(mutex_);
  bool running_ ABSL_GUARDED_BY(mutex_) = false;
  bool settle_asked_ ABSL_GUARDED_BY(mutex_) = false;
  bool keep_asked_ ABSL_GUARDED_BY(mutex_) = false;
  bool keep_posted_ ABSL_GUARDED_BY(mutex_) = false;  // KeepWhenCalm is to come
  bool prepare_asked_ ABSL_GUARDED_BY(mutex_) = false;
  bool prepare_posted_ ABSL_GUARDED_BY(mutex_) = false;  // PrepareSoon is to come
  absl::Time prepare_after_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Duration prepare_pause_ ABSL_GUARDED_BY(mutex_) = kLeastPause;
  Linker* settling_ ABSL_GUARDED_BY(mutex_) = nullptr;  // it settles, or keeps
  bool settle_stopped_ ABSL_GUARDED_BY(mutex_) = false;  // settling_ was told to stop
  std::string output_ ABSL_GUARDED_BY(mutex_);
  SessionStatus status_ ABSL_GUARDED_BY(mutex_);
  std::string shadow_ ABSL_GUARDED_BY(mutex_);
  bool exists_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<RecordedLink> history_ ABSL_GUARDED_BY(mutex_);
  absl::Time last_used_ ABSL_GUARDED_BY(mutex_) = absl::Now();
};

}  // namespace kitlink::daemon

#endif  // DAEMON_SESSION_H_
