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
    auto options = cache_.Parse(args, folder, files_, trust_stamps_, diagnostics, [](LinkOptions&) {});
    EXPECT_TRUE(options.ok()) << options.status();
    said_ = diagnostics.Take().size();
    return options.ok() ? *options : SharedOptions();
  }

  MemoryFiles files_;
  OptionCache cache_;
  bool trust_stamps_ = true;
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

// Answers opening like other sources, and counts it.
class CountingFiles : public MemoryFiles {
 public:
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override {
    ++opened;
    return MemoryFiles::Open(path);
  }
  int opened = 0;
};

TEST_F(OptionCacheTest, FilesWithTheirStampsAreNotReadAgain) {
  CountingFiles files;
  files.Put("list", "a.o b.o");
  Diagnostics diagnostics;
  const auto parse = [&](bool trust_stamps) {
    files.opened = 0;
    return *cache_.Parse({"@list"}, "/here", files, trust_stamps, diagnostics, [](LinkOptions&) {});
  };
  const SharedOptions first = parse(true);
  EXPECT_TRUE(first.Is(parse(true)));
  EXPECT_EQ(files.opened, 0);
  EXPECT_TRUE(first.Is(parse(false)));
  EXPECT_EQ(files.opened, 1);
  files.Rewrite("list", {'a', '.', 'o', ' ', 'c', '.', 'o'});  // as long, in the same inode
  const SharedOptions second = parse(true);
  EXPECT_EQ(second->inputs[1].name, "c.o");
  EXPECT_EQ(files.opened, 2);  // compared, then parsed
}

TEST_F(OptionCacheTest, LongListsAreComparedToTheLastByte) {
  std::string list;
  for (int i = 0; i < 2000; ++i) list += "unit" + std::to_string(i) + ".o\n";
  const std::string before = "-plugin-opt=-fresolution=/tmp/ccB.res\n", after = "-plugin-opt=-fresolution=/tmp/ccOther.res\n";
  files_.Put("list", before + list);
  const SharedOptions first = Parse({"@list"});
  files_.Put("list", after + list);
  EXPECT_TRUE(first.Is(Parse({"@list"})));
  files_.Put("list", list + before);
  EXPECT_FALSE(first.Is(Parse({"@list"})));
  for (size_t at : {size_t{7}, size_t{1023}, size_t{1024}, list.size() / 2, list.size() - 2}) {
    std::string other = list;
    other[at] = other[at] == 'x' ? 'y' : 'x';
    files_.Put("list", after + other);
    EXPECT_FALSE(first.Is(Parse({"@list"}))) << at;
  }
}

// What gcc does: the @file has another name each time, and in it a word for the plug-in that has another, too.
TEST_F(OptionCacheTest, NamesThatAreMadeUpForEachCallDoNotCount) {
  files_.Put("/tmp/ccA.rsp", "-plugin\np.so\n-plugin-opt=-fresolution=/tmp/ccB.res\na.o\nb.o\n");
  const SharedOptions first = Parse({"@/tmp/ccA.rsp"});
  files_.Put("/tmp/ccLonger.rsp", "-plugin\np.so\n-plugin-opt=-fresolution=/tmp/ccOther.res\na.o\nb.o\n");
  EXPECT_TRUE(first.Is(Parse({"@/tmp/ccLonger.rsp"})));
  files_.Put("/tmp/ccC.rsp", "-plugin\np.so\n-plugin-opt=-fresolution=/tmp/ccOther.res\na.o\nc.o\n");
  EXPECT_EQ(Parse({"@/tmp/ccC.rsp"})->inputs[1].name, "c.o");
  EXPECT_EQ(Parse({"@/tmp/ccA.rsp"})->inputs[1].name, "b.o");

  const SharedOptions direct = Parse({"-plugin-opt=-fresolution=/tmp/ccB.res", "a.o"});
  EXPECT_TRUE(direct.Is(Parse({"-plugin-opt=-fresolution=/tmp/ccC.res", "a.o"})));
  EXPECT_FALSE(direct.Is(Parse({"a.o", "-plugin-opt=-fresolution=/tmp/ccC.res"})));
}

TEST_F(OptionCacheTest, OtherWordsCount) {
  files_.Put("1", "a.o -O1 b.o");
  const SharedOptions first = Parse({"@1"});
  files_.Put("2", "a.o -O11 b.o");
  EXPECT_FALSE(first.Is(Parse({"@2"})));
  files_.Put("3", "a.o -plugin-opt=-fresolution=x b.o");
  const SharedOptions third = Parse({"@3"});
  files_.Put("4", "a.o -plugin-opt=-fresolution=x c.o b.o");
  EXPECT_EQ(Parse({"@4"})->inputs.size(), 3u);
  files_.Put("5", "a.o '-plugin-opt=-fresolution=x c.o' b.o");
  EXPECT_FALSE(third.Is(Parse({"@5"})));
  files_.Put("6", "a.o -plugin-opt=-fresolution=y\\ c.o b.o");
  EXPECT_FALSE(third.Is(Parse({"@6"})));
  files_.Put("7", "a.o -plugin-opt=-fresolution=y b.o");
  EXPECT_TRUE(third.Is(Parse({"@7"})));
}

// Two @files that change places, or one that is named a second time, are what they say.
TEST_F(OptionCacheTest, RenamedFilesAreReadByTheirNewNames) {
  files_.Put("1", "a.o");
  files_.Put("2", "b.o");
  const SharedOptions first = Parse({"@1", "@2"});
  const SharedOptions swapped = Parse({"@2", "@1"});
  EXPECT_EQ(swapped->inputs[0].name, "b.o");
  files_.Put("3", "b.o");
  EXPECT_TRUE(swapped.Is(Parse({"@3", "@1"})));
  files_.Put("twice", "@1");
  const SharedOptions twice = Parse({"@1", "@twice"});
  EXPECT_EQ(twice->inputs.size(), 2u);
  files_.Put("1", "c.o");
  files_.Put("4", "a.o");
  const SharedOptions other = Parse({"@4", "@twice"});
  EXPECT_EQ(other->inputs[0].name, "a.o");
  EXPECT_EQ(other->inputs[1].name, "c.o");
}

TEST_F(OptionCacheTest, AFileThatAppearsIsRead) {
  const std::vector<std::string> args = {"a.o", "@list", "-o", "x"};
  Diagnostics diagnostics;
  const auto without = cache_.Parse(args, "/here", files_, true, diagnostics, [](LinkOptions&) {});
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
  EXPECT_FALSE(cache_.Parse({"--no-such-option"}, "/here", files_, true, diagnostics, [](LinkOptions&) {}).ok());
  EXPECT_FALSE(cache_.Parse({"--no-such-option"}, "/here", files_, true, diagnostics, [](LinkOptions&) {}).ok());
}

TEST_F(OptionCacheTest, ForgetsWhatWasLongAgo) {
  const SharedOptions first = Parse({"first.o"});
  for (int i = 0; i < 100; ++i) Parse({"a" + std::to_string(i) + ".o"});
  EXPECT_FALSE(first.Is(Parse({"first.o"})));
}

}  // namespace
}  // namespace kitlink::daemon
