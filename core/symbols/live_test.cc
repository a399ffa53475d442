#include "core/symbols/live.h"

#include "core/symbols/testing/program_builder.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::ObjBuilder;
using testing::ProgramBuilder;
using testing::Spec;

constexpr uint32_t kPc32 = R_X86_64_PC32, k64 = R_X86_64_64;

// The names of the live sections of `program`, in order.
std::string Live(const LinkOptions& options, std::optional<Program> program) {
  if (!program.has_value()) return "not resolved";
  MarkLive(options, &*program);
  std::string names;
  for (uint32_t a = 0; a < program->atoms.size(); ++a) {
    if (program->atoms[a].state == Atom::kLive) names += std::string(program->section(AtomId(a)).name) + " ";
  }
  return names;
}

ObjBuilder TwoFunctions() {
  return ObjBuilder()
      .Section(".text.main", "12345678")
      .Section(".text.f", "12345678")
      .Section(".text.g", "12345678")
      .Symbol("main", ".text.main")
      .Symbol("f", ".text.f")
      .Symbol("g", ".text.g")
      .Reloc(".text.main", 0, kPc32, "f", -4);
}

TEST(MarkLive, FollowsReferencesFromTheEntry) {
  ProgramBuilder builder;
  builder.options.gc_sections = true;
  builder.Object("a.o", TwoFunctions());
  EXPECT_EQ(Live(builder.options, builder.Resolve()), ".text.main .text.f ");
}

TEST(MarkLive, WithoutCollectionAllStay) {
  ProgramBuilder builder;
  builder.Object("a.o", TwoFunctions());
  EXPECT_EQ(Live(builder.options, builder.Resolve()), ".text.main .text.f .text.g ");
}

TEST(MarkLive, UndefinedOptionAndExportsAreRoots) {
  ProgramBuilder builder;
  builder.options.gc_sections = true;
  builder.options.undefined = {"g"};
  builder.Object("a.o", TwoFunctions());
  EXPECT_EQ(Live(builder.options, builder.Resolve()), ".text.main .text.f .text.g ");
  builder.options.undefined.clear();
  builder.options.kind = OutputKind::kShared;
  EXPECT_EQ(Live(builder.options, builder.Resolve()), ".text.main .text.f .text.g ");
}

TEST(MarkLive, InitRowsKeepWhatTheyCall) {
  ProgramBuilder builder;
  builder.options.gc_sections = true;
  builder.Object("a.o", TwoFunctions().Section(".init_array", "12345678").Reloc(".init_array", 0, k64, "g", 0));
  EXPECT_EQ(Live(builder.options, builder.Resolve()), ".text.main .text.f .text.g .init_array ");
}

TEST(MarkLive, AReferenceToTheBoundaryKeepsTheSet) {
  ObjBuilder object = TwoFunctions();
  object.Section("rows", "12345678", Spec(SHT_PROGBITS, SHF_ALLOC, 8));
  ProgramBuilder without;
  without.options.gc_sections = true;
  without.Object("a.o", object);
  EXPECT_EQ(Live(without.options, without.Resolve()), ".text.main .text.f ");
  object.Reloc(".text.f", 0, kPc32, "__start_rows", -4);
  ProgramBuilder with;
  with.options.gc_sections = true;
  with.Object("a.o", object);
  EXPECT_EQ(Live(with.options, with.Resolve()), ".text.main .text.f rows ");
}

TEST(MarkLive, CollectedSetsHaveNoBoundaries) {
  const auto kind = [](bool kept, bool collected) {
    ObjBuilder object = TwoFunctions();
    object.Section("rows", "12345678", Spec(SHT_PROGBITS, SHF_ALLOC, 8)).Symbol("row", "rows");
    object.Undefined("__start_rows", STB_WEAK).Reloc(".text.f", 0, kPc32, "__start_rows", -4);
    if (kept) object.Reloc(".text.f", 4, kPc32, "row", -4);
    ProgramBuilder builder;
    builder.options.gc_sections = true;
    builder.options.z_start_stop_gc = collected;
    builder.Object("a.o", object);
    std::optional<Program> program = builder.Resolve();
    if (!program) return SymbolKind::kShared;
    MarkLive(builder.options, &*program);
    const Symbol& symbol = program->symbols[program->names.Find("__start_rows").value];
    EXPECT_EQ(symbol.binding, symbol.kind == SymbolKind::kLinker ? SymbolBinding::kGlobal : SymbolBinding::kWeak);
    return symbol.kind;
  };
  EXPECT_EQ(kind(false, true), SymbolKind::kUndefined);
  EXPECT_EQ(kind(true, true), SymbolKind::kLinker);
  EXPECT_EQ(kind(false, false), SymbolKind::kLinker);
}

}  // namespace
}  // namespace kitlink
