#include "daemon/worker_pool.h"

#include <utility>

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
  jobs_.push_back(std::move(job));
  if (idle_ >= jobs_.size()) {
    wake_.Signal();
  } else if (threads_.size() < max_threads_ && !stopping_) {
    threads_.emplace_back([this] { Work(); });
  }
}

void WorkerPool::Work() {
  mutex_.Lock();
  for (;;) {
    while (jobs_.empty() && !stopping_) {
      ++idle_;
      wake_.Wait(&mutex_);
      --idle_;
    }
    if (jobs_.empty()) break;
    std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    mutex_.Unlock();
    job();
    job = nullptr;  // what it holds is freed outside the lock
    mutex_.Lock();
  }
  mutex_.Unlock();
}

}  // namespace kitlink::daemon
