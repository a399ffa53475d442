// Rings when something happens to what is watched, without anybody's asking.
#ifndef DAEMON_WATCH_BELL_H_
#define DAEMON_WATCH_BELL_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace kitlink::daemon {

// One epoll(7) instance over the descriptors of all watches. Thread safe.
class WatchBell {
 public:
  WatchBell();
  ~WatchBell();
  WatchBell(const WatchBell&) = delete;
  WatchBell& operator=(const WatchBell&) = delete;

  // Readable when there is something to Ring for; negative when there is no bell to be had.
  int fd() const { return epoll_; }
  // Calls `rung`, by Ring, once there is something to read from `watch`, a descriptor; then not until Arm. `rung` must return
  // soon. The caller calls Remove before it closes the descriptor.
  void Add(int watch, std::function<void()> rung);
  void Arm(int watch);
  // `rung` may be called once more by a Ring that runs.
  void Remove(int watch);
  // Calls whoever is to be called. Never waits.
  void Ring();

 private:
  using Rung = std::shared_ptr<const std::function<void()>>;
  struct Watched {
    uint64_t id;  // no number of a descriptor, which the next one may have
    Rung rung;
  };

  void Control(int operation, int watch, uint64_t id) const;

  const int epoll_;
  absl::Mutex mutex_;
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<int, Watched> watched_ ABSL_GUARDED_BY(mutex_);  // by descriptor
  absl::flat_hash_map<uint64_t, Rung> rung_ ABSL_GUARDED_BY(mutex_);   // by id
};

}  // namespace kitlink::daemon

#endif  // DAEMON_WATCH_BELL_H_
