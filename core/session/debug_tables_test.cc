#include "core/session/debug_tables.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/bytes.h"
#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::HotMemory;
using testing::ObjBuilder;
using testing::ReadBytes;

constexpr char kTables[] = ".debug_str_offsets";

// Header and offsets; `length` is what the header says of it, 0 for the truth.
std::string Table(uint32_t offsets, uint32_t length = 0) {
  std::string bytes(8 + 4 * offsets, '\1');
  Store<uint32_t>(reinterpret_cast<uint8_t*>(bytes.data()), length == 0 ? static_cast<uint32_t>(bytes.size() - 4) : length);
  return bytes;
}

ObjBuilder Function(const std::string& name) {
  return ObjBuilder().Section(".text." + name, "\xc3").Symbol(name, ".text." + name).StackNote();
}
ObjBuilder WithTable(const std::string& name, const std::string& table) { return Function(name).Section(kTables, table); }

// Tables of 16 bytes, each with 128 to spare, and a unit that has none.
class DebugTablesTest : public ::testing::Test {
 protected:
  DebugTablesTest() {
    for (const char* name : {"_start", "b", "c"}) hot_.files.Put(Path(name), WithTable(name, Table(2)).Build());
    hot_.files.Put("d.o", Function("d").Build());
    hot_.Link({"--gate=exact", "_start.o", "b.o", "c.o", "d.o"});
  }

  static std::string Path(const std::string& name) { return name + ".o"; }

  SectionId HomeId() const {
    for (uint32_t s = 0; s < hot_.memory->sections.size(); ++s) {
      if (hot_.memory->sections[s].name == kTables) return SectionId(s);
    }
    ADD_FAILURE();
    return SectionId(0);
  }
  SectionMemory& Home() { return hot_.memory->sections[HomeId().value]; }

  using Changes = std::vector<std::pair<std::string, ObjBuilder>>;

  std::variant<RowLayouts, GateRefusal> Lay(const std::string& name, const ObjBuilder& now) { return Lay(Changes{{name, now}}); }
  std::variant<RowLayouts, GateRefusal> Lay(const Changes& changes) {
    std::vector<UnitDiff> diffs;
    for (const auto& [name, now] : changes) {
      std::unique_ptr<ObjectFile> object = ReadBytes(now.Build(), Path(name));
      InternNames(hot_.UnitOf(Path(name)), object.get(), hot_.memory.get());
      diffs.push_back(hot_.Diff(Path(name), std::move(object)));
    }
    auto gate = CheckExactGate(*hot_.memory, &diffs);
    if (auto* refusal = std::get_if<GateRefusal>(&gate)) return *refusal;
    RowLayouts layouts;
    if (auto refusal = LayTables(std::get<GatePass>(gate), *hot_.memory, &layouts)) return *std::move(refusal);
    return layouts;
  }
  // The one section that was laid out anew.
  RowLayout Layout(const std::string& name, const ObjBuilder& now) { return Layout(Changes{{name, now}}); }
  RowLayout Layout(const Changes& changes) {
    auto layouts = Lay(changes);
    if (auto* refusal = std::get_if<GateRefusal>(&layouts)) ADD_FAILURE() << refusal->detail;
    if (!std::holds_alternative<RowLayouts>(layouts)) return {};
    EXPECT_EQ(std::get<RowLayouts>(layouts).size(), 1u);
    return std::get<RowLayouts>(layouts)[HomeId()];
  }
  void Stays(const std::string& name, const ObjBuilder& now) {
    const auto layouts = Lay(name, now);
    ASSERT_TRUE(std::holds_alternative<RowLayouts>(layouts)) << std::get<GateRefusal>(layouts).detail;
    EXPECT_TRUE(std::get<RowLayouts>(layouts).empty());
  }
  void Refused(const std::string& name, const ObjBuilder& now, GateReason reason, const std::string& detail) {
    const auto layouts = Lay(name, now);
    ASSERT_TRUE(std::holds_alternative<GateRefusal>(layouts)) << detail;
    EXPECT_EQ(std::get<GateRefusal>(layouts).reason, reason);
    EXPECT_THAT(std::get<GateRefusal>(layouts).detail, HasSubstr(detail));
  }
  void ExpectRow(const RowLayout& layout, size_t index, const std::string& name, uint64_t offset, uint64_t end, bool changed) {
    ASSERT_LT(index, layout.rows.size());
    const RowLayout::Row& row = layout.rows[index];
    EXPECT_EQ(row.unit, hot_.UnitOf(Path(name))) << name;
    EXPECT_EQ(row.offset, offset) << name;
    EXPECT_EQ(row.offset + row.size, end) << name;
    EXPECT_EQ(row.changed, changed) << name;
  }
  AtomMemory& TableOf(const std::string& name) {
    for (AtomMemory& atom : hot_.unit(Path(name)).atoms) {
      if (atom.name == kTables) return atom;
    }
    ADD_FAILURE() << name;
    return hot_.unit(Path(name)).atoms[0];
  }

  HotMemory hot_;
};

TEST_F(DebugTablesTest, AreListedByPlaceAndReachUpToTheNext) {
  ASSERT_TRUE(Home().padded);
  ASSERT_EQ(Home().row_list.size(), 3u);
  uint64_t at = 0;
  for (size_t i = 0; i < 3; ++i) {
    const RowMemory& row = Home().row_list[i];
    EXPECT_EQ(row.unit, hot_.UnitOf(i == 0 ? "_start.o" : i == 1 ? "b.o" : "c.o"));
    const AtomMemory& atom = hot_.memory->units[row.unit.value].atoms[row.atom];
    EXPECT_EQ(atom.offset, at);
    at += atom.capacity;
  }
  EXPECT_EQ(at, Home().size);
}

TEST_F(DebugTablesTest, StayWhereTheyFit) {
  Stays("b", WithTable("b", Table(2)));
  Stays("b", WithTable("b", Table(0)));
  Stays("b", WithTable("b", Table(33)));
  Stays("d", Function("d"));
}

TEST_F(DebugTablesTest, GoBehindTheLastWhenTheyDoNot) {
  const RowLayout layout = Layout("b", WithTable("b", Table(50)));
  ASSERT_EQ(layout.rows.size(), 3u);
  EXPECT_EQ(layout.used, Home().size);
  ExpectRow(layout, 0, "_start", 0, 288, false);  // where b was, too
  ExpectRow(layout, 1, "c", 288, 432, false);     // no longer up to the end
  ExpectRow(layout, 2, "b", 432, Home().size, true);
  ASSERT_EQ(layout.places.size(), 1u);
  const auto place = layout.places.begin()->second;  // offset, size
  EXPECT_EQ(place.first, 432u);
  EXPECT_EQ(place.second, Home().size - 432);
  // One that would fill its room, too: then nothing would tell it from one that cannot be lengthened.
  ExpectRow(Layout("b", WithTable("b", Table(34))), 2, "b", 432, Home().size, true);
}

TEST_F(DebugTablesTest, ComeToUnitsThatHadNone) {
  const RowLayout layout = Layout("d", WithTable("d", Table(3)));
  ASSERT_EQ(layout.rows.size(), 4u);
  ExpectRow(layout, 2, "c", 288, 432, false);
  ExpectRow(layout, 3, "d", 432, Home().size, true);
}

TEST_F(DebugTablesTest, LeaveTheirRoomToTheOneBefore) {
  RowLayout layout = Layout("b", Function("b"));
  ASSERT_EQ(layout.rows.size(), 2u);
  ExpectRow(layout, 0, "_start", 0, 288, false);
  ExpectRow(layout, 1, "c", 288, Home().size, false);
  layout = Layout("c", Function("c"));
  ASSERT_EQ(layout.rows.size(), 2u);
  ExpectRow(layout, 1, "b", 144, Home().size, false);
}

TEST_F(DebugTablesTest, NextTakesThePlaceOfTheFirst) {
  // The unit that has it must be written anew, so that it knows.
  for (const ObjBuilder& now : {Function("_start"), WithTable("_start", Table(50))}) {
    const auto layouts = Lay("_start", now);
    ASSERT_TRUE(std::holds_alternative<GateRefusal>(layouts));
    EXPECT_THAT(std::get<GateRefusal>(layouts).rewrite, ElementsAre(hot_.UnitOf("b.o")));
  }
  RowLayout layout = Layout(Changes{{"_start", Function("_start")}, {"b", WithTable("b", Table(2))}});
  ASSERT_EQ(layout.rows.size(), 2u);
  ExpectRow(layout, 0, "b", 0, 288, true);
  ExpectRow(layout, 1, "c", 288, Home().size, false);
  layout = Layout(Changes{{"_start", WithTable("_start", Table(50))}, {"b", WithTable("b", Table(2))}});
  ASSERT_EQ(layout.rows.size(), 3u);
  ExpectRow(layout, 0, "b", 0, 288, true);
  ExpectRow(layout, 1, "c", 288, 432, false);
  ExpectRow(layout, 2, "_start", 432, Home().size, true);
}

TEST_F(DebugTablesTest, OfAllUnitsAnewBeginWhereTheFirstDid) {
  const RowLayout layout =
      Layout(Changes{{"_start", WithTable("_start", Table(50))}, {"b", Function("b")}, {"c", Function("c")}});
  ASSERT_EQ(layout.rows.size(), 1u);
  ExpectRow(layout, 0, "_start", 0, Home().size, true);
}

TEST_F(DebugTablesTest, Refusals) {
  for (const bool alone : {true, false}) {
    Changes all{{"_start", alone ? WithTable("_start", Table(2000)) : Function("_start")}, {"b", Function("b")}, {"c", Function("c")}};
    const auto layouts = Lay(all);
    ASSERT_TRUE(std::holds_alternative<GateRefusal>(layouts));
    EXPECT_THAT(std::get<GateRefusal>(layouts).detail, HasSubstr(alone ? "no room left" : "the last table went"));
    EXPECT_TRUE(std::get<GateRefusal>(layouts).rewrite.empty());
  }
  Refused("b", WithTable("b", Table(2000)), GateReason::kSlackExhausted, "no room left");
  // Two tables in one section, or none that readers would know.
  Refused("b", WithTable("b", Table(3, 4)), GateReason::kUnsupportedSection, "cannot be lengthened");
  Refused("b", WithTable("b", std::string(6, '\1')), GateReason::kUnsupportedSection, "cannot be lengthened");
}

TEST_F(DebugTablesTest, HeadersAndPaddingFollow) {
  RowLayouts layouts;
  layouts[HomeId()] = Layout("b", WithTable("b", Table(50)));
  // An image in which every table reaches up to the next.
  const auto read = [&](uint64_t offset, MutableBytes into) {
    std::fill(into.begin(), into.end(), uint8_t{7});
    EXPECT_TRUE(offset == Home().offset || offset == Home().offset + 288);
    Store<uint32_t>(into.data(), static_cast<uint32_t>(into.size() - 4));
    return absl::OkStatus();
  };
  std::vector<Mutation> mutations;
  ASSERT_TRUE(WriteTables(*hot_.memory, layouts, read, &mutations).ok());
  ASSERT_EQ(mutations.size(), 2u);  // b's own is written with the unit
  EXPECT_EQ(mutations[0].offset, Home().offset);
  ASSERT_EQ(mutations[0].bytes.size(), 288u);
  EXPECT_EQ(Load<uint32_t>(mutations[0].bytes.data()), 284u);
  EXPECT_EQ(mutations[0].bytes[143], 7);
  EXPECT_EQ(mutations[0].bytes[144], 0);
  EXPECT_EQ(mutations[1].offset, Home().offset + 288);
  ASSERT_EQ(mutations[1].bytes.size(), 144u);
  EXPECT_EQ(Load<uint32_t>(mutations[1].bytes.data()), 140u);

  const auto garbage = [](uint64_t, MutableBytes into) {
    std::fill(into.begin(), into.end(), uint8_t{7});
    return absl::OkStatus();
  };
  EXPECT_EQ(WriteTables(*hot_.memory, layouts, garbage, &mutations).code(), absl::StatusCode::kFailedPrecondition);
  const auto gone = [](uint64_t, MutableBytes) { return absl::InternalError("gone"); };
  EXPECT_EQ(WriteTables(*hot_.memory, layouts, gone, &mutations).code(), absl::StatusCode::kInternal);
}

TEST_F(DebugTablesTest, AreRememberedAsTheyWereLaid) {
  RowLayouts layouts;
  layouts[HomeId()] = Layout("b", WithTable("b", Table(50)));
  TableOf("b").offset = 432;
  TableOf("b").size = 208;
  AdoptTables(layouts, hot_.memory.get());
  ASSERT_EQ(Home().row_list.size(), 3u);
  EXPECT_EQ(Home().row_list[1].unit, hot_.UnitOf("c.o"));
  EXPECT_EQ(Home().row_list[2].unit, hot_.UnitOf("b.o"));
  EXPECT_EQ(TableOf("_start").capacity, 288u);
  EXPECT_EQ(TableOf("c").capacity, 144u);
  EXPECT_EQ(TableOf("b").capacity, Home().size - 432);
  // And the next one is laid out from there.
  const RowLayout layout = Layout("c", Function("c"));
  ASSERT_EQ(layout.rows.size(), 2u);
  ExpectRow(layout, 0, "_start", 0, 432, false);
  ExpectRow(layout, 1, "b", 432, Home().size, false);
}

TEST_F(DebugTablesTest, AreFoundAmongTheAtomsOfAUnitThatWasWrittenAnew) {
  std::vector<AtomMemory>& atoms = hot_.unit("b.o").atoms;
  const uint32_t before = Home().row_list[1].atom;
  ASSERT_EQ(atoms[before].name, kTables);
  atoms.insert(atoms.begin(), AtomMemory());
  atoms[0].state = AtomMemory::kDead;
  RenumberTables(hot_.UnitOf("b.o"), hot_.memory.get());
  EXPECT_EQ(Home().row_list[1].atom, before + 1);
  EXPECT_EQ(Home().row_list[0].unit, hot_.UnitOf("_start.o"));
}

}  // namespace
}  // namespace kitlink
