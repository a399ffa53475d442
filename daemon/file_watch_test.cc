#include "daemon/file_watch.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::IsEmpty;

class FileWatchTest : public ::testing::Test {
 protected:
  FileWatchTest() {
    char name[] = "/tmp/kitlink-watch-XXXXXX";
    folder_ = mkdtemp(name);
    EXPECT_EQ(mkdir((folder_ + "/sub").c_str(), 0755), 0);
    for (const char* file : {"a.o", "b.o", "sub/c.o"}) Write(file, "one");
  }
  ~FileWatchTest() override { EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0); }

  void Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << content;
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  // a.o is 0, b.o is 1, sub/c.o is 2.
  void Start() {
    watch_.SetFolder(folder_);
    ASSERT_TRUE(watch_.Watch({"a.o", Path("b.o"), "sub/c.o"}));
  }
  std::vector<uint32_t> Changed() {
    std::vector<uint32_t> files;
    EXPECT_TRUE(watch_.Changed(&files));
    return files;
  }
  bool Lost() {
    std::vector<uint32_t> files;
    return !watch_.Changed(&files);
  }

  std::string folder_;
  FileWatch watch_;
};

TEST_F(FileWatchTest, RingsUntilItIsAskedAndKnowsWhoIsStillWriting) {
  WatchBell bell;
  int rung = 0;
  FileWatch watch(&bell, [&] { ++rung; });
  watch.SetFolder(folder_);
  ASSERT_TRUE(watch.Watch({"a.o", "b.o"}));
  std::vector<uint32_t> files;
  bell.Ring();
  EXPECT_EQ(rung, 0);
  std::ofstream writer(Path("a.o"), std::ios::binary);
  writer << "half" << std::flush;
  bell.Ring();
  bell.Ring();
  EXPECT_EQ(rung, 1);
  ASSERT_TRUE(watch.Changed(&files));
  EXPECT_THAT(files, Contains(0u));
  EXPECT_FALSE(watch.Calm());
  writer.close();
  bell.Ring();
  EXPECT_EQ(rung, 2);
  ASSERT_TRUE(watch.Changed(&files));
  EXPECT_TRUE(watch.Calm());
  // What is put in its place is whole.
  Write("new.o", "two");
  ASSERT_EQ(rename(Path("new.o").c_str(), Path("b.o").c_str()), 0);
  ASSERT_TRUE(watch.Changed(&files));
  EXPECT_THAT(files, Contains(1u));
  EXPECT_TRUE(watch.Calm());
  // Another watch has another descriptor.
  ASSERT_TRUE(watch.Watch({"a.o"}));
  Write("a.o", "three");
  bell.Ring();
  EXPECT_EQ(rung, 3);
}

TEST_F(FileWatchTest, TellsNothingOfFilesThatNobodyTouched) {
  Start();
  EXPECT_THAT(Changed(), IsEmpty());
  Write("other.o", "not an input");
  EXPECT_THAT(Changed(), IsEmpty());
}

TEST_F(FileWatchTest, TellsOfAWriteInPlaceOnce) {
  Start();
  Write("a.o", "two");
  const std::vector<uint32_t> files = Changed();
  EXPECT_THAT(files, Contains(0u));
  EXPECT_THAT(files, Each(0u));
  EXPECT_THAT(Changed(), IsEmpty());
}

TEST_F(FileWatchTest, TellsOfAWriteWhileTheFileIsStillOpen) {
  Start();
  const int fd = open(Path("sub/c.o").c_str(), O_WRONLY);
  ASSERT_EQ(pwrite(fd, "x", 1, 0), 1);
  EXPECT_THAT(Changed(), Contains(2u));
  close(fd);
  EXPECT_THAT(Changed(), Contains(2u)) << "what is closed may have been written through a mapping";
}

TEST_F(FileWatchTest, TellsOfAMappingWhenItEnds) {
  Start();
  const int fd = open(Path("b.o").c_str(), O_RDWR);
  void* bytes = mmap(nullptr, 3, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ASSERT_NE(bytes, MAP_FAILED);
  close(fd);
  static_cast<char*>(bytes)[0] = 'x';
  Changed();
  munmap(bytes, 3);
  EXPECT_THAT(Changed(), Contains(1u));
}

TEST_F(FileWatchTest, TellsOfReplacementRemovalAndTruncation) {
  Start();
  Write("new", "two");
  ASSERT_EQ(rename(Path("new").c_str(), Path("a.o").c_str()), 0);
  EXPECT_THAT(Changed(), Contains(0u));
  ASSERT_EQ(unlink(Path("b.o").c_str()), 0);
  EXPECT_THAT(Changed(), Contains(1u));
  Write("b.o", "three");
  EXPECT_THAT(Changed(), Contains(1u));
  ASSERT_EQ(truncate(Path("sub/c.o").c_str(), 1), 0);
  EXPECT_THAT(Changed(), Contains(2u));
}

TEST_F(FileWatchTest, AlwaysTellsOfFilesWithOtherNames) {
  ASSERT_EQ(link(Path("a.o").c_str(), Path("sub/alias.o").c_str()), 0);
  ASSERT_EQ(rename(Path("b.o").c_str(), Path("sub/real.o").c_str()), 0);
  ASSERT_EQ(symlink("sub/real.o", Path("b.o").c_str()), 0);
  Start();
  EXPECT_THAT(Changed(), ::testing::UnorderedElementsAre(0u, 1u));
  EXPECT_THAT(Changed(), ::testing::UnorderedElementsAre(0u, 1u));
}

TEST_F(FileWatchTest, AlwaysTellsOfAFileThatBecameALink) {
  Start();
  Write("elsewhere", "two");
  ASSERT_EQ(symlink(Path("elsewhere").c_str(), Path("new").c_str()), 0);
  ASSERT_EQ(rename(Path("new").c_str(), Path("a.o").c_str()), 0);
  EXPECT_THAT(Changed(), Contains(0u));
  EXPECT_THAT(Changed(), Contains(0u));
}

TEST_F(FileWatchTest, EndsWhenAFolderIsAnother) {
  Start();
  ASSERT_EQ(rename(Path("sub").c_str(), Path("gone").c_str()), 0);
  ASSERT_EQ(mkdir(Path("sub").c_str(), 0755), 0);
  EXPECT_TRUE(Lost());
  EXPECT_TRUE(Lost()) << "until it is asked to watch again";
  Write("sub/c.o", "two");
  Start();
  EXPECT_THAT(Changed(), IsEmpty());
}

TEST_F(FileWatchTest, EndsWhenAnAncestorIsAnother) {
  ASSERT_EQ(mkdir(Path("sub/deep").c_str(), 0755), 0);
  Write("sub/deep/d.o", "one");
  ASSERT_TRUE(watch_.Watch({Path("sub/deep/d.o")}));
  ASSERT_EQ(rename(Path("sub").c_str(), Path("gone").c_str()), 0);
  ASSERT_EQ(mkdir(Path("sub").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("sub/deep").c_str(), 0755), 0);
  Write("sub/deep/d.o", "two");
  EXPECT_TRUE(Lost());
}

TEST_F(FileWatchTest, EndsWhenASymbolicLinkOnTheWayLeadsElsewhere) {
  ASSERT_EQ(mkdir(Path("sub2").c_str(), 0755), 0);
  Write("sub2/c.o", "two");
  ASSERT_EQ(symlink("sub", Path("way").c_str()), 0);
  ASSERT_TRUE(watch_.Watch({Path("way/c.o")}));
  EXPECT_THAT(Changed(), IsEmpty());
  ASSERT_EQ(symlink("sub2", Path("new").c_str()), 0);
  ASSERT_EQ(rename(Path("new").c_str(), Path("way").c_str()), 0);
  EXPECT_TRUE(Lost());
}

TEST_F(FileWatchTest, EndsWhenTheClientsFolderIsAnother) {
  Start();
  watch_.SetFolder(folder_ + "/sub");
  EXPECT_TRUE(Lost());
}

TEST_F(FileWatchTest, EndsWhenTheQueueOverflows) {
  Start();
  int limit = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  if (limit <= 0 || limit > 100000) GTEST_SKIP() << "the queue is too long to fill";
  // Alternating, since equal events in a row are one.
  const int a = open(Path("a.o").c_str(), O_WRONLY), b = open(Path("b.o").c_str(), O_WRONLY);
  for (int i = 0; i <= limit; ++i) ASSERT_EQ(pwrite(i % 2 == 0 ? a : b, "x", 1, 0), 1);
  close(a);
  close(b);
  EXPECT_TRUE(Lost());
}

TEST_F(FileWatchTest, TwoNamesOfOneFolderAreBothWatched) {
  ASSERT_EQ(symlink(".", Path("self").c_str()), 0);
  ASSERT_TRUE(watch_.Watch({Path("a.o"), Path("self/b.o"), Path("self/a.o")}));
  Write("a.o", "two");
  EXPECT_THAT(Changed(), ::testing::IsSupersetOf({0u, 2u}));
  Write("b.o", "two");
  EXPECT_THAT(Changed(), Contains(1u));
}

}  // namespace
}  // namespace kitlink::daemon
