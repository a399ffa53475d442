#include "core/session/rows.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/arch/arch.h"
#include "core/session/testing/hot_memory.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::HotMemory;
using testing::ObjBuilder;
using testing::ReadBytes;

const std::string kWord(8, '\0');
constexpr char kReturn[] = "\xc3";

// A function, and a constructor's row for it in the section `name`.
ObjBuilder Constructor(const std::string& function, const std::string& name) {
  return ObjBuilder()
      .Section(".text." + function, kReturn)
      .Symbol(function, ".text." + function)
      .Section(name, kWord, testing::SpecForName(name[0] == '.' ? name : ".data"))
      .Reloc(name, 0, R_X86_64_64, function, 0)
      .StackNote();
}

class RowsTest : public ::testing::Test {
 protected:
  void Link() {
    hot_.files.Put("start.o", Constructor("_start", ".init_array").Build());
    hot_.files.Put("b.o", Constructor("b", ".init_array.00200").Build());
    hot_.files.Put("c.o", Constructor("c", ".init_array").Build());
    hot_.Link({"--gate=exact", "start.o", "b.o", "c.o"});
  }

  const SectionMemory& Rows() const {
    for (const SectionMemory& section : hot_.memory->sections) {
      if (section.name == ".init_array") return section;
    }
    ADD_FAILURE();
    return hot_.memory->sections[0];
  }

  std::variant<RowLayouts, GateRefusal> Lay(const std::string& path, const ObjBuilder& now) {
    std::unique_ptr<ObjectFile> object = ReadBytes(now.Build(), path);
    InternNames(hot_.UnitOf(path), object.get(), hot_.memory.get());
    std::vector<UnitDiff> diffs;
    diffs.push_back(hot_.Diff(path, std::move(object)));
    auto gate = CheckExactGate(*hot_.memory, &diffs);
    if (auto* refusal = std::get_if<GateRefusal>(&gate)) return *refusal;
    return LayRows(std::get<GatePass>(gate), *hot_.memory, {});
  }

  HotMemory hot_;
};

TEST_F(RowsTest, AreListedInTheOrderOfALink) {
  Link();
  ASSERT_EQ(Rows().row_list.size(), 3u);
  EXPECT_EQ(Rows().row_list[0].unit, hot_.UnitOf("b.o"));
  EXPECT_EQ(Rows().row_list[1].unit, hot_.UnitOf("start.o"));
  EXPECT_EQ(Rows().row_list[2].unit, hot_.UnitOf("c.o"));
  EXPECT_TRUE(Rows().rows);
  EXPECT_EQ(Rows().used, 24u);
  EXPECT_EQ(Rows().size, 24u + 128u);
}

TEST_F(RowsTest, StayWhereTheyAreWhenNothingCameOrWent) {
  Link();
  const auto layouts = Lay("b.o", Constructor("b", ".init_array.00200"));
  ASSERT_TRUE(std::holds_alternative<RowLayouts>(layouts));
  EXPECT_TRUE(std::get<RowLayouts>(layouts).empty());
}

TEST_F(RowsTest, MakeRoomForWhatComes) {
  Link();
  const auto layouts = Lay("b.o", Constructor("b", ".init_array.00200").Section(".init_array", kWord).Reloc(".init_array", 0, R_X86_64_64, "b", 0));
  ASSERT_TRUE(std::holds_alternative<RowLayouts>(layouts)) << std::get<GateRefusal>(layouts).detail;
  ASSERT_EQ(std::get<RowLayouts>(layouts).size(), 1u);
  const RowLayout& layout = std::get<RowLayouts>(layouts).begin()->second;
  EXPECT_EQ(layout.used, 32u);
  ASSERT_EQ(layout.rows.size(), 4u);
  EXPECT_EQ(layout.rows[2].unit, hot_.UnitOf("b.o"));
  EXPECT_EQ(layout.rows[3].unit, hot_.UnitOf("c.o"));
  EXPECT_EQ(layout.rows[3].from, 16u);
  EXPECT_EQ(layout.rows[3].offset, 24u);
}

TEST_F(RowsTest, AreRefusedWhenThereIsNoRoom) {
  Link();
  ObjBuilder many = Constructor("b", ".init_array.00200");
  many.Section(".init_array", std::string(800, '\0'));
  const auto layouts = Lay("b.o", many);
  ASSERT_TRUE(std::holds_alternative<GateRefusal>(layouts));
  EXPECT_EQ(std::get<GateRefusal>(layouts).reason, GateReason::kExactSectionChanged);
}

TEST_F(RowsTest, AskForUnitsThatReferToTheirOwn) {
  hot_.files.Put("start.o", Constructor("_start", ".init_array").Build());
  hot_.files.Put("b.o", Constructor("b", "set").Build());
  hot_.files.Put("c.o", Constructor("c", "set").Symbol("row_of_c", "set").Build());
  hot_.Link({"--gate=exact", "start.o", "b.o", "c.o"});
  const auto layouts = Lay("b.o", ObjBuilder().Section(".text.b", kReturn).Symbol("b", ".text.b").StackNote());
  ASSERT_TRUE(std::holds_alternative<GateRefusal>(layouts));
  EXPECT_EQ(std::get<GateRefusal>(layouts).rewrite, std::vector<UnitId>{hot_.UnitOf("c.o")});
}

TEST(MovableSections, HoldAbsoluteWordsThatNobodyRefersTo) {
  const auto object = ReadBytes(ObjBuilder()
                                    .Section(".text", kReturn)
                                    .Section("plain", kWord)
                                    .Reloc("plain", 0, R_X86_64_64, ".text", 0)
                                    .Section("named", kWord)
                                    .Symbol("name", "named")
                                    .Section("relative", kWord)
                                    .Reloc("relative", 0, R_X86_64_PC32, ".text", 0)
                                    .Section("wanted", kWord)
                                    .Reloc(".text", 0, R_X86_64_64, "wanted", 0)
                                    .Build());
  const std::vector<bool> movable = MovableSections(*object, X86_64());
  for (uint32_t s = 0; s < object->sections.size(); ++s) {
    const std::string name(object->sections[s].name);
    if (name == "plain") {
      EXPECT_TRUE(movable[s]);
    } else if (name == "named" || name == "relative" || name == "wanted") {
      EXPECT_FALSE(movable[s]) << name;
    }
  }
}

}  // namespace
}  // namespace kitlink
