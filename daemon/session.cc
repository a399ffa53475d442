#include "daemon/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace kitlink::daemon {

Session::Session(std::string key, LinkerFactory* factory, WorkerPool* pool)
    : key_(std::move(key)), factory_(factory), pool_(pool) {}

Linker& Session::Turn::LinkerFor(absl::string_view output) {
  Session& session = *session_;
  bool same;
  {
    absl::MutexLock lock(&session.mutex_);
    same = session.output_ == output;
    if (!same) session.output_ = std::string(output);
  }
  if (session.linker_ != nullptr && !same && !session.linker_->MoveTo(output)) session.linker_ = nullptr;
  if (session.linker_ == nullptr) {
    session.linker_ = session.factory_->Create(output, [weak = session.weak_from_this()] {
      if (const std::shared_ptr<Session> touched = weak.lock()) touched->PrepareSoon();
    });
  }
  return *session.linker_;
}

void Session::Turn::Record(const LinkReport& report) {
  session_->settle_needed_ = session_->keep_needed_ = true;
  // Whoever gets the answer may ask for the status next.
  session_->Refresh();
  absl::MutexLock lock(&session_->mutex_);
  session_->exists_ = true;
  session_->history_.push_back(RecordedLink{report, absl::Now()});
  if (session_->history_.size() > kHistoryLimit) session_->history_.pop_front();
}

void Session::Turn::Close() {
  session_->linker_ = nullptr;
  session_->settle_needed_ = session_->keep_needed_ = false;
  absl::MutexLock lock(&session_->mutex_);
  session_->exists_ = false;
  session_->history_.clear();
}

bool Session::Enqueue(Job job) {
  absl::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
  last_used_ = absl::Now();
  if (settling_ != nullptr) {
    settling_->StopSettling();
    settle_stopped_ = true;
  }
  if (running_) return false;
  running_ = true;
  return true;
}

void Session::Run(Job job) {
  if (Enqueue(std::move(job))) Drain();
}

void Session::Post(Job job) {
  if (Enqueue(std::move(job))) pool_->Post([self = shared_from_this()] { self->Drain(); });
}

void Session::SettleSoon() {
  {
    absl::MutexLock lock(&mutex_);
    settle_asked_ = true;
    if (running_) return;  // whoever runs finds the wish when there are no jobs left
    running_ = true;
  }
  pool_->Post([self = shared_from_this()] { self->Drain(); });
}

void Session::SettleIfNeeded(bool idle) {
  const bool wanted = settle_needed_ || (idle && settle_unfinished_);
  if (idle) settle_unfinished_ = false;
  if (!wanted || linker_ == nullptr) return;
  settle_needed_ = false;
  settle_unfinished_ = !RunUntilStopped(&Linker::Settle);
}

void Session::KeepIfNeeded() {
  if (keep_needed_ && linker_ != nullptr) keep_needed_ = !RunUntilStopped(&Linker::Keep);
}

bool Session::RunUntilStopped(void (Linker::*work)()) {
  {
    absl::MutexLock lock(&mutex_);
    linker_->BeginSettling();
    settling_ = linker_.get();
  }
  (linker_.get()->*work)();
  absl::MutexLock lock(&mutex_);
  settling_ = nullptr;
  return !std::exchange(settle_stopped_, false);
}

void Session::PrepareSoon() {
  if (pool_->ending()) return;
  {
    absl::MutexLock lock(&mutex_);
    if (const absl::Time now = absl::Now(); now < prepare_after_) {
      if (!std::exchange(prepare_posted_, true)) {
        pool_->PostAt(prepare_after_, [self = shared_from_this()] {
          {
            absl::MutexLock posted(&self->mutex_);
            self->prepare_posted_ = false;
            self->prepare_after_ = absl::InfinitePast();
          }
          self->PrepareSoon();
        });
      }
      return;
    }
    prepare_asked_ = true;
    if (running_) return;  // whoever runs finds the wish
    running_ = true;
  }
  pool_->Post([self = shared_from_this()] { self->Drain(); });
}

void Session::PrepareNow() {
  if (linker_ == nullptr || pool_->ending()) return;
  const absl::Time begin = absl::Now();
  bool early;
  {
    absl::MutexLock lock(&mutex_);
    early = begin < prepare_after_;
  }
  if (early) return PrepareSoon();  // it was asked for while the last time was still running
  const bool prepared = linker_->Prepare();
  const absl::Time end = absl::Now();
  absl::MutexLock lock(&mutex_);
  // What changes in the folders of the inputs need not concern them.
  prepare_pause_ = prepared ? kLeastPause : std::min(2 * prepare_pause_, kMostPause);
  prepare_after_ = end + std::max(prepare_pause_, kPrepareSeldom * (end - begin));
}

void Session::KeepWhenCalm() {
  const bool ending = pool_->ending();
  {
    absl::MutexLock lock(&mutex_);
    if (const absl::Time due = last_used_ + kCalm; !ending && absl::Now() < due) {
      pool_->PostAt(due, [self = shared_from_this()] { self->KeepWhenCalm(); });
      return;
    }
    keep_posted_ = false;
    keep_asked_ = true;
    if (running_) return;  // whoever runs finds the wish
    running_ = true;
  }
  Drain();
}

void Session::Drain() {
  for (;;) {
    Job job;
    bool keep = false, prepare = false, only_prepare = false;
    {
      absl::MutexLock lock(&mutex_);
      if (jobs_.empty() && !settle_asked_ && !settle_unfinished_ && !keep_asked_ && !prepare_asked_) {
        running_ = false;
        if (!keep_needed_ || std::exchange(keep_posted_, true)) return;
        pool_->PostAt(last_used_ + kCalm, [self = shared_from_this()] { self->KeepWhenCalm(); });
        return;
      }
      only_prepare = jobs_.empty() && !settle_asked_ && !settle_unfinished_ && !keep_asked_;
      settle_asked_ = false;
      if (!jobs_.empty()) {
        prepare_pause_ = kLeastPause;
        job = std::move(jobs_.front());
        jobs_.pop_front();
      } else {
        keep = std::exchange(keep_asked_, false);
        prepare = std::exchange(prepare_asked_, false);
      }
    }
    SettleIfNeeded(job == nullptr);
    if (keep) KeepIfNeeded();
    if (prepare) PrepareNow();
    if (only_prepare) continue;  // nobody used the session
    if (job == nullptr) {
      Refresh();
      continue;
    }
    Turn turn(this);
    job(turn);
    job = nullptr;
    Refresh();
  }
}

void Session::Refresh() {
  SessionStatus status;
  if (linker_ != nullptr) status = linker_->Status();
  absl::MutexLock lock(&mutex_);
  status_ = status;
  last_used_ = absl::Now();
}

void Session::NoteShadow(std::string verdict) {
  absl::MutexLock lock(&mutex_);
  shadow_ = absl::StrCat(verdict, " (generation ", status_.generation, ")");
}

SessionSnapshot Session::Snapshot() const {
  SessionSnapshot snapshot;
  snapshot.key = key_;
  absl::MutexLock lock(&mutex_);
  snapshot.output = output_;
  snapshot.status = status_;
  snapshot.shadow = shadow_;
  snapshot.queued = jobs_.size();
  snapshot.busy = running_;
  snapshot.exists = exists_;
  snapshot.last_used = last_used_;
  return snapshot;
}

std::vector<RecordedLink> Session::History() const {
  absl::MutexLock lock(&mutex_);
  return std::vector<RecordedLink>(history_.begin(), history_.end());
}

bool Session::Empty() const {
  absl::MutexLock lock(&mutex_);
  return !running_ && jobs_.empty() && !exists_ && linker_ == nullptr;
}

}  // namespace kitlink::daemon
