#include "daemon/shadow_scheduler.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "daemon/log.h"
#include "daemon/testing/fake_linker.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

// A scheduler that compares soon, by a program that notes when it ran.
class ShadowSchedulerTest : public testing::Test {
 protected:
  ShadowSchedulerTest() {
    char name[] = "/tmp/kitlink-sh-XXXXXX";
    folder_ = mkdtemp(name);
    world_.shadows = true;
    options_.idle = absl::Milliseconds(1);
    options_.program = folder_ + "/compare";
    options_.power_folder = folder_ + "/power";
    Program("exit 0");
    pool_ = std::make_unique<WorkerPool>(4);
    session_ = std::make_shared<Session>("", &factory_, pool_.get());
    absl::Notification linked;
    session_->Post([&](Session::Turn& turn) {
      turn.LinkerFor(folder_ + "/out");
      linked.Notify();
    });
    linked.WaitForNotification();
  }
  ~ShadowSchedulerTest() override {
    scheduler_.reset();
    pool_.reset();
    EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0);
  }

  void Program(const std::string& then) {
    std::ofstream(options_.program) << "#!/bin/sh\necho run >> " << folder_ << "/runs\n" << then << "\n";
    ASSERT_EQ(chmod(options_.program.c_str(), 0700), 0);
  }
  void Battery(const std::string& status) {
    ASSERT_EQ(mkdir(options_.power_folder.c_str(), 0700), 0);
    ASSERT_EQ(mkdir((options_.power_folder + "/BAT0").c_str(), 0700), 0);
    std::ofstream(options_.power_folder + "/BAT0/status") << status << "\n";
  }
  // A patch was answered.
  void Linked() {
    if (scheduler_ == nullptr) scheduler_ = std::make_unique<ShadowScheduler>(options_, log_.get());
    LinkReport report;
    report.outcome = Outcome::kPatched;
    report.patched_ranges.resize(1);
    scheduler_->Linked(session_, report);
  }
  int64_t Runs() const {
    std::ifstream file(folder_ + "/runs");
    return std::count(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>(), '\n');
  }
  void AwaitRuns(int64_t count) {
    while (Runs() < count) absl::SleepFor(absl::Milliseconds(5));
  }

  std::string folder_;
  FakeWorld world_;
  FakeFactory factory_{&world_};
  std::unique_ptr<Log> log_ = NoLog();
  ShadowOptions options_;
  std::unique_ptr<WorkerPool> pool_;
  std::shared_ptr<Session> session_;
  std::unique_ptr<ShadowScheduler> scheduler_;
};

TEST_F(ShadowSchedulerTest, ComparesWhatWasPatched) {
  Linked();
  AwaitRuns(1);
}

TEST_F(ShadowSchedulerTest, NotWhileABatteryDischarges) {
  Battery("Discharging");
  Linked();
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_EQ(Runs(), 0);
}

TEST_F(ShadowSchedulerTest, WhileABatteryCharges) {
  Battery("Charging");
  Linked();
  AwaitRuns(1);
}

TEST_F(ShadowSchedulerTest, OnBatteriesWhenAsked) {
  Battery("Discharging");
  options_.when = ShadowOptions::When::kAlways;
  Linked();
  AwaitRuns(1);
}

TEST_F(ShadowSchedulerTest, NeverWhenAsked) {
  options_.when = ShadowOptions::When::kNever;
  Linked();
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_EQ(Runs(), 0);
}

// After a comparison there is none for ten times as long as it used the processor.
TEST_F(ShadowSchedulerTest, UsesATenthOfTheProcessor) {
  Program("i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done; echo done >> " + folder_ + "/runs");
  Linked();
  AwaitRuns(2);
  Linked();
  absl::SleepFor(absl::Milliseconds(200));  // it used more than 20 ms
  EXPECT_EQ(Runs(), 2);
  AwaitRuns(3);
}

}  // namespace
}  // namespace kitlink::daemon
