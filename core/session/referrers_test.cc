#include "core/session/referrers.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::BuildArchive;
using ::testing::ElementsAre;
using testing::HotMemory;
using ::testing::IsEmpty;
using testing::ObjBuilder;
using ::testing::UnorderedElementsAre;

constexpr char kReturn[] = "\xc3";
constexpr size_t kMany = 100;

ObjBuilder Defines(const std::string& name) {
  return ObjBuilder().Section(".text." + name, kReturn).Symbol(name, ".text." + name).StackNote();
}

// start.o defines _start and target; a.o, b.o and the member m.o name target, c.o does not.
class ReferrersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    hot_.files.Put(
        "start.o",
        Defines("_start").Section(".text.target", kReturn).Symbol("target", ".text.target").Build());
    hot_.files.Put("a.o", A().Build());
    hot_.files.Put("b.o", Defines("b").Undefined("target").Undefined("m").Build());
    hot_.files.Put("c.o", Defines("c").Build());
    PutArchive("");
    hot_.Link({"start.o", "a.o", "b.o", "c.o", "liba.a"});
    ASSERT_NE(hot_.memory, nullptr);
  }

  static ObjBuilder A() { return Defines("a").Undefined("target"); }

  // Two members of one name, of which the second takes part.
  void PutArchive(const std::string& more) {
    const ObjBuilder spare = Defines("spare").Section(".data.more", more);
    hot_.files.Put("liba.a",
                   BuildArchive({{"m.o", spare.Build(), {"spare"}}, {"m.o", Member().Build(), {"m"}}}));
  }
  static ObjBuilder Member() { return Defines("m").Undefined("target"); }

  UnitId MemberUnit() { return hot_.memory->files[hot_.memory->file_of.at("liba.a")].units.at(0); }
  uint32_t FileOf(const std::string& path) { return hot_.memory->file_of.at(path); }
  void Trust(const std::string& path) {
    hot_.memory->files[FileOf(path)].stamp = hot_.files.Stat(path).value();
  }

  std::optional<ChangedUnits> Read(const absl::flat_hash_set<UnitId>& known, size_t most = kMany) {
    return ReadReferrers(*hot_.memory, {hot_.memory->names.Find("target")}, known, most, hot_.files, read_);
  }
  std::optional<ChangedUnits> ReadOne(UnitId unit) {
    return ReadUnits(*hot_.memory, {unit}, kMany, hot_.files, read_);
  }

  ChangedUnits read_;  // by the relink, so far

  static std::vector<UnitId> Units(const ChangedUnits& read) {
    std::vector<UnitId> units;
    for (const auto& [unit, object] : read.units) units.push_back(unit);
    return units;
  }

  HotMemory hot_;
};

TEST_F(ReferrersTest, AreThoseThatNameTheSymbol) {
  const UnitId start = hot_.UnitOf("start.o"), a = hot_.UnitOf("a.o"), b = hot_.UnitOf("b.o");
  auto read = Read({start});
  ASSERT_TRUE(read);
  EXPECT_THAT(Units(*read), UnorderedElementsAre(a, b, MemberUnit()));
  EXPECT_EQ(read->bytes.size(), 3u);
  uint64_t size = 0;
  for (const auto& bytes : read->bytes) size += bytes->bytes().size();
  EXPECT_EQ(read->bytes_read, size);
  std::vector<uint32_t> files;
  for (const auto& [file, stamp] : read->stamps) {
    files.push_back(file);
    EXPECT_TRUE(stamp == hot_.memory->files[file].stamp);
  }
  EXPECT_THAT(files, UnorderedElementsAre(FileOf("a.o"), FileOf("b.o"), FileOf("liba.a")));
  for (const auto& [unit, object] : read->units) {
    EXPECT_EQ(object->member, unit == MemberUnit() ? "m.o" : "");
    EXPECT_FALSE(object->sections.empty());
  }
  read = Read({start, a, MemberUnit()});
  ASSERT_TRUE(read);
  EXPECT_THAT(Units(*read), ElementsAre(b));
}

TEST_F(ReferrersTest, AreThoseThatStillNameIt) {
  UnitMemory& a = hot_.unit("a.o");
  std::erase_if(a.globals,
                [&](const GlobalMemory& g) { return hot_.memory->names.Name(g.symbol) == "target"; });
  auto read = Read({hot_.UnitOf("start.o")});
  ASSERT_TRUE(read);
  EXPECT_THAT(Units(*read), UnorderedElementsAre(hot_.UnitOf("b.o"), MemberUnit()));
  hot_.memory->users.Add(hot_.memory->names.Find("c"),
                         hot_.UnitOf("b.o"));  // said so once, does not any more
  auto nobody =
      ReadReferrers(*hot_.memory, {hot_.memory->names.Find("c")}, {hot_.UnitOf("c.o")}, kMany, hot_.files, read_);
  ASSERT_TRUE(nobody);
  EXPECT_THAT(Units(*nobody), IsEmpty());
}

TEST_F(ReferrersTest, AreNotTooMany) {
  EXPECT_TRUE(Read({hot_.UnitOf("start.o")}, 3));
  EXPECT_FALSE(Read({hot_.UnitOf("start.o")}, 2));
  EXPECT_FALSE(ReadUnits(*hot_.memory, {hot_.UnitOf("a.o"), hot_.UnitOf("c.o")}, 1, hot_.files, read_));
}

TEST_F(ReferrersTest, AreReadOnlyAsTheyWereLinked) {
  const UnitId a = hot_.UnitOf("a.o");
  EXPECT_TRUE(ReadOne(a));
  hot_.files.Put("a.o", A().Build());  // the same bytes, another time
  EXPECT_FALSE(ReadOne(a));
  hot_.files.Remove("a.o");
  EXPECT_FALSE(ReadOne(a));
  hot_.files.Put("a.o", "no object");
  Trust("a.o");
  EXPECT_FALSE(ReadOne(a));
}

TEST_F(ReferrersTest, MustHaveBeenCaptured) {
  hot_.unit("a.o").captured = false;
  EXPECT_FALSE(ReadOne(hot_.UnitOf("a.o")));
  hot_.unit("a.o").captured = true;
  hot_.unit("a.o").file = 0xffffffffu;  // the linker's own
  EXPECT_FALSE(ReadOne(hot_.UnitOf("a.o")));
}

TEST_F(ReferrersTest, MembersAreComparedByContent) {
  auto read = ReadOne(MemberUnit());
  ASSERT_TRUE(read);
  const std::vector<InputSymbol>& symbols = read->units.at(0).second->symbols;
  EXPECT_TRUE(std::any_of(symbols.begin(), symbols.end(),
                          [](const InputSymbol& s) { return s.name == "m" && s.defined(); }));
  // Another member changed, and the archive's stamp with it; the relink knows of that.
  PutArchive("more");
  EXPECT_FALSE(ReadOne(MemberUnit()));
  read_.stamps.push_back({FileOf("liba.a"), hot_.files.Stat("liba.a").value()});
  EXPECT_TRUE(ReadOne(MemberUnit()));
  read_.stamps.clear();
  Trust("liba.a");
  EXPECT_TRUE(ReadOne(MemberUnit()));
  hot_.memory->units[MemberUnit().value].content.low ^= 1;
  EXPECT_FALSE(ReadOne(MemberUnit()));
  hot_.memory->units[MemberUnit().value].content.low ^= 1;
  hot_.memory->units[MemberUnit().value].ordinal = 0;  // the other one of this name
  EXPECT_FALSE(ReadOne(MemberUnit()));
  hot_.memory->units[MemberUnit().value].ordinal = 2;
  EXPECT_FALSE(ReadOne(MemberUnit()));
}

}  // namespace
}  // namespace kitlink
