#include "daemon/worker_pool.h"

#include <utility>

#include "absl/time/clock.h"

namespace kitlink::daemon {

WorkerPool::~WorkerPool() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.SignalAll();
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
}

void WorkerPool::Post(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  Queue(std::move(job));
}

bool WorkerPool::PostIfFree(std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  const bool may_grow = threads_.size() < max_threads_ && !stopping_;
  if (idle_ <= jobs_.size() && !may_grow) return false;
  Queue(std::move(job));
  return true;
}

void WorkerPool::Queue(std::function<void()> job) {
  jobs_.push_back(std::move(job));
  if (idle_ >= jobs_.size()) {
    wake_.Signal();
  } else if (threads_.size() < max_threads_ && !stopping_) {
    threads_.emplace_back([this] { Work(); });
  }
}

void WorkerPool::PostAt(absl::Time due, std::function<void()> job) {
  absl::MutexLock lock(&mutex_);
  later_.emplace(due, std::move(job));
  if (idle_ != 0) {
    wake_.SignalAll();  // who watches the clock may wait for too long
  } else if (threads_.size() < max_threads_ && !stopping_) {
    threads_.emplace_back([this] { Work(); });
  }
}

bool WorkerPool::ending() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void WorkerPool::TakeDue() {
  while (!later_.empty() && (stopping_ || later_.begin()->first <= absl::Now())) {
    jobs_.push_back(std::move(later_.begin()->second));
    later_.erase(later_.begin());
  }
}

void WorkerPool::Wait() {
  ++idle_;
  if (clock_watched_ || later_.empty()) {
    wake_.Wait(&mutex_);
  } else {
    clock_watched_ = true;
    wake_.WaitWithDeadline(&mutex_, later_.begin()->first);
    clock_watched_ = false;
  }
  --idle_;
}

void WorkerPool::Work() {
  mutex_.Lock();
  for (;;) {
    for (TakeDue(); jobs_.empty() && !stopping_; TakeDue()) Wait();
    if (jobs_.empty()) break;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    if (idle_ != 0 && (!jobs_.empty() || !later_.empty())) wake_.Signal();
    mutex_.Unlock();
    job();
    job = nullptr;  // what it holds is freed outside the lock
    mutex_.Lock();
  }
  mutex_.Unlock();
}

}  // namespace kitlink::daemon
