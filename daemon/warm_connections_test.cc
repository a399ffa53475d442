#include "daemon/warm_connections.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <vector>

#include "gtest/gtest.h"
#include "proto/rendezvous/rendezvous.h"

namespace kitlink::daemon {
namespace {

class WarmConnectionsTest : public testing::Test {
 protected:
  WarmConnectionsTest() : warm_([this](int fd) { served_.push_back(fd); }) {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, door_), 0);
  }
  ~WarmConnectionsTest() override {
    for (int fd : served_) close(fd);
    for (int fd : door_) close(fd);
  }

  int Take() {
    int connection = -1;
    EXPECT_TRUE(warm_.Give(door_[0]));
    EXPECT_TRUE(ReceiveConnection(door_[1], &connection));
    return connection;
  }

  std::vector<int> served_;
  int door_[2];
  WarmConnections warm_;
};

// What one end writes, the other reads.
void ExpectConnected(int a, int b) {
  char byte = 0;
  EXPECT_EQ(write(a, "x", 1), 1);
  EXPECT_EQ(read(b, &byte, 1), 1);
  EXPECT_EQ(byte, 'x');
}

TEST_F(WarmConnectionsTest, GivesWhatTheServerHasAlready) {
  warm_.Refill();
  EXPECT_TRUE(warm_.lacks());
  warm_.Refill();
  EXPECT_FALSE(warm_.lacks());
  warm_.Refill();
  ASSERT_EQ(served_.size(), 2u);
  const int connection = Take();
  EXPECT_EQ(served_.size(), 2u);
  EXPECT_TRUE(warm_.lacks());
  ExpectConnected(served_[1], connection);
  // As gRPC and the clients want them.
  EXPECT_NE(fcntl(served_[1], F_GETFL) & O_NONBLOCK, 0);
  EXPECT_EQ(fcntl(connection, F_GETFL) & O_NONBLOCK, 0);
  EXPECT_NE(fcntl(connection, F_GETFD) & FD_CLOEXEC, 0);
  close(connection);
}

TEST_F(WarmConnectionsTest, MakesOneWhenNoneWaits) {
  const int connection = Take();
  ASSERT_EQ(served_.size(), 1u);
  ExpectConnected(connection, served_[0]);
  close(connection);
}

TEST_F(WarmConnectionsTest, LeavesOutThoseThatTheServerGaveUp) {
  warm_.Refill();
  warm_.Refill();
  for (int fd : served_) close(fd);
  served_.clear();
  const int connection = Take();
  ASSERT_EQ(served_.size(), 1u);
  ExpectConnected(connection, served_[0]);
  close(connection);
}

TEST_F(WarmConnectionsTest, ClosesItsEndOfWhatItGave) {
  warm_.Refill();
  close(Take());
  char byte;
  EXPECT_EQ(read(served_[0], &byte, 1), 0);
}

TEST_F(WarmConnectionsTest, SaysSoWhenNobodyTakesIt) {
  close(door_[1]);
  door_[1] = -1;
  EXPECT_FALSE(warm_.Give(door_[0]));
}

TEST_F(WarmConnectionsTest, GivesUpForAWhileWithoutDescriptors) {
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {0, before.rlim_max};
  WarmConnections& warm = warm_;
  const int door = door_[0];
  // Nothing else here: sanitizers need descriptors for some of their checks.
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  warm.Refill();
  const bool tries_on = warm.lacks(), given = warm.Give(door), tries_again = warm.lacks();
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_FALSE(tries_on) << "the daemon would try for ever";
  EXPECT_FALSE(given);
  EXPECT_TRUE(tries_again);
  close(Take());
}

TEST_F(WarmConnectionsTest, ReceivesNothingButOneConnection) {
  int connection = -1;
  ASSERT_EQ(write(door_[0], "C", 1), 1);
  EXPECT_FALSE(ReceiveConnection(door_[1], &connection));
  close(door_[0]);
  door_[0] = -1;
  EXPECT_FALSE(ReceiveConnection(door_[1], &connection));
  EXPECT_EQ(connection, -1);
}

}  // namespace
}  // namespace kitlink::daemon
