#include "daemon/file_source.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

// Small, so that small files can be mapped.
constexpr uint64_t kReadLimit = 16 << 10;

class FileSourceTest : public testing::Test {
 protected:
  FileSourceTest() {
    char name[] = "/tmp/kitlink-fs-XXXXXX";
    folder_ = mkdtemp(name);
  }
  ~FileSourceTest() override { EXPECT_EQ(system(("rm -rf " + folder_).c_str()), 0); }

  void Write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << content;
  }

  std::string folder_;
};

TEST_F(FileSourceTest, RelativePathsAreTheClients) {
  Write("a.o", "small");
  MappedFileSource files(folder_, kReadLimit);
  auto file = files.Open("a.o");
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(AsString((*file)->bytes()), "small");
  auto stamp = files.Stat("./a.o");
  ASSERT_TRUE(stamp.ok());
  EXPECT_EQ(*stamp, (*file)->stamp());
  EXPECT_TRUE(files.Open(folder_ + "/a.o").ok());
  EXPECT_THAT(files.Opened(), testing::ElementsAre(folder_ + "/a.o"));
  files.SetFolder("/");
  EXPECT_EQ(files.Open("a.o").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileSourceTest, WhatIsNotAFileIsAnError) {
  MappedFileSource files(folder_, kReadLimit);
  EXPECT_EQ(files.Open("none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(files.Open("").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(files.Open(".").status().code(), absl::StatusCode::kInvalidArgument);
  ASSERT_EQ(mkfifo((folder_ + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(files.Open("pipe").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(files.Stat("none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(files.Opened(), testing::IsEmpty());
}

TEST_F(FileSourceTest, EmptyFileIsEmpty) {
  Write("e", "");
  MappedFileSource files(folder_, kReadLimit);
  auto file = files.Open("e");
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE((*file)->bytes().empty());
  EXPECT_FALSE((*file)->torn());
}

TEST_F(FileSourceTest, TruncatedMappingReadsAsZerosAndIsTorn) {
  const std::string content(1 << 20, 'x');
  Write("big", content);
  Write("other", content);
  MappedFileSource files(folder_, kReadLimit);
  auto file = files.Open("big");
  auto other = files.Open("other");
  ASSERT_TRUE(file.ok() && other.ok());
  EXPECT_EQ((*file)->bytes()[content.size() - 1], 'x');
  ASSERT_EQ(truncate((folder_ + "/big").c_str(), 5000), 0);
  EXPECT_FALSE((*file)->torn());
  ByteView bytes = (*file)->bytes();
  ASSERT_EQ(bytes.size(), content.size());
  uint64_t sum = 0;
  for (uint8_t byte : bytes) sum += byte;
  EXPECT_EQ(sum, 5000u * 'x');
  EXPECT_TRUE((*file)->torn());
  EXPECT_FALSE((*other)->torn());
  EXPECT_EQ((*other)->bytes()[content.size() - 1], 'x');
}

TEST_F(FileSourceTest, TornFilesInManyThreads) {
  constexpr int kThreads = 4, kFiles = 40;
  for (int i = 0; i < kThreads * kFiles; ++i) Write(std::to_string(i), std::string(40000, 'y'));
  MappedFileSource files(folder_, kReadLimit);
  std::vector<std::thread> threads;
  std::atomic<int> torn{0};
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kFiles; ++i) {
        std::string name = std::to_string(t * kFiles + i);
        auto file = files.Open(name);
        if (!file.ok() || truncate((folder_ + "/" + name).c_str(), 0) != 0) continue;
        uint64_t sum = 0;
        for (uint8_t byte : (*file)->bytes()) sum += byte;
        if (sum == 0 && (*file)->torn()) ++torn;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn.load(), kThreads * kFiles);
}

TEST_F(FileSourceTest, BusErrorsElsewhereStillKill) {
  EXPECT_EXIT(
      {
        MappedFileSource files(folder_, kReadLimit);
        raise(SIGBUS);
        raise(SIGBUS);
      },
      // A sanitizer's own handler may come before the default action.
      [](int status) { return !WIFEXITED(status) || WEXITSTATUS(status) != 0; }, "");
}

}  // namespace
}  // namespace kitlink::daemon
