#include "core/session/groups.h"

#include <string>
#include <utility>
#include <vector>

#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using testing::HotMemory;
using ::testing::IsEmpty;
using testing::ObjBuilder;
using testing::SymbolSpec;
using ::testing::UnorderedElementsAre;

constexpr char kReturn[] = "\xc3";

// An object with a function in a COMDAT group for each of `groups`.
ObjBuilder With(const std::string& own, const std::vector<std::string>& groups) {
  ObjBuilder object;
  object.Section(".text." + own, kReturn).Symbol(own, ".text." + own).StackNote();
  testing::SectionSpec spec = testing::SpecForName(".text");
  spec.flags |= SHF_GROUP;
  SymbolSpec weak;
  weak.type = STT_FUNC;
  weak.binding = STB_WEAK;
  for (const std::string& name : groups) {
    object.Section(".text." + name, kReturn, spec)
        .Symbol(name, ".text." + name, weak)
        .Group(name, {".text." + name});
  }
  return object;
}

// start.o, a.o, b.o, c.o, in this order: `both` is a's (b and c have it, too), `last` is b's (c has it).
class GroupsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    hot_.files.Put("start.o", With("_start", {}).Build());
    hot_.files.Put("a.o", With("a", {"both"}).Build());
    hot_.files.Put("b.o", With("b", {"both", "last"}).Build());
    hot_.files.Put("c.o", With("c", {"both", "last"}).Build());
    hot_.Link({"start.o", "a.o", "b.o", "c.o"});
    ASSERT_NE(hot_.memory, nullptr);
  }

  GroupDecision Decide(const std::vector<std::pair<std::string, ObjBuilder>>& now) {
    std::vector<std::pair<UnitId, const ObjectFile*>> units;
    objects_.clear();
    for (const auto& [path, object] : now) {
      objects_.push_back(testing::ReadBytes(object.Build(), path));
      InternNames(hot_.UnitOf(path), objects_.back().get(), hot_.memory.get());
      units.push_back({hot_.UnitOf(path), objects_.back().get()});
    }
    GroupDecision decision = DecideGroups(*hot_.memory, units);
    EXPECT_EQ(decision.groups.size(), now.size());
    return decision;
  }

  std::vector<std::string> Names(const std::vector<SymbolId>& ids) {
    std::vector<std::string> names;
    for (SymbolId id : ids) names.emplace_back(hot_.memory->names.Name(id));
    return names;
  }

  UnitId a() { return hot_.UnitOf("a.o"); }
  UnitId b() { return hot_.UnitOf("b.o"); }
  UnitId c() { return hot_.UnitOf("c.o"); }

  HotMemory hot_;
  std::vector<std::unique_ptr<ObjectFile>> objects_;
};

TEST_F(GroupsTest, AsItWas) {
  const GroupDecision decision = Decide({{"b.o", With("b", {"both", "last"})}});
  EXPECT_THAT(decision.wanted, IsEmpty());
  EXPECT_THAT(Names(decision.groups[0].kept), ElementsAre("last"));
  EXPECT_THAT(Names(decision.groups[0].lost), ElementsAre("both"));
}

TEST_F(GroupsTest, NewGroupsBelongToTheFirst) {
  GroupDecision decision =
      Decide({{"c.o", With("c", {"both", "last", "fresh"})}, {"b.o", With("b", {"both", "last", "fresh"})}});
  EXPECT_THAT(decision.wanted, IsEmpty());
  EXPECT_THAT(Names(decision.groups[1].kept), UnorderedElementsAre("last", "fresh"));
  EXPECT_THAT(Names(decision.groups[0].kept), IsEmpty());
  EXPECT_THAT(Names(decision.groups[0].lost), UnorderedElementsAre("both", "last", "fresh"));
}

TEST_F(GroupsTest, WhoLostOneMayDropIt) {
  const GroupDecision decision = Decide({{"c.o", With("c", {})}});
  EXPECT_THAT(decision.wanted, IsEmpty());
  EXPECT_THAT(decision.groups[0].kept, IsEmpty());
  EXPECT_THAT(decision.groups[0].lost, IsEmpty());
}

TEST_F(GroupsTest, AGroupPassesToALaterUnit) {
  // b is the next that has it: it must be read. c is none of this business.
  EXPECT_THAT(Decide({{"a.o", With("a", {})}}).wanted, ElementsAre(b()));
  const GroupDecision decision = Decide({{"a.o", With("a", {})}, {"b.o", With("b", {"both", "last"})}});
  EXPECT_THAT(decision.wanted, IsEmpty());
  EXPECT_THAT(Names(decision.groups[1].kept), UnorderedElementsAre("both", "last"));
  // The next one drops it in the same edit.
  EXPECT_THAT(Decide({{"a.o", With("a", {})}, {"b.o", With("b", {})}}).wanted, ::testing::Each(c()));
}

TEST_F(GroupsTest, AGroupPassesToAnEarlierUnit) {
  EXPECT_THAT(Decide({{"a.o", With("a", {"both", "last"})}}).wanted, ElementsAre(b()));
  const GroupDecision decision =
      Decide({{"a.o", With("a", {"both", "last"})}, {"b.o", With("b", {"both", "last"})}});
  EXPECT_THAT(decision.wanted, IsEmpty());
  EXPECT_THAT(Names(decision.groups[0].kept), UnorderedElementsAre("both", "last"));
  EXPECT_THAT(Names(decision.groups[1].lost), UnorderedElementsAre("both", "last"));
}

TEST_F(GroupsTest, AGroupThatNobodyHasAnyMore) {
  const GroupDecision decision = Decide({{"b.o", With("b", {"both"})}, {"c.o", With("c", {"both"})}});
  EXPECT_THAT(decision.wanted, IsEmpty());
  EXPECT_THAT(decision.groups[0].kept, IsEmpty());
}

TEST_F(GroupsTest, LinkGroupsThatAreNotComdatStay) {
  ObjBuilder object = With("c", {"both", "last"});
  testing::SectionSpec spec = testing::SpecForName(".text");
  spec.flags |= SHF_GROUP;
  object.Section(".text.plain", kReturn, spec).Group("plain", {".text.plain"}, false);
  const GroupDecision decision = Decide({{"c.o", object}});
  EXPECT_THAT(decision.groups[0].kept, IsEmpty());
  EXPECT_THAT(Names(decision.groups[0].lost), UnorderedElementsAre("both", "last"));
}

TEST_F(GroupsTest, AUnitThatStandsInFrontKeepsWhatItHas) {
  // c.o between start.o and a.o, as an input that comes later would stand.
  hot_.unit("c.o").rank.input = hot_.unit("a.o").rank.input - 1;
  EXPECT_TRUE(hot_.memory->Before(hot_.UnitOf("start.o"), c()));
  EXPECT_TRUE(hot_.memory->Before(c(), a()));
  const GroupDecision decision = Decide({{"c.o", With("c", {"both", "last"})}});
  EXPECT_THAT(decision.wanted, UnorderedElementsAre(a(), b()));
  EXPECT_THAT(Names(decision.groups[0].kept), UnorderedElementsAre("both", "last"));
}

TEST(UnitRankTest, FollowsTheCommandLineAndArchives) {
  HotMemory hot;
  hot.files.Put("start.o", With("_start", {}).Build());
  hot.files.Put("a.o", With("a", {}).Build());
  hot.files.Put("c.o", With("c", {}).Build());
  hot.files.Put("all.a", testing::BuildArchive({{"y.o", With("y", {}).Build(), {"y"}}, {"x.o", With("x", {}).Build(), {"x"}}}));
  hot.files.Put("both.ld", std::string("INPUT(c.o a.o)"));
  hot.Link({"-u", "x", "-u", "y", "all.a", "start.o", "both.ld"});
  ASSERT_NE(hot.memory, nullptr);
  const FileMemory& archive = hot.memory->files[hot.memory->file_of.at("all.a")];
  ASSERT_EQ(archive.units.size(), 2u);
  std::vector<UnitId> order = {archive.units[0], archive.units[1], hot.UnitOf("start.o"), hot.UnitOf("c.o"), hot.UnitOf("a.o")};
  EXPECT_EQ(hot.memory->units[order[0].value].member, "y.o");
  for (size_t i = 0; i + 1 < order.size(); ++i) EXPECT_TRUE(hot.memory->Before(order[i], order[i + 1])) << i;
}

}  // namespace
}  // namespace kitlink
