#include "core/session/sites.h"

#include <string>
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

constexpr uint32_t kAbs64 = 1, kPc32 = 2, kPlt32 = 4, kRexGotPcRelX = 42;
constexpr char kReturn[] = "\xc3";

// start.o defines _start, target and other; user.o refers to them.
class SitesTest : public ::testing::Test {
 protected:
  void Link(const ObjBuilder& user, std::vector<std::string> options = {}) {
    ObjBuilder start;
    for (const char* name : {"_start", "target", "other"}) {
      start.Section(std::string(".text.") + name, kReturn).Symbol(name, std::string(".text.") + name);
    }
    hot_.files.Put("start.o", start.StackNote().Build());
    hot_.files.Put("user.o", user.Build());
    options.insert(options.end(), {"start.o", "user.o"});
    hot_.Link(options);
    ASSERT_NE(hot_.memory, nullptr);
  }

  // "section+offset" of each site of a name in user.o.
  std::vector<std::string> Sites(const std::string& name) {
    const UnitMemory& unit = hot_.unit("user.o");
    const GlobalMemory* global = unit.Find(hot_.memory->names.Find(name));
    std::vector<std::string> found;
    if (global == nullptr) return found;
    unit.sites.ForEach(*hot_.memory->arch, static_cast<uint32_t>(global - unit.globals.data()), [&](const Site& site) {
      found.push_back(unit.atoms[site.atom].name + "+" + std::to_string(site.offset));
    });
    return found;
  }
  SymbolId Name(const std::string& name) { return hot_.memory->names.Find(name); }

  HotMemory hot_;
};

TEST_F(SitesTest, AreTheFieldsThatDependOnAnAddress) {
  Link(ObjBuilder()
           .Section(".text.a", std::string(32, '\x90'))
           .Reloc(".text.a", 4, kPlt32, "target", -4)
           .Reloc(".text.a", 20, kPc32, "target", 10)
           .Section(".data.p", std::string(8, '\0'))
           .Reloc(".data.p", 0, kAbs64, "target", 0)
           .Symbol("a", ".text.a")
           .Undefined("target")
           .Undefined("other")
           .StackNote());
  EXPECT_THAT(Sites("target"), ElementsAre(".text.a+4", ".text.a+20", ".data.p+0"));
  EXPECT_THAT(Sites("other"), IsEmpty());
  EXPECT_THAT(hot_.memory->site_users.Of(Name("target")), ElementsAre(hot_.UnitOf("user.o")));
  EXPECT_THAT(hot_.memory->site_users.Of(Name("other")), IsEmpty());
  EXPECT_EQ(hot_.memory->site_users.Count(Name("target")), 1u);
}

TEST_F(SitesTest, AreNotThoseOfTheUnitsOwnNames) {
  Link(ObjBuilder()
           .Section(".text.a", std::string(32, '\x90'))
           .Reloc(".text.a", 4, kPlt32, "mine", -4)
           .Section(".text.mine", kReturn)
           .Symbol("mine", ".text.mine")
           .Symbol("a", ".text.a")
           .StackNote());
  EXPECT_THAT(Sites("mine"), IsEmpty());
}

// mov target@GOTPCREL(%rip), %rax
ObjBuilder Load() {
  return ObjBuilder()
      .Section(".text.a", std::string("\x90\x90\x48\x8b\x05\0\0\0\0\xc3", 10))
      .Reloc(".text.a", 5, kRexGotPcRelX, "target", -4)
      .Symbol("a", ".text.a")
      .Undefined("target")
      .StackNote();
}

TEST_F(SitesTest, KeepWhatRelaxationRewrites) {
  Link(Load());
  const UnitMemory& unit = hot_.unit("user.o");
  std::vector<Site> sites;
  const auto global = static_cast<uint32_t>(unit.Find(Name("target")) - unit.globals.data());
  unit.sites.ForEach(*hot_.memory->arch, global, [&](const Site& site) { sites.push_back(site); });
  ASSERT_EQ(sites.size(), 1u);
  EXPECT_THAT(sites[0].lead, ElementsAre(0x48, 0x8b, 0x05, 0));
}

TEST_F(SitesTest, AreNotWhatGoesThroughACell) {
  Link(Load(), {"--move=got"});
  EXPECT_THAT(Sites("target"), IsEmpty());
}

TEST_F(SitesTest, AreInDebugInformationToo) {
  Link(ObjBuilder()
           .Section(".text.a", kReturn)
           .Symbol("a", ".text.a")
           .Section(".debug_info", std::string(16, '\0'))
           .Reloc(".debug_info", 8, kAbs64, "target", 0)
           .Undefined("target")
           .StackNote());
  EXPECT_THAT(Sites("target"), ElementsAre(".debug_info+8"));
  EXPECT_TRUE(hot_.memory->symbols[Name("target").value].described);
  EXPECT_FALSE(hot_.memory->symbols[Name("other").value].described);
}

// Debug information of a unit whose copy of a group was discarded speaks of that copy, which is nowhere.
TEST_F(SitesTest, OfOwnCopiesThatWereDiscardedAreInCodeOnly) {
  ObjBuilder first = ObjBuilder().Section(".data.t", std::string(8, 't')).Symbol("t", ".data.t").StackNote();
  ObjBuilder user = ObjBuilder()
                        .Section(".data.t", std::string(8, 't'))
                        .Symbol("t", ".data.t", {0, 8, STB_WEAK, STT_OBJECT, STV_DEFAULT})
                        .Group("t", {".data.t"})
                        .Section(".text.a", std::string(32, '\x90'))
                        .Reloc(".text.a", 4, kPc32, "t", -4)
                        .Symbol("a", ".text.a")
                        .Section(".debug_info", std::string(16, '\0'))
                        .Reloc(".debug_info", 8, kAbs64, "t", 0)
                        .StackNote();
  hot_.files.Put("first.o", first.Group("t", {".data.t"}).Build());
  Link(user, {"first.o"});
  EXPECT_THAT(Sites("t"), ElementsAre(".text.a+4"));
}

// One that lost to another unit's, without a group, is in the image, but its debug information means the winner's.
TEST_F(SitesTest, OfOwnDefinitionsThatLostAreEverywhere) {
  ObjBuilder user = ObjBuilder()
                        .Section(".data.t", std::string(8, 't'))
                        .Symbol("target", ".data.t", {0, 8, STB_WEAK, STT_OBJECT, STV_DEFAULT})
                        .Section(".debug_info", std::string(16, '\0'))
                        .Reloc(".debug_info", 8, kAbs64, "target", 0)
                        .StackNote();
  Link(user);
  EXPECT_THAT(Sites("target"), ElementsAre(".debug_info+8"));
}

TEST_F(SitesTest, OfAUnitThatWasNotCapturedMustBeRead) {
  Link(Load());
  const std::vector<SymbolId> both = {Name("target"), Name("other")};
  EXPECT_THAT(WithoutSites(*hot_.memory, both, {}), IsEmpty());
  hot_.unit("user.o").captured = false;
  EXPECT_THAT(WithoutSites(*hot_.memory, both, {}), ElementsAre(Name("target")));
  EXPECT_THAT(WithoutSites(*hot_.memory, both, {hot_.UnitOf("user.o")}), IsEmpty());
}

}  // namespace
}  // namespace kitlink
