#include "daemon/option_cache.h"

#include <string>
#include <vector>

#include "core/base/memory_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

class OptionCacheTest : public ::testing::Test {
 protected:
  SharedOptions Parse(const std::vector<std::string>& args, const std::string& folder = "/here") {
    Diagnostics diagnostics;
    auto options = cache_.Parse(args, folder, files_, diagnostics, [](LinkOptions&) {});
    EXPECT_TRUE(options.ok()) << options.status();
    said_ = diagnostics.Take().size();
    return options.ok() ? *options : SharedOptions();
  }

  MemoryFiles files_;
  OptionCache cache_;
  size_t said_ = 0;
};

TEST_F(OptionCacheTest, TheSameWordsAreTheSameOptions) {
  const SharedOptions first = Parse({"a.o", "b.o", "-o", "x"});
  EXPECT_TRUE(first.Is(Parse({"a.o", "b.o", "-o", "x"})));
  EXPECT_FALSE(first.Is(Parse({"a.o", "c.o", "-o", "x"})));
  EXPECT_FALSE(first.Is(Parse({"a.o", "b.o", "-o", "x"}, "/elsewhere")));
  EXPECT_TRUE(first.Is(Parse({"a.o", "b.o", "-o", "x"})));
}

TEST_F(OptionCacheTest, ResponseFilesAreComparedByContent) {
  files_.Put("list", "a.o b.o");
  const SharedOptions first = Parse({"@list", "-o", "x"});
  EXPECT_EQ(first->inputs.size(), 2u);
  files_.Put("list", "a.o b.o");
  EXPECT_TRUE(first.Is(Parse({"@list", "-o", "x"})));
  files_.Put("list", "a.o c.o");
  const SharedOptions second = Parse({"@list", "-o", "x"});
  EXPECT_EQ(second->inputs[1].name, "c.o");
  EXPECT_TRUE(second.Is(Parse({"@list", "-o", "x"})));
}

TEST_F(OptionCacheTest, AFileThatAppearsIsRead) {
  const std::vector<std::string> args = {"a.o", "@list", "-o", "x"};
  Diagnostics diagnostics;
  const auto without = cache_.Parse(args, "/here", files_, diagnostics, [](LinkOptions&) {});
  files_.Put("list", "b.o");
  EXPECT_EQ(Parse(args)->inputs.size(), 2u);
  EXPECT_TRUE(!without.ok() || (*without)->inputs[1].name == "@list");
}

TEST_F(OptionCacheTest, ComplaintsAreRepeated) {
  const std::vector<std::string> args = {"a.o", "-z", "no-such-keyword", "-o", "x"};
  Parse(args);
  ASSERT_GT(said_, 0u) << "the example of a warning is none any more";
  Parse(args);
  EXPECT_GT(said_, 0u);
}

TEST_F(OptionCacheTest, ErrorsAreNotKept) {
  Diagnostics diagnostics;
  EXPECT_FALSE(cache_.Parse({"--no-such-option"}, "/here", files_, diagnostics, [](LinkOptions&) {}).ok());
  EXPECT_FALSE(cache_.Parse({"--no-such-option"}, "/here", files_, diagnostics, [](LinkOptions&) {}).ok());
}

TEST_F(OptionCacheTest, ForgetsWhatWasLongAgo) {
  const SharedOptions first = Parse({"first.o"});
  for (int i = 0; i < 100; ++i) Parse({"a" + std::to_string(i) + ".o"});
  EXPECT_FALSE(first.Is(Parse({"first.o"})));
}

}  // namespace
}  // namespace kitlink::daemon
