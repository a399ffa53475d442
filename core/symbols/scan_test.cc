#include "core/symbols/scan.h"

#include "core/arch/arch.h"
#include "core/symbols/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ObjBuilder;
using testing::ProgramBuilder;
using testing::SymbolNamed;

struct Scanned {
  std::optional<Program> program;
  Demands demands;
  std::string messages;
};

Scanned Scan(ProgramBuilder& builder) {
  Scanned result;
  result.program = builder.Resolve();
  if (!result.program.has_value()) return result;
  Diagnostics diagnostics;
  result.demands = ScanRelocations(builder.options, X86_64(), &*result.program, diagnostics);
  for (const Diagnostic& diagnostic : diagnostics.Take()) result.messages += FormatDiagnostic(diagnostic) + "\n";
  return result;
}

ObjBuilder Main(uint32_t type, const std::string& target) {
  return ObjBuilder().Section(".text", "12345678").Symbol("main", ".text").Reloc(".text", 0, type, target, -4);
}

TEST(ScanRelocations, UndefinedSymbolsAreNamedWithAGuess) {
  ProgramBuilder builder;
  builder.Object("main.o", Main(R_X86_64_PC32, "functoin").Symbol("function", ".text"));
  const Scanned scanned = Scan(builder);
  EXPECT_THAT(scanned.messages, HasSubstr("undefined symbol: functoin"));
  EXPECT_THAT(scanned.messages, HasSubstr("main.o"));
  EXPECT_THAT(scanned.messages, HasSubstr("did you mean: function"));
}

TEST(ScanRelocations, UndefinedInALibraryIsLeftToRunTime) {
  ProgramBuilder builder;
  builder.options.kind = OutputKind::kShared;
  builder.options.entry.clear();
  builder.Object("a.o", Main(R_X86_64_PLT32, "elsewhere"));
  const Scanned scanned = Scan(builder);
  EXPECT_THAT(scanned.messages, IsEmpty());
  EXPECT_TRUE(SymbolNamed(*scanned.program, "elsewhere").imported);
  builder.options.z_defs = true;
  EXPECT_THAT(Scan(builder).messages, HasSubstr("undefined symbol: elsewhere"));
}

TEST(ScanRelocations, UndefinedWeakNeedsNothing) {
  ProgramBuilder builder;
  builder.Object("main.o", Main(R_X86_64_PC32, "maybe").Undefined("maybe", STB_WEAK));
  EXPECT_THAT(Scan(builder).messages, IsEmpty());
}

TEST(ScanRelocations, AReferenceIntoADiscardedSectionIsAnError) {
  auto grouped = [] {
    return ObjBuilder()
        .Section(".text.g", "\xc3\xc3")
        .Symbol("g", ".text.g", {0, 1, STB_WEAK, STT_FUNC, STV_DEFAULT})
        .Symbol("inside", ".text.g", {1, 1, STB_LOCAL, STT_FUNC, STV_DEFAULT})
        .Group("g", {".text.g"});
  };
  ProgramBuilder builder;
  builder.Object("a.o", grouped().Section(".text", "1").Symbol("main", ".text"))
      .Object("b.o", grouped().Section(".data", "12345678").Reloc(".data", 0, R_X86_64_64, "inside", 0));
  EXPECT_THAT(Scan(builder).messages, HasSubstr("b.o:(.data+0x0)"));
}

TEST(ScanRelocations, WordsInPositionIndependentImagesAreRelocated) {
  ProgramBuilder builder;
  builder.options.kind = OutputKind::kPie;
  builder.Object("main.o", ObjBuilder()
                               .Section(".text", "1")
                               .Symbol("main", ".text")
                               .Section(".data", "1234567812345678")
                               .Reloc(".data", 0, R_X86_64_64, "main", 0)
                               .Reloc(".data", 8, R_X86_64_64, ".data", 4));
  const Scanned scanned = Scan(builder);
  ASSERT_THAT(scanned.messages, IsEmpty());
  uint32_t rows = 0;
  for (const Atom& atom : scanned.program->atoms) rows += atom.relative_relocs;
  EXPECT_EQ(rows, 2u);
}

}  // namespace
}  // namespace kitlink
