#include "core/session/liveness.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/session/gate.h"
#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::HotMemory;
using ::testing::IsEmpty;
using testing::ObjBuilder;
using testing::SymbolSpec;

// A function in a section of its own that calls others.
ObjBuilder Function(ObjBuilder object, const std::string& name, const std::vector<std::string>& calls) {
  SymbolSpec spec;
  spec.type = STT_FUNC;
  const std::string section = ".text." + name;
  object.Section(section, std::string(calls.size() * 5 + 1, '\x90')).Symbol(name, section, spec);
  for (size_t c = 0; c < calls.size(); ++c) object.Reloc(section, c * 5 + 1, R_X86_64_PLT32, calls[c], -4);
  return object;
}

ObjBuilder Undefined(ObjBuilder object, const std::vector<std::string>& names) {
  for (const std::string& name : names) object.Undefined(name);
  return object;
}

class LivenessTest : public ::testing::Test {
 protected:
  // b.o: f and g call each other, and h; everything else hangs on what a.o calls.
  static ObjBuilder B() {
    ObjBuilder object;
    object.StackNote();
    return Function(Function(Function(object, "f", {"g"}), "g", {"f", "h"}), "h", {});
  }
  static ObjBuilder A(const std::vector<std::string>& calls) {
    ObjBuilder object;
    object.StackNote();
    return Function(Undefined(object, {"f", "g", "h"}), "_start", calls);
  }
  void Link(const std::vector<std::string>& calls) {
    hot_.files.Put("a.o", A(calls).Build());
    hot_.files.Put("b.o", B().Build());
    hot_.Link({"--gc-sections", "a.o", "b.o"});
    ASSERT_NE(hot_.memory, nullptr);
  }

  // What the gate says of a.o as it calls these; then, when it asks for b.o, of both.
  std::variant<GatePass, GateRefusal> Check(const std::vector<std::string>& calls, bool with_b) {
    diffs_.clear();
    diffs_.push_back(hot_.Diff("a.o", A(calls)));
    if (with_b) diffs_.push_back(hot_.Diff("b.o", B()));
    return CheckExactGate(*hot_.memory, &diffs_);
  }

  std::vector<std::string> Names(const std::vector<NameChanges::Added>& list) const {
    std::vector<std::string> names;
    for (const NameChanges::Added& added : list) names.emplace_back(hot_.memory->names.Name(added.symbol));
    std::sort(names.begin(), names.end());
    return names;
  }

  HotMemory hot_;
  std::vector<UnitDiff> diffs_;
};

TEST_F(LivenessTest, WhatComesAliveIsAskedFor) {
  Link({});
  auto alone = Check({"f"}, false);
  ASSERT_TRUE(std::holds_alternative<GateRefusal>(alone));
  EXPECT_EQ(std::get<GateRefusal>(alone).reason, GateReason::kLivenessChanged);
  EXPECT_THAT(std::get<GateRefusal>(alone).rewrite, ElementsAre(hot_.UnitOf("b.o")));
  auto both = Check({"f"}, true);
  ASSERT_TRUE(std::holds_alternative<GatePass>(both)) << std::get<GateRefusal>(both).detail;
  const NameChanges& names = std::get<GatePass>(both).names();
  EXPECT_THAT(Names(names.woken), ElementsAre("f", "g", "h"));
  EXPECT_THAT(names.dormant, IsEmpty());
}

TEST_F(LivenessTest, ACycleThatNobodyEntersDies) {
  Link({"f"});
  auto both = Check({}, true);
  ASSERT_TRUE(std::holds_alternative<GatePass>(both)) << std::get<GateRefusal>(both).detail;
  EXPECT_THAT(Names(std::get<GatePass>(both).names().dormant), ElementsAre("f", "g", "h"));
}

TEST_F(LivenessTest, WhatIsReachedInAnotherWayStays) {
  Link({"f", "h"});
  auto alone = Check({"g"}, false);
  ASSERT_TRUE(std::holds_alternative<GatePass>(alone)) << std::get<GateRefusal>(alone).detail;
  EXPECT_THAT(std::get<GatePass>(alone).names().dormant, IsEmpty());
}

TEST_F(LivenessTest, APartDies) {
  Link({"f"});
  auto both = Check({"h"}, true);
  ASSERT_TRUE(std::holds_alternative<GatePass>(both)) << std::get<GateRefusal>(both).detail;
  EXPECT_THAT(Names(std::get<GatePass>(both).names().dormant), ElementsAre("f", "g"));
}

// b.o: f calls a library's function, g calls nothing.
class ImportLivenessTest : public LivenessTest {
 protected:
  static ObjBuilder Unit(const std::vector<std::string>& calls) {
    ObjBuilder object;
    object.StackNote();
    return Function(Undefined(object, {"f", "g"}), "_start", calls);
  }
  static ObjBuilder Callee(const std::vector<std::string>& calls) {
    ObjBuilder object;
    object.StackNote();
    return Function(Function(Undefined(object, {"away", "far"}), "f", {"away", "far"}), "g", calls);
  }
  void Link(const std::vector<std::string>& calls, const std::vector<std::string>& g_calls) {
    hot_.PutLibrary("libS.so", Function(Function(ObjBuilder().StackNote(), "away", {}), "far", {}));
    hot_.files.Put("a.o", Unit(calls).Build());
    hot_.files.Put("b.o", Callee(g_calls).Build());
    hot_.Link({"--gc-sections", "-dynamic-linker", "/lib/ld.so", "a.o", "b.o", "libS.so"});
    ASSERT_NE(hot_.memory, nullptr);
  }
  // What becomes of imports, as "name" or "name dormant", when a.o calls these and b.o's g those.
  std::vector<std::string> Imports(const std::vector<std::string>& calls, const std::vector<std::string>& g_calls) {
    diffs_.clear();
    diffs_.push_back(hot_.Diff("a.o", Unit(calls)));
    diffs_.push_back(hot_.Diff("b.o", Callee(g_calls)));
    auto gate = CheckExactGate(*hot_.memory, &diffs_);
    if (const auto* refusal = std::get_if<GateRefusal>(&gate)) return {refusal->detail};
    std::vector<std::string> names;
    for (const NameChanges::Imported& import : std::get<GatePass>(gate).names().imported) {
      names.push_back(absl::StrCat(hot_.memory->names.Name(import.symbol), import.dormant ? " dormant" : ""));
    }
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(ImportLivenessTest, ComeWithLiveCode) {
  Link({}, {});
  EXPECT_THAT(Imports({"g"}, {}), IsEmpty());
  EXPECT_THAT(Imports({"f"}, {}), ElementsAre("away", "far"));
  EXPECT_THAT(Imports({"g"}, {"far"}), ElementsAre("far"));
}

TEST_F(ImportLivenessTest, GoWithTheLastOfIt) {
  Link({"f", "g"}, {"far"});
  EXPECT_THAT(Imports({"f", "g"}, {}), IsEmpty());
  EXPECT_THAT(Imports({"g"}, {"far"}), ElementsAre("away dormant"));
  EXPECT_THAT(Imports({}, {"far"}), ElementsAre("away dormant", "far dormant"));
}

TEST(References, RoundTrip) {
  References references;
  references.Assign({{1, 2, References::kOwn | 2}, {}, {References::kOwn | 0}});
  references.SetDefinitions({{SymbolId(9), 2}, {SymbolId(4), 0}});
  EXPECT_EQ(references.HomeOf(SymbolId(9)), 2u);
  EXPECT_EQ(references.HomeOf(SymbolId(5)), References::kOwn);
  const References other = references.Renumbered({1, References::kOwn, 0}, 2);
  EXPECT_THAT(other.Of(1), ElementsAre(1, 2, References::kOwn | 0));
  EXPECT_THAT(other.Of(0), ElementsAre(References::kOwn | 1));
  EXPECT_EQ(other.HomeOf(SymbolId(9)), 0u);
  EXPECT_THAT(other.Of(7), IsEmpty());
}

}  // namespace
}  // namespace kitlink
