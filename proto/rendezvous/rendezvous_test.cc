#include "proto/rendezvous/rendezvous.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

class RendezvousTest : public testing::Test {
 protected:
  RendezvousTest() {
    char name[] = "/tmp/kitlink-rv-XXXXXX";
    folder_ = mkdtemp(name);
    environment_.uid = geteuid();
    environment_.temporary = folder_;
  }
  ~RendezvousTest() override { EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0); }

  std::string folder_, error_;
  RendezvousEnvironment environment_;
  Rendezvous rendezvous_;
};

TEST_F(RendezvousTest, WithoutXdgItIsAPrivateFolderInTheTemporaryOne) {
  ASSERT_TRUE(FindRendezvous(environment_, &rendezvous_, &error_));
  EXPECT_EQ(rendezvous_.folder, folder_ + "/kitlink-" + std::to_string(geteuid()));
  ASSERT_TRUE(PrepareFolder(rendezvous_, geteuid(), &error_)) << error_;
  struct stat info;
  ASSERT_EQ(stat(rendezvous_.folder.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0700u);
}

TEST_F(RendezvousTest, XdgRuntimeDirIsUsedWhenItIsOurs) {
  environment_.xdg_runtime_dir = folder_;
  ASSERT_TRUE(FindRendezvous(environment_, &rendezvous_, &error_));
  EXPECT_EQ(rendezvous_.socket, folder_ + "/kitlink/kitlinkd.sock");
}

TEST_F(RendezvousTest, XdgRuntimeDirOfNobodyOrAnotherIsIgnored) {
  environment_.xdg_runtime_dir = folder_ + "/missing";
  ASSERT_TRUE(FindRendezvous(environment_, &rendezvous_, &error_));
  EXPECT_EQ(rendezvous_.folder, folder_ + "/kitlink-" + std::to_string(geteuid()));
  environment_.xdg_runtime_dir = folder_;
  environment_.uid = geteuid() + 1;
  ASSERT_TRUE(FindRendezvous(environment_, &rendezvous_, &error_));
  EXPECT_EQ(rendezvous_.folder, folder_ + "/kitlink-" + std::to_string(geteuid() + 1));
}

TEST_F(RendezvousTest, KitlinkSocketOverrides) {
  environment_.xdg_runtime_dir = folder_;
  environment_.kitlink_socket = folder_ + "/mine/s";
  ASSERT_TRUE(FindRendezvous(environment_, &rendezvous_, &error_));
  EXPECT_EQ(rendezvous_.socket, folder_ + "/mine/s");
  EXPECT_TRUE(PrepareFolder(rendezvous_, geteuid(), &error_)) << error_;
  environment_.kitlink_socket = "relative";
  EXPECT_FALSE(FindRendezvous(environment_, &rendezvous_, &error_));
}

TEST_F(RendezvousTest, FoldersThatOthersControlAreRefused) {
  std::string path = folder_ + "/d";
  EXPECT_FALSE(IsPrivateFolder(path, geteuid(), &error_));
  EXPECT_EQ(errno, ENOENT);
  ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  EXPECT_TRUE(IsPrivateFolder(path, geteuid(), &error_)) << error_;
  EXPECT_FALSE(IsPrivateFolder(path, geteuid() + 1, &error_));
  EXPECT_NE(error_.find("another user"), std::string::npos);
  ASSERT_EQ(chmod(path.c_str(), 0750), 0);
  EXPECT_FALSE(IsPrivateFolder(path, geteuid(), &error_));
  EXPECT_NE(error_.find("open to other users"), std::string::npos);
  ASSERT_EQ(chmod(path.c_str(), 0700), 0);
  std::string link = folder_ + "/l";
  ASSERT_EQ(symlink(path.c_str(), link.c_str()), 0);
  EXPECT_FALSE(IsPrivateFolder(link, geteuid(), &error_));
}

TEST_F(RendezvousTest, LongSocketPathsWork) {
  std::string path = folder_ + "/" + std::string(120, 'x');
  ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  path += "/s";
  SocketAddress address(path);
  ASSERT_TRUE(address.valid());
  int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(listener, address.address(), address.length()), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  SocketAddress again(path);
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(client, again.address(), again.length()), 0);
  uid_t uid = geteuid() + 1;
  EXPECT_TRUE(PeerUser(client, &uid));
  EXPECT_EQ(uid, geteuid());
  close(client);
  close(listener);
}

}  // namespace
}  // namespace kitlink
