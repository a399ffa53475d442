#include "core/session/name_changes.h"

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/session/groups.h"
#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::BuildArchive;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::HotMemory;
using ::testing::IsEmpty;
using testing::ObjBuilder;
using testing::SymbolSpec;

constexpr char kReturn[] = "\xc3";

SymbolSpec Kind(unsigned char type, unsigned char binding = STB_GLOBAL,
                unsigned char visibility = STV_DEFAULT) {
  SymbolSpec spec;
  spec.type = type;
  spec.binding = binding;
  spec.visibility = visibility;
  return spec;
}
const SymbolSpec kWeakFunction = Kind(STT_FUNC, STB_WEAK);
const SymbolSpec kHiddenFunction = Kind(STT_FUNC, STB_GLOBAL, STV_HIDDEN);

// An object that defines functions, each in a section of its own.
ObjBuilder Defines(const std::vector<std::string>& names, const SymbolSpec& spec = Kind(STT_FUNC)) {
  ObjBuilder object;
  object.StackNote();
  for (const std::string& name : names)
    object.Section(".text." + name, kReturn).Symbol(name, ".text." + name, spec);
  return object;
}

// Adds a function in a COMDAT group of its name.
ObjBuilder WithInline(ObjBuilder object, const std::string& name) {
  testing::SectionSpec spec = testing::SpecForName(".text");
  spec.flags |= SHF_GROUP;
  return object.Section(".text." + name, kReturn, spec)
      .Symbol(name, ".text." + name, kWeakFunction)
      .Group(name, {".text." + name});
}

class NameChangesTest : public ::testing::Test {
 protected:
  using Objects = std::vector<std::pair<std::string, ObjBuilder>>;

  // start.o defines _start; the objects follow it, then `more`.
  void Link(const Objects& objects, std::vector<std::string> more = {}) {
    std::vector<std::string> arguments = {"start.o"};
    hot_.files.Put("start.o", Defines({"_start"}).Build());
    for (const auto& [path, object] : objects) {
      hot_.files.Put(path, object.Build());
      arguments.push_back(path);
    }
    arguments.insert(arguments.end(), more.begin(), more.end());
    hot_.Link(std::move(arguments));
    ASSERT_NE(hot_.memory, nullptr);
  }

  void PutLibrary(const std::string& path, const ObjBuilder& object) { hot_.PutLibrary(path, object); }

  void PutArchive(const std::string& path, const std::vector<std::pair<std::string, ObjBuilder>>& members,
                  const std::vector<std::vector<std::string>>& offers) {
    std::vector<testing::MemberSpec> specs;
    for (size_t m = 0; m < members.size(); ++m)
      specs.push_back({members[m].first, members[m].second.Build(), offers[m]});
    hot_.files.Put(path, BuildArchive(specs));
  }

  UnitId Member(const std::string& archive, const std::string& name) {
    const FileMemory& file = hot_.memory->files[hot_.memory->file_of.at(archive)];
    for (UnitId unit : file.units) {
      if (hot_.memory->units[unit.value].member == name) return unit;
    }
    ADD_FAILURE() << "no member " << name;
    return UnitId();
  }

  struct Now {
    UnitId unit;
    ObjBuilder object;
  };
  Now At(const std::string& path, const ObjBuilder& object) { return {hot_.UnitOf(path), object}; }

  // As LinkSession does.
  std::variant<NameChanges, GateRefusal> Resolve(const std::vector<Now>& now) {
    Memory& memory = *hot_.memory;
    ChangedObjects changed;
    std::vector<std::pair<UnitId, const ObjectFile*>> objects;
    for (const Now& unit : now) {
      changed.push_back({unit.unit, testing::ReadBytes(unit.object.Build(), "now.o")});
      InternNames(unit.unit, changed.back().second.get(), &memory);
      objects.push_back({unit.unit, changed.back().second.get()});
    }
    const GroupDecision decision = DecideGroups(memory, objects);
    EXPECT_THAT(decision.wanted, IsEmpty());
    diffs_ = DiffExactly(std::move(changed), decision.groups, memory);
    return ResolveNames(memory, &diffs_);
  }

  NameChanges Allowed(const std::vector<Now>& now) {
    auto result = Resolve(now);
    if (auto* refusal = std::get_if<GateRefusal>(&result)) {
      ADD_FAILURE() << Describe(refusal->reason).name << ": " << refusal->detail;
      return {};
    }
    return std::get<NameChanges>(std::move(result));
  }

  void Refused(const std::vector<Now>& now, GateReason reason, const std::string& detail) {
    auto result = Resolve(now);
    ASSERT_TRUE(std::holds_alternative<GateRefusal>(result)) << "not refused: " << detail;
    const GateRefusal& refusal = std::get<GateRefusal>(result);
    EXPECT_EQ(Describe(refusal.reason).name, Describe(reason).name) << refusal.detail;
    EXPECT_THAT(refusal.detail, HasSubstr(detail));
  }

  std::vector<std::string> Names(const std::vector<SymbolId>& ids) {
    std::vector<std::string> names;
    for (SymbolId id : ids) names.emplace_back(hot_.memory->names.Name(id));
    return names;
  }
  std::vector<std::string> Names(const std::vector<NameChanges::Added>& list) {
    std::vector<SymbolId> ids;
    for (const NameChanges::Added& added : list) ids.push_back(added.symbol);
    return Names(ids);
  }
  std::vector<std::string> Names(const std::vector<NameChanges::Imported>& list) {
    std::vector<SymbolId> ids;
    for (const NameChanges::Imported& imported : list) ids.push_back(imported.symbol);
    return Names(ids);
  }

  // Whether the diff of `unit` says that it owns `name`.
  bool Owns(UnitId unit, const std::string& name) {
    for (const UnitDiff& diff : diffs_) {
      if (diff.unit != unit) continue;
      const GlobalMemory* global = FindGlobal(diff.globals, hot_.memory->names.Find(name));
      return global != nullptr && global->owner;
    }
    return false;
  }

  std::optional<GateRefusal> Offer(const std::string& name) {
    return CheckOffers({name}, hot_.memory.get(), [](UnitId, absl::string_view) { return true; });
  }

  HotMemory hot_;
  std::vector<UnitDiff> diffs_;
};

TEST_F(NameChangesTest, NothingChangedKeepsOwners) {
  Link({{"work.o", Defines({"work"}).Undefined("_start")}});
  const NameChanges changes = Allowed({At("work.o", Defines({"work"}).Undefined("_start"))});
  EXPECT_TRUE(Owns(hot_.UnitOf("work.o"), "work"));
  EXPECT_FALSE(Owns(hot_.UnitOf("work.o"), "_start"));
  EXPECT_THAT(Names(changes.added), IsEmpty());
  EXPECT_THAT(changes.users, IsEmpty());
}

TEST_F(NameChangesTest, ReferencesToWhatIsDefinedComeAndGo) {
  Link({{"work.o", Defines({"work"})}, {"other.o", Defines({"other"})}});
  const NameChanges changes = Allowed({At("work.o", Defines({"work"}).Undefined("other"))});
  ASSERT_EQ(changes.users.size(), 1u);
  EXPECT_EQ(changes.users[0].first, hot_.memory->names.Find("other"));
  EXPECT_EQ(changes.users[0].second, hot_.UnitOf("work.o"));
  Allowed({At("work.o", Defines({"work"}).Undefined("other", STB_WEAK))});

  Link({{"work.o", Defines({"work"}).Undefined("other")}, {"other.o", Defines({"other"})}});
  EXPECT_THAT(Allowed({At("work.o", Defines({"work"}))}).users, IsEmpty());
}

TEST_F(NameChangesTest, ReferencesToWhatNobodyKnows) {
  Link({{"work.o", Defines({"work"})}});
  Refused({At("work.o", Defines({"work"}).Undefined("nobody"))}, GateReason::kUndefinedSetChanged,
          "nobody is new");
  // 0, as for a full link.
  const NameChanges changes = Allowed({At("work.o", Defines({"work"}).Undefined("nobody", STB_WEAK))});
  ASSERT_THAT(Names(changes.imported), ElementsAre("nobody"));
  EXPECT_TRUE(changes.imported[0].open && changes.imported[0].weak);
}

TEST_F(NameChangesTest, WeakReferencesThatNobodyAnswers) {
  Link({{"work.o", Defines({"work"}).Undefined("maybe", STB_WEAK)}, {"other.o", Defines({"other"})}});
  Allowed({At("other.o", Defines({"other"}).Undefined("maybe", STB_WEAK))});
  Refused({At("other.o", Defines({"other"}).Undefined("maybe"))}, GateReason::kUndefinedSetChanged,
          "maybe is undefined");
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work"}))}).removed), ElementsAre("maybe"));
  const NameChanges defined = Allowed({At("other.o", Defines({"other", "maybe"}))});
  EXPECT_THAT(Names(defined.added), ElementsAre("maybe"));
  EXPECT_THAT(Names(defined.rebound), ElementsAre("maybe")) << "work.o has to follow";
  // One of two goes: the name still means nothing.
  Link({{"work.o", Defines({"work"}).Undefined("maybe", STB_WEAK)},
        {"other.o", Defines({"other"}).Undefined("maybe", STB_WEAK)}});
  Allowed({At("work.o", Defines({"work"}))});
}

TEST_F(NameChangesTest, NamesOfTheLinker) {
  Link({{"work.o", Defines({"work"}).Undefined("__bss_start")}, {"other.o", Defines({"other"})}});
  Allowed({At("other.o", Defines({"other"}).Undefined("__bss_start"))});
  Refused({At("work.o", Defines({"work"}))}, GateReason::kUndefinedSetChanged,
          "__bss_start is no longer named");
  Refused({At("other.o", Defines({"other", "__bss_start"}))}, GateReason::kDefinedSetChanged,
          "__bss_start meant something else");
}

TEST_F(NameChangesTest, NewDefinitions) {
  Link({{"work.o", Defines({"work"})}, {"other.o", Defines({"other"})}});
  const NameChanges changes = Allowed(
      {At("work.o", Defines({"work", "fresh"})), At("other.o", Defines({"other"}).Undefined("fresh"))});
  ASSERT_THAT(Names(changes.added), ElementsAre("fresh"));
  EXPECT_EQ(changes.added[0].unit, hot_.UnitOf("work.o"));
  EXPECT_EQ(diffs_[0].object->symbols[changes.added[0].index].name, "fresh");
  EXPECT_TRUE(Owns(hot_.UnitOf("work.o"), "fresh"));
  EXPECT_EQ(changes.users.size(), 2u);
  EXPECT_THAT(Names(Allowed({At("work.o", WithInline(Defines({"work"}), "fresh"))}).added),
              ElementsAre("fresh"));

  const GateReason defined = GateReason::kDefinedSetChanged;
  Refused({At("work.o", Defines({"work", "fresh"})), At("other.o", Defines({"other", "fresh"}))}, defined,
          "fresh is defined more than once");
  Refused({At("work.o", Defines({"work", "_init"}))}, defined, "_init is a name that the options mention");
  Refused({At("work.o", Defines({"work", "f@@V1"}))}, defined, "f@@V1 has a version");
  const NameChanges chosen = Allowed({At("work.o", Defines({"work"}).Symbol("g", ".text.work", Kind(STT_GNU_IFUNC)))});
  EXPECT_THAT(Names(chosen.added), ElementsAre("g"));
  Refused({At("work.o", Defines({"work"}).Absolute("five", 5))}, defined, "five is absolute");
  Refused({At("work.o", Defines({"work"}).Common("room", 8, 8))}, GateReason::kCommonChanged,
          "room is COMMON");
}

TEST_F(NameChangesTest, NewDefinitionsOfHiddenNames) {
  Link({{"work.o", Defines({"work"})}, {"other.o", Defines({"other"})}});
  // The builder's references are of default visibility; a hidden one is asked for in the object that is read.
  auto with_hidden_reference = [&](const SymbolSpec& definition) {
    Memory& memory = *hot_.memory;
    ChangedObjects changed;
    changed.push_back(
        {hot_.UnitOf("work.o"), testing::ReadBytes(Defines({"work", "fresh"}, definition).Build())});
    changed.push_back({hot_.UnitOf("other.o"),
                       testing::ReadBytes(Defines({"other"}, definition).Undefined("fresh").Build())});
    for (InputSymbol& symbol : changed[1].second->symbols) {
      if (symbol.name == "fresh") symbol.visibility = Visibility::kHidden;
    }
    for (const auto& [unit, object] : changed) InternNames(unit, object.get(), &memory);
    std::vector<UnitDiff> diffs = DiffStrictly(std::move(changed), memory);
    auto result = ResolveNames(memory, &diffs);
    return std::holds_alternative<GateRefusal>(result) ? NameChanges() : std::get<NameChanges>(result);
  };
  // The strictest visibility counts, whoever asks for it.
  const NameChanges changes = with_hidden_reference(Kind(STT_FUNC));
  ASSERT_THAT(Names(changes.added), ElementsAre("fresh"));
  EXPECT_EQ(changes.added[0].publicity.visibility, Visibility::kHidden);
  EXPECT_THAT(Names(with_hidden_reference(kHiddenFunction).redeclared), ::testing::UnorderedElementsAre("work", "other"));
}

TEST_F(NameChangesTest, Exports) {
  Link({{"work.o", Defines({"work"})}}, {"-shared"});
  NameChanges changes = Allowed({At("work.o", Defines({"work", "fresh"}))});
  ASSERT_THAT(Names(changes.added), ElementsAre("fresh"));
  EXPECT_TRUE(changes.added[0].publicity.exported && changes.added[0].publicity.preemptible);
  changes = Allowed({At("work.o", Defines({"work"}).Section(".text.h", kReturn).Symbol("h", ".text.h", kHiddenFunction))});
  ASSERT_THAT(Names(changes.added), ElementsAre("h"));
  EXPECT_FALSE(changes.added[0].publicity.exported || changes.added[0].publicity.preemptible);
  EXPECT_THAT(Names(Allowed({At("work.o", ObjBuilder().StackNote())}).removed), ElementsAre("work"));
  Link({{"work.o", Defines({"work"})}}, {"--export-dynamic"});
  changes = Allowed({At("work.o", Defines({"work", "fresh"}))});
  EXPECT_TRUE(changes.added.at(0).publicity.exported && !changes.added.at(0).publicity.preemptible);
  Link({{"work.o", Defines({"work"})}});
  EXPECT_FALSE(Allowed({At("work.o", Defines({"work", "fresh"}))}).added.at(0).publicity.exported);
  const ObjBuilder unique =
      Defines({"work"}).Section(".data.u", "1").Symbol("u", ".data.u", Kind(STT_OBJECT, STB_GNU_UNIQUE));
  EXPECT_TRUE(Allowed({At("work.o", unique)}).added.at(0).publicity.exported);
}

TEST_F(NameChangesTest, NamesThatLibrariesKnowAreExported) {
  PutLibrary("libS.so", Defines({"offered"})
                            .Section(".data.p", std::string(16, '\0'))
                            .Reloc(".data.p", 0, R_X86_64_64, "hook", 0)
                            .Reloc(".data.p", 8, R_X86_64_64, "other_hook", 0));
  Link({{"work.o", Defines({"work", "hook"})}}, {"libS.so"});
  for (const char* name : {"offered", "other_hook"}) {
    const NameChanges changes = Allowed({At("work.o", Defines({"work", "hook", name}))});
    ASSERT_THAT(Names(changes.added), ElementsAre(name));
    EXPECT_TRUE(changes.added[0].publicity.exported) << name;
  }
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work"}))}).removed), ElementsAre("hook"));
  // Without it, a full link would say that the library lacks something.
  Link({{"work.o", Defines({"work", "hook", "other_hook"})}}, {"--no-allow-shlib-undefined", "libS.so"});
  Refused({At("work.o", Defines({"work", "hook"}))}, GateReason::kDefinedSetChanged, "is a name that a library needs");
}

TEST_F(NameChangesTest, NamesThatDecideWhichLibrariesAreNeeded) {
  PutLibrary("libS.so", Defines({"one"}).Section(".data.p", std::string(8, '\0')).Reloc(".data.p", 0, R_X86_64_64, "two", 0));
  PutLibrary("libT.so", Defines({"two"}));
  Link({{"work.o", Defines({"work"}).Undefined("one")}}, {"--as-needed", "libS.so", "libT.so"});
  Refused({At("work.o", Defines({"work", "two"}).Undefined("one"))}, GateReason::kDefinedSetChanged,
          "two is a name that a library needs");
}

TEST_F(NameChangesTest, RemovedDefinitions) {
  Link({{"work.o", Defines({"work", "old"})}, {"other.o", Defines({"other"}).Undefined("old")}});
  const GateReason defined = GateReason::kDefinedSetChanged;
  Refused({At("work.o", Defines({"work"}))}, defined, "old is gone, and others name it");
  Refused({At("work.o", Defines({"work"})), At("start.o", Defines({"_start"}).Undefined("old")),
           At("other.o", Defines({"other"}))},
          defined, "old is gone, and others name it");
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work"})), At("other.o", Defines({"other"}))}).removed),
              ElementsAre("old"));
  Link({{"work.o", Defines({"work", "old"})}}, {"-u", "old"});
  Refused({At("work.o", Defines({"work"}))}, defined, "old is a name that the options mention");
  Link({{"work.o", Defines({"work"}).Symbol("g", ".text.work", Kind(STT_GNU_IFUNC))}});
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work"}))}).removed), ElementsAre("g"));
}

TEST_F(NameChangesTest, DefinitionsThatChange) {
  Link({{"work.o", Defines({"work", "f"})}});
  const NameChanges changes = Allowed({At("work.o", Defines({"work", "f"}, kWeakFunction))});
  EXPECT_THAT(Names(changes.redeclared), ::testing::UnorderedElementsAre("work", "f"));
  EXPECT_THAT(Names(changes.rebound), IsEmpty()) << "nobody asks what binding it has";
  Refused({At("work.o", Defines({"work"}).Undefined("f"))}, GateReason::kDefinedSetChanged,
          "f is gone, and others name it");
  Refused({At("work.o", Defines({"work"}).Absolute("f", 3))}, GateReason::kDefinedSetChanged,
          "f is absolute");
}

TEST_F(NameChangesTest, DefinitionsThatMove) {
  Link({{"work.o", Defines({"work", "f"})},
        {"other.o", Defines({"other"})},
        {"third.o", Defines({"third"}).Undefined("f")}});
  auto move = [&](const ObjBuilder& other) {
    return std::vector<Now>{At("work.o", Defines({"work"})), At("other.o", other)};
  };
  const NameChanges changes = Allowed(move(Defines({"other", "f"})));
  ASSERT_THAT(Names(changes.redeclared), ElementsAre("f"));
  EXPECT_THAT(Names(changes.rebound), ElementsAre("f"));
  EXPECT_EQ(changes.redeclared[0].unit, hot_.UnitOf("other.o"));
  EXPECT_TRUE(Owns(hot_.UnitOf("other.o"), "f"));
  EXPECT_THAT(Names(changes.added), IsEmpty());
  EXPECT_THAT(Names(changes.removed), IsEmpty());

  const ObjBuilder other = Defines({"other"}).Section(".text.f", kReturn).Section(".data.f", "1");
  Allowed(move(ObjBuilder(other).Symbol("f", ".text.f", kWeakFunction)));
  Allowed(move(ObjBuilder(other).Symbol("f", ".data.f")));
  Allowed(move(ObjBuilder(other).Symbol("f", ".text.f", kHiddenFunction)));
  EXPECT_THAT(Names(Allowed(move(ObjBuilder(other).Symbol("f", ".text.f", Kind(STT_GNU_IFUNC)))).rebound), ElementsAre("f"));
  Refused({At("work.o", Defines({"work"})), At("other.o", Defines({"other", "f"})),
           At("third.o", Defines({"third", "f"}))},
          GateReason::kDefinedSetChanged, "f is defined more than once");
  Link({{"work.o", Defines({"work", "f"})}, {"other.o", Defines({"other"})}}, {"-u", "f"});
  Refused(move(Defines({"other", "f"})), GateReason::kDefinedSetChanged, "f is known outside of the program");
  Link({{"work.o", Defines({"work", "f"})}, {"other.o", Defines({"other"})}}, {"-shared"});
  EXPECT_THAT(Names(Allowed(move(Defines({"other", "f"}))).rebound), ElementsAre("f"));
}

TEST_F(NameChangesTest, AWeakDefinitionThatOthersHaveToo) {
  Link({{"work.o", Defines({"f"}, kWeakFunction)},
        {"other.o", Defines({"other"})},
        {"third.o", Defines({"f"}, kWeakFunction)}});
  const ObjBuilder nothing = ObjBuilder().StackNote();
  // The next one counts. Its unit has to be at hand.
  auto alone = Resolve({At("work.o", nothing)});
  ASSERT_TRUE(std::holds_alternative<GateRefusal>(alone));
  EXPECT_THAT(std::get<GateRefusal>(alone).rewrite, ElementsAre(hot_.UnitOf("third.o")));
  const Now third = At("third.o", Defines({"f"}, kWeakFunction));
  EXPECT_EQ(Allowed({At("work.o", nothing), third}).redeclared.at(0).unit, hot_.UnitOf("third.o"));
  EXPECT_TRUE(Owns(hot_.UnitOf("third.o"), "f"));
  // One that stands before it comes first.
  const ObjBuilder other = Defines({"other"}).Section(".text.f", kReturn).Symbol("f", ".text.f", kWeakFunction);
  EXPECT_EQ(Allowed({At("work.o", nothing), At("other.o", other)}).redeclared.at(0).unit, hot_.UnitOf("other.o"));
  EXPECT_THAT(Names(Allowed({At("other.o", other)}).redeclared), IsEmpty());
  EXPECT_TRUE(Owns(hot_.UnitOf("other.o"), "f") == false);
  // The one that does not count may go.
  Allowed({At("third.o", nothing)});
}

TEST_F(NameChangesTest, AnInlineFunctionPassesToTheNextUnit) {
  const ObjBuilder other = WithInline(Defines({"other"}), "f");
  Link({{"work.o", WithInline(Defines({"work"}), "f")},
        {"other.o", other},
        {"third.o", WithInline(Defines({"third"}), "f")}});
  // The definition that third.o lost is only a reference.
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work"})), At("other.o", other)}).rebound),
              ElementsAre("f"));
  EXPECT_TRUE(Owns(hot_.UnitOf("other.o"), "f"));
  EXPECT_THAT(Names(Allowed({At("other.o", Defines({"other"}))}).rebound), IsEmpty());
}

TEST_F(NameChangesTest, ImportsComeIdleAndRevive) {
  PutLibrary("libS.so",
             Defines({"one", "two", "spare"}).Section(".data.d", "12345678").Symbol("data", ".data.d"));
  Link({{"work.o", Defines({"work"}).Undefined("one")}, {"other.o", Defines({"other"}).Undefined("two")}},
       {"--as-needed", "libS.so"});
  Memory& memory = *hot_.memory;
  const SymbolId two = memory.names.Find("two");
  ASSERT_EQ(memory.symbols[two.value].kind, SymbolMemory::kShared);
  Allowed({At("work.o", Defines({"work"}).Undefined("one").Undefined("two"))});

  NameChanges changes = Allowed({At("work.o", Defines({"work"}).Undefined("one").Undefined("spare"))});
  ASSERT_THAT(Names(changes.imported), ElementsAre("spare"));
  EXPECT_FALSE(changes.imported[0].weak);
  EXPECT_TRUE(Allowed({At("work.o", Defines({"work"}).Undefined("one").Undefined("spare", STB_WEAK))})
                  .imported.at(0)
                  .weak);
  changes = Allowed({At("work.o", Defines({"work", "spare"}).Undefined("one"))});
  ASSERT_THAT(Names(changes.added), ElementsAre("spare"));
  EXPECT_TRUE(changes.added[0].publicity.exported);
  changes = Allowed({At("work.o", Defines({"work", "two"}).Undefined("one"))});
  EXPECT_THAT(Names(changes.added), ElementsAre("two"));
  EXPECT_THAT(Names(changes.unimported), ElementsAre("two"));
  EXPECT_THAT(Names(changes.rebound), ElementsAre("two"));
  Refused({At("work.o", Defines({"work", "one", "two"})), At("other.o", Defines({"other"}))},
          GateReason::kUndefinedSetChanged, "the last import of libS.so is gone");

  EXPECT_THAT(Names(Allowed({At("other.o", Defines({"other"}))}).idle), ElementsAre("two"));
  const GateReason undefined = GateReason::kUndefinedSetChanged;
  changes = Allowed({At("other.o", Defines({"other"}).Undefined("two", STB_WEAK))});
  ASSERT_THAT(Names(changes.imported), ElementsAre("two"));
  EXPECT_TRUE(changes.imported[0].weak && !changes.imported[0].open);
  Refused({At("work.o", Defines({"work"})), At("other.o", Defines({"other"}))}, undefined,
          "the last import of libS.so is gone");

  // As it is once that is committed.
  memory.symbols[two.value].idle = true;
  std::erase_if(hot_.unit("other.o").globals,
                [&](const GlobalMemory& global) { return global.symbol == two; });
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work"}).Undefined("one").Undefined("two"))}).revived),
              ElementsAre("two"));
  Refused({At("work.o", Defines({"work"}).Undefined("one").Undefined("two", STB_WEAK))}, undefined,
          "two is imported in another way");
}

TEST_F(NameChangesTest, ImportsThatMayNotBeTaken) {
  const SymbolSpec thread = Kind(STT_TLS);
  PutLibrary("libS.so",
             Defines({"one", "spare", "wanted"}).Section(".tdata.t", "1234").Symbol("t", ".tdata.t", thread));
  PutLibrary("libT.so", Defines({"spare", "third"}));
  PutArchive("liba.a", {{"a.o", Defines({"wanted"})}}, {{"wanted"}});
  Link({{"work.o", Defines({"work"}).Undefined("one")}}, {"--as-needed", "libT.so", "libS.so", "liba.a"});
  const GateReason undefined = GateReason::kUndefinedSetChanged;
  auto with = [&](const std::string& name) {
    return std::vector<Now>{At("work.o", Defines({"work"}).Undefined("one").Undefined(name))};
  };
  Refused(with("third"), undefined, "third is new");  // its library is not needed
  Refused(with("spare"), undefined, "spare is new");  // ... which comes first
  Refused(with("t"), undefined, "thread variable");
  Refused(with("wanted"), undefined, "wanted is new");  // an archive has it, too
}

TEST_F(NameChangesTest, LastReferenceToAnIfunc) {
  Link({{"work.o", Defines({"work"}).Symbol("g", ".text.work", Kind(STT_GNU_IFUNC))},
        {"other.o", Defines({"other"}).Undefined("g")}});
  EXPECT_THAT(Names(Allowed({At("other.o", Defines({"other"}))}).rebound), IsEmpty()) << "its entry is another question";
}

TEST_F(NameChangesTest, FunctionsThatBecomeIfuncs) {
  Link({{"work.o", Defines({"work", "f"})}, {"other.o", Defines({"other"}).Undefined("f")}});
  const ObjBuilder chosen = ObjBuilder(Defines({"work"})).Symbol("f", ".text.work", Kind(STT_GNU_IFUNC));
  const NameChanges changes = Allowed({At("work.o", chosen)});
  EXPECT_THAT(Names(changes.redeclared), ElementsAre("f"));
  EXPECT_THAT(Names(changes.rebound), ElementsAre("f")) << "callers go through its entry";
  Link({{"work.o", Defines({"work", "f"})}}, {"-u", "f"});
  Refused({At("work.o", chosen)}, GateReason::kSymbolKindChanged, "f");
}

TEST_F(NameChangesTest, MembersMustStayNeeded) {
  PutArchive("liba.a", {{"a.o", Defines({"a", "b"})}, {"c.o", Defines({"c"})}}, {{"a", "b"}, {"c"}});
  Link({{"work.o", Defines({"work"}).Undefined("a").Undefined("b").Undefined("c")},
        {"other.o", Defines({"other"})}},
       {"liba.a"});
  Allowed({At("work.o", Defines({"work"}).Undefined("b").Undefined("c"))});
  Allowed({At("work.o", Defines({"work"}).Undefined("a").Undefined("b", STB_WEAK).Undefined("c"))});
  const GateReason undefined = GateReason::kUndefinedSetChanged;
  Refused({At("work.o", Defines({"work"}).Undefined("a").Undefined("b"))}, undefined,
          "c: its archive member may no longer be needed");
  Refused({At("work.o", Defines({"work"}).Undefined("a", STB_WEAK).Undefined("b", STB_WEAK).Undefined("c"))},
          undefined, "its archive member may no longer be needed");
  // A reference that is new in the same edit counts.
  Allowed({At("work.o", Defines({"work"}).Undefined("a").Undefined("b")), At("other.o", Defines({"other"}).Undefined("c"))});
}

TEST_F(NameChangesTest, MembersThatNeedEachOther) {
  const ObjBuilder a = Defines({"a"}).Undefined("c"), c = Defines({"c"}).Undefined("a");
  PutArchive("liba.a", {{"a.o", a}, {"c.o", c}}, {{"a"}, {"c"}});
  Link({{"work.o", Defines({"work"}).Undefined("a").Undefined("c")}}, {"liba.a"});
  // What keeps a member may be another member that is needed, but not both each other.
  Allowed({At("work.o", Defines({"work"}).Undefined("a"))});
  Allowed({At("work.o", Defines({"work"}).Undefined("c"))});
  Refused({At("work.o", Defines({"work"}))}, GateReason::kUndefinedSetChanged,
          "its archive member may no longer be needed");
  Refused({At("work.o", Defines({"work"}).Undefined("a")), {Member("liba.a", "a.o"), Defines({"a"})}},
          GateReason::kUndefinedSetChanged, "c: its archive member may no longer be needed");
}

TEST_F(NameChangesTest, MembersThatLoseWhatWasAskedOfThem) {
  PutArchive("liba.a", {{"a.o", Defines({"a", "b"})}}, {{"a", "b"}});
  Link({{"work.o", Defines({"work"}).Undefined("a").Undefined("b")}}, {"liba.a"});
  const UnitId a = Member("liba.a", "a.o");
  // `b` goes to a unit that is there anyway; `a` still asks for the member.
  EXPECT_THAT(
      Names(Allowed({At("work.o", Defines({"work", "b"}).Undefined("a")), {a, Defines({"a"})}}).rebound),
      ElementsAre("b"));
  Refused({At("work.o", Defines({"work", "b"})), {a, Defines({"a"})}}, GateReason::kUndefinedSetChanged,
          "may no longer be needed");
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work"}).Undefined("a")), {a, Defines({"a"})}}).removed),
              ElementsAre("b"));
  // A definition may go to a member that is needed anyway.
  EXPECT_THAT(Names(Allowed({At("work.o", ObjBuilder().StackNote().Undefined("a").Undefined("b")),
                             {a, Defines({"a", "b", "work"})}})
                        .redeclared),
              ElementsAre("work"));
}

TEST_F(NameChangesTest, MembersThatLoseAllThatWasAskedOfThem) {
  PutArchive("liba.a", {{"a.o", Defines({"a", "b"})}}, {{"a", "b"}});
  Link({{"work.o", Defines({"work"}).Undefined("b")}}, {"liba.a"});
  const UnitId a = Member("liba.a", "a.o");
  const GateReason undefined = GateReason::kUndefinedSetChanged;
  Refused({At("work.o", Defines({"work", "b"})), {a, Defines({"a"})}}, undefined,
          "b: its archive member may no longer be needed");
  Refused({At("work.o", Defines({"work"})), {a, Defines({"a"})}}, undefined,
          "b: its archive member may no longer be needed");
}

TEST_F(NameChangesTest, NamesThatOtherMembersOffer) {
  PutArchive(
      "liba.a",
      {{"spare.o", Defines({"spare", "b"}, kWeakFunction)}, {"a.o", Defines({"a", "b"}, kWeakFunction)}},
      {{"spare", "b"}, {"a", "b"}});
  Link({{"work.o", Defines({"work"}).Undefined("a")}}, {"liba.a"});
  const UnitId a = Member("liba.a", "a.o");
  Refused({At("work.o", Defines({"work"}).Undefined("a").Undefined("b"))}, GateReason::kUndefinedSetChanged,
          "b has more than one definition to be found");
  Refused({At("work.o", Defines({"work"}).Undefined("a").Undefined("spare"))},
          GateReason::kUndefinedSetChanged, "spare is new");
  Refused({{a, Defines({"a", "b", "spare"}, kWeakFunction)}}, GateReason::kDefinedSetChanged,
          "spare is defined by two members");
  // An object's own definition comes before any member's.
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work", "spare"}).Undefined("a"))}).added),
              ElementsAre("spare"));
}

TEST_F(NameChangesTest, OffersOfMembersThatTakeNoPart) {
  PutArchive("liba.a", {{"a.o", Defines({"a"})}}, {{"a"}});
  PutLibrary("libS.so", Defines({"imported"}));
  Link({{"work.o", Defines({"work"})
                       .Undefined("a")
                       .Undefined("maybe", STB_WEAK)
                       .Undefined("imported")
                       .Undefined("open")
                       .Undefined("end")}},
       {"-u", "root", "--unresolved-symbols=ignore-all", "liba.a", "libS.so"});
  for (const char* name : {"new_name", "maybe", "work"}) {
    EXPECT_FALSE(Offer(name)) << name;
    EXPECT_TRUE(hot_.memory->symbols[hot_.memory->names.Find(name).value].lazy) << name;
  }
  for (const char* name : {"a", "imported", "open", "end", "root", "_start@V", "f@@V1"}) {
    const auto refusal = Offer(name);
    ASSERT_TRUE(refusal) << name;
    EXPECT_EQ(refusal->reason, GateReason::kArchiveChanged);
    EXPECT_THAT(refusal->detail, HasSubstr(name));
  }
  // What was offered is known from then on.
  Refused({At("work.o", Defines({"work"})
                            .Undefined("a")
                            .Undefined("maybe", STB_WEAK)
                            .Undefined("imported")
                            .Undefined("open")
                            .Undefined("end")
                            .Undefined("new_name"))},
          GateReason::kUndefinedSetChanged, "new_name is new");
}

TEST_F(NameChangesTest, WhatLibrariesAskArchivesFor) {
  PutArchive("liba.a", {{"a.o", Defines({"a"})}}, {{"a"}});
  PutLibrary("libS.so", Defines({"one"})
                            .Section(".data.p", std::string(16, '\0'))
                            .Reloc(".data.p", 0, R_X86_64_64, "hook", 0)
                            .Reloc(".data.p", 8, R_X86_64_64, "maybe", 0));
  Link({{"work.o", Defines({"work"}).Undefined("a").Undefined("one").Undefined("maybe", STB_WEAK)}},
       {"liba.a", "libS.so"});
  for (const char* name : {"hook", "maybe"}) EXPECT_TRUE(Offer(name)) << name;
  EXPECT_FALSE(Offer("unheard_of"));
}

TEST_F(NameChangesTest, AMemberThatALibraryBeforeItCouldReplace) {
  PutLibrary("libS.so", Defines({"both"}));
  PutArchive("liba.a", {{"a.o", Defines({"both", "own"})}}, {{"both", "own"}});
  Link({{"work.o", Defines({"work"}).Undefined("own")}, {"other.o", Defines({"other"}).Undefined("both")}},
       {"libS.so", "liba.a"});
  ASSERT_EQ(hot_.memory->symbols[hot_.memory->names.Find("both").value].kind, SymbolMemory::kDefined);
  Refused({At("work.o", Defines({"work"}))}, GateReason::kUndefinedSetChanged,
          "own: its archive member may no longer be needed");
}

TEST_F(NameChangesTest, NamesThatLibrariesHaveAndTheLinkerDefines) {
  PutLibrary("libS.so", Defines({"one", "end", "__start_rows"}));
  Link({{"work.o", Defines({"work"}).Undefined("one")}}, {"libS.so"});
  for (const char* name : {"end", "__start_rows"}) {
    Refused({At("work.o", Defines({"work"}).Undefined("one").Undefined(name))},
            GateReason::kUndefinedSetChanged, name);
  }
}

TEST_F(NameChangesTest, TheLastStrongReferenceOfALibraryToTheUnknown) {
  Link({{"work.o", Defines({"work"}).Undefined("open")},
        {"other.o", Defines({"other"}).Undefined("open", STB_WEAK)}},
       {"-shared"});
  const NameChanges changes = Allowed({At("work.o", Defines({"work"}))});
  ASSERT_THAT(Names(changes.imported), ElementsAre("open"));
  EXPECT_TRUE(changes.imported[0].open && changes.imported[0].weak);
  Allowed({At("other.o", Defines({"other"}))});
  EXPECT_THAT(Names(Allowed({At("work.o", Defines({"work", "open"}))}).added), ElementsAre("open"));
  EXPECT_THAT(Names(Allowed({At("other.o", Defines({"other"})), At("work.o", Defines({"work"}))}).removed), ElementsAre("open"));
  EXPECT_THAT(Names(Allowed({At("other.o", Defines({"other"}).Undefined("open").Undefined("more"))}).imported),
              ElementsAre("more"));
}

TEST_F(NameChangesTest, OptionsThatMakeEachNameAQuestionOfTheWholeProgram) {
  hot_.files.Put("lazy.o", Defines({"lazy"}).Build());
  Link({{"work.o", Defines({"work"})}, {"other.o", Defines({"other"})}},
       {"--start-lib", "lazy.o", "--end-lib"});
  Allowed({At("work.o", Defines({"work"}).Undefined("other"))});
  Refused({At("work.o", Defines({"work"}).Undefined("lazy"))}, GateReason::kUndefinedSetChanged, "lazy is new");
  Link({{"work.o", Defines({"work"})}}, {"--exclude-libs", "ALL"});
  Refused({At("work.o", Defines({"work", "fresh"}))}, GateReason::kDefinedSetChanged, "whether it is hidden");
}

TEST_F(NameChangesTest, NumbersThatOptionsGiveNames) {
  Link({{"work.o", Defines({"work"}).Undefined("five")}, {"other.o", Defines({"other"})}},
       {"--defsym=five=5"});
  Allowed({At("other.o", Defines({"other"}).Undefined("five"))});
  EXPECT_TRUE(Offer("five"));
}

TEST_F(NameChangesTest, ADefinitionWithAVersionGoes) {
  const std::string script = "V1 { global: *; };";
  hot_.files.Put("out.map", absl::string_view(script));
  Link({{"work.o", Defines({"work", "f@@V1"})}}, {"-shared", "--version-script=out.map"});
  Refused({At("work.o", Defines({"work"}))}, GateReason::kDefinedSetChanged,
          "a definition with a version is gone");
}

TEST_F(NameChangesTest, NamesThatTheLoaderGoesBy) {
  Link({{"work.o", Defines({"work", "begin"})}}, {"-e", "begin", "-u", "work", "-init", "setup"});
  for (const char* name : {"begin", "_start", "setup", "_fini", "work"}) {
    EXPECT_TRUE(IsRootName(*hot_.memory, hot_.memory->Intern(name))) << name;
  }
  for (const char* name : {"_init", "other"})
    EXPECT_FALSE(IsRootName(*hot_.memory, hot_.memory->Intern(name))) << name;
}

}  // namespace
}  // namespace kitlink
