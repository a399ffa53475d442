#include "core/session/gate.h"

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;
using testing::HotMemory;
using testing::ObjBuilder;
using testing::SectionSpec;
using testing::SymbolSpec;

constexpr char kReturn[] = "\xc3";
const std::string kCall("\xe8\0\0\0\0\xc3", 6);

SymbolSpec Kind(unsigned char type, unsigned char binding = STB_GLOBAL,
                unsigned char visibility = STV_DEFAULT) {
  SymbolSpec spec;
  spec.type = type;
  spec.binding = binding;
  spec.visibility = visibility;
  return spec;
}

SectionSpec With(absl::string_view like, uint64_t flags, uint64_t alignment = 1) {
  SectionSpec spec = testing::SpecForName(like);
  spec.flags ^= flags;
  spec.alignment = alignment;
  return spec;
}

// work() calls helper(), which start.o defines, and has a static function and data beside it.
ObjBuilder Work(const std::string& body = kCall) {
  return ObjBuilder()
      .Section(".text.work", body)
      .Symbol("work", ".text.work")
      .Reloc(".text.work", 1, R_X86_64_PLT32, "helper", -4)
      .Section(".text.local", kReturn)
      .Symbol("local", ".text.local", Kind(STT_FUNC, STB_LOCAL))
      .Section(".data.value", "12345678")
      .Symbol("value", ".data.value")
      .StackNote();
}

class GateTest : public ::testing::Test {
 protected:
  void Link(const ObjBuilder& work, std::vector<std::string> arguments = {"start.o", "work.o"}) {
    hot_.files.Put("start.o", ObjBuilder()
                                  .Section(".text._start", kCall)
                                  .Symbol("_start", ".text._start")
                                  .Reloc(".text._start", 1, R_X86_64_PLT32, "helper", -4)
                                  .Section(".text.helper", kReturn)
                                  .Symbol("helper", ".text.helper")
                                  .Section(".text.other", kReturn)
                                  .Symbol("other", ".text.other")
                                  .Reloc(".text.other", 0, R_X86_64_NONE, "work", 0)
                                  .StackNote()
                                  .Build());
    hot_.files.Put("work.o", work.Build());
    hot_.Link(std::move(arguments));
    ASSERT_NE(hot_.memory, nullptr);
  }

  std::optional<GateRefusal> Check(std::vector<UnitDiff> diffs) {
    auto result = CheckStrictGate(*hot_.memory, std::move(diffs));
    if (auto* refusal = std::get_if<GateRefusal>(&result)) return *std::move(refusal);
    return std::nullopt;
  }
  std::optional<GateRefusal> Check(const ObjBuilder& now) {
    std::vector<UnitDiff> diffs;
    diffs.push_back(hot_.Diff("work.o", now));
    return Check(std::move(diffs));
  }

  void ExpectPass(const ObjBuilder& now) {
    const auto refusal = Check(now);
    EXPECT_FALSE(refusal) << Describe(refusal->reason).name << ": " << refusal->detail;
  }

  // `detail` is what the refusal must name.
  void ExpectRefusal(const ObjBuilder& now, GateReason reason, const std::string& detail) {
    const auto refusal = Check(now);
    ASSERT_TRUE(refusal) << "nothing of " << detail;
    EXPECT_EQ(Describe(refusal->reason).name, Describe(reason).name) << refusal->detail;
    EXPECT_THAT(refusal->detail, HasSubstr(detail));
  }

  HotMemory hot_;
};

TEST_F(GateTest, LocalChangesPass) {
  Link(Work());
  ExpectPass(Work());
  ExpectPass(Work(kCall + std::string(500, '\x90')));
  ExpectPass(Work().Section(".text.more", kReturn).Section(".data.more", "1234").Section(".bss.more", ""));
  ExpectPass(ObjBuilder()
                 .Section(".data.value", "123456789012")
                 .Symbol("value", ".data.value")
                 .Section(".text.work", kCall)
                 .Symbol("work", ".text.work")
                 .Reloc(".text.work", 1, R_X86_64_PLT32, "helper", -4)
                 .StackNote());
}

TEST_F(GateTest, NothingChangedPasses) {
  Link(Work());
  EXPECT_FALSE(Check(std::vector<UnitDiff>()));
}

TEST_F(GateTest, APassHandsTheUnitsOn) {
  Link(Work());
  std::vector<UnitDiff> diffs;
  diffs.push_back(hot_.Diff("work.o", Work()));
  auto result = CheckStrictGate(*hot_.memory, std::move(diffs));
  ASSERT_TRUE(std::holds_alternative<GatePass>(result));
  GatePass& pass = std::get<GatePass>(result);
  ASSERT_EQ(pass.units().size(), 1u);
  EXPECT_EQ(pass.units()[0].unit, hot_.UnitOf("work.o"));
  EXPECT_NE(std::move(pass).TakeUnits()[0].object, nullptr);
}

TEST_F(GateTest, OneUnitRefusesForAll) {
  Link(Work());
  std::vector<UnitDiff> diffs;
  diffs.push_back(hot_.Diff("work.o", Work()));
  diffs.push_back(hot_.Diff(
      "start.o", ObjBuilder().Section(".text._start", kReturn).Symbol("_start", ".text._start").StackNote()));
  const auto refusal = Check(std::move(diffs));
  ASSERT_TRUE(refusal);
  EXPECT_NE(refusal->reason, GateReason::kNone);
}

TEST_F(GateTest, UnitNotCaptured) {
  Link(Work());
  hot_.unit("work.o").captured = false;
  ExpectRefusal(Work(), GateReason::kUnitNotCaptured, "work.o");
}

TEST_F(GateTest, DefinedNames) {
  Link(Work());
  ExpectRefusal(Work().Symbol("extra", ".text.work"), GateReason::kDefinedSetChanged, "extra");
  ExpectRefusal(Work().Symbol("helper", ".text.local"), GateReason::kDefinedSetChanged, "helper");
  ExpectRefusal(Work().Symbol("_start", ".text.local"), GateReason::kDefinedSetChanged, "_start is new");
  const ObjBuilder without = ObjBuilder()
                                 .Section(".text.work", kCall)
                                 .Symbol("work", ".text.work", Kind(STT_FUNC, STB_LOCAL))
                                 .Reloc(".text.work", 1, R_X86_64_PLT32, "helper", -4)
                                 .Section(".data.value", "12345678")
                                 .Symbol("value", ".data.value")
                                 .StackNote();
  ExpectRefusal(without, GateReason::kDefinedSetChanged, "work is gone");
  const ObjBuilder undefined = ObjBuilder()
                                   .Section(".text.local", kCall)
                                   .Reloc(".text.local", 1, R_X86_64_PLT32, "helper", -4)
                                   .Undefined("work")
                                   .Section(".data.value", "12345678")
                                   .Symbol("value", ".data.value")
                                   .StackNote();
  ExpectRefusal(undefined, GateReason::kDefinedSetChanged, "work");
}

TEST_F(GateTest, HowANameIsDefined) {
  auto with = [](SymbolSpec spec) {
    return Work().Section(".text.f", std::string("\xc3\xc3")).Symbol("f", ".text.f", spec);
  };
  Link(with(Kind(STT_FUNC)));
  ExpectPass(with(Kind(STT_FUNC)));
  ExpectRefusal(with(Kind(STT_FUNC, STB_WEAK)), GateReason::kDefinedSetChanged, "f changed its binding");
  ExpectRefusal(with(Kind(STT_FUNC, STB_GLOBAL, STV_HIDDEN)), GateReason::kSymbolKindChanged,
                "f changed its visibility");
  ExpectRefusal(with(Kind(STT_OBJECT)), GateReason::kSymbolKindChanged, "f changed its type");
  ExpectRefusal(with(Kind(STT_GNU_IFUNC)), GateReason::kSymbolKindChanged, "f changed its type");
  SymbolSpec elsewhere = Kind(STT_FUNC);
  elsewhere.value = 1;
  ExpectPass(with(elsewhere));
}

TEST_F(GateTest, AbsoluteNames) {
  Link(Work().Absolute("five", 5));
  ExpectPass(Work().Absolute("five", 5));
  ExpectRefusal(Work().Absolute("five", 6), GateReason::kDefinedSetChanged, "five");
  ExpectRefusal(Work().Symbol("five", ".data.value"), GateReason::kDefinedSetChanged, "five");
}

TEST_F(GateTest, UndefinedNames) {
  Link(Work());
  ExpectRefusal(Work().Undefined("never_seen"), GateReason::kUndefinedSetChanged, "never_seen");
  ExpectRefusal(Work().Undefined("other"), GateReason::kUndefinedSetChanged, "other is new");
  const ObjBuilder without = ObjBuilder()
                                 .Section(".text.work", kReturn)
                                 .Symbol("work", ".text.work")
                                 .Section(".data.value", "12345678")
                                 .Symbol("value", ".data.value")
                                 .StackNote();
  ExpectRefusal(without, GateReason::kUndefinedSetChanged, "helper is gone");
  const ObjBuilder weak = ObjBuilder(without).Undefined("helper", STB_WEAK);
  ExpectRefusal(weak, GateReason::kUndefinedSetChanged, "helper changed its binding");
}

TEST_F(GateTest, CommonSymbols) {
  Link(Work().Common("shared", 16, 8));
  ExpectPass(Work().Common("shared", 16, 8));
  ExpectRefusal(Work().Common("shared", 24, 8), GateReason::kCommonChanged, "shared");
  ExpectRefusal(Work().Common("shared", 16, 16), GateReason::kCommonChanged, "shared");
  ExpectRefusal(Work(), GateReason::kCommonChanged, "shared is gone");
  ExpectRefusal(Work().Symbol("shared", ".data.value"), GateReason::kDefinedSetChanged, "shared");
  ExpectRefusal(Work().Common("shared", 16, 8).Common("more", 4, 4), GateReason::kCommonChanged, "more");
}

ObjBuilder WithGroup(const ObjBuilder& work, const std::string& signature) {
  return ObjBuilder(work)
      .Section(".text.inline", kReturn, With(".text", SHF_GROUP))
      .Symbol(signature, ".text.inline", Kind(STT_FUNC, STB_WEAK))
      .Group(signature, {".text.inline"});
}

TEST_F(GateTest, ComdatGroups) {
  Link(WithGroup(Work(), "inline"));
  ExpectPass(WithGroup(Work(), "inline"));
  // The names are as they were; only that they form no group any more is new.
  ExpectRefusal(
      Work().Section(".text.inline", kReturn).Symbol("inline", ".text.inline", Kind(STT_FUNC, STB_WEAK)),
      GateReason::kComdatSetChanged, "work.o");
}

TEST_F(GateTest, PropertiesOfTheWholeUnit) {
  Link(Work());
  ExpectRefusal(
      ObjBuilder(Work()).Section(".note.gnu.property", std::string("\4\0\0\0\x10\0\0\0\5\0\0\0GNU\0"
                                                                   "\2\0\0\xc0\4\0\0\0\3\0\0\0\0\0\0\0",
                                                                   32)),
      GateReason::kAggregateChanged, "work.o");
  const ObjBuilder no_note = ObjBuilder()
                                 .Section(".text.work", kCall)
                                 .Symbol("work", ".text.work")
                                 .Reloc(".text.work", 1, R_X86_64_PLT32, "helper", -4)
                                 .Section(".data.value", "12345678")
                                 .Symbol("value", ".data.value");
  ExpectRefusal(no_note, GateReason::kAggregateChanged, "work.o");
}

TEST_F(GateTest, ThreadLocalStorage) {
  auto with = [](const std::string& data, uint64_t bss) {
    return Work().Section(".tdata.x", data).Bss(".tbss.y", bss);
  };
  Link(with("1234", 8));
  ExpectPass(with("4321", 8));
  ExpectRefusal(with("12345", 8), GateReason::kTlsChanged, ".tdata.x");
  ExpectRefusal(with("1234", 16), GateReason::kTlsChanged, ".tbss.y");
  ExpectRefusal(with("1234", 8).Section(".tdata.z", "1"), GateReason::kTlsChanged, ".tdata.z");
  ExpectPass(with("1234", 8).Section(".tdata.z", ""));
  ExpectRefusal(Work().Section(".tdata.x", "1234"), GateReason::kTlsChanged, ".tbss.y");
  ExpectRefusal(Work().Section(".tdata.x", "1234", With(".tdata", 0, 16)).Bss(".tbss.y", 8),
                GateReason::kTlsChanged, ".tdata.x");
}

TEST_F(GateTest, SectionsWithoutRoom) {
  const std::string row(8, '\0');
  Link(Work().Section(".init_array", row));
  ExpectPass(Work().Section(".init_array", row));
  ExpectRefusal(Work().Section(".init_array", row + row), GateReason::kExactSectionChanged, ".init_array");
  ExpectRefusal(Work(), GateReason::kExactSectionChanged, ".init_array");
  ExpectRefusal(Work().Section(".init_array", row).Section(".init_array.100", row),
                GateReason::kExactSectionChanged, ".init_array.100");
  ExpectRefusal(Work().Section(".init_array", row).Section(".fini_array", row),
                GateReason::kExactSectionChanged, ".fini_array");
  ExpectRefusal(Work().Section(".init_array", row, With(".init_array", 0, 32)),
                GateReason::kExactSectionChanged, ".init_array");
}

TEST_F(GateTest, SectionsThatBecomeSomethingElse) {
  Link(Work().Section(".data.kind", "1234").Section(".mine", "1234"));
  ExpectPass(Work().Section(".data.kind", "12345").Section(".mine", "4321"));
  ExpectRefusal(Work().Section(".data.kind", "1234", With(".data", SHF_WRITE)).Section(".mine", "1234"),
                GateReason::kUnsupportedSection, ".data.kind) changed its kind");
  ExpectRefusal(Work().Section(".data.kind", "1234", With(".data", SHF_EXECINSTR)).Section(".mine", "1234"),
                GateReason::kUnsupportedSection, ".data.kind) changed its kind");
  SectionSpec zeros = With(".data", 0);
  zeros.type = SHT_NOBITS;
  zeros.nobits_size = 4;
  ExpectRefusal(Work().Section(".data.kind", "", zeros).Section(".mine", "1234"),
                GateReason::kUnsupportedSection, ".data.kind) changed its kind");
  ExpectRefusal(Work().Section(".data.kind", "1234").Section(".mine", "12345"),
                GateReason::kUnsupportedSection, ".mine");
  ExpectRefusal(Work().Section(".data.kind", "1234").Section(".mine", "1234").Section(".mine.too", "1"),
                GateReason::kUnsupportedSection, ".mine.too");
}

TEST_F(GateTest, LivenessUnderGarbageCollection) {
  // What is live hangs on work(), what is dead on nothing.
  auto with = [](const std::string& target) {
    return Work()
        .Section(".text.dead", kReturn)
        .Symbol("dead", ".text.dead", Kind(STT_FUNC, STB_LOCAL))
        .Section(".text.kept", kReturn)
        .Symbol("kept", ".text.kept", Kind(STT_FUNC, STB_LOCAL))
        .Section(".text.user", std::string("\xe8\0\0\0\0\xe8\0\0\0\0\xc3", 11))
        .Symbol("user", ".text.user")
        .Reloc(".text.user", 1, R_X86_64_PLT32, "kept", -4)
        .Reloc(".text.user", 6, R_X86_64_PLT32, target, -4);
  };
  Link(with("kept"), {"--gc-sections", "-u", "user", "-u", "work", "start.o", "work.o"});
  ExpectPass(with("kept"));
  ExpectRefusal(with("dead"), GateReason::kLivenessChanged, ".text.user");
  ExpectRefusal(with("kept").Section(".text.more", kReturn), GateReason::kLivenessChanged, ".text.more");
  ExpectRefusal(Work(), GateReason::kDefinedSetChanged, "user");
}

TEST_F(GateTest, LiveSectionGoes) {
  constexpr uint64_t kRetain = uint64_t{1} << 21;  // SHF_GNU_RETAIN
  Link(Work().Section(".data.kept", "1234", With(".data", kRetain)),
       {"--gc-sections", "-u", "work", "start.o", "work.o"});
  ExpectPass(Work().Section(".data.kept", "12345", With(".data", kRetain)));
  ExpectRefusal(Work(), GateReason::kLivenessChanged, ".data.kept");
}

TEST_F(GateTest, LiveSectionThatTakesTheNameOfADeadOne) {
  // Two sections whose names are made equal after linking, one dead: in the other order, each stands for the
  // other.
  auto with = [](bool swapped) {
    ObjBuilder object = Work();
    const std::string dead = swapped ? ".text.q" : ".text.p", live = swapped ? ".text.p" : ".text.q";
    object.Section(".text.p", kReturn)
        .Section(".text.q", kReturn)
        .Symbol("dead", dead, Kind(STT_FUNC, STB_LOCAL))
        .Symbol("live", live, Kind(STT_FUNC, STB_LOCAL))
        .Section(".text.user", kCall)
        .Symbol("user", ".text.user")
        .Reloc(".text.user", 1, R_X86_64_PLT32, "live", -4);
    return object;
  };
  auto rename = [](std::unique_ptr<ObjectFile> object) {
    for (InputSection& section : object->sections) {
      if (section.name == ".text.p" || section.name == ".text.q") section.name = ".text.x";
    }
    return object;
  };
  Link(with(false), {"--gc-sections", "-u", "user", "-u", "work", "start.o", "work.o"});
  for (AtomMemory& atom : hot_.unit("work.o").atoms) {
    if (atom.name == ".text.p" || atom.name == ".text.q") atom.name = ".text.x";
  }
  std::vector<UnitDiff> same, swapped;
  same.push_back(hot_.Diff("work.o", rename(testing::ReadBytes(with(false).Build()))));
  EXPECT_FALSE(Check(std::move(same)));
  swapped.push_back(hot_.Diff("work.o", rename(testing::ReadBytes(with(true).Build()))));
  const auto refusal = Check(std::move(swapped));
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->reason, GateReason::kLivenessChanged) << refusal->detail;
}

TEST_F(GateTest, WithoutGarbageCollectionReferencesAreFree) {
  Link(Work().Section(".text.user", kCall).Reloc(".text.user", 1, R_X86_64_PLT32, "local", -4));
  ExpectPass(Work().Section(".text.user", kCall).Reloc(".text.user", 1, R_X86_64_PLT32, "work", -4));
}

}  // namespace
}  // namespace kitlink
