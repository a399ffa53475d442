#include "core/session/import_needs.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/session/gate.h"
#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;
using testing::HotMemory;
using testing::ObjBuilder;
using testing::SymbolSpec;

class ImportNeedsTest : public ::testing::Test {
 protected:
  // _start, with a field of this type for a library's function, or none.
  static ObjBuilder Start(uint32_t type) {
    SymbolSpec spec;
    spec.type = STT_FUNC;
    ObjBuilder object;
    object.StackNote().Section(".text", std::string(16, '\x90')).Symbol("_start", ".text", spec);
    if (type != kNoField) object.Undefined("away").Reloc(".text", 4, type, "away", -4);
    return object;
  }
  static constexpr uint32_t kNoField = 0xffffffffu;

  std::variant<GatePass, GateRefusal> Check(const std::vector<std::string>& options, uint32_t type) {
    SymbolSpec spec;
    spec.type = STT_FUNC;
    hot_.PutLibrary("libS.so", ObjBuilder().StackNote().Section(".text", std::string(4, '\x90')).Symbol("away", ".text", spec));
    hot_.files.Put("a.o", Start(kNoField).Build());
    std::vector<std::string> arguments = options;
    arguments.insert(arguments.end(), {"-dynamic-linker", "/lib/ld.so", "a.o", "libS.so"});
    hot_.Link(arguments);
    std::unique_ptr<ObjectFile> object = testing::ReadBytes(Start(type).Build(), "a.o");
    InternNames(hot_.UnitOf("a.o"), object.get(), hot_.memory.get());
    diffs_.clear();
    diffs_.push_back(hot_.Diff("a.o", std::move(object)));
    return CheckExactGate(*hot_.memory, &diffs_);
  }

  HotMemory hot_;
  std::vector<UnitDiff> diffs_;
};

TEST_F(ImportNeedsTest, ACallNeedsARow) {
  for (const char* option : {"--gc-sections", "--no-gc-sections"}) {
    auto gate = Check({option}, R_X86_64_PLT32);
    ASSERT_TRUE(std::holds_alternative<GatePass>(gate)) << std::get<GateRefusal>(gate).detail;
    const std::vector<NameChanges::Imported>& imported = std::get<GatePass>(gate).names().imported;
    ASSERT_EQ(imported.size(), 1u);
    EXPECT_FALSE(imported[0].dormant);
  }
}

TEST_F(ImportNeedsTest, AFieldOfNoWidthDoesNot) {
  auto collected = Check({"--gc-sections"}, R_X86_64_NONE);
  ASSERT_TRUE(std::holds_alternative<GatePass>(collected)) << std::get<GateRefusal>(collected).detail;
  ASSERT_EQ(std::get<GatePass>(collected).names().imported.size(), 1u);
  EXPECT_TRUE(std::get<GatePass>(collected).names().imported[0].dormant);
  auto plain = Check({}, R_X86_64_NONE);
  ASSERT_TRUE(std::holds_alternative<GateRefusal>(plain));
  EXPECT_EQ(std::get<GateRefusal>(plain).reason, GateReason::kImportSetChanged);
  EXPECT_THAT(std::get<GateRefusal>(plain).detail, HasSubstr("away is not needed at run time"));
}

}  // namespace
}  // namespace kitlink
