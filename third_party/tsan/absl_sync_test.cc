// What ThreadSanitizer makes of Abseil's locks: nothing where they are used as
// they should be, a report where they are not. The first half also runs (and
// means little) in other configurations.

#include <cstdlib>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace {

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif
#else
constexpr bool kThreadSanitizer = false;
#endif

template <typename Body>
void InParallel(int count, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body);
  for (std::thread& thread : threads) thread.join();
}

TEST(AbslSync, MutexOrdersCriticalSections) {
  absl::Mutex mutex;
  int value = 0;
  InParallel(4, [&] {
    for (int i = 0; i < 1000; ++i) {
      absl::MutexLock lock(&mutex);
      ++value;
    }
  });
  EXPECT_EQ(value, 4000);
}

TEST(AbslSync, ReadersAndWriters) {
  absl::Mutex mutex;
  int value = 0;
  InParallel(4, [&] {
    for (int i = 0; i < 500; ++i) {
      int seen;
      {
        absl::ReaderMutexLock lock(&mutex);
        seen = value;
      }
      absl::WriterMutexLock lock(&mutex);
      value = seen + 1;
    }
  });
  EXPECT_GT(value, 0);
}

TEST(AbslSync, AwaitedConditionReadsWhatTheOtherThreadWrote) {
  absl::Mutex mutex;
  int turn = 0;
  std::vector<int> log;
  auto play = [&](int mine) {
    for (int i = 0; i < 300; ++i) {
      auto my_turn = [&turn, mine] { return turn % 2 == mine; };
      absl::MutexLock lock(&mutex, absl::Condition(&my_turn));
      log.push_back(turn++);
      auto gone_on = [&turn, i, mine] { return turn > 2 * i + mine; };
      mutex.Await(absl::Condition(&gone_on));
    }
  };
  std::thread even(play, 0), odd(play, 1);
  even.join();
  odd.join();
  EXPECT_EQ(log.size(), 600u);
}

TEST(AbslSync, CondVar) {
  absl::Mutex mutex;
  absl::CondVar changed;
  int value = 0;
  std::thread consumer([&] {
    absl::MutexLock lock(&mutex);
    while (value == 0) changed.Wait(&mutex);
    ++value;
  });
  {
    absl::MutexLock lock(&mutex);
    value = 1;
    changed.SignalAll();
  }
  consumer.join();
  EXPECT_EQ(value, 2);
}

TEST(AbslSync, NotificationAndBlockingCounter) {
  int before = 0;
  absl::Notification go;
  absl::BlockingCounter done(3);
  std::vector<int> results(3, 0);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      if (i == 0) {
        while (!go.HasBeenNotified()) std::this_thread::yield();
      } else {
        go.WaitForNotification();
      }
      results[i] = before;
      done.DecrementCount();
    });
  }
  before = 7;
  go.Notify();
  done.Wait();
  EXPECT_THAT(results, testing::Each(7));
  for (std::thread& thread : threads) thread.join();
}

// Two threads, each with a lock of its own around the same variable.
void Race() {
  absl::Mutex one, other;
  int value = 0;
  auto add = [&value](absl::Mutex* mutex) {
    for (int i = 0; i < 1000; ++i) {
      absl::MutexLock lock(mutex);
      ++value;
    }
  };
  std::thread a(add, &one), b(add, &other);
  a.join();
  b.join();
  std::exit(0);
}

// Without this the tests above would also pass with a ThreadSanitizer that sees nothing.
TEST(AbslSyncDeathTest, APlantedRaceIsStillCaught) {
  if (!kThreadSanitizer) GTEST_SKIP() << "only under --config=tsan";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(Race(), testing::ExitedWithCode(66), "data race");
}

}  // namespace
