#include "daemon/lifecycle.h"

#include "absl/time/clock.h"

namespace kitlink::daemon {

bool Lifecycle::Begin() {
  absl::MutexLock lock(&mutex_);
  if (draining_) return false;
  ++running_;
  return true;
}

void Lifecycle::End() {
  bool last;
  {
    absl::MutexLock lock(&mutex_);
    --running_;
    last_ = absl::Now();
    last = draining_ && running_ == 0;
  }
  if (!last) return;
  CallDrained();
  wake_();
}

void Lifecycle::Touch() {
  absl::MutexLock lock(&mutex_);
  last_ = absl::Now();
}

void Lifecycle::Drain(std::function<void()> drained) {
  {
    absl::MutexLock lock(&mutex_);
    draining_ = true;
    if (drained != nullptr) drained_.push_back(std::move(drained));
  }
  CallDrained();
  wake_();
}

void Lifecycle::ListenerClosed() {
  {
    absl::MutexLock lock(&mutex_);
    listener_closed_ = true;
  }
  CallDrained();
}

void Lifecycle::CallDrained() {
  std::vector<std::function<void()>> callbacks;
  {
    absl::MutexLock lock(&mutex_);
    if (!draining_ || !listener_closed_ || running_ != 0) return;
    callbacks.swap(drained_);
  }
  for (const std::function<void()>& callback : callbacks) callback();
}

bool Lifecycle::draining() const {
  absl::MutexLock lock(&mutex_);
  return draining_;
}

uint64_t Lifecycle::running() const {
  absl::MutexLock lock(&mutex_);
  return running_;
}

bool Lifecycle::finished() const {
  absl::MutexLock lock(&mutex_);
  return draining_ && running_ == 0;
}

absl::Time Lifecycle::idle_since() const {
  absl::MutexLock lock(&mutex_);
  return running_ == 0 ? last_ : absl::InfiniteFuture();
}

}  // namespace kitlink::daemon
