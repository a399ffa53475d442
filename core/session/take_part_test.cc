#include "core/session/take_part.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::BuildArchive;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::HotMemory;
using ::testing::IsEmpty;
using testing::ObjBuilder;
using ::testing::UnorderedElementsAre;

ObjBuilder Defines(const std::vector<std::string>& names) {
  ObjBuilder object;
  object.StackNote();
  for (const std::string& name : names) object.Section(".text." + name, "\xc3").Symbol(name, ".text." + name);
  return object;
}

// start.o, work.o, then the archives: a.o needs b.o, which needs a.o again; spare.o takes no part.
class TakePartTest : public ::testing::Test {
 protected:
  void Link(const ObjBuilder& work, std::vector<std::string> more = {"parts.a"}) {
    hot_.files.Put("start.o", Defines({"_start"}).Build());
    hot_.files.Put("work.o", work.Build());
    hot_.files.Put("parts.a", BuildArchive({{"a.o", Defines({"a", "a2"}).Undefined("b").Build(), {"a", "a2"}},
                                            {"b.o", Defines({"b"}).Undefined("a").Build(), {"b"}},
                                            {"spare.o", Defines({"spare"}).Build(), {"spare"}}}));
    more.insert(more.begin(), {"start.o", "work.o"});
    hot_.Link(std::move(more));
    ASSERT_NE(hot_.memory, nullptr);
  }

  std::variant<PartDecision, GateRefusal> Decide(const std::vector<std::pair<UnitId, ObjBuilder>>& now,
                                                 const absl::flat_hash_set<UnitId>& leaving = {}) {
    std::vector<std::pair<UnitId, const ObjectFile*>> units;
    objects_.clear();
    for (const auto& [unit, object] : now) {
      objects_.push_back(testing::ReadBytes(object.Build()));
      InternNames(unit, objects_.back().get(), hot_.memory.get());
      units.push_back({unit, objects_.back().get()});
    }
    return DecideParts(*hot_.memory, units, leaving);
  }
  PartDecision Allowed(const std::vector<std::pair<UnitId, ObjBuilder>>& now, const absl::flat_hash_set<UnitId>& leaving = {}) {
    auto result = Decide(now, leaving);
    if (auto* refusal = std::get_if<GateRefusal>(&result)) {
      ADD_FAILURE() << refusal->detail;
      return {};
    }
    return std::get<PartDecision>(result);
  }
  void Refused(const std::vector<std::pair<UnitId, ObjBuilder>>& now, const std::string& detail) {
    auto result = Decide(now);
    ASSERT_TRUE(std::holds_alternative<GateRefusal>(result)) << detail;
    EXPECT_THAT(std::get<GateRefusal>(result).detail, HasSubstr(detail));
  }

  std::vector<std::string> Names(const std::vector<SymbolId>& ids) {
    std::vector<std::string> names;
    for (SymbolId id : ids) names.emplace_back(hot_.memory->names.Name(id));
    return names;
  }
  std::vector<std::string> Members(const std::vector<UnitId>& ids) {
    std::vector<std::string> names;
    for (UnitId id : ids) names.push_back(hot_.memory->units[id.value].member);
    return names;
  }
  UnitId work() { return hot_.UnitOf("work.o"); }
  UnitId Member(const std::string& name) {
    for (uint32_t u = 0; u < hot_.memory->units.size(); ++u) {
      if (hot_.memory->units[u].member == name) return UnitId(u);
    }
    ADD_FAILURE() << name;
    return UnitId();
  }

  HotMemory hot_;
  std::vector<std::unique_ptr<ObjectFile>> objects_;
};

TEST_F(TakePartTest, AFirstReferenceBringsAMember) {
  Link(Defines({"work"}));
  EXPECT_THAT(Names(Allowed({{work(), Defines({"work"}).Undefined("a")}}).wanted), ElementsAre("a"));
  EXPECT_THAT(Allowed({{work(), Defines({"work"}).Undefined("a", STB_WEAK)}}).wanted, IsEmpty());
  EXPECT_THAT(Allowed({{work(), Defines({"work"}).Undefined("nobody")}}).wanted, IsEmpty());
  EXPECT_THAT(Allowed({{work(), Defines({"work", "a"})}}).wanted, IsEmpty());
}

TEST_F(TakePartTest, TheLastReferenceTakesAllThatOnlyItNeeded) {
  Link(Defines({"work"}).Undefined("a"));
  EXPECT_THAT(Members(Allowed({{work(), Defines({"work"})}}).dropped), UnorderedElementsAre("a.o", "b.o"));
  EXPECT_THAT(Members(Allowed({{work(), Defines({"work"}).Undefined("a", STB_WEAK)}}).dropped), UnorderedElementsAre("a.o", "b.o"));
  EXPECT_THAT(Allowed({{work(), Defines({"work"}).Undefined("b")}}).dropped, IsEmpty());
  EXPECT_THAT(Allowed({{work(), Defines({"work"}).Undefined("a2")}}).dropped, IsEmpty());
  EXPECT_THAT(Members(Allowed({{work(), ObjBuilder()}}, {work()}).dropped), UnorderedElementsAre("a.o", "b.o"));
}

TEST_F(TakePartTest, OptionsKeepMembers) {
  Link(Defines({"work"}).Undefined("b"), {"-u", "a2", "parts.a"});
  EXPECT_THAT(Allowed({{work(), Defines({"work"})}}).dropped, IsEmpty());
}

TEST_F(TakePartTest, ADefinitionElsewhereTakesTheReasonAway) {
  Link(Defines({"work"}).Undefined("a").Undefined("a2"));
  EXPECT_THAT(Allowed({{work(), Defines({"work", "a2"}).Undefined("a")}}).dropped, IsEmpty());
  // `b` needs `a`, but finds it in work.o now.
  EXPECT_THAT(Members(Allowed({{work(), Defines({"work", "a", "a2"})}}).dropped), UnorderedElementsAre("a.o"));
}

TEST_F(TakePartTest, ADefinitionThatGoesLeavesTheNameToMembers) {
  Link(Defines({"work", "spare"}).Undefined("a"));
  hot_.memory->users.Add(hot_.memory->names.Find("spare"), Member("a.o"));
  EXPECT_THAT(Names(Allowed({{work(), Defines({"work"}).Undefined("a").Undefined("spare")}}).wanted), ElementsAre("spare"));
  EXPECT_THAT(Allowed({{work(), Defines({"work"}).Undefined("a")}}).wanted, IsEmpty());
}

TEST_F(TakePartTest, NamesThatSeveralMembersDefine) {
  hot_.files.Put("more.a", BuildArchive({{"m.o", Defines({"spare", "m"}).Build(), {"spare", "m"}},
                                         {"n.o", Defines({"a2", "n"}).Build(), {"a2", "n"}}}));
  Link(Defines({"work"}).Undefined("a"), {"parts.a", "more.a"});
  Refused({{work(), Defines({"work"}).Undefined("a").Undefined("spare")}}, "spare is offered by several members");
  Refused({{work(), Defines({"work"}).Undefined("a").Undefined("a2")}}, "a2 has more than one definition to be found");
  EXPECT_THAT(Members(Allowed({{work(), Defines({"work"})}}).dropped), UnorderedElementsAre("a.o", "b.o"));
}

// As C++ has them: x.o and y.o both have an instance of a template, which z.o asks for, too.
TEST_F(TakePartTest, WhatManyHaveDoesNotHideThatAMemberIsNeeded) {
  const testing::SymbolSpec weak = {0, 0, STB_WEAK, STT_FUNC, STV_DEFAULT};
  ObjBuilder x = Defines({"x"}), y = Defines({"y"});
  x.Section(".text.t", "\xc3").Symbol("t", ".text.t", weak);
  y.Section(".text.t", "\xc3").Symbol("t", ".text.t", weak);
  hot_.files.Put("xyz.a", BuildArchive({{"x.o", x.Build(), {"x", "t"}},
                                        {"y.o", y.Build(), {"y", "t"}},
                                        {"z.o", Defines({"z"}).Undefined("t").Undefined("x").Build(), {"z"}}}));
  // The template is looked at first.
  Link(Defines({"work"}).Undefined("t", STB_WEAK).Undefined("x").Undefined("y").Undefined("z"), {"parts.a", "xyz.a"});
  EXPECT_THAT(Allowed({{work(), Defines({"work"}).Undefined("y").Undefined("z")}}).dropped, IsEmpty());
  // y.o may have been taken for the template alone.
  Refused({{work(), Defines({"work"}).Undefined("x").Undefined("z")}}, "y.o may no longer be needed");
}

TEST_F(TakePartTest, NoMemberComesOrGoesWhereANeededNameHasSeveral) {
  hot_.files.Put("more.a", BuildArchive({{"n.o", Defines({"a2", "n"}).Build(), {"a2", "n"}}}));
  // work.o's two references meet both at once, in whatever order: the first archive has it.
  Link(Defines({"work"}).Undefined("a2"), {"parts.a", "more.a"});
  EXPECT_TRUE(hot_.memory->members_contested);
  Refused({{work(), Defines({"work"})}}, "several archive members");
  Refused({{work(), Defines({"work"}).Undefined("a2").Undefined("spare")}}, "several archive members");
  EXPECT_THAT(Allowed({{work(), Defines({"work", "other"}).Undefined("a2")}}).dropped, IsEmpty());
}

TEST_F(TakePartTest, AMemberThatWasTakenForOneThatGoes) {
  Link(Defines({"work"}).Undefined("a"));
  UnitMemory late;
  late.lazy = late.gone = true;
  late.member = "late.o";
  hot_.memory->units.push_back(late);
  const UnitId unit(static_cast<uint32_t>(hot_.memory->units.size() - 1));
  Refused({{work(), Defines({"work"}).Undefined("a")}, {unit, Defines({"late"})}}, "late.o may not be needed");
  EXPECT_THAT(Allowed({{work(), Defines({"work"}).Undefined("a").Undefined("late")}, {unit, Defines({"late"})}}).dropped, IsEmpty());
}

}  // namespace
}  // namespace kitlink
