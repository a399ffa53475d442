#include "daemon/session.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "daemon/session_registry.h"
#include "daemon/testing/fake_linker.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

class SessionTest : public testing::Test {
 protected:
  SessionTest() {
    char name[] = "/tmp/kitlink-ss-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~SessionTest() override {
    pool_.reset();
    EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0);
  }

  // One link of folder_/out in `session`, recorded when it succeeds.
  Session::Job LinkJob(std::vector<std::string> args, std::function<void()> done) {
    return [this, args, done](Session::Turn& turn) {
      Diagnostics diagnostics;
      ClientView client;
      client.folder = folder_;
      auto options = factory_.Parse(args, client, diagnostics);
      auto report = turn.LinkerFor(folder_ + "/" + (*options)->output).Link(*options, client, diagnostics);
      if (report.ok()) turn.Record(*report);
      done();
    };
  }
  void LinkAndWait(Session& session, std::vector<std::string> args) {
    absl::Notification done;
    session.Post(LinkJob(std::move(args), [&] { done.Notify(); }));
    done.WaitForNotification();
    session.SettleSoon();
  }
  void Flush(Session& session) {
    absl::Notification done;
    session.Post([&](Session::Turn&) { done.Notify(); });
    done.WaitForNotification();
  }

  std::string folder_;
  FakeWorld world_;
  FakeFactory factory_{&world_};
  std::unique_ptr<WorkerPool> pool_ = std::make_unique<WorkerPool>(8);
};

TEST_F(SessionTest, JobsRunInOrderAndOneAtATime) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  constexpr int kJobs = 500;
  std::vector<int> order;  // no lock: the session is the lock
  absl::BlockingCounter done(kJobs);
  for (int i = 0; i < kJobs; ++i) {
    session->Post([&order, &done, i](Session::Turn&) {
      order.push_back(i);
      done.DecrementCount();
    });
  }
  done.Wait();
  Flush(*session);
  ASSERT_EQ(order.size(), static_cast<size_t>(kJobs));
  for (int i = 0; i < kJobs; ++i) EXPECT_EQ(order[i], i);
}

TEST_F(SessionTest, EveryLinkSettlesBeforeTheNext) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  absl::BlockingCounter done(50);
  for (int i = 0; i < 50; ++i) {
    session->Post(LinkJob({"-o", "out"}, [&] { done.DecrementCount(); }));
    if (i % 3 == 0) session->SettleSoon();
  }
  done.Wait();
  session->SettleSoon();
  pool_.reset();  // waits for everything
  EXPECT_EQ(world_.links.load(), 50);
  EXPECT_EQ(world_.settles.load(), 50);
  EXPECT_FALSE(world_.overlapped.load());
}

// What asks for nothing but a look must not keep the last link from being settled for good.
TEST_F(SessionTest, WhatAJobHasStoppedIsSettledAgain) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  const std::string go = folder_ + "/go";
  LinkAndWait(*session, {"-o", "out", "--fake-settle=" + go});
  while (world_.running.load() == 0) absl::SleepFor(absl::Milliseconds(1));
  absl::Notification looked;
  session->Post([&](Session::Turn&) { looked.Notify(); });
  std::ofstream(go) << "go";
  looked.WaitForNotification();
  pool_.reset();  // waits for everything
  EXPECT_EQ(world_.settles.load(), 2);
  EXPECT_FALSE(world_.overlapped.load());
}

// What changes is planned ahead, on a thread of the pool and in the session's turn; not each time that a build writes an object.
TEST_F(SessionTest, PreparesWhenInputsChangeButSeldom) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  LinkAndWait(*session, {"-o", "out"});
  world_.Touch();
  while (world_.prepared.load() == 0) absl::SleepFor(absl::Milliseconds(1));
  const absl::Time begin = absl::Now();
  for (int i = 0; i < 1000; ++i) world_.Touch();
  while (world_.prepared.load() == 1) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_GE(absl::Now() - begin, Session::kPrepareSeldom * absl::Milliseconds(9)) << "it takes 10 ms";
  // Where all of it is in vain, even less often.
  world_.nothing_to_prepare = true;
  for (const absl::Time end = absl::Now() + absl::Seconds(2); absl::Now() < end;) {
    world_.Touch();
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_LE(world_.prepared.load(), 2 + 27) << "each takes 10 ms and a pause of 50, of 100 after the eighth: with 50 it would be 33";
  EXPECT_FALSE(world_.overlapped.load());
  session.reset();
  pool_.reset();
  const int prepared = world_.prepared.load();
  world_.Touch();  // nobody is there any more
  EXPECT_EQ(world_.prepared.load(), prepared);
}

// Links one after the other are not held up by writing what the next one changes again.
TEST_F(SessionTest, IsKeptOnceItIsCalm) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  absl::Time last = absl::Now();
  int calm = 1;  // times, if this machine was held up for long enough
  for (int i = 0; i < 20; ++i) {
    LinkAndWait(*session, {"-o", "out"});
    calm += absl::Now() - last > Session::kCalm / 2;
    last = absl::Now();
  }
  while (world_.keeps.load() == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(calm > 1 || absl::Now() - last >= Session::kCalm / 2);
  absl::SleepFor(2 * Session::kCalm);
  EXPECT_LE(world_.keeps.load(), calm);
  LinkAndWait(*session, {"-o", "out"});
  const int before = world_.keeps.load();
  while (world_.keeps.load() == before) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(world_.overlapped.load());
}

TEST_F(SessionTest, KeepingThatAJobHasStoppedIsDoneAgain) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  const std::string go = folder_ + "/go";
  LinkAndWait(*session, {"-o", "out", "--fake-keep=" + go});
  while (world_.settles.load() == 0 || world_.running.load() == 0) absl::SleepFor(absl::Milliseconds(1));
  Flush(*session);  // does not wait for the file
  EXPECT_EQ(world_.keeps.load(), 0);
  std::ofstream(go) << "go";
  while (world_.keeps.load() == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(world_.overlapped.load());
}

TEST_F(SessionTest, IsKeptBeforeTheDaemonEnds) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  LinkAndWait(*session, {"-o", "out"});
  pool_.reset();
  EXPECT_EQ(world_.keeps.load(), 1);
}

TEST_F(SessionTest, HistoryIsBounded) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  for (size_t i = 0; i < Session::kHistoryLimit + 10; ++i) LinkAndWait(*session, {"-o", "out"});
  std::vector<RecordedLink> history = session->History();
  ASSERT_EQ(history.size(), Session::kHistoryLimit);
  EXPECT_EQ(history.front().report.generation, 11u);
  EXPECT_EQ(history.back().report.generation, Session::kHistoryLimit + 10);
}

TEST_F(SessionTest, CloseForgets) {
  auto session = std::make_shared<Session>("", &factory_, pool_.get());
  LinkAndWait(*session, {"-o", "out"});
  EXPECT_TRUE(session->Snapshot().exists);
  EXPECT_FALSE(session->Empty());
  session->Post([](Session::Turn& turn) { turn.Close(); });
  Flush(*session);
  EXPECT_FALSE(session->Snapshot().exists);
  EXPECT_TRUE(session->History().empty());
  LinkAndWait(*session, {"-o", "out"});
  EXPECT_EQ(session->Snapshot().status.generation, 1u);
}

TEST_F(SessionTest, RegistryFindsByOutputAndByKey) {
  SessionRegistry registry(&factory_, pool_.get(), 1 << 30);
  auto by_output = registry.FindOrCreate({folder_ + "/one", ""});
  auto by_key = registry.FindOrCreate({folder_ + "/two", "K"});
  EXPECT_EQ(registry.Find({folder_ + "/one", ""}), nullptr) << "nothing was linked yet";
  LinkAndWait(*by_output, {"-o", "one"});
  LinkAndWait(*by_key, {"-o", "two"});
  EXPECT_EQ(registry.Find({folder_ + "/one", ""}), by_output);
  EXPECT_EQ(registry.Find({"", "K"}), by_key);
  EXPECT_EQ(registry.Find({folder_ + "/two", ""}), by_key);
  EXPECT_EQ(registry.Find({"", "L"}), nullptr);
  // The key goes on to another path: a session of its own image.
  LinkAndWait(*by_key, {"-o", "three"});
  EXPECT_EQ(by_key->Snapshot().output, folder_ + "/three");
  EXPECT_EQ(by_key->Snapshot().status.generation, 1u);
  EXPECT_THAT(registry.List(), testing::ElementsAre(by_output, by_key));
}

TEST_F(SessionTest, OfKeysWithOneOutputTheLastCounts) {
  SessionRegistry registry(&factory_, pool_.get(), 1 << 30);
  const auto link = [&](const std::string& key) {
    auto session = registry.FindOrCreate({folder_ + "/out", key});
    LinkAndWait(*session, {"-o", "out"});
    Flush(*session);
    while (session->Snapshot().busy) std::this_thread::yield();
    absl::SleepFor(2 * Session::kCalm);  // until it was kept
    return session;
  };
  for (const char* key : {"K", "L", "M", "K"}) {
    const auto session = link(key);
    EXPECT_EQ(registry.Find({folder_ + "/out", ""}), session) << key;
  }
}

TEST_F(SessionTest, LeastRecentlyUsedGoesWhenMemoryIsShort) {
  SessionRegistry registry(&factory_, pool_.get(), 250);
  for (const char* name : {"a", "b", "c"}) {
    auto session = registry.FindOrCreate({folder_ + "/" + name, ""});
    LinkAndWait(*session, {"--fake-bytes=100", "-o", name});
    Flush(*session);
    while (session->Snapshot().busy) std::this_thread::yield();
  }
  auto newest = registry.Find({folder_ + "/c", ""});
  EXPECT_THAT(registry.Trim(newest.get()), testing::ElementsAre(folder_ + "/a"));
  Flush(*registry.FindOrCreate({folder_ + "/a", ""}));
  EXPECT_EQ(registry.Find({folder_ + "/a", ""}), nullptr);
  EXPECT_NE(registry.Find({folder_ + "/b", ""}), nullptr);
  EXPECT_THAT(registry.Trim(newest.get()), testing::IsEmpty());
}

TEST(WorkerPool, RunsWhatIsDueAndNotBefore) {
  const absl::Time begin = absl::Now();
  std::vector<absl::Duration> ran(3);
  WorkerPool pool(2);
  absl::BlockingCounter done(3);
  const absl::Duration due[] = {absl::Milliseconds(60), absl::Milliseconds(20), absl::Milliseconds(40)};
  for (size_t i = 0; i < 3; ++i) {
    pool.PostAt(begin + due[i], [&, i] {
      ran[i] = absl::Now() - begin;
      done.DecrementCount();
    });
  }
  done.Wait();
  for (size_t i = 0; i < 3; ++i) EXPECT_GE(ran[i], due[i]);
}

TEST(WorkerPool, DoesNotWaitForWhatIsDueWhenItEnds) {
  const absl::Time begin = absl::Now();
  std::atomic<int> ran{0};
  {
    WorkerPool pool(2);
    pool.PostAt(begin + absl::Hours(1), [&] {
      ++ran;
      pool.PostAt(absl::InfiniteFuture(), [&] { ++ran; });
    });
    pool.PostAt(begin + absl::Hours(2), [&] { ++ran; });
  }
  EXPECT_EQ(ran.load(), 3);
  EXPECT_LT(absl::Now() - begin, absl::Minutes(30));
}

TEST(WorkerPool, RunsEverythingAndNoMoreThreadsThanAllowed) {
  std::atomic<int> ran{0}, now{0}, most{0};
  {
    WorkerPool pool(3);
    for (int i = 0; i < 200; ++i) {
      pool.Post([&] {
        int count = ++now;
        for (int seen = most; seen < count && !most.compare_exchange_weak(seen, count);) {
        }
        std::this_thread::sleep_for(std::chrono::microseconds(100));
        --now;
        ++ran;
      });
    }
  }
  EXPECT_EQ(ran.load(), 200);
  EXPECT_LE(most.load(), 3);
  EXPECT_GT(most.load(), 1);
}

}  // namespace
}  // namespace kitlink::daemon
