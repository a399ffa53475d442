// The value that each relocation writes, bounds to the last bit, and fields that are not there.
#include "core/arch/x86_64_testing.h"
#include "gtest/gtest.h"

namespace kitlink::arch {
namespace {

// Applies at offset 4 of a section at 0x1000 (so P = 0x1004) and returns the field, sign-extended.
int64_t FieldAfter(uint32_t type, int64_t addend, Fixture f = Fixture()) {
  const ApplyResult result = f.Apply({Rel(type, 4, addend)});
  EXPECT_EQ(ErrorOf(result), "");
  EXPECT_EQ(result.consumed, 1);
  const uint8_t width = X86_64().Info(type).width;
  for (size_t i = 0; i < f.bytes.size(); ++i) {
    const bool in_field = i >= 4 && i < 4u + width;
    EXPECT_TRUE(in_field || f.bytes[i] == 0) << "byte " << i << " is outside the field";
  }
  return X86_64().ImplicitAddend(type, ByteView(f.bytes).subspan(4));
}

TEST(Apply, Absolute) {
  EXPECT_EQ(FieldAfter(R_X86_64_64, 3), 0x5003);
  EXPECT_EQ(FieldAfter(R_X86_64_32, 3), 0x5003);
  EXPECT_EQ(FieldAfter(R_X86_64_32S, -0x5001), -1);
  EXPECT_EQ(FieldAfter(R_X86_64_16, 3), 0x5003);
  EXPECT_EQ(FieldAfter(R_X86_64_8, -0x5000 + 0x7f), 0x7f);
}

TEST(Apply, PcRelative) {
  EXPECT_EQ(FieldAfter(R_X86_64_PC64, -4), 0x5000 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_PC32, -4), 0x5000 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_PC16, -2), 0x5000 - 2 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_PC8, -0x3ff0), 0x5000 - 0x3ff0 - 0x1004);
}

TEST(Apply, CallsUsePltForImportsAndIfuncsOnly) {
  Fixture f;
  EXPECT_EQ(FieldAfter(R_X86_64_PLT32, -4, f), 0x5000 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_PLTOFF64, 1, f), 0x5000 + 1 - 0x8000);
  f.target.traits = ImportedFunction();
  EXPECT_EQ(FieldAfter(R_X86_64_PLT32, -4, f), 0x2000 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_PLTOFF64, 1, f), 0x2000 + 1 - 0x8000);
  EXPECT_EQ(FieldAfter(R_X86_64_PC32, -4, f), 0x5000 - 4 - 0x1004);  // S: the canonical entry
  f.target.traits = Ifunc();
  EXPECT_EQ(FieldAfter(R_X86_64_PLT32, -4, f), 0x2000 - 4 - 0x1004);
}

TEST(Apply, Got) {
  EXPECT_EQ(FieldAfter(R_X86_64_GOT32, 1), 0x7000 + 1 - 0x8000);
  EXPECT_EQ(FieldAfter(R_X86_64_GOT64, 1), 0x7000 + 1 - 0x8000);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTPLT64, 1), 0x7000 + 1 - 0x8000);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTOFF64, 1), 0x5000 + 1 - 0x8000);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTPC32, 1), 0x8000 + 1 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTPC64, 1), 0x8000 + 1 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTPCREL, -4), 0x7000 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTPCREL64, -4), 0x7000 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTPCRELX, -4), 0x7000 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_REX_GOTPCRELX, -4), 0x7000 - 4 - 0x1004);
}

TEST(Apply, Size) {
  EXPECT_EQ(FieldAfter(R_X86_64_SIZE32, 2), 0x2a);
  EXPECT_EQ(FieldAfter(R_X86_64_SIZE64, -0x29), -1);
}

TEST(Apply, Tls) {
  Fixture f;
  f.output = Shared();
  f.target.address = 0x6010;
  EXPECT_EQ(FieldAfter(R_X86_64_DTPOFF32, 4, f), 0x14);
  EXPECT_EQ(FieldAfter(R_X86_64_DTPOFF64, 4, f), 0x14);
  EXPECT_EQ(FieldAfter(R_X86_64_TLSGD, -4, f), 0x7020 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_TLSLD, -4, f), 0x7040 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTTPOFF, -4, f), 0x7010 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_GOTPC32_TLSDESC, -4, f), 0x7030 - 4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_TLSDESC_CALL, 0, f), 0);
  f.output = Pie();
  EXPECT_EQ(FieldAfter(R_X86_64_TPOFF32, 4, f), 0x6014 - 0x6100);
  EXPECT_EQ(FieldAfter(R_X86_64_TPOFF64, 4, f), 0x6014 - 0x6100);
  EXPECT_EQ(FieldAfter(R_X86_64_DTPOFF32, 4, f), 0x14);  // also where local dynamic is relaxed
}

TEST(Apply, HintsWriteNothing) {
  for (uint32_t type : {uint32_t{R_X86_64_NONE}, 250u, 251u}) {
    EXPECT_EQ(FieldAfter(type, 99), 0);
    Fixture f;
    EXPECT_EQ(ErrorOf(f.Apply({Rel(type, 0xffffffffffffffff, 0)})), "");
  }
}

TEST(Apply, MissingCellsAreErrors) {
  Fixture f;
  f.output = Shared();
  f.target.got = f.target.plt = f.target.gottp = f.target.tlsgd = f.target.tlsdesc = f.image.tlsld = 0;
  f.target.traits = ImportedFunction();
  for (uint32_t type : {R_X86_64_GOT32, R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_TLSGD, R_X86_64_TLSLD,
                        R_X86_64_GOTTPOFF, R_X86_64_GOTPC32_TLSDESC}) {
    EXPECT_EQ(ErrorOf(f.Apply({Rel(type, 4, 0)})), "lacks the GOT cell that it needs") << type;
  }
  EXPECT_EQ(ErrorOf(f.Apply({Rel(R_X86_64_PLT32, 4, 0)})), "lacks the PLT entry that it needs");
  EXPECT_EQ(f.bytes, Bytes(16, 0));
}

TEST(Apply, UndefinedWeakIsZeroOrHarmless) {
  Fixture f;
  f.target.address = 0;
  f.target.traits = UndefinedWeak();
  EXPECT_EQ(FieldAfter(R_X86_64_64, 0, f), 0);
  EXPECT_EQ(FieldAfter(R_X86_64_PC32, -4, f), -4 - 0x1004);
  EXPECT_EQ(FieldAfter(R_X86_64_TPOFF32, 0, f), 0);
  EXPECT_EQ(FieldAfter(R_X86_64_DTPOFF32, 0, f), 0);
  f.address = 0x7f0000000000;
  EXPECT_EQ(FieldAfter(R_X86_64_PC32, -4, f), 0);
  EXPECT_EQ(FieldAfter(R_X86_64_PLT32, -4, f), 0);
  f.target.traits = Local();
  EXPECT_EQ(ErrorOf(f.Apply({Rel(R_X86_64_PC32, 4, -4)})), "out of range");
}

// The largest and smallest value that fit, and their neighbours, which must leave the field alone.
void ExpectBounds(uint32_t type, int64_t low, int64_t high, uint64_t zero_point) {
  for (int64_t value : {low, high, low - 1, high + 1}) {
    Fixture f;
    f.target.address = zero_point + static_cast<uint64_t>(value);
    f.target.got = f.target.tlsgd = f.target.gottp = f.target.address;
    f.target.size = static_cast<uint64_t>(value);
    f.image.tlsld = f.target.tlsdesc = f.target.address;
    const ApplyResult result = f.Apply({Rel(type, 4, 0)});
    const bool fits = value >= low && value <= high;
    EXPECT_EQ(ErrorOf(result), fits ? "" : "out of range") << type << " " << value;
    EXPECT_TRUE(fits || f.bytes == Bytes(16, 0));
  }
}

TEST(Apply, Bounds) {
  constexpr int64_t k31 = int64_t{1} << 31;
  constexpr int64_t k32 = int64_t{1} << 32;
  constexpr uint64_t kPlace = 0x1004;
  ExpectBounds(R_X86_64_32, 0, k32 - 1, 0);
  ExpectBounds(R_X86_64_32S, -k31, k31 - 1, 0);
  ExpectBounds(R_X86_64_16, -0x8000, 0xffff, 0);
  ExpectBounds(R_X86_64_8, -0x80, 0xff, 0);
  ExpectBounds(R_X86_64_PC32, -k31, k31 - 1, kPlace);
  ExpectBounds(R_X86_64_PLT32, -k31, k31 - 1, kPlace);
  ExpectBounds(R_X86_64_PC16, -0x8000, 0x7fff, kPlace);
  ExpectBounds(R_X86_64_PC8, -0x80, 0x7f, kPlace);
  for (uint32_t type : {R_X86_64_GOTPCREL, R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX, R_X86_64_TLSGD,
                        R_X86_64_TLSLD, R_X86_64_GOTTPOFF}) {
    ExpectBounds(type, -k31, k31 - 1, kPlace);
  }
  ExpectBounds(R_X86_64_GOT32, -k31, k31 - 1, 0x8000);
  ExpectBounds(R_X86_64_SIZE32, 0, k32 - 1, 0);
  ExpectBounds(R_X86_64_DTPOFF32, -k31, k31 - 1, 0x6000);
  ExpectBounds(R_X86_64_TPOFF32, -k31, k31 - 1, 0x6100);
}

TEST(Apply, GotBaseOutOfRange) {
  Fixture f;
  f.image.got_base = uint64_t{1} << 40;
  EXPECT_EQ(ErrorOf(f.Apply({Rel(R_X86_64_GOTPC32, 4, 0)})), "out of range");
}

TEST(Apply, FieldsThatAreNotThere) {
  for (uint32_t type = 0; type < 64; ++type) {
    const RelocInfo info = X86_64().Info(type);
    if (info.form == RelocForm::kNone || info.form == RelocForm::kUnknown) continue;
    const uint64_t length = type == R_X86_64_TLSDESC_CALL ? 2 : info.width;
    for (uint64_t offset :
         {16 - length + 1, uint64_t{16}, uint64_t{17}, uint64_t{0xfffffffffffffffc}, ~uint64_t{0}}) {
      Fixture f;
      EXPECT_EQ(ErrorOf(f.Scan({Rel(type, offset, 0)})), "lies outside its section") << type;
      EXPECT_EQ(ErrorOf(f.Apply({Rel(type, offset, 0)})), "lies outside its section") << type;
      EXPECT_EQ(f.bytes, Bytes(16, 0));
    }
    Fixture f;
    f.output = Shared();
    f.output.text_relocs = true;
    EXPECT_NE(ErrorOf(f.Scan({Rel(type, 16 - length, 0)})), "lies outside its section") << type;
  }
}

TEST(Apply, EmptySection) {
  Fixture f;
  f.bytes.clear();
  EXPECT_EQ(ErrorOf(f.Scan({Rel(R_X86_64_8, 0, 0)})), "lies outside its section");
  EXPECT_EQ(ErrorOf(f.Apply({Rel(R_X86_64_8, 0, 0)})), "lies outside its section");
}

TEST(ApplyUnloaded, ValuesAndTombstones) {
  const ImageValues image = Fixture().image;
  Bytes bytes(16, 0x55);
  const auto apply = [&](uint32_t type, uint64_t offset, int64_t addend, uint64_t value, bool tombstone) {
    return ErrorOf(
        X86_64().ApplyUnloaded(Rel(type, offset, addend), absl::MakeSpan(bytes), value, tombstone, image));
  };
  EXPECT_EQ(apply(R_X86_64_64, 0, 3, 0x5000, false), "");
  EXPECT_EQ(Load<uint64_t>(&bytes[0]), 0x5003u);
  EXPECT_EQ(apply(R_X86_64_64, 0, 3, ~uint64_t{0}, true), "");
  EXPECT_EQ(Load<uint64_t>(&bytes[0]), ~uint64_t{0});
  EXPECT_EQ(apply(R_X86_64_32, 8, 3, ~uint64_t{0} - 1, true), "");  // -2: location lists before DWARF 5
  EXPECT_EQ(Load<uint32_t>(&bytes[8]), 0xfffffffeu);
  EXPECT_EQ(apply(R_X86_64_DTPOFF64, 0, 8, 0x6010, false), "");
  EXPECT_EQ(Load<uint64_t>(&bytes[0]), 0x18u);
  EXPECT_EQ(apply(R_X86_64_DTPOFF32, 0, 8, 0x6010, false), "");
  EXPECT_EQ(Load<uint32_t>(&bytes[0]), 0x18u);
  EXPECT_EQ(apply(R_X86_64_32, 0, 0, uint64_t{1} << 32, false), "out of range");
  EXPECT_EQ(apply(R_X86_64_32, 13, 0, 0, false), "lies outside its section");
  EXPECT_EQ(apply(R_X86_64_PC32, 0, 0, 0, false), "is not supported");
  EXPECT_EQ(apply(77, 0, 0, 0, false), "is not supported");
  EXPECT_EQ(apply(R_X86_64_NONE, 99, 0, 0, false), "");
}

TEST(ImplicitAddend, SignExtends) {
  const Bytes field = {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
  EXPECT_EQ(X86_64().ImplicitAddend(R_X86_64_64, field), 0x7ffffffffffffffe);
  EXPECT_EQ(X86_64().ImplicitAddend(R_X86_64_PC32, field), -2);
  EXPECT_EQ(X86_64().ImplicitAddend(R_X86_64_16, field), -2);
  EXPECT_EQ(X86_64().ImplicitAddend(R_X86_64_8, field), -2);
  EXPECT_EQ(X86_64().ImplicitAddend(R_X86_64_NONE, field), 0);
  EXPECT_EQ(X86_64().ImplicitAddend(R_X86_64_64, ByteView(field).subspan(1)), 0);
}

TEST(Names, KnownAndUnknown) {
  EXPECT_EQ(X86_64().RelocName(R_X86_64_REX_GOTPCRELX), "R_X86_64_REX_GOTPCRELX");
  EXPECT_EQ(X86_64().RelocName(R_X86_64_IRELATIVE), "R_X86_64_IRELATIVE");
  EXPECT_EQ(X86_64().RelocName(251), "R_X86_64_GNU_VTENTRY");
  EXPECT_EQ(X86_64().RelocName(39), "unknown (39)");
  EXPECT_EQ(X86_64().RelocName(77), "unknown (77)");
  EXPECT_EQ(X86_64().RelocName(209), "unknown (209)");
  EXPECT_EQ(X86_64().RelocName(1000), "unknown (above 255)");
}

TEST(Info, OnlyTypesFromObjectsHaveAForm) {
  EXPECT_EQ(X86_64().Info(R_X86_64_COPY).form, RelocForm::kUnknown);
  EXPECT_EQ(X86_64().Info(12345).form, RelocForm::kUnknown);
  EXPECT_EQ(X86_64().Info(R_X86_64_NONE).form, RelocForm::kNone);
  EXPECT_EQ(X86_64().Info(R_X86_64_GOTPCRELX).lead, 2);
  EXPECT_EQ(X86_64().Info(R_X86_64_TLSGD).trail, 8);
  EXPECT_EQ(X86_64().Info(R_X86_64_TLSDESC_CALL).width, 0);
}

TEST(Machine, IsFoundByNumber) {
  EXPECT_EQ(ArchFor(EM_X86_64), &X86_64());
  EXPECT_EQ(ArchFor(EM_AARCH64), nullptr);
  EXPECT_EQ(X86_64().elf_machine(), EM_X86_64);
  EXPECT_EQ(X86_64().name(), "x86-64");
  EXPECT_EQ(X86_64().dynamic_types().relative, unsigned{R_X86_64_RELATIVE});
  EXPECT_EQ(X86_64().dynamic_types().tlsdesc, unsigned{R_X86_64_TLSDESC});
}

}  // namespace
}  // namespace kitlink::arch
