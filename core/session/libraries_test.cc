// What a session makes of a shared library that was built anew.
#include "core/session/libraries.h"

#include <elf.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/input/command_line.h"
#include "core/input/testing/obj_builder.h"
#include "core/session/cold.h"
#include "core/session/memory.h"
#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::HotMemory;
using testing::ObjBuilder;

SharedSymbol Symbol(absl::string_view name, absl::string_view version = "", SymbolType type = SymbolType::kFunction) {
  SharedSymbol symbol;
  symbol.name = name;
  symbol.version = version;
  symbol.type = type;
  return symbol;
}

class LibrariesTest : public ::testing::Test {
 protected:
  static ObjBuilder Defines(const std::vector<std::string>& names) {
    ObjBuilder object;
    object.StackNote();
    for (const std::string& name : names) {
      object.Section(".text." + name, "\xc3").Symbol(name, ".text." + name, {0, 1, STB_GLOBAL, STT_FUNC, STV_DEFAULT});
    }
    return object;
  }

  // A program that defines `own`, imports `used` of libS.so and names `maybe` weakly.
  void SetUp() override {
    MemoryFiles files;
    Diagnostics diagnostics;
    files.Put("in.o", Defines({"used", "spare"}).Build());
    auto options = ParseCommandLine({"-shared", "-soname", "libS.so", "-o", "libS.so", "in.o"}, files, diagnostics);
    ASSERT_TRUE(options.ok());
    absl::StatusOr<ColdLink> link = PlanColdLink(*options, files, diagnostics);
    ASSERT_TRUE(link.ok());
    std::vector<uint8_t> image(link->image->size());
    ASSERT_TRUE(link->image->Write(absl::MakeSpan(image), diagnostics).ok());
    hot_.files.Put("libS.so", image);
    hot_.files.Put("start.o", Defines({"_start", "own"}).Undefined("used").Undefined("maybe", STB_WEAK).Build());
    hot_.Link({"start.o", "libS.so"});
    ASSERT_NE(hot_.memory, nullptr);
    now_.path = "libS.so";
    now_.soname = "libS.so";
    now_.defined = {Symbol("used"), Symbol("spare")};
  }

  SymbolId Id(absl::string_view name) { return hot_.memory->Intern(name); }
  bool Shared(absl::string_view name) { return hot_.memory->symbols[Id(name).value].shared; }

  // What applying `now_` says; `keep` makes it last.
  std::optional<GateRefusal> Apply(bool keep = false) {
    LibraryUpdate update(hot_.memory.get());
    std::optional<GateRefusal> refusal = update.Apply(0, now_);
    reconsider_ = update.reconsider();
    if (keep) update.Keep();
    return refusal;
  }
  void Refused(const std::string& detail) {
    const std::optional<GateRefusal> refusal = Apply();
    ASSERT_TRUE(refusal) << detail;
    EXPECT_EQ(refusal->reason, GateReason::kSharedLibraryChanged);
    EXPECT_THAT(refusal->detail, HasSubstr(detail));
  }

  HotMemory hot_;
  SharedFile now_;
  std::vector<SymbolId> reconsider_;
};

TEST_F(LibrariesTest, TheSameAgainIsNothing) {
  now_.defined[0].value = 77;  // where it is does not matter
  EXPECT_FALSE(Apply());
  EXPECT_THAT(reconsider_, IsEmpty());
}

TEST_F(LibrariesTest, NamesThatNobodyUsesComeAndGo) {
  now_.defined[1] = Symbol("fresh");
  EXPECT_FALSE(Apply());
  EXPECT_THAT(reconsider_, IsEmpty());
  EXPECT_TRUE(Shared("spare")) << "it was not kept";
  EXPECT_FALSE(Shared("fresh"));
  EXPECT_FALSE(hot_.memory->library_offers.contains(Id("fresh")));
  EXPECT_FALSE(Apply(true));
  EXPECT_FALSE(Shared("spare"));
  EXPECT_FALSE(hot_.memory->library_offers.contains(Id("spare")));
  EXPECT_TRUE(Shared("fresh"));
  EXPECT_TRUE(hot_.memory->library_offers.contains(Id("fresh")));
  EXPECT_FALSE(Apply());
}

TEST_F(LibrariesTest, NamesOfTheProgram) {
  now_.undefined = {"own"};
  EXPECT_FALSE(Apply());
  EXPECT_THAT(reconsider_, ElementsAre(Id("own"))) << "has to be exported";
  now_.undefined.clear();
  now_.defined.push_back(Symbol("own"));
  EXPECT_FALSE(Apply(true));
  EXPECT_THAT(reconsider_, ElementsAre(Id("own")));
  now_.defined.pop_back();
  EXPECT_FALSE(Apply());
  EXPECT_THAT(reconsider_, ElementsAre(Id("own"))) << "need not be exported any more";
}

TEST_F(LibrariesTest, WhatIsImported) {
  now_.defined[0] = Symbol("used", "V1");
  EXPECT_FALSE(Apply());
  EXPECT_THAT(reconsider_, ElementsAre(Id("used")));
  now_.defined[0] = Symbol("used", "", SymbolType::kTls);
  Refused("used, which is imported, is of another kind");
  now_.defined[0] = Symbol("other");
  Refused("used, which is imported, is gone");
}

TEST_F(LibrariesTest, AWeakReferenceThatIsSatisfiedNow) {
  now_.defined.push_back(Symbol("maybe"));
  EXPECT_FALSE(Apply());
  EXPECT_THAT(reconsider_, ElementsAre(Id("maybe")));
}

TEST(RememberLibrary, ObjectsOfOneNameMayBeCopied) {
  SharedFile file;
  file.soname = "libS.so";
  const auto add = [&](absl::string_view name, uint64_t value, uint64_t size, SymbolType type = SymbolType::kObject) {
    SharedSymbol symbol = Symbol(name, "", type);
    symbol.value = value;
    symbol.size = size;
    symbol.alignment = 16;
    file.defined.push_back(symbol);
  };
  add("alone", 0x100, 40);
  add("environ", 0x200, 8);
  add("__environ", 0x200, 8);
  add("empty", 0x300, 0);
  add("function", 0x400, 8, SymbolType::kFunction);
  add("thread", 0x500, 8, SymbolType::kTls);
  file.defined[0].readonly = true;
  std::vector<std::string> names;
  const LibraryMemory memory = RememberLibrary(file, [&](absl::string_view name) {
    const auto known = std::find(names.begin(), names.end(), name);
    const SymbolId id(static_cast<uint32_t>(known - names.begin()));
    if (known == names.end()) names.push_back(std::string(name));
    return id;
  });
  ASSERT_EQ(memory.objects.size(), 1u);
  const CopyShape& alone = memory.objects[0].second;
  EXPECT_EQ(names[memory.objects[0].first.value], "alone");
  EXPECT_EQ(alone.size, 40u);
  EXPECT_EQ(alone.alignment, 16u);
  EXPECT_TRUE(alone.readonly);
  EXPECT_EQ(alone.digest, CopyDigest(file, 0)) << "what a library that is built anew is compared with";
  EXPECT_EQ(memory.ObjectNamed(memory.objects[0].first), &alone);
}

TEST_F(LibrariesTest, WhatTheLoaderGoesBy) {
  now_.soname = "libS.so.2";
  Refused("another name for the loader");
  now_.soname = "libS.so";
  now_.needed = {"libT.so"};
  Refused("depends on other libraries");
}

}  // namespace
}  // namespace kitlink
