#include "client/link_request.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace kitlink::client {
namespace {

TEST(FindOutput, AllSpellings) {
  EXPECT_EQ(FindOutput({"a.o"}), "a.out");
  EXPECT_EQ(FindOutput({"-o", "x", "a.o"}), "x");
  EXPECT_EQ(FindOutput({"-ox"}), "x");
  EXPECT_EQ(FindOutput({"--output=x"}), "x");
  EXPECT_EQ(FindOutput({"--output", "x"}), "x");
  EXPECT_EQ(FindOutput({"-o", "x", "-o", "y"}), "y");
  EXPECT_EQ(FindOutput({"-omagic", "-oformat=elf", "-o"}), "a.out");
}

TEST(FindOutput, LooksIntoResponseFiles) {
  char name[] = "/tmp/kitlink-rsp-XXXXXX";
  close(mkstemp(name));
  std::ofstream(name) << "a.o 'b c.o' -o \"out \\\"x\\\"\"\n";
  EXPECT_EQ(FindOutput({std::string("@") + name}), "out \"x\"");
  EXPECT_EQ(FindOutput({std::string("@") + name, "-o", "given"}), "given");
  EXPECT_EQ(FindOutput({"@/nonexistent"}), "a.out");
  remove(name);
}

TEST(NamesOwnProcess, OnlyWhatAnotherProcessCannotOpen) {
  EXPECT_TRUE(NamesOwnProcess({"@/dev/fd/63"}));
  EXPECT_TRUE(NamesOwnProcess({"-o", "/dev/stdout"}));
  EXPECT_TRUE(NamesOwnProcess({"-L/proc/self/cwd/lib"}));
  EXPECT_FALSE(NamesOwnProcess({"-o", "/dev/null", "/home/me/dev/stdin.o", "proc/self.o"}));
}

TEST(FillRequest, SaysWhatPathsMean) {
  setenv("LD_RUN_PATH", "/lib/x", 1);
  setenv("SECRET", "1", 1);
  mode_t before = umask(027);
  v1::LinkRequest request;
  std::string error;
  ASSERT_TRUE(FillRequest({"-o", "/tmp/x", "a\xff.o"}, &request, &error)) << error;
  umask(before);
  EXPECT_EQ(request.argv(2), "a\xff.o");
  EXPECT_EQ(request.umask(), 027u);
  EXPECT_EQ(request.working_directory()[0], '/');
  ASSERT_EQ(request.environment_size(), 1);
  EXPECT_EQ(request.environment(0), "LD_RUN_PATH=/lib/x");
  struct stat info;
  ASSERT_EQ(stat("/tmp", &info), 0);
  EXPECT_EQ(request.output_directory_identity().inode(), info.st_ino);
  ASSERT_EQ(stat("/", &info), 0);
  EXPECT_EQ(request.root().device(), info.st_dev);
}

}  // namespace
}  // namespace kitlink::client
