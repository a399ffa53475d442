#include "daemon/watch_bell.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <utility>
#include <vector>

namespace kitlink::daemon {

WatchBell::WatchBell() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

WatchBell::~WatchBell() {
  if (epoll_ >= 0) close(epoll_);
}

void WatchBell::Control(int operation, int watch, uint64_t id) const {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLONESHOT;
  event.data.u64 = id;
  // Whoever is not called plans when the link comes, no worse.
  (void)epoll_ctl(epoll_, operation, watch, &event);
}

void WatchBell::Add(int watch, std::function<void()> rung) {
  absl::MutexLock lock(&mutex_);
  const uint64_t id = ++last_id_;
  watched_[watch] = {id, std::make_shared<const std::function<void()>>(std::move(rung))};
  rung_[id] = watched_[watch].rung;
  Control(EPOLL_CTL_ADD, watch, id);
}

void WatchBell::Arm(int watch) {
  absl::MutexLock lock(&mutex_);
  if (const auto it = watched_.find(watch); it != watched_.end()) Control(EPOLL_CTL_MOD, watch, it->second.id);
}

void WatchBell::Remove(int watch) {
  absl::MutexLock lock(&mutex_);
  const auto it = watched_.find(watch);
  if (it == watched_.end()) return;
  Control(EPOLL_CTL_DEL, watch, it->second.id);
  rung_.erase(it->second.id);
  watched_.erase(it);
}

void WatchBell::Ring() {
  std::array<epoll_event, 16> events;
  const int count = epoll_wait(epoll_, events.data(), events.size(), 0);
  std::vector<Rung> calls;
  {
    absl::MutexLock lock(&mutex_);
    for (int i = 0; i < count; ++i) {
      if (const auto it = rung_.find(events[static_cast<size_t>(i)].data.u64); it != rung_.end()) calls.push_back(it->second);
    }
  }
  for (const Rung& call : calls) (*call)();
}

}  // namespace kitlink::daemon
