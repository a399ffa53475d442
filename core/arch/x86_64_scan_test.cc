// What each relocation needs, by kind of target and output.
#include "core/arch/x86_64_testing.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::arch {
namespace {

using ::testing::HasSubstr;

constexpr int kRefused = -1;

// Needs of one relocation in 16 zero bytes, where nothing can be relaxed; kRefused when there is an error.
int NeedsOf(uint32_t type, const TargetTraits& target, const OutputTraits& output, bool writable = false) {
  Fixture f;
  f.target.traits = target;
  f.output = output;
  const ScanResult result = f.Scan({Rel(type, 8, 0)}, writable);
  EXPECT_EQ(result.consumed, 1);
  return result.error != nullptr ? kRefused : result.needs;
}

OutputTraits NoCopy() {
  OutputTraits output;
  output.copy_relocs = false;
  return output;
}
OutputTraits TextRelocs(OutputTraits output) {
  output.text_relocs = true;
  return output;
}

TEST(ScanWord, OfThisImage) {
  EXPECT_EQ(NeedsOf(R_X86_64_64, Local(), NonPie()), 0);
  EXPECT_EQ(NeedsOf(R_X86_64_64, Local(), Pie(), true), kNeedRelative);
  EXPECT_EQ(NeedsOf(R_X86_64_64, Local(), Shared(), true), kNeedRelative);
  EXPECT_EQ(NeedsOf(R_X86_64_64, Local(), Pie(), false), kRefused);
  EXPECT_EQ(NeedsOf(R_X86_64_64, Local(), TextRelocs(Pie()), false), kNeedRelative);
}

TEST(ScanWord, OfAbsoluteAndUndefinedWeakNeedsNothing) {
  for (const TargetTraits& target : {Absolute(), UndefinedWeak()}) {
    for (const OutputTraits& output : {NonPie(), Pie(), Shared(), Static()}) {
      EXPECT_EQ(NeedsOf(R_X86_64_64, target, output, true), 0);
      EXPECT_EQ(NeedsOf(R_X86_64_64, target, output, false), 0);
    }
  }
}

TEST(ScanWord, OfImportPrefersDynamicRelocationWhereWritable) {
  for (const TargetTraits& target : {ImportedFunction(), ImportedObject()}) {
    for (const OutputTraits& output : {NonPie(), Pie(), Shared(), NoCopy()}) {
      EXPECT_EQ(NeedsOf(R_X86_64_64, target, output, true), kNeedSymbolic);
    }
    EXPECT_EQ(NeedsOf(R_X86_64_64, target, Pie(), false), kRefused);
    EXPECT_EQ(NeedsOf(R_X86_64_64, target, Shared(), false), kRefused);
    EXPECT_EQ(NeedsOf(R_X86_64_64, target, TextRelocs(Shared()), false), kNeedSymbolic);
  }
  EXPECT_EQ(NeedsOf(R_X86_64_64, ImportedFunction(), NonPie(), false), kNeedPlt | kNeedCanonicalPlt);
  EXPECT_EQ(NeedsOf(R_X86_64_64, ImportedObject(), NonPie(), false), kNeedCopy);
  EXPECT_EQ(NeedsOf(R_X86_64_64, ImportedObject(), NoCopy(), false), kRefused);
  EXPECT_EQ(NeedsOf(R_X86_64_64, ImportedObject(), TextRelocs(NoCopy()), false), kNeedSymbolic);
}

TEST(ScanWord, OfIfunc) {
  EXPECT_EQ(NeedsOf(R_X86_64_64, Ifunc(), NonPie(), true), kNeedPlt);
  EXPECT_EQ(NeedsOf(R_X86_64_64, Ifunc(), Pie(), true), kNeedPlt | kNeedRelative);
  EXPECT_EQ(NeedsOf(R_X86_64_64, Ifunc(), Pie(), false), kRefused);
}

TEST(ScanNarrow, EveryWidth) {
  for (uint32_t type : {R_X86_64_32, R_X86_64_32S, R_X86_64_16, R_X86_64_8}) {
    EXPECT_EQ(NeedsOf(type, Local(), NonPie()), 0);
    EXPECT_EQ(NeedsOf(type, Local(), Pie(), true), kRefused);
    EXPECT_EQ(NeedsOf(type, Local(), Shared(), true), kRefused);
    EXPECT_EQ(NeedsOf(type, Absolute(), Shared()), 0);
    EXPECT_EQ(NeedsOf(type, UndefinedWeak(), Pie()), 0);
    EXPECT_EQ(NeedsOf(type, ImportedFunction(), NonPie(), true), kNeedPlt | kNeedCanonicalPlt);
    EXPECT_EQ(NeedsOf(type, ImportedObject(), NonPie(), true), kNeedCopy);
    EXPECT_EQ(NeedsOf(type, ImportedObject(), NoCopy()), kRefused);
    EXPECT_EQ(NeedsOf(type, ImportedObject(), Pie(), true), kRefused);
    EXPECT_EQ(NeedsOf(type, Ifunc(), NonPie()), kNeedPlt);
    EXPECT_EQ(NeedsOf(type, Ifunc(), Pie()), kRefused);
  }
}

TEST(ScanDistance, EveryWidth) {
  for (uint32_t type : {R_X86_64_PC64, R_X86_64_PC32, R_X86_64_PC16, R_X86_64_PC8}) {
    for (const OutputTraits& output : {NonPie(), Pie(), Shared()}) {
      EXPECT_EQ(NeedsOf(type, Local(), output), 0);
      EXPECT_EQ(NeedsOf(type, Ifunc(), output), kNeedPlt);
      EXPECT_EQ(NeedsOf(type, UndefinedWeak(), output), 0);
    }
    EXPECT_EQ(NeedsOf(type, Absolute(), NonPie()), 0);
    EXPECT_EQ(NeedsOf(type, Absolute(), Pie()), kRefused);
    for (const OutputTraits& output : {NonPie(), Pie()}) {
      EXPECT_EQ(NeedsOf(type, ImportedFunction(), output), kNeedPlt | kNeedCanonicalPlt);
      EXPECT_EQ(NeedsOf(type, ImportedObject(), output), kNeedCopy);
      EXPECT_EQ(NeedsOf(type, ImportedTls(), output), kRefused);
    }
    EXPECT_EQ(NeedsOf(type, ImportedFunction(), Shared()), kRefused);
    EXPECT_EQ(NeedsOf(type, ImportedObject(), Shared()), kRefused);
    EXPECT_EQ(NeedsOf(type, ImportedObject(), NoCopy()), kRefused);
  }
}

TEST(ScanCall, GoesThroughPltOnlyWhereItMust) {
  for (const OutputTraits& output : {NonPie(), Pie(), Shared()}) {
    EXPECT_EQ(NeedsOf(R_X86_64_PLT32, Local(), output), 0);
    EXPECT_EQ(NeedsOf(R_X86_64_PLT32, UndefinedWeak(), output), 0);
    EXPECT_EQ(NeedsOf(R_X86_64_PLT32, Ifunc(), output), kNeedPlt);
    EXPECT_EQ(NeedsOf(R_X86_64_PLT32, ImportedFunction(), output), kNeedPlt);
    EXPECT_EQ(NeedsOf(R_X86_64_PLT32, ImportedObject(), output), kNeedPlt);
    EXPECT_EQ(NeedsOf(R_X86_64_PLTOFF64, Local(), output), kNeedGotBase);
    EXPECT_EQ(NeedsOf(R_X86_64_PLTOFF64, ImportedFunction(), output), kNeedPlt | kNeedGotBase);
  }
  EXPECT_EQ(NeedsOf(R_X86_64_PLT32, Absolute(), NonPie()), 0);
  EXPECT_EQ(NeedsOf(R_X86_64_PLT32, Absolute(), Pie()), kRefused);
}

// A library's SHN_ABS symbol: what it is worth is only known at run time.
TEST(ScanImport, AbsoluteElsewhereIsStillAnImport) {
  TargetTraits target = ImportedObject();
  target.absolute = true;
  EXPECT_EQ(NeedsOf(R_X86_64_64, target, Pie(), true), kNeedSymbolic);
  EXPECT_EQ(NeedsOf(R_X86_64_32, target, NonPie()), kNeedCopy);
  EXPECT_EQ(NeedsOf(R_X86_64_32, target, Pie()), kRefused);
  EXPECT_EQ(NeedsOf(R_X86_64_PC32, target, Pie()), kNeedCopy);
  EXPECT_EQ(NeedsOf(R_X86_64_PLT32, target, Pie()), kNeedPlt);
}

TEST(ScanGot, CellsAndBase) {
  for (const OutputTraits& output : {NonPie(), Pie(), Shared()}) {
    for (uint32_t type :
         {R_X86_64_GOTPCREL, R_X86_64_GOTPCREL64, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX}) {
      EXPECT_EQ(NeedsOf(type, Local(), output), kNeedGot);
      EXPECT_EQ(NeedsOf(type, ImportedFunction(), output), kNeedGot);
      EXPECT_EQ(NeedsOf(type, UndefinedWeak(), output), kNeedGot);
      EXPECT_EQ(NeedsOf(type, Ifunc(), output), kNeedGot | kNeedPlt);
    }
    for (uint32_t type : {R_X86_64_GOT32, R_X86_64_GOT64, R_X86_64_GOTPLT64}) {
      EXPECT_EQ(NeedsOf(type, Local(), output), kNeedGot | kNeedGotBase);
      EXPECT_EQ(NeedsOf(type, Ifunc(), output), kNeedGot | kNeedGotBase | kNeedPlt);
    }
    for (uint32_t type : {R_X86_64_GOTPC32, R_X86_64_GOTPC64, R_X86_64_GOTOFF64}) {
      EXPECT_EQ(NeedsOf(type, Local(), output), kNeedGotBase);
    }
  }
  EXPECT_EQ(NeedsOf(R_X86_64_GOTOFF64, ImportedObject(), Pie()), kNeedGotBase | kNeedCopy);
  EXPECT_EQ(NeedsOf(R_X86_64_GOTOFF64, ImportedObject(), Shared()), kRefused);
}

TEST(ScanTls, UnrelaxedNeeds) {
  // Zero bytes match no sequence, in executables either.
  EXPECT_EQ(NeedsOf(R_X86_64_TLSGD, Local(), Shared()), kNeedTlsGd);
  EXPECT_EQ(NeedsOf(R_X86_64_TLSGD, Local(), NonPie()), kNeedTlsGd);
  EXPECT_EQ(NeedsOf(R_X86_64_TLSLD, Local(), Shared()), kNeedTlsLd);
  EXPECT_EQ(NeedsOf(R_X86_64_TLSLD, Local(), Static()), kNeedTlsLd);
  EXPECT_EQ(NeedsOf(R_X86_64_GOTTPOFF, Local(), NonPie()), kNeedGotTp);
  EXPECT_EQ(NeedsOf(R_X86_64_GOTTPOFF, ImportedTls(), Pie()), kNeedGotTp);
  EXPECT_EQ(NeedsOf(R_X86_64_GOTTPOFF, Local(), Shared()), kNeedGotTp | kNeedStaticTls);
  EXPECT_EQ(NeedsOf(R_X86_64_GOTPC32_TLSDESC, Local(), Shared()), kNeedTlsDesc);
  EXPECT_EQ(NeedsOf(R_X86_64_TLSDESC_CALL, Local(), Shared()), 0);
  // One half of a descriptor's code must not be left while the other is relaxed.
  EXPECT_EQ(NeedsOf(R_X86_64_GOTPC32_TLSDESC, Local(), Pie()), kRefused);
  EXPECT_EQ(NeedsOf(R_X86_64_TLSDESC_CALL, Local(), Pie()), kRefused);
  OutputTraits no_relax = Pie();
  no_relax.relax = false;
  EXPECT_EQ(NeedsOf(R_X86_64_GOTPC32_TLSDESC, Local(), no_relax), kNeedTlsDesc);
  EXPECT_EQ(NeedsOf(R_X86_64_TLSDESC_CALL, Local(), no_relax), 0);
}

TEST(ScanTls, Offsets) {
  for (uint32_t type : {R_X86_64_TPOFF32, R_X86_64_TPOFF64}) {
    EXPECT_EQ(NeedsOf(type, Local(), NonPie()), 0);
    EXPECT_EQ(NeedsOf(type, Local(), Pie()), 0);
    EXPECT_EQ(NeedsOf(type, Local(), Shared(), true), kRefused);
    EXPECT_EQ(NeedsOf(type, ImportedTls(), Pie()), kRefused);
  }
  for (uint32_t type : {R_X86_64_DTPOFF32, R_X86_64_DTPOFF64}) {
    EXPECT_EQ(NeedsOf(type, Local(), NonPie()), 0);
    EXPECT_EQ(NeedsOf(type, Local(), Shared()), 0);
    EXPECT_EQ(NeedsOf(type, ImportedTls(), Shared()), kRefused);
  }
}

TEST(Scan, HintsSizesAndUnknown) {
  EXPECT_EQ(NeedsOf(R_X86_64_NONE, ImportedObject(), Shared()), 0);
  EXPECT_EQ(NeedsOf(250, ImportedObject(), Shared()), 0);  // GNU_VTINHERIT
  EXPECT_EQ(NeedsOf(251, ImportedObject(), Shared()), 0);  // GNU_VTENTRY
  EXPECT_EQ(NeedsOf(R_X86_64_SIZE32, ImportedObject(), Shared()), 0);
  EXPECT_EQ(NeedsOf(R_X86_64_SIZE64, Local(), NonPie()), 0);
  for (uint32_t type : {uint32_t{R_X86_64_COPY}, uint32_t{R_X86_64_RELATIVE}, uint32_t{R_X86_64_DTPMOD64},
                        77u, 252u, 256u, 0xffffffffu}) {
    EXPECT_EQ(NeedsOf(type, Local(), NonPie()), kRefused) << type;
  }
}

TEST(Scan, ErrorsSayWhatToDo) {
  Fixture f;
  f.output = Pie();
  EXPECT_THAT(ErrorOf(f.Scan({Rel(R_X86_64_32, 0, 0)})), HasSubstr("recompile with -fPIE"));
  EXPECT_THAT(ErrorOf(f.Scan({Rel(R_X86_64_64, 0, 0)})), HasSubstr("read-only section"));
  f.output = Shared();
  EXPECT_THAT(ErrorOf(f.Scan({Rel(R_X86_64_32S, 0, 0)})), HasSubstr("recompile with -fPIC"));
  EXPECT_THAT(ErrorOf(f.Scan({Rel(R_X86_64_TPOFF32, 0, 0)})), HasSubstr("recompile with -fPIC"));
  f.target.traits.imported = true;
  EXPECT_THAT(ErrorOf(f.Scan({Rel(R_X86_64_PC32, 0, 0)})), HasSubstr("recompile with -fPIC"));
}

TEST(Scan, NoRelocationsNeedNothing) {
  Fixture f;
  EXPECT_EQ(f.Scan({}).needs, 0);
  EXPECT_EQ(ErrorOf(f.Scan({})), "");
}

}  // namespace
}  // namespace kitlink::arch
