// Makes ThreadSanitizer understand Abseil's locks.
//
// The packaged Abseil is compiled without instrumentation, so ThreadSanitizer
// does not see that one critical section happens before the next, and reports
// races that do not exist. This file defines the entry points of absl::Mutex,
// CondVar, Notification and BlockingCounter again. A definition in the program
// comes before one in a shared library, so everything in the process, gRPC
// included, arrives here; each function forwards to the packaged one and tells
// ThreadSanitizer what was ordered.
//
// Linked into programs built with --config=tsan only, and compiled without
// instrumentation itself.

#include <dlfcn.h>

#include <string>

#include "absl/base/options.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {
// <sanitizer/tsan_interface.h> and the runtime's annotation interface.
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

#define KITLINK_STRING_(x) #x
#define KITLINK_STRING(x) KITLINK_STRING_(x)

// The packaged function behind one of ours. `tail` is the mangled name after
// the inline namespace, which Debian chooses.
template <typename Function>
Function Packaged(const char* tail, bool is_const = false) {
  constexpr char kNamespace[] = KITLINK_STRING(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  std::string name = is_const ? "_ZNK4absl" : "_ZN4absl";
  name += std::to_string(sizeof(kNamespace) - 1) + kNamespace + tail;
  void* address = dlsym(RTLD_NEXT, name.c_str());
  if (address == nullptr) __builtin_trap();  // another Abseil: the names below need a look
  return reinterpret_cast<Function>(address);
}

void Acquire(const void* address) { __tsan_acquire(const_cast<void*>(address)); }
void Release(const void* address) { __tsan_release(const_cast<void*>(address)); }

// A thread that leaves a critical section evaluates the conditions of those
// that wait, after Release() and therefore unordered in ThreadSanitizer's eyes,
// but still holding the lock.
class IgnoreReads {
 public:
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

#define KITLINK_PACKAGED(type, tail) static const auto packaged = Packaged<type>(tail)

namespace absl {
ABSL_NAMESPACE_BEGIN

// Mutex ----------------------------------------------------------------------

void Mutex::Lock() {
  KITLINK_PACKAGED(void (*)(Mutex*), "5Mutex4LockEv");
  packaged(this);
  Acquire(this);
}

void Mutex::Unlock() {
  KITLINK_PACKAGED(void (*)(Mutex*), "5Mutex6UnlockEv");
  Release(this);
  IgnoreReads ignore;
  packaged(this);
}

bool Mutex::TryLock() {
  KITLINK_PACKAGED(bool (*)(Mutex*), "5Mutex7TryLockEv");
  bool locked = packaged(this);
  if (locked) Acquire(this);
  return locked;
}

void Mutex::ReaderLock() {
  KITLINK_PACKAGED(void (*)(Mutex*), "5Mutex10ReaderLockEv");
  packaged(this);
  Acquire(this);
}

void Mutex::ReaderUnlock() {
  KITLINK_PACKAGED(void (*)(Mutex*), "5Mutex12ReaderUnlockEv");
  Release(this);
  IgnoreReads ignore;
  packaged(this);
}

bool Mutex::ReaderTryLock() {
  KITLINK_PACKAGED(bool (*)(Mutex*), "5Mutex13ReaderTryLockEv");
  bool locked = packaged(this);
  if (locked) Acquire(this);
  return locked;
}

// The waits below give the lock back while they wait, or may evaluate the
// condition as another thread would, hence Release before and Acquire after.

#define KITLINK_WAIT(result, call) \
  Release(this);                   \
  result[&] {                      \
    IgnoreReads ignore;            \
    return call;                   \
  }                                \
  ();                              \
  Acquire(this)

void Mutex::Await(const Condition& cond) {
  KITLINK_PACKAGED(void (*)(Mutex*, const Condition&), "5Mutex5AwaitERKNS0_9ConditionE");
  KITLINK_WAIT(, packaged(this, cond));
}

bool Mutex::AwaitWithTimeout(const Condition& cond, absl::Duration timeout) {
  KITLINK_PACKAGED(bool (*)(Mutex*, const Condition&, absl::Duration),
                   "5Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  KITLINK_WAIT(bool held =, packaged(this, cond, timeout));
  return held;
}

bool Mutex::AwaitWithDeadline(const Condition& cond, absl::Time deadline) {
  KITLINK_PACKAGED(bool (*)(Mutex*, const Condition&, absl::Time),
                   "5Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  KITLINK_WAIT(bool held =, packaged(this, cond, deadline));
  return held;
}

// Taking a lock releases nothing, so these only acquire.

#define KITLINK_LOCK(result, call) \
  result[&] {                      \
    IgnoreReads ignore;            \
    return call;                   \
  }                                \
  ();                              \
  Acquire(this)

void Mutex::LockWhen(const Condition& cond) {
  KITLINK_PACKAGED(void (*)(Mutex*, const Condition&), "5Mutex8LockWhenERKNS0_9ConditionE");
  KITLINK_LOCK(, packaged(this, cond));
}

bool Mutex::LockWhenWithTimeout(const Condition& cond, absl::Duration timeout) {
  KITLINK_PACKAGED(bool (*)(Mutex*, const Condition&, absl::Duration),
                   "5Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  KITLINK_LOCK(bool held =, packaged(this, cond, timeout));
  return held;
}

bool Mutex::LockWhenWithDeadline(const Condition& cond, absl::Time deadline) {
  KITLINK_PACKAGED(bool (*)(Mutex*, const Condition&, absl::Time),
                   "5Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  KITLINK_LOCK(bool held =, packaged(this, cond, deadline));
  return held;
}

void Mutex::ReaderLockWhen(const Condition& cond) {
  KITLINK_PACKAGED(void (*)(Mutex*, const Condition&), "5Mutex14ReaderLockWhenERKNS0_9ConditionE");
  KITLINK_LOCK(, packaged(this, cond));
}

bool Mutex::ReaderLockWhenWithTimeout(const Condition& cond, absl::Duration timeout) {
  KITLINK_PACKAGED(bool (*)(Mutex*, const Condition&, absl::Duration),
                   "5Mutex25ReaderLockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  KITLINK_LOCK(bool held =, packaged(this, cond, timeout));
  return held;
}

bool Mutex::ReaderLockWhenWithDeadline(const Condition& cond, absl::Time deadline) {
  KITLINK_PACKAGED(bool (*)(Mutex*, const Condition&, absl::Time),
                   "5Mutex26ReaderLockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  KITLINK_LOCK(bool held =, packaged(this, cond, deadline));
  return held;
}

// CondVar: the order comes from the mutex, which the wait leaves and takes again
// inside the packaged library.

void CondVar::Wait(Mutex* mu) {
  KITLINK_PACKAGED(void (*)(CondVar*, Mutex*), "7CondVar4WaitEPNS0_5MutexE");
  Release(mu);
  packaged(this, mu);
  Acquire(mu);
  Acquire(this);
}

bool CondVar::WaitWithTimeout(Mutex* mu, absl::Duration timeout) {
  KITLINK_PACKAGED(bool (*)(CondVar*, Mutex*, absl::Duration),
                   "7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  Release(mu);
  bool timed_out = packaged(this, mu, timeout);
  Acquire(mu);
  if (!timed_out) Acquire(this);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mu, absl::Time deadline) {
  KITLINK_PACKAGED(bool (*)(CondVar*, Mutex*, absl::Time),
                   "7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  Release(mu);
  bool timed_out = packaged(this, mu, deadline);
  Acquire(mu);
  if (!timed_out) Acquire(this);
  return timed_out;
}

void CondVar::Signal() {
  KITLINK_PACKAGED(void (*)(CondVar*), "7CondVar6SignalEv");
  Release(this);
  packaged(this);
}

void CondVar::SignalAll() {
  KITLINK_PACKAGED(void (*)(CondVar*), "7CondVar9SignalAllEv");
  Release(this);
  packaged(this);
}

// Notification ---------------------------------------------------------------
// HasBeenNotified() is inline and loads an atomic, which is seen; the store in
// Notify() is in the packaged library, so it is announced on that atomic. The
// address of the whole object would not do: inline code does not name it.

void Notification::Notify() {
  KITLINK_PACKAGED(void (*)(Notification*), "12Notification6NotifyEv");
  Release(this);
  Release(&notified_yet_);
  packaged(this);
}

void Notification::WaitForNotification() const {
  static const auto packaged =
      Packaged<void (*)(const Notification*)>("12Notification19WaitForNotificationEv", true);
  packaged(this);
  Acquire(this);
}

bool Notification::WaitForNotificationWithTimeout(absl::Duration timeout) const {
  static const auto packaged = Packaged<bool (*)(const Notification*, absl::Duration)>(
      "12Notification30WaitForNotificationWithTimeoutENS0_8DurationE", true);
  bool notified = packaged(this, timeout);
  if (notified) Acquire(this);
  return notified;
}

bool Notification::WaitForNotificationWithDeadline(absl::Time deadline) const {
  static const auto packaged = Packaged<bool (*)(const Notification*, absl::Time)>(
      "12Notification31WaitForNotificationWithDeadlineENS0_4TimeE", true);
  bool notified = packaged(this, deadline);
  if (notified) Acquire(this);
  return notified;
}

// BlockingCounter ------------------------------------------------------------

bool BlockingCounter::DecrementCount() {
  KITLINK_PACKAGED(bool (*)(BlockingCounter*), "15BlockingCounter14DecrementCountEv");
  Release(this);
  bool reached_zero = packaged(this);
  if (reached_zero) Acquire(this);
  return reached_zero;
}

void BlockingCounter::Wait() {
  KITLINK_PACKAGED(void (*)(BlockingCounter*), "15BlockingCounter4WaitEv");
  packaged(this);
  Acquire(this);
}

ABSL_NAMESPACE_END
}  // namespace absl
