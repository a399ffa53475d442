#include "core/symbols/resolve.h"

#include "core/symbols/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::DefinerOf;
using testing::ObjBuilder;
using testing::ProgramBuilder;
using testing::SymbolNamed;
using testing::SymbolSpec;

const SymbolSpec kWeakFunction = {0, 1, STB_WEAK, STT_FUNC, STV_DEFAULT};

ObjBuilder Defines(const std::string& name) { return ObjBuilder().Section(".text", "\xc3").Symbol(name, ".text"); }
ObjBuilder DefinesWeakly(const std::string& name) {
  return ObjBuilder().Section(".text", "\xc3").Symbol(name, ".text", kWeakFunction);
}

TEST(Resolve, StrongBeatsCommonBeatsWeak) {
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main"))
      .Object("weak.o", DefinesWeakly("f").Symbol("g", ".text", kWeakFunction))
      .Object("common.o", ObjBuilder().Common("f", 4, 4).Common("g", 4, 4))
      .Object("strong.o", Defines("f"));
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value()) << builder.messages;
  EXPECT_EQ(DefinerOf(*program, "f"), "strong.o");
  EXPECT_EQ(DefinerOf(*program, "g"), "common.o");
}

TEST(Resolve, FirstOfEqualWeakOnesWins) {
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main")).Object("a.o", DefinesWeakly("f")).Object("b.o", DefinesWeakly("f"));
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value());
  EXPECT_EQ(DefinerOf(*program, "f"), "a.o");
}

TEST(Resolve, DuplicatesNameBothObjects) {
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main")).Object("a.o", Defines("f")).Object("b.o", Defines("f"));
  EXPECT_FALSE(builder.Resolve().has_value());
  EXPECT_THAT(builder.messages, HasSubstr("duplicate symbol: f"));
  EXPECT_THAT(builder.messages, HasSubstr("a.o"));
  EXPECT_THAT(builder.messages, HasSubstr("b.o"));
  builder.options.allow_multiple_definition = true;
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value());
  EXPECT_EQ(DefinerOf(*program, "f"), "a.o");
}

TEST(Resolve, ArchiveMembersComeForStrongReferencesOnly) {
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main").Undefined("wanted").Undefined("maybe", STB_WEAK))
      .Archive("lib.a", {{"w.o", Defines("wanted").Undefined("deep").Build(), {"wanted"}},
                         {"m.o", Defines("maybe").Build(), {"maybe"}},
                         {"d.o", Defines("deep").Build(), {"deep"}},
                         {"u.o", Defines("unused").Build(), {"unused"}}});
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value()) << builder.messages;
  EXPECT_EQ(DefinerOf(*program, "wanted"), "lib.a(w.o)");
  EXPECT_EQ(DefinerOf(*program, "deep"), "lib.a(d.o)");
  EXPECT_THAT(DefinerOf(*program, "maybe"), IsEmpty());
  EXPECT_EQ(program->units.size(), 3u);
}

TEST(Resolve, WholeArchiveTakesAll) {
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main"));
  builder.flags.whole_archive = true;
  builder.Archive("lib.a", {{"a.o", Defines("a").Build(), {"a"}}, {"b.o", Defines("b").Build(), {"b"}}});
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value());
  EXPECT_EQ(program->units.size(), 3u);
}

TEST(Resolve, ArchiveDefinitionReplacesCommonButCommonDoesNot) {
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main").Common("x", 4, 4).Common("y", 4, 4))
      .Archive("lib.a", {{"x.o", ObjBuilder().Section(".data", "1234").Symbol("x", ".data").Build(), {"x"}},
                         {"y.o", ObjBuilder().Common("y", 64, 8).Build(), {"y"}}});
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value()) << builder.messages;
  EXPECT_EQ(DefinerOf(*program, "x"), "lib.a(x.o)");
  EXPECT_EQ(DefinerOf(*program, "y"), "main.o");
}

TEST(Resolve, CommonsTakeTheLargestSizeAndAlignment) {
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main").Common("c", 4, 32)).Object("b.o", ObjBuilder().Common("c", 100, 8));
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value());
  const Symbol& symbol = SymbolNamed(*program, "c");
  ASSERT_TRUE(symbol.atom.valid());
  EXPECT_EQ(program->section(symbol.atom).size, 100u);
  EXPECT_EQ(program->section(symbol.atom).alignment, 32u);
}

TEST(Resolve, OneGroupOfASignatureWins) {
  auto grouped = [] {
    return ObjBuilder().Section(".text.g", "\xc3").Symbol("g", ".text.g", kWeakFunction).Group("g", {".text.g"});
  };
  ProgramBuilder builder;
  builder.Object("main.o", Defines("main")).Object("a.o", grouped()).Object("b.o", grouped());
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value());
  EXPECT_EQ(DefinerOf(*program, "g"), "a.o");
  int live = 0, discarded = 0;
  for (const Atom& atom : program->atoms) {
    if (program->object(atom.unit).sections[atom.section].name != ".text.g") continue;
    live += atom.state == Atom::kLive;
    discarded += atom.state == Atom::kDiscarded;
  }
  EXPECT_EQ(live, 1);
  EXPECT_EQ(discarded, 1);
}

TEST(Resolve, StrictestVisibilityOfAllMentions) {
  ProgramBuilder builder;
  builder.options.kind = OutputKind::kShared;
  builder.options.entry.clear();
  builder.Object("a.o", Defines("f").Symbol("g", ".text"))
      .Object("b.o", ObjBuilder().Section(".text", "\xc3").Symbol("f", ".text", {0, 0, STB_WEAK, STT_FUNC, STV_HIDDEN}));
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value());
  EXPECT_FALSE(SymbolNamed(*program, "f").exported);
  EXPECT_TRUE(SymbolNamed(*program, "g").exported);
  EXPECT_TRUE(SymbolNamed(*program, "g").imported) << "others may preempt it";
}

TEST(Resolve, WrapRedirectsReferences) {
  ProgramBuilder builder;
  builder.options.wrap = {"f"};
  builder.Object("main.o", Defines("main").Undefined("f"))
      .Object("w.o", Defines("__wrap_f").Undefined("__real_f"))
      .Object("f.o", Defines("f"));
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value());
  EXPECT_TRUE(SymbolNamed(*program, "__wrap_f").strongly_referenced);
  EXPECT_TRUE(SymbolNamed(*program, "f").strongly_referenced);
  EXPECT_FALSE(SymbolNamed(*program, "__real_f").used);
}

TEST(Resolve, VersionsOfDefinitions) {
  ProgramBuilder builder;
  builder.options.kind = OutputKind::kShared;
  builder.options.entry.clear();
  builder.options.version_script = "lib.map";
  builder.files.Put("lib.map", "V1 { global: plain; local: *; }; V2 { } V1;");
  builder.Object("a.o", Defines("f@@V2").Symbol("f@V1", ".text").Symbol("plain", ".text").Symbol("other", ".text"))
      .Object("b.o", ObjBuilder().Section(".text", "\xc3").Undefined("f"));
  auto program = builder.Resolve();
  ASSERT_TRUE(program.has_value()) << builder.messages;
  EXPECT_EQ(SymbolNamed(*program, "f").version, "V2");
  EXPECT_FALSE(SymbolNamed(*program, "f").hidden_version);
  EXPECT_EQ(SymbolNamed(*program, "f@V1").name, "f");
  EXPECT_TRUE(SymbolNamed(*program, "f@V1").hidden_version);
  EXPECT_EQ(SymbolNamed(*program, "plain").version, "V1");
  EXPECT_FALSE(SymbolNamed(*program, "other").exported);
}

TEST(Resolve, MissingEntryIsAWarning) {
  ProgramBuilder builder;
  builder.options.entry.clear();
  builder.Object("a.o", Defines("f"));
  EXPECT_TRUE(builder.Resolve().has_value());
  EXPECT_THAT(builder.messages, HasSubstr("warning: cannot find entry symbol _start"));
}

}  // namespace
}  // namespace kitlink
