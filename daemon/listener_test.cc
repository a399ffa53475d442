#include "daemon/listener.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

class ListenerTest : public testing::Test {
 protected:
  ListenerTest() {
    char name[] = "/tmp/kitlink-li-XXXXXX";
    folder_ = mkdtemp(name);
    RendezvousEnvironment environment;
    environment.uid = geteuid();
    environment.xdg_runtime_dir = folder_;
    std::string error;
    EXPECT_TRUE(FindRendezvous(environment, &rendezvous_, &error));
  }
  ~ListenerTest() override { EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0); }

  std::string folder_;
  Rendezvous rendezvous_;
};

TEST_F(ListenerTest, AcceptsItsOwnUser) {
  auto listener = Listener::Take(rendezvous_, 0);
  ASSERT_TRUE(listener.ok()) << listener.status();
  struct stat info;
  ASSERT_EQ(stat(rendezvous_.socket.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0600u);
  SocketAddress address(rendezvous_.socket);
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(connect(client, address.address(), address.length()), 0);
  uid_t user = 0;
  bool refused = true;
  int fd = (*listener)->Accept(Listener::kSocket, &user, &refused);
  EXPECT_GE(fd, 0);
  EXPECT_FALSE(refused);
  close(fd);
  close(client);
  (*listener)->Close();
  EXPECT_NE(stat(rendezvous_.socket.c_str(), &info), 0);
}

TEST_F(ListenerTest, DoesWithoutADirectDoor) {
  rendezvous_.direct = folder_ + "/no such folder/direct.sock";
  auto listener = Listener::Take(rendezvous_, 0);
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ((*listener)->fd(Listener::kDirect), -1);
  EXPECT_GE((*listener)->fd(Listener::kSocket), 0);
}

TEST_F(ListenerTest, RefusesAnotherUser) {
  pid_t probe = fork();
  if (probe == 0) _exit(setuid(54321) == 0 ? 0 : 1);
  int status = 0;
  waitpid(probe, &status, 0);
  if (status != 0) GTEST_SKIP() << "needs to be two users";
  auto listener = Listener::Take(rendezvous_, 0);
  ASSERT_TRUE(listener.ok()) << listener.status();
  ASSERT_EQ(chmod(folder_.c_str(), 0755), 0);
  ASSERT_EQ(chmod(rendezvous_.folder.c_str(), 0755), 0);
  ASSERT_EQ(chmod(rendezvous_.socket.c_str(), 0777), 0);
  SocketAddress address(rendezvous_.socket);
  pid_t child = fork();
  if (child == 0) {
    if (setuid(54321) != 0) _exit(2);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(client, address.address(), address.length()) != 0) _exit(3);
    char byte;
    _exit(read(client, &byte, 1) <= 0 ? 0 : 4);
  }
  uid_t user = 0;
  bool refused = false;
  while (!refused && (*listener)->Accept(Listener::kSocket, &user, &refused) < 0) usleep(1000);
  EXPECT_TRUE(refused);
  EXPECT_EQ(user, 54321u);
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(ListenerTest, OneAtATime) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  pid_t child = fork();
  if (child == 0) {
    auto listener = Listener::Take(rendezvous_, 0);
    char byte = listener.ok() ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1) _exit(1);
    pause();
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  EXPECT_EQ(Listener::Take(rendezvous_, 0).status().code(), absl::StatusCode::kAlreadyExists);
  // With patience the other is asked to end. (This one dies of SIGTERM.)
  EXPECT_TRUE(Listener::Take(rendezvous_, 5000).ok());
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
  close(ready[0]);
  close(ready[1]);
}

TEST_F(ListenerTest, OpenFolderIsNotTrusted) {
  ASSERT_EQ(mkdir(rendezvous_.folder.c_str(), 0700), 0);
  ASSERT_EQ(chmod(rendezvous_.folder.c_str(), 0777), 0);
  EXPECT_EQ(Listener::Take(rendezvous_, 0).status().code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace kitlink::daemon
