#include "core/session/diff.h"

#include <memory>
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
using testing::SectionSpec;
using testing::SymbolSpec;

constexpr char kReturn[] = "\xc3";

ObjBuilder Start() {
  return ObjBuilder()
      .Section(".text", kReturn)
      .Symbol("_start", ".text")
      .Section(".eh_frame", std::string(4, '\0'))
      .StackNote();
}

SectionSpec Strings() {
  SectionSpec spec = testing::SpecForName(".rodata");
  spec.flags |= SHF_MERGE | SHF_STRINGS;
  spec.entry_size = 1;
  return spec;
}

// The builder's names are unique; here, all names that begin with `prefix` become that.
std::unique_ptr<ObjectFile> Renamed(std::unique_ptr<ObjectFile> object, absl::string_view prefix) {
  for (InputSection& section : object->sections) {
    if (section.name.substr(0, prefix.size()) == prefix) section.name = prefix;
  }
  return object;
}

void Rename(absl::string_view prefix, UnitMemory* unit) {
  for (AtomMemory& atom : unit->atoms) {
    if (absl::string_view(atom.name).substr(0, prefix.size()) == prefix) atom.name = std::string(prefix);
  }
}

class DiffTest : public ::testing::Test {
 protected:
  // Links start.o and work.o, which is this.
  void Link(const ObjBuilder& work, std::vector<std::string> arguments = {"start.o", "work.o"}) {
    hot_.files.Put("start.o", Start().Build());
    hot_.files.Put("work.o", work.Build());
    hot_.Link(std::move(arguments));
    ASSERT_NE(hot_.memory, nullptr);
  }

  static uint32_t IndexOf(const ObjectFile& object, absl::string_view name, int which = 0) {
    for (uint32_t s = 0; s < object.sections.size(); ++s) {
      if (object.sections[s].name == name && which-- == 0) return s;
    }
    ADD_FAILURE() << "no section " << name;
    return 0;
  }

  static const SectionDiff& Section(const UnitDiff& diff, absl::string_view name, int which = 0) {
    return diff.sections[IndexOf(*diff.object, name, which)];
  }

  // The name of what a section was matched with; empty for nothing.
  std::string Was(const UnitDiff& diff, absl::string_view name, int which = 0) {
    const uint32_t old = Section(diff, name, which).old;
    return old == kNoAtomMemory ? "" : hot_.unit("work.o").atoms.at(old).name;
  }

  std::vector<std::string> Removed(const UnitDiff& diff) {
    std::vector<std::string> names;
    for (uint32_t old : diff.removed) names.push_back(hot_.unit("work.o").atoms.at(old).name);
    return names;
  }

  HotMemory hot_;
};

TEST_F(DiffTest, SectionsAreMatchedByNameInAnyOrder) {
  Link(ObjBuilder().Section(".text.a", kReturn).Section(".text.b", kReturn).Section(".data.c", "12345678"));
  const UnitDiff diff = hot_.Diff(
      "work.o",
      ObjBuilder().Section(".data.c", "1").Section(".text.b", "\x90\xc3").Section(".text.a", kReturn));
  for (const char* name : {".text.a", ".text.b", ".data.c"}) {
    EXPECT_EQ(Section(diff, name).fate, SectionDiff::kMatched) << name;
    EXPECT_EQ(Was(diff, name), name);
  }
  EXPECT_THAT(diff.removed, IsEmpty());
  EXPECT_EQ(diff.unit, hot_.UnitOf("work.o"));
}

TEST_F(DiffTest, WhatIsNoMaterialToLinkIsIgnored) {
  Link(ObjBuilder().Section(".text.a", kReturn).Symbol("a", ".text.a").StackNote());
  const UnitDiff diff =
      hot_.Diff("work.o", ObjBuilder().Section(".text.a", kReturn).Symbol("a", ".text.a").StackNote());
  ASSERT_EQ(diff.sections.size(), diff.object->sections.size());
  EXPECT_EQ(diff.sections[0].fate, SectionDiff::kIgnored);
  for (const char* name : {".symtab", ".strtab", ".shstrtab"}) {
    EXPECT_EQ(Section(diff, name).fate, SectionDiff::kIgnored) << name;
  }
}

TEST_F(DiffTest, NewSectionsAreAddedAndOldOnesRemoved) {
  Link(ObjBuilder()
           .Section(".text.a", kReturn)
           .Section(".text.b", kReturn)
           .Section(".data.c", "1")
           .Bss(".bss.d", 4));
  const UnitDiff diff = hot_.Diff(
      "work.o", ObjBuilder().Section(".text.b", kReturn).Section(".text.new", kReturn).Bss(".bss.e", 8));
  EXPECT_EQ(Section(diff, ".text.b").fate, SectionDiff::kMatched);
  EXPECT_EQ(Section(diff, ".text.new").fate, SectionDiff::kAdded);
  EXPECT_EQ(Section(diff, ".text.new").old, kNoAtomMemory);
  EXPECT_EQ(Section(diff, ".bss.e").fate, SectionDiff::kAdded);
  EXPECT_THAT(Removed(diff), ElementsAre(".text.a", ".data.c", ".bss.d"));
}

TEST_F(DiffTest, AmongEqualNamesTheOrderCounts) {
  const ObjBuilder was = ObjBuilder()
                             .Section(".text.same1", kReturn)
                             .Section(".text.same2", "\x90\xc3")
                             .Section(".text.same3", "\x90\x90\xc3");
  Link(was);
  Rename(".text.same", &hot_.unit("work.o"));
  auto diff_with = [&](const ObjBuilder& now) {
    return hot_.Diff("work.o", Renamed(testing::ReadBytes(now.Build()), ".text.same"));
  };
  UnitDiff diff = diff_with(was);
  for (int i = 0; i < 3; ++i) {
    const uint32_t old = Section(diff, ".text.same", i).old;
    ASSERT_NE(old, kNoAtomMemory);
    EXPECT_EQ(hot_.unit("work.o").atoms[old].size, static_cast<uint64_t>(i + 1));
  }
  diff = diff_with(ObjBuilder().Section(".text.same1", kReturn).Section(".text.same2", kReturn));
  EXPECT_EQ(Section(diff, ".text.same", 1).fate, SectionDiff::kMatched);
  ASSERT_EQ(diff.removed.size(), 1u);
  EXPECT_EQ(hot_.unit("work.o").atoms[diff.removed[0]].size, 3u) << "the first ones are matched first";
  diff = diff_with(ObjBuilder(was).Section(".text.same4", kReturn));
  EXPECT_EQ(Section(diff, ".text.same", 2).fate, SectionDiff::kMatched);
  EXPECT_EQ(Section(diff, ".text.same", 3).fate, SectionDiff::kAdded);
}

// What compilers number is found again under another number; strictly it is not.
TEST_F(DiffTest, NumberedSectionsAreMatchedByTheRestOfTheirNames) {
  Link(ObjBuilder()
           .Section(".data.calls.0", "1")
           .Section(".data.calls.1", "22")
           .Section(".data.seen.2", "333")
           .Section(".text.work.constprop.0", kReturn)
           .Bss(".bss..L__unnamed_3", 4)
           .Section(".data.foo_1", "1")
           .Section(".data.gone.7", "1"));
  const ObjBuilder now = ObjBuilder()
                             .Section(".data.first.0", "1")
                             .Section(".data.calls.3", "22")
                             .Section(".data.calls.4", "4444")
                             .Section(".data.calls.5", "1")
                             .Section(".data.seen.6", "3")
                             .Section(".text.work.constprop.1", kReturn)
                             .Bss(".bss..L__unnamed_4", 4)
                             .Section(".data.foo_2", "1");
  ChangedObjects objects;
  objects.emplace_back(hot_.UnitOf("work.o"), testing::ReadBytes(now.Build(), "work.o"));
  const std::vector<UnitDiff> diffs = DiffExactly(std::move(objects), {UnitGroups{}}, *hot_.memory);
  const UnitDiff& diff = diffs[0];
  EXPECT_EQ(Was(diff, ".data.calls.3"), ".data.calls.1") << "of the same size";
  EXPECT_EQ(Was(diff, ".data.calls.5"), ".data.calls.0");
  EXPECT_EQ(Was(diff, ".data.seen.6"), ".data.seen.2") << "it has room";
  EXPECT_EQ(Was(diff, ".text.work.constprop.1"), ".text.work.constprop.0");
  EXPECT_EQ(Was(diff, ".bss..L__unnamed_4"), ".bss..L__unnamed_3");
  for (const char* name : {".data.first.0", ".data.calls.4"}) {
    EXPECT_EQ(Section(diff, name).fate, SectionDiff::kAdded) << name;
  }
  EXPECT_EQ(Section(diff, ".data.foo_2").fate, SectionDiff::kAdded) << "that is what somebody called it";
  EXPECT_THAT(Removed(diff), ElementsAre(".data.foo_1", ".data.gone.7"));
  EXPECT_EQ(Section(hot_.Diff("work.o", now), ".data.calls.3").fate, SectionDiff::kAdded);
}

TEST_F(DiffTest, StringsAndFramesAreNoAtomsToPlace) {
  const ObjBuilder work = ObjBuilder()
                              .Section(".rodata.str1.1", std::string("text\0", 5), Strings())
                              .Section(".eh_frame", std::string(4, '\0'))
                              .Section(".text.a", kReturn);
  Link(work);
  const UnitDiff same = hot_.Diff("work.o", work);
  EXPECT_EQ(Section(same, ".rodata.str1.1").fate, SectionDiff::kMerged);
  EXPECT_EQ(Section(same, ".eh_frame").fate, SectionDiff::kFrames);
  const UnitDiff gone = hot_.Diff("work.o", ObjBuilder().Section(".text.a", kReturn));
  EXPECT_THAT(gone.removed, IsEmpty()) << "they hold no slots of their own";
}

TEST_F(DiffTest, NewStringsAndFramesAreWhatTheyWouldHaveBeen) {
  Link(ObjBuilder().Section(".text.a", kReturn));
  const UnitDiff diff =
      hot_.Diff("work.o", ObjBuilder()
                              .Section(".text.a", kReturn)
                              .Section(".rodata.str1.1", std::string("text\0", 5), Strings())
                              .Section(".eh_frame", std::string(4, '\0')));
  EXPECT_EQ(Section(diff, ".rodata.str1.1").fate, SectionDiff::kMerged);
  EXPECT_EQ(Section(diff, ".rodata.str1.1").old, kNoAtomMemory);
  EXPECT_EQ(Section(diff, ".eh_frame").fate, SectionDiff::kFrames);
}

SectionSpec InGroup() {
  SectionSpec spec = testing::SpecForName(".text");
  spec.flags |= SHF_GROUP;
  return spec;
}

SymbolSpec Weak() {
  SymbolSpec spec;
  spec.binding = STB_WEAK;
  spec.type = STT_FUNC;
  return spec;
}

ObjBuilder WithGroup(const std::string& body) {
  return ObjBuilder()
      .Section(".text.inline", body, InGroup())
      .Symbol("shared", ".text.inline", Weak())
      .Group("shared", {".text.inline"})
      .Section(".text.own", kReturn);
}

TEST_F(DiffTest, GroupThatAnotherUnitWonStaysDiscarded) {
  hot_.files.Put("winner.o", WithGroup(kReturn).Build());
  Link(WithGroup(kReturn), {"start.o", "winner.o", "work.o"});
  const UnitDiff lost = hot_.Diff("work.o", WithGroup("\x90\x90\xc3"));
  EXPECT_EQ(Section(lost, ".text.inline").fate, SectionDiff::kDiscarded);
  EXPECT_EQ(Section(lost, ".text.own").fate, SectionDiff::kMatched);
  EXPECT_THAT(lost.removed, IsEmpty());
  const UnitDiff won = hot_.Diff("winner.o", WithGroup("\x90\x90\xc3"));
  EXPECT_EQ(Section(won, ".text.inline").fate, SectionDiff::kMatched);
  EXPECT_THAT(won.groups, ElementsAre(hot_.memory->names.Find("shared")));
}

TEST_F(DiffTest, NameOfALostSectionDoesNotStandForAnother) {
  hot_.files.Put("winner.o", WithGroup(kReturn).Build());
  Link(WithGroup(kReturn), {"start.o", "winner.o", "work.o"});
  // The lost section leaves its group: it is new, although there was one of its name.
  const UnitDiff diff =
      hot_.Diff("work.o", ObjBuilder().Section(".text.inline", kReturn).Section(".text.own", kReturn));
  EXPECT_EQ(Section(diff, ".text.inline").fate, SectionDiff::kAdded);
  EXPECT_EQ(Section(diff, ".text.inline").old, kNoAtomMemory);
  EXPECT_THAT(diff.removed, IsEmpty());
}

TEST_F(DiffTest, LostAndOwnSectionOfOneNameKeepApart) {
  hot_.files.Put("winner.o", WithGroup(kReturn).Build());
  const ObjBuilder work = WithGroup(kReturn).Section(".text.inline2", "\x90\xc3");
  Link(work, {"start.o", "winner.o", "work.o"});
  Rename(".text.inline", &hot_.unit("work.o"));
  const ObjBuilder swapped = ObjBuilder()
                                 .Section(".text.inline2", "\x90\xc3")
                                 .Section(".text.inline", kReturn, InGroup())
                                 .Symbol("shared", ".text.inline", Weak())
                                 .Group("shared", {".text.inline"})
                                 .Section(".text.own", kReturn);
  for (bool order : {false, true}) {
    const UnitDiff diff =
        hot_.Diff("work.o", Renamed(testing::ReadBytes((order ? swapped : work).Build()), ".text.inline"));
    const SectionDiff& lost = Section(diff, ".text.inline", order ? 1 : 0);
    const SectionDiff& own = Section(diff, ".text.inline", order ? 0 : 1);
    EXPECT_EQ(lost.fate, SectionDiff::kDiscarded);
    EXPECT_EQ(own.fate, SectionDiff::kMatched);
    ASSERT_NE(own.old, kNoAtomMemory);
    EXPECT_EQ(hot_.unit("work.o").atoms[own.old].size, 2u);
    EXPECT_THAT(diff.removed, IsEmpty());
  }
}

TEST_F(DiffTest, DeadSectionsStayDead) {
  Link(
      ObjBuilder().Section(".text.live", kReturn).Symbol("live", ".text.live").Section(".text.dead", kReturn),
      {"--gc-sections", "-u", "live", "start.o", "work.o"});
  const UnitDiff diff = hot_.Diff("work.o", ObjBuilder()
                                                .Section(".text.live", "\x90\xc3")
                                                .Symbol("live", ".text.live")
                                                .Section(".text.dead", "\x90\xc3"));
  EXPECT_EQ(Section(diff, ".text.live").fate, SectionDiff::kMatched);
  EXPECT_EQ(Section(diff, ".text.dead").fate, SectionDiff::kDead);
}

TEST_F(DiffTest, StrippedDebugSectionsAreIgnored) {
  const ObjBuilder work = ObjBuilder().Section(".text.a", kReturn).Section(".debug_str", "x");
  Link(work, {"--strip-debug", "start.o", "work.o"});
  EXPECT_EQ(Section(hot_.Diff("work.o", work), ".debug_str").fate, SectionDiff::kIgnored);
}

TEST_F(DiffTest, GlobalsSayWhatTheUnitSays) {
  SymbolSpec weak;
  weak.binding = STB_WEAK;
  weak.type = STT_OBJECT;
  weak.visibility = STV_HIDDEN;
  const ObjBuilder work = ObjBuilder()
                              .Section(".text.a", kReturn)
                              .Symbol("a", ".text.a")
                              .Section(".data.b", "12345678")
                              .Symbol("b", ".data.b", weak)
                              .Undefined("_start")
                              .Common("c", 24, 8)
                              .Absolute("five", 5);
  Link(work);
  const UnitDiff diff = hot_.Diff("work.o", ObjBuilder(work).Undefined("never_seen"));
  auto find = [&](absl::string_view name) {
    const SymbolId id = hot_.memory->names.Find(name);
    for (const GlobalMemory& global : diff.globals) {
      if (global.symbol == id) return global;
    }
    ADD_FAILURE() << "nothing of " << name;
    return GlobalMemory();
  };
  EXPECT_EQ(find("a").role, GlobalMemory::kDefined);
  EXPECT_EQ(find("a").type, SymbolType::kFunction);
  EXPECT_EQ(find("b").binding, SymbolBinding::kWeak);
  EXPECT_EQ(find("b").visibility, Visibility::kHidden);
  EXPECT_EQ(find("_start").role, GlobalMemory::kUndefined);
  EXPECT_EQ(find("c").role, GlobalMemory::kCommon);
  EXPECT_EQ(find("c").value, 24u);
  EXPECT_EQ(find("c").alignment, 3u) << "as a power of two";
  EXPECT_EQ(find("five").role, GlobalMemory::kAbsolute);
  EXPECT_EQ(find("five").value, 5u);
  ASSERT_EQ(diff.globals.size(), 6u);
  EXPECT_FALSE(diff.globals.back().symbol.valid()) << "names that the session does not know come last";
}

}  // namespace
}  // namespace kitlink
