#include "core/session/input_list.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Arguments in one string: "a.o -lm lib.a b.o". Names that end in .o were plain objects, others of the first list archives.
std::vector<InputArgument> Arguments(const std::string& list) {
  std::vector<InputArgument> arguments;
  for (absl::string_view word : absl::StrSplit(list, ' ', absl::SkipEmpty())) {
    InputArgument argument;
    argument.library = word.substr(0, 2) == "-l";
    argument.name = std::string(argument.library ? word.substr(2) : word);
    arguments.push_back(argument);
  }
  return arguments;
}

class InputListTest : public ::testing::Test {
 protected:
  void Start(const std::string& list) {
    LinkOptions options;
    options.inputs = Arguments(list);
    memory_ = Memory();
    for (size_t i = 0; i < options.inputs.size(); ++i) {
      memory_.input_ranks.push_back((i + 1) * UnitRank::kStride);
      const std::string& name = options.inputs[i].name;
      FileMemory file;
      file.path = name;
      const bool object = name.size() > 2 && name.substr(name.size() - 2) == ".o";
      file.role = object ? OpenedFile::Role::kObject : OpenedFile::Role::kArchive;
      if (object) file.units = {UnitId(static_cast<uint32_t>(i))};
      memory_.file_of[name] = static_cast<uint32_t>(memory_.files.size());
      memory_.files.push_back(file);
    }
    memory_.options = std::move(options);
  }

  InputListChange Compare(const std::string& now) {
    now_ = Arguments(now);
    auto result = CompareInputLists(memory_, now_);
    if (auto* refusal = std::get_if<GateRefusal>(&result)) {
      ADD_FAILURE() << now << ": " << refusal->detail;
      return {};
    }
    InputListChange change = std::get<InputListChange>(std::move(result));
    for (size_t i = 0; i + 1 < change.ranks.size(); ++i) EXPECT_LT(change.ranks[i] + UnitRank::kMostOfOne, change.ranks[i + 1]) << now;
    return change;
  }

  bool Refused(const std::string& now) {
    now_ = Arguments(now);
    return std::holds_alternative<GateRefusal>(CompareInputLists(memory_, now_));
  }

  std::vector<std::string> Added(const InputListChange& change) {
    std::vector<std::string> names;
    for (const NewArgument& added : change.added) {
      names.push_back(now_[added.argument].name);
      EXPECT_EQ(added.rank, change.ranks[added.argument]);
    }
    return names;
  }
  std::vector<std::string> Files(const std::vector<uint32_t>& files) {
    std::vector<std::string> names;
    for (uint32_t f : files) names.push_back(memory_.files[f].path);
    return names;
  }
  std::vector<std::string> Moved(const InputListChange& change) {
    std::vector<uint32_t> files;
    for (const MovedArgument& moved : change.moved) files.push_back(moved.file);
    return Files(files);
  }

  Memory memory_;
  std::vector<InputArgument> now_;
};

TEST_F(InputListTest, TheSameList) {
  Start("a.o b.o -lm");
  const InputListChange change = Compare("a.o b.o -lm");
  EXPECT_TRUE(change.same_places());
  EXPECT_THAT(change.renamed, IsEmpty());
}

TEST_F(InputListTest, ObjectsUnderOtherNames) {
  Start("crt.o /tmp/1.o /tmp/2.o -lm");
  const InputListChange change = Compare("crt.o /tmp/3.o /tmp/4.o -lm");
  EXPECT_TRUE(change.same_places());
  ASSERT_EQ(change.renamed.size(), 2u);
  EXPECT_EQ(change.renamed[1].file, 2u);
  EXPECT_EQ(change.renamed[1].path, "/tmp/4.o");
}

TEST_F(InputListTest, WhatCame) {
  Start("a.o b.o -lm");
  EXPECT_THAT(Added(Compare("n.o a.o b.o -lm")), ElementsAre("n.o"));
  EXPECT_THAT(Added(Compare("a.o n.o p.o b.o -lm q.a")), ElementsAre("n.o", "p.o", "q.a"));
  const InputListChange change = Compare("a.o n.o b.o -lm");
  EXPECT_THAT(change.origins, ElementsAre(0, InputListChange::kNew, 1, 2));
  EXPECT_EQ(change.ranks[0], memory_.input_ranks[0]);
  EXPECT_EQ(change.ranks[2], memory_.input_ranks[1]);
  EXPECT_THAT(change.removed, IsEmpty());
}

TEST_F(InputListTest, WhatWent) {
  Start("a.o b.o c.o x.a d.o -lm");
  EXPECT_THAT(Files(Compare("b.o d.o -lm").removed), ElementsAre("a.o", "c.o", "x.a"));
  EXPECT_THAT(Files(Compare("a.o b.o c.o x.a -lm").removed), ElementsAre("d.o"));
}

TEST_F(InputListTest, WhatCameAndWentAndHasAnotherName) {
  Start("a.o b.o c.o d.o -lm");
  const InputListChange change = Compare("a.o n.o c.o -lm p.o");
  ASSERT_EQ(change.renamed.size(), 1u);
  EXPECT_EQ(change.renamed[0].file, 1u);
  EXPECT_THAT(Files(change.removed), ElementsAre("d.o"));
  EXPECT_THAT(Added(change), ElementsAre("p.o"));
}

TEST_F(InputListTest, WhatMoved) {
  Start("a.o b.o c.o d.o -lm");
  InputListChange change = Compare("b.o c.o d.o a.o -lm");
  EXPECT_THAT(Moved(change), ElementsAre("a.o"));
  EXPECT_THAT(change.origins, ElementsAre(1, 2, 3, 0, 4));
  EXPECT_LT(memory_.input_ranks[3], change.moved[0].rank);
  EXPECT_LT(change.moved[0].rank, memory_.input_ranks[4]);
  change = Compare("a.o c.o n.o b.o -lm");
  EXPECT_EQ(Moved(change).size(), 1u);
  EXPECT_THAT(Added(change), ElementsAre("n.o"));
  EXPECT_THAT(Files(change.removed), ElementsAre("d.o"));
}

TEST_F(InputListTest, WhatIsRefused) {
  Start("a.o b.o x.a y.a -lm -lc");
  EXPECT_TRUE(Refused("a.o b.o y.a x.a -lm -lc")) << "archives that move";
  EXPECT_TRUE(Refused("a.o b.o x.a y.a -lc -lm")) << "libraries that move";
  EXPECT_TRUE(Refused("a.o b.o x.a y.a -lm")) << "a library that goes";
  EXPECT_TRUE(Refused("a.o b.o x.a y.a -lm -lc -lz")) << "a library that comes";
  EXPECT_TRUE(Refused("a.o b.o x.a a.o y.a -lm -lc")) << "named twice";
  EXPECT_TRUE(Refused("a.o b.o n.o n.o x.a y.a -lm -lc")) << "new, and named twice";
  memory_.files[0].units.push_back(UnitId(7));
  EXPECT_TRUE(Refused("b.o x.a y.a -lm -lc")) << "was named twice";
}

TEST_F(InputListTest, FlagsThatDiffer) {
  Start("a.o b.o x.a -lm");
  now_ = Arguments("a.o b.o x.a -lm");
  now_[2].flags.whole_archive = true;
  EXPECT_TRUE(std::holds_alternative<GateRefusal>(CompareInputLists(memory_, now_)));
}

// As long as there is room, what comes finds a place; then a full link makes room anew.
TEST_F(InputListTest, ManyAtOnePlace) {
  Start("a.o b.o");
  memory_.input_ranks[1] = memory_.input_ranks[0] + 5 * UnitRank::kMostOfOne;
  Compare("a.o n.o b.o");
  EXPECT_TRUE(Refused("a.o n.o p.o q.o b.o"));
}

}  // namespace
}  // namespace kitlink
