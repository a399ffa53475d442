#include "core/session/roster.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::BuildArchive;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::HotMemory;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::ObjBuilder;

constexpr uint64_t kRank = 12345;

ObjBuilder Defines(const std::string& name) {
  return ObjBuilder().Section(".text." + name, "\xc3").Symbol(name, ".text." + name).StackNote();
}

// start.o needs a.o of the archive; spare.o and extra.o take no part.
class RosterTest : public ::testing::Test {
 protected:
  RosterTest() {
    hot_.files.Put("start.o", Defines("_start").Undefined("a").Build());
    hot_.files.Put("work.o", Defines("work").Build());
    hot_.files.Put("parts.a", Parts());
    hot_.Link({"start.o", "work.o", "parts.a"});
  }

  static std::vector<uint8_t> Parts(const std::string& last = "extra") {
    return BuildArchive({{"a.o", Defines("a").Build(), {"a"}},
                         {"spare.o", Defines("spare").Build(), {"spare"}},
                         {last + ".o", Defines(last).Build(), {last}}});
  }

  // An argument that the last link did not have.
  std::optional<GateRefusal> Come(const std::string& path, InputFlags flags = {}) {
    const LinkOptions& before = hot_.memory->options;
    LinkOptions options = before;
    InputArgument argument;
    argument.name = path;
    argument.flags = flags;
    InputListChange list;
    list.added.push_back({static_cast<uint32_t>(options.inputs.size()), kRank});
    options.inputs.push_back(argument);
    return ReadRoster(list, options, hot_.files, hot_.memory.get(), &changed_, &undo());
  }
  std::optional<GateRefusal> Pull(const std::vector<std::string>& names) {
    std::vector<SymbolId> ids;
    for (const std::string& name : names) ids.push_back(Name(name));
    return PullMembers(ids, hot_.files, hot_.memory.get(), &changed_);
  }
  void Refused(const std::optional<GateRefusal>& refusal, GateReason reason, const std::string& detail) {
    ASSERT_TRUE(refusal.has_value()) << detail;
    EXPECT_EQ(refusal->reason, reason) << detail;
    EXPECT_THAT(refusal->detail, HasSubstr(detail));
  }

  SymbolId Name(const std::string& name) const { return hot_.memory->names.Find(name); }
  uint32_t File(const std::string& path) const { return hot_.memory->file_of.at(path); }
  bool Offered(const std::string& name) const { return hot_.memory->offers.contains(Name(name)); }
  RosterChange& undo() {
    if (!undo_) undo_.emplace(hot_.memory.get());
    return *undo_;
  }

  HotMemory hot_;
  ChangedUnits changed_;
  std::optional<RosterChange> undo_;
};

TEST_F(RosterTest, ObjectsCome) {
  hot_.files.Put("new.o", Defines("fresh").Build());
  EXPECT_FALSE(Come("new.o").has_value());
  ASSERT_EQ(changed_.units.size(), 1u);
  ASSERT_EQ(changed_.joining.size(), 1u);
  ASSERT_EQ(changed_.new_files.size(), 1u);
  const auto [file, unit] = changed_.joining[0];
  EXPECT_EQ(changed_.units[0].first, unit);
  EXPECT_EQ(hot_.memory->files[file].path, "new.o");
  EXPECT_TRUE(hot_.memory->units[unit.value].gone) << "until it is adopted";
  EXPECT_FALSE(hot_.memory->units[unit.value].lazy);
  EXPECT_EQ(hot_.memory->RankOf(unit).input, kRank);
  EXPECT_FALSE(hot_.memory->file_of.contains("new.o"));
  AdoptRoster({}, changed_, hot_.memory.get());
  EXPECT_EQ(File("new.o"), file);
  EXPECT_THAT(hot_.memory->files[file].units, ElementsAre(unit));
}

TEST_F(RosterTest, WhatIsNotKeptIsPutBack) {
  hot_.files.Put("new.o", Defines("fresh").Build());
  const UnitId work = hot_.UnitOf("work.o");
  const UnitRank before = hot_.memory->RankOf(work);
  EXPECT_FALSE(Come("new.o").has_value());
  undo().SetRank(work, {7, 0});
  undo().SetRank(work, {8, 0});
  EXPECT_EQ(hot_.memory->RankOf(work).input, 8u);
  undo_.reset();
  EXPECT_EQ(hot_.memory->RankOf(work).input, before.input);
  EXPECT_TRUE(hot_.memory->files[changed_.new_files[0]].gone);

  undo().SetRank(work, {9, 0});
  undo().Keep();
  undo_.reset();
  EXPECT_EQ(hot_.memory->RankOf(work).input, 9u);
}

TEST_F(RosterTest, ArchivesComeWithWhatTheyOffer) {
  hot_.files.Put("more.a", BuildArchive({{"m.o", Defines("more").Build(), {"more"}}}));
  EXPECT_FALSE(Come("more.a").has_value());
  EXPECT_THAT(changed_.units, IsEmpty());
  ASSERT_EQ(changed_.relisted.size(), 1u);
  EXPECT_THAT(changed_.relisted[0].names, ElementsAre("more"));
  ASSERT_TRUE(Offered("more"));
  EXPECT_EQ(hot_.memory->offers.at(Name("more")).file, changed_.relisted[0].file);
  EXPECT_TRUE(hot_.memory->symbols[Name("more").value].lazy);
}

TEST_F(RosterTest, WhatMayNotCome) {
  hot_.files.Put("new.o", Defines("fresh").Build());
  hot_.files.Put("more.a", Parts());
  hot_.files.Put("script", std::vector<uint8_t>{'I', 'N', 'P', 'U', 'T', '(', 'x', ')'});
  std::vector<uint8_t> cut = Defines("cut").Build();
  cut.resize(100);
  hot_.files.Put("cut.o", cut);
  InputFlags lazy, whole;
  lazy.lazy = true;
  whole.whole_archive = true;
  Refused(Come("new.o", lazy), GateReason::kInputListChanged, "new.o");
  Refused(Come("more.a", whole), GateReason::kInputListChanged, "more.a");
  Refused(Come("script"), GateReason::kInputListChanged, "script");
  Refused(Come("cut.o"), GateReason::kUnreadableInput, "cut.o");
  Refused(Come("nowhere.o"), GateReason::kUnreadableInput, "nowhere.o");
  EXPECT_THAT(changed_.units, IsEmpty());
}

TEST_F(RosterTest, InputsThatAreRemovedLeave) {
  InputListChange list;
  list.removed = {File("work.o"), File("parts.a")};
  const UnitId work = hot_.UnitOf("work.o"), a = hot_.memory->files[File("parts.a")].units.at(0);
  const LinkOptions& options = hot_.memory->options;
  EXPECT_FALSE(ReadRoster(list, options, hot_.files, hot_.memory.get(), &changed_, &undo()).has_value());
  EXPECT_TRUE(changed_.leaving.contains(work));
  EXPECT_TRUE(changed_.leaving.contains(a));
  EXPECT_EQ(changed_.units.size(), 2u);
  ASSERT_TRUE(Offered("spare"));
  AdoptRoster(list, changed_, hot_.memory.get());
  EXPECT_FALSE(hot_.memory->file_of.contains("work.o"));
  EXPECT_FALSE(hot_.memory->file_of.contains("parts.a"));
  EXPECT_FALSE(Offered("spare"));
  EXPECT_FALSE(hot_.memory->symbols[Name("spare").value].lazy);
}

TEST_F(RosterTest, MembersAreRead) {
  EXPECT_FALSE(Pull({"spare", "extra", "spare"}).has_value());
  ASSERT_EQ(changed_.joining.size(), 2u) << "each once";
  const UnitId unit = changed_.joining[0].second;
  const UnitMemory& memory = std::as_const(hot_.memory->units)[unit.value];
  EXPECT_EQ(memory.member, "spare.o");
  EXPECT_EQ(memory.ordinal, 0u);
  EXPECT_TRUE(memory.lazy);
  EXPECT_TRUE(memory.gone);
  EXPECT_EQ(memory.rank.member, 1u);
  EXPECT_EQ(memory.rank.input, hot_.memory->files[File("parts.a")].rank);
  EXPECT_EQ(changed_.units[0].second->path, "parts.a");
}

TEST_F(RosterTest, MembersOfAnArchiveThatHasChangedAreNot) {
  hot_.files.Put("parts.a", Parts("other"));
  Refused(Pull({"spare"}), GateReason::kArchiveChanged, "parts.a");
  EXPECT_THAT(changed_.joining, IsEmpty());
}

TEST_F(RosterTest, AMemberThatJoinsIsNoLongerOffered) {
  EXPECT_FALSE(Pull({"spare"}).has_value());
  const auto [file, unit] = changed_.joining.at(0);
  GlobalMemory global;
  global.symbol = Name("spare");
  global.role = GlobalMemory::kDefined;
  hot_.memory->units[unit.value].globals = {global};
  AdoptRoster({}, changed_, hot_.memory.get());
  EXPECT_FALSE(Offered("spare"));
  EXPECT_FALSE(hot_.memory->symbols[Name("spare").value].lazy);
  EXPECT_TRUE(Offered("extra"));
  EXPECT_THAT(hot_.memory->files[file].units, Contains(unit));
}

TEST_F(RosterTest, AMemberThatIsDroppedIsOfferedAgain) {
  const UnitId a = hot_.memory->files[File("parts.a")].units.at(0);
  ASSERT_FALSE(Offered("a"));
  changed_.Leave(a, *hot_.memory);
  changed_.dropped.push_back({a, Name("a")});
  AdoptRoster({}, changed_, hot_.memory.get());
  EXPECT_THAT(hot_.memory->files[File("parts.a")].units, Not(Contains(a)));
  ASSERT_TRUE(Offered("a"));
  EXPECT_EQ(hot_.memory->offers.at(Name("a")).file, File("parts.a"));
  EXPECT_EQ(hot_.memory->offers.at(Name("a")).member, 0u);
}

}  // namespace
}  // namespace kitlink
