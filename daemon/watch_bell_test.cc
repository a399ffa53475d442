#include "daemon/watch_bell.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

class WatchBellTest : public ::testing::Test {
 protected:
  ~WatchBellTest() override { close(event_); }
  void Happen() { ASSERT_EQ(eventfd_write(event_, 1), 0); }
  bool Readable() {
    pollfd wait{bell_.fd(), POLLIN, 0};
    return poll(&wait, 1, 0) == 1;
  }

  const int event_ = eventfd(0, EFD_NONBLOCK);
  int rung_ = 0;
  WatchBell bell_;
};

TEST_F(WatchBellTest, RingsOnceUntilItIsArmed) {
  bell_.Add(event_, [this] { ++rung_; });
  bell_.Ring();
  EXPECT_EQ(rung_, 0);
  Happen();
  EXPECT_TRUE(Readable());
  bell_.Ring();
  EXPECT_EQ(rung_, 1);
  Happen();
  EXPECT_FALSE(Readable());
  bell_.Ring();
  EXPECT_EQ(rung_, 1);
  bell_.Arm(event_);
  bell_.Ring();
  EXPECT_EQ(rung_, 2) << "what happened before it was armed counts, as long as nobody has read it";
}

TEST_F(WatchBellTest, IsQuietWhenNobodyListensAnyMore) {
  bell_.Add(event_, [this] { ++rung_; });
  Happen();
  bell_.Remove(event_);
  EXPECT_FALSE(Readable());
  bell_.Ring();
  bell_.Arm(event_);
  bell_.Ring();
  EXPECT_EQ(rung_, 0);
  bell_.Add(event_, [this] { rung_ += 10; });
  bell_.Ring();
  EXPECT_EQ(rung_, 10);
}

TEST_F(WatchBellTest, MayBeToldToStopByWhomItCalls) {
  bell_.Add(event_, [this] { bell_.Remove(event_); });
  Happen();
  bell_.Ring();
  EXPECT_FALSE(Readable());
}

}  // namespace
}  // namespace kitlink::daemon
