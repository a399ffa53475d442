#include "core/session/watched_inputs.h"

#include <optional>
#include <string>
#include <vector>

#include "core/base/memory_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;

class FakeWatch : public InputWatch {
 public:
  bool Watch(const std::vector<std::string>& paths) override {
    watched = paths;
    ++watches;
    touched.clear();
    return possible;
  }
  bool WatchMore(const std::vector<std::string>& paths) override {
    watched.insert(watched.end(), paths.begin(), paths.end());
    return !lost;
  }
  bool Changed(std::vector<uint32_t>* files) override {
    files->insert(files->end(), touched.begin(), touched.end());
    touched.clear();
    return !lost;
  }

  std::vector<std::string> watched;
  std::vector<uint32_t> touched;
  int watches = 0;
  bool possible = true, lost = false;
};

class WatchedInputsTest : public ::testing::Test {
 protected:
  WatchedInputsTest() : inputs_(&watch_) {
    for (const char* path : {"a.o", "b.o", "c.o"}) Remember(path, {1, 2, 3});
  }

  // There is such a file, and the session knows it as it is.
  void Remember(const std::string& path, const std::vector<uint8_t>& bytes) {
    files_.Put(path, bytes);
    FileMemory file;
    file.path = path;
    file.stamp = *files_.Stat(path);
    file.settled = true;
    memory_.files.push_back(file);
  }

  FakeWatch watch_;
  MemoryFiles files_;
  Memory memory_;
  WatchedInputs inputs_;
};

TEST_F(WatchedInputsTest, LooksAtAllWithoutAWatch) {
  EXPECT_EQ(inputs_.Suspects(), std::nullopt);
  WatchedInputs none(nullptr);
  none.Start(memory_, files_);
  EXPECT_EQ(none.Suspects(), std::nullopt);
  watch_.possible = false;
  inputs_.Start(memory_, files_);
  EXPECT_EQ(inputs_.Suspects(), std::nullopt);
}

TEST_F(WatchedInputsTest, LooksAtWhatWasTouchedUntilThatIsAdopted) {
  inputs_.Start(memory_, files_);
  EXPECT_THAT(watch_.watched, ElementsAre("a.o", "b.o", "c.o"));
  EXPECT_THAT(inputs_.Suspects(), Optional(IsEmpty()));
  watch_.touched = {2, 0, 2};
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(0, 2)));
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(0, 2))) << "the link between may have failed";
  inputs_.Adopted(memory_, Changes(), {}, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(IsEmpty()));
}

TEST_F(WatchedInputsTest, WhatChangedBeforeTheWatchIsFoundByLooking) {
  files_.Put("b.o", std::vector<uint8_t>{4, 5, 6, 7});
  memory_.files[2].settled = false;  // it may have been written to right after it was read
  inputs_.Start(memory_, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(1, 2)));
  inputs_.Adopted(memory_, Changes(), {}, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(2))) << "its stamp is still too young to trust";
  memory_.files[2].settled = true;
  inputs_.Adopted(memory_, Changes(), {}, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(IsEmpty()));
}

TEST_F(WatchedInputsTest, RenamedInputsAreLookedAtAlways) {
  inputs_.Start(memory_, files_);
  Changes changes;
  changes.list.renamed.push_back({1, "temporary.o"});
  inputs_.Adopted(memory_, changes, {}, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(1)));
  inputs_.Adopted(memory_, Changes(), {}, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(1)));
}

TEST_F(WatchedInputsTest, ALostWatchIsStartedAnew) {
  inputs_.Start(memory_, files_);
  inputs_.Start(memory_, files_);
  EXPECT_EQ(watch_.watches, 1);
  watch_.lost = true;
  EXPECT_EQ(inputs_.Suspects(), std::nullopt);
  watch_.lost = false;
  EXPECT_EQ(inputs_.Suspects(), std::nullopt) << "nobody watched in between";
  files_.Put("c.o", std::vector<uint8_t>{9});
  inputs_.Start(memory_, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(2)));
}

TEST_F(WatchedInputsTest, InputsThatComeAreWatchedAndThoseThatWentAreNot) {
  inputs_.Start(memory_, files_);
  Remember("d.o", {4});
  memory_.files[1].gone = true;
  Changes changes;
  changes.list.removed = {1};
  inputs_.Adopted(memory_, changes, {3}, files_);
  EXPECT_THAT(watch_.watched, ElementsAre("a.o", "b.o", "c.o", "d.o"));
  EXPECT_THAT(inputs_.Suspects(), Optional(IsEmpty()));
  watch_.touched = {1, 3};
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(3)));
}

TEST_F(WatchedInputsTest, AnInputThatChangedBeforeItWasWatchedIsSuspect) {
  inputs_.Start(memory_, files_);
  Remember("d.o", {4});
  files_.Put("d.o", std::vector<uint8_t>{5, 6});
  inputs_.Adopted(memory_, Changes(), {3}, files_);
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(3)));
}

// A client that says what changed may bring files that nobody has heard of: those behind a thin archive's new members.
TEST_F(WatchedInputsTest, InputsThatComeWithSomethingSaidAreWatchedToo) {
  inputs_.Start(memory_, files_);
  watch_.touched = {0};
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(0)));
  Remember("d.o", {4});
  inputs_.Came(memory_, {3}, files_);
  EXPECT_THAT(watch_.watched, ElementsAre("a.o", "b.o", "c.o", "d.o"));
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(0))) << "nobody has looked at it";
  watch_.touched = {3};
  EXPECT_THAT(inputs_.Suspects(), Optional(ElementsAre(0, 3)));
}

TEST_F(WatchedInputsTest, AWatchThatCannotWatchMoreHasEnded) {
  inputs_.Start(memory_, files_);
  memory_.files.push_back(memory_.files[0]);
  memory_.files.back().path = "d.o";
  watch_.lost = true;
  inputs_.Adopted(memory_, Changes(), {3}, files_);
  EXPECT_EQ(inputs_.Suspects(), std::nullopt);
}

}  // namespace
}  // namespace kitlink
