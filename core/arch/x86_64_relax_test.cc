// Each relaxation with its bytes before and after, and the near misses that must stay as they are.
#include "core/arch/x86_64_testing.h"
#include "gtest/gtest.h"

namespace kitlink::arch {
namespace {

// Cells at 0x7000 and on, code at 0x1000, the target at 0x5000 (or 0x6010 within the TLS block 0x6000 to
// 0x6100).
Fixture Code(const Bytes& bytes, const OutputTraits& output, const TargetTraits& traits = Local()) {
  Fixture f;
  f.bytes = bytes;
  f.output = output;
  f.target.traits = traits;
  return f;
}
Fixture TlsCode(const Bytes& bytes, const OutputTraits& output, const TargetTraits& traits = Local()) {
  Fixture f = Code(bytes, output, traits);
  f.target.address = 0x6010;  // tpoff = 0x6010 - 0x6100 = -0xf0 = 0xffffff10
  return f;
}

void ExpectRewritten(Fixture f, const std::vector<Reloc>& relocs, int needs, int consumed,
                     const Bytes& after) {
  const ScanResult scan = f.Scan(relocs);
  EXPECT_EQ(ErrorOf(scan), "");
  EXPECT_EQ(scan.needs, needs);
  EXPECT_EQ(scan.consumed, consumed);
  const ApplyResult apply = f.Apply(relocs);
  EXPECT_EQ(ErrorOf(apply), "");
  EXPECT_EQ(apply.consumed, consumed);
  EXPECT_EQ(f.bytes, after);
}

// Only relocs[0]'s four bytes change, and it needs `needs`.
void ExpectKept(Fixture f, const std::vector<Reloc>& relocs, int needs) {
  const Bytes before = f.bytes;
  const ScanResult scan = f.Scan(relocs);
  EXPECT_EQ(ErrorOf(scan), "");
  EXPECT_EQ(scan.needs, needs);
  EXPECT_EQ(scan.consumed, 1);
  const ApplyResult apply = f.Apply(relocs);
  EXPECT_EQ(ErrorOf(apply), "");
  EXPECT_EQ(apply.consumed, 1);
  for (size_t i = 0; i < before.size(); ++i) {
    const bool in_field = i >= relocs[0].offset && i < relocs[0].offset + 4;
    EXPECT_TRUE(in_field || f.bytes[i] == before[i]) << "byte " << i;
  }
}

// --- GOTPCRELX ---

const Bytes kCall = {0xff, 0x15, 0, 0, 0, 0};          // call *f@gotpcrel(%rip)
const Bytes kJmp = {0xff, 0x25, 0, 0, 0, 0};           // jmp *f@gotpcrel(%rip)
const Bytes kMov32 = {0x8b, 0x1d, 0, 0, 0, 0};         // mov v@gotpcrel(%rip), %ebx
const Bytes kMovRbx = {0x48, 0x8b, 0x1d, 0, 0, 0, 0};  // mov v@gotpcrel(%rip), %rbx
const Bytes kMovR15 = {0x4c, 0x8b, 0x3d, 0, 0, 0, 0};  // mov v@gotpcrel(%rip), %r15
const std::vector<Reloc> kX = {Rel(R_X86_64_GOTPCRELX, 2, -4)};
const std::vector<Reloc> kRexX = {Rel(R_X86_64_REX_GOTPCRELX, 3, -4)};

TEST(RelaxGot, CallBecomesDirect) {
  for (const OutputTraits& output : {NonPie(), Pie(), Shared(), Static()}) {
    // 67 e8 <0x5000 - 0x1006>: addr32 call f
    ExpectRewritten(Code(kCall, output), kX, 0, 1, {0x67, 0xe8, 0xfa, 0x3f, 0, 0});
  }
}

TEST(RelaxGot, JumpBecomesDirectAndShorter) {
  // e9 <0x5000 - 0x1005>: jmp f; 90: nop
  ExpectRewritten(Code(kJmp, Pie()), kX, 0, 1, {0xe9, 0xfb, 0x3f, 0, 0, 0x90});
}

TEST(RelaxGot, MovBecomesLea) {
  // lea v(%rip), %ebx
  ExpectRewritten(Code(kMov32, Pie()), kX, 0, 1, {0x8d, 0x1d, 0xfa, 0x3f, 0, 0});
  // lea v(%rip), %rbx
  ExpectRewritten(Code(kMovRbx, Pie()), kRexX, 0, 1, {0x48, 0x8d, 0x1d, 0xf9, 0x3f, 0, 0});
  // lea v(%rip), %r15
  ExpectRewritten(Code(kMovR15, Shared()), kRexX, 0, 1, {0x4c, 0x8d, 0x3d, 0xf9, 0x3f, 0, 0});
}

TEST(RelaxGot, NotForTheseTargets) {
  for (const Bytes& code : {kCall, kJmp, kMov32}) {
    ExpectKept(Code(code, Pie(), ImportedFunction()), kX, kNeedGot);
    ExpectKept(Code(code, Pie(), Ifunc()), kX, kNeedGot | kNeedPlt);
    ExpectKept(Code(code, NonPie(), Absolute()), kX, kNeedGot);
    ExpectKept(Code(code, Pie(), UndefinedWeak()), kX, kNeedGot);
  }
}

TEST(RelaxGot, NotWithoutLeaveOrWithAnotherAddend) {
  OutputTraits output = Pie();
  output.relax = false;
  ExpectKept(Code(kCall, output), kX, kNeedGot);
  ExpectKept(Code(kCall, Pie()), {Rel(R_X86_64_GOTPCRELX, 2, 0)}, kNeedGot);
  ExpectKept(Code(kMovRbx, Pie()), {Rel(R_X86_64_REX_GOTPCRELX, 3, -5)}, kNeedGot);
}

TEST(RelaxGot, OnlyTheVariantsThatAllowIt) {
  ExpectKept(Code(kCall, Pie()), {Rel(R_X86_64_GOTPCREL, 2, -4)}, kNeedGot);
  ExpectKept(Code(kMovRbx, Pie()), {Rel(R_X86_64_GOTPCREL, 3, -4)}, kNeedGot);
}

TEST(RelaxGot, OtherInstructionsKeepTheirCell) {
  ExpectKept(Code({0x48, 0x3b, 0x05, 0, 0, 0, 0}, NonPie()), kRexX, kNeedGot);  // cmp v@gotpcrel(%rip), %rax
  ExpectKept(Code({0x48, 0x85, 0x05, 0, 0, 0, 0}, NonPie()), kRexX, kNeedGot);  // test %rax, v@gotpcrel(%rip)
  ExpectKept(Code({0x48, 0x8b, 0x80, 0, 0, 0, 0}, NonPie()), kRexX, kNeedGot);  // mov v@gotpcrel(%rax), %rax
  ExpectKept(Code({0x90, 0x8b, 0x05, 0, 0, 0, 0}, NonPie()), kRexX,
             kNeedGot);                                                // no REX where one is promised
  ExpectKept(Code({0xff, 0x35, 0, 0, 0, 0}, NonPie()), kX, kNeedGot);  // push v@gotpcrel(%rip)
}

TEST(RelaxGot, LooksAtNoByteBeforeTheSection) {
  for (uint32_t type : {R_X86_64_GOTPCRELX, R_X86_64_REX_GOTPCRELX}) {
    for (uint64_t offset : {0, 1}) {
      ExpectKept(Code({0x8b, 0x05, 0, 0, 0, 0}, Pie()), {Rel(type, offset, -4)}, kNeedGot);
    }
  }
  // The opcode fits, the REX prefix would lie before the section.
  ExpectKept(Code({0x8b, 0x05, 0, 0, 0, 0}, Pie()), {Rel(R_X86_64_REX_GOTPCRELX, 2, -4)}, kNeedGot);
}

TEST(RelaxGot, Bounds) {
  // jmp's field lies one byte lower, so its reach differs by one.
  for (const auto& [code, end] : {std::pair(kCall, uint64_t{0x1006}), std::pair(kJmp, uint64_t{0x1005})}) {
    for (uint64_t distance :
         {uint64_t{0x7fffffff}, uint64_t{0x80000000}, -uint64_t{0x80000000}, -uint64_t{0x80000001}}) {
      Fixture f = Code(code, Pie());
      f.target.address = end + distance;
      const bool fits = distance == 0x7fffffff || distance == -uint64_t{0x80000000};
      EXPECT_EQ(ErrorOf(f.Apply(kX)), fits ? "" : "out of range after relaxation; link with --no-relax");
      if (!fits) {
        EXPECT_EQ(f.bytes, code);
      }
    }
  }
}

// --- General dynamic ---

const Bytes kGd = {0x66, 0x48, 0x8d, 0x3d, 0, 0, 0, 0,   // data16 lea x@tlsgd(%rip), %rdi
                   0x66, 0x66, 0x48, 0xe8, 0, 0, 0, 0};  // data16 data16 rex.W call __tls_get_addr@plt
const Bytes kGdIndirect = {
    0x66, 0x48, 0x8d, 0x3d, 0, 0, 0, 0,   // data16 lea x@tlsgd(%rip), %rdi
    0x66, 0x48, 0xff, 0x15, 0, 0, 0, 0};  // data16 rex.W call *__tls_get_addr@gotpcrel(%rip)
const std::vector<Reloc> kGdRelocs = {Rel(R_X86_64_TLSGD, 4, -4), Rel(R_X86_64_PLT32, 12, -4)};
const std::vector<Reloc> kGdIndirectRelocs = {Rel(R_X86_64_TLSGD, 4, -4), Rel(R_X86_64_GOTPCRELX, 12, -4)};
const Bytes kGdAsLe = {0x64, 0x48, 0x8b, 0x04, 0x25, 0,    0,   0, 0,  // mov %fs:0, %rax
                       0x48, 0x8d, 0x80, 0x10, 0xff, 0xff, 0xff};      // lea x@tpoff(%rax), %rax
const Bytes kGdAsIe = {
    0x64, 0x48, 0x8b, 0x04, 0x25, 0,    0,   0, 0,  // mov %fs:0, %rax
    0x48, 0x03, 0x05, 0x00, 0x60, 0x00, 0x00};      // add x@gottpoff(%rip), %rax: 0x7010 - 0x1010

TEST(RelaxGd, ToLocalExec) {
  for (const OutputTraits& output : {NonPie(), Pie(), Static()}) {
    ExpectRewritten(TlsCode(kGd, output), kGdRelocs, 0, 2, kGdAsLe);
    ExpectRewritten(TlsCode(kGdIndirect, output), kGdIndirectRelocs, 0, 2, kGdAsLe);
  }
}

TEST(RelaxGd, ToInitialExec) {
  for (const OutputTraits& output : {NonPie(), Pie()}) {
    ExpectRewritten(TlsCode(kGd, output, ImportedTls()), kGdRelocs, kNeedGotTp, 2, kGdAsIe);
    ExpectRewritten(TlsCode(kGdIndirect, output, ImportedTls()), kGdIndirectRelocs, kNeedGotTp, 2, kGdAsIe);
  }
}

TEST(RelaxGd, UndefinedWeakHasOffsetZero) {
  Fixture f = TlsCode(kGd, NonPie(), UndefinedWeak());
  f.target.address = 0;
  Bytes after = kGdAsLe;
  std::fill(after.end() - 4, after.end(), uint8_t{0});
  ExpectRewritten(f, kGdRelocs, 0, 2, after);
}

TEST(RelaxGd, LibrariesKeepIt) {
  ExpectKept(TlsCode(kGd, Shared()), kGdRelocs, kNeedTlsGd);
  ExpectKept(TlsCode(kGd, Shared(), ImportedTls()), kGdRelocs, kNeedTlsGd);
}

TEST(RelaxGd, NoRelaxHoldsWhereADynamicLinkerHelps) {
  OutputTraits output = Pie();
  output.relax = false;
  ExpectKept(TlsCode(kGd, output), kGdRelocs, kNeedTlsGd);
  output = Static();
  output.relax = false;
  ExpectRewritten(TlsCode(kGd, output), kGdRelocs, 0, 2, kGdAsLe);
}

TEST(RelaxGd, NearMissesAreKept) {
  ExpectKept(TlsCode(kGd, Pie()), {kGdRelocs[0]}, kNeedTlsGd);  // no call's relocation
  ExpectKept(TlsCode(kGd, Pie()), {kGdRelocs[0], Rel(R_X86_64_PLT32, 11, -4)}, kNeedTlsGd);
  ExpectKept(TlsCode(kGd, Pie()), {kGdRelocs[0], Rel(R_X86_64_64, 12, -4)}, kNeedTlsGd);
  ExpectKept(TlsCode(kGd, Pie()), kGdIndirectRelocs, kNeedTlsGd);  // the other form's relocation
  ExpectKept(TlsCode(kGdIndirect, Pie()), kGdRelocs, kNeedTlsGd);
  for (size_t i : {0, 1, 2, 3, 8, 9, 10, 11}) {
    Bytes code = kGd;
    code[i] ^= 0x01;
    ExpectKept(TlsCode(code, Pie()), kGdRelocs, kNeedTlsGd);
  }
  Bytes cut = kGd;
  cut.resize(15);
  ExpectKept(TlsCode(cut, Pie()), kGdRelocs, kNeedTlsGd);
  const Bytes late(kGd.begin() + 1, kGd.end());  // the first prefix lies before the section
  ExpectKept(TlsCode(late, Pie()), {Rel(R_X86_64_TLSGD, 3, -4), Rel(R_X86_64_PLT32, 11, -4)}, kNeedTlsGd);
}

TEST(RelaxGd, Bounds) {
  for (uint64_t offset :
       {uint64_t{0x7fffffff}, uint64_t{0x80000000}, -uint64_t{0x80000000}, -uint64_t{0x80000001}}) {
    const bool fits = offset == 0x7fffffff || offset == -uint64_t{0x80000000};
    Fixture le = TlsCode(kGd, Pie());
    le.target.address = le.image.tls_pointer + offset;
    EXPECT_EQ(ErrorOf(le.Apply(kGdRelocs)), fits ? "" : "out of range");
    Fixture ie = TlsCode(kGd, Pie(), ImportedTls());
    ie.target.gottp = 0x1010 + offset;
    EXPECT_EQ(ErrorOf(ie.Apply(kGdRelocs)), fits ? "" : "out of range");
    EXPECT_EQ(ie.bytes == kGd, !fits);
  }
}

TEST(RelaxGd, ToInitialExecWithoutCellIsAnError) {
  Fixture f = TlsCode(kGd, Pie(), ImportedTls());
  f.target.gottp = 0;
  EXPECT_EQ(ErrorOf(f.Apply(kGdRelocs)), "lacks the GOT cell that it needs");
  EXPECT_EQ(f.bytes, kGd);
}

// --- Local dynamic ---

const Bytes kLd = {0x48, 0x8d, 0x3d, 0, 0, 0, 0,          // lea x@tlsld(%rip), %rdi
                   0xe8, 0,    0,    0, 0};               // call __tls_get_addr@plt
const Bytes kLdIndirect = {0x48, 0x8d, 0x3d, 0, 0, 0, 0,  // lea x@tlsld(%rip), %rdi
                           0xff, 0x15, 0,    0, 0, 0};    // call *__tls_get_addr@gotpcrel(%rip)
const std::vector<Reloc> kLdRelocs = {Rel(R_X86_64_TLSLD, 3, -4), Rel(R_X86_64_PLT32, 8, -4)};
const std::vector<Reloc> kLdIndirectRelocs = {Rel(R_X86_64_TLSLD, 3, -4), Rel(R_X86_64_GOTPCRELX, 9, -4)};
const Bytes kLdAsLe = {0x31, 0xc0,                           // xor %eax, %eax
                       0x64, 0x48, 0x8b, 0x00,               // mov %fs:(%rax), %rax
                       0x48, 0x2d, 0x00, 0x01, 0x00, 0x00};  // sub $0x100, %rax: the block's size

TEST(RelaxLd, ToStartOfBlock) {
  Bytes indirect = kLdAsLe;
  indirect.push_back(0x90);  // nop
  for (const OutputTraits& output : {NonPie(), Pie(), Static()}) {
    ExpectRewritten(TlsCode(kLd, output), kLdRelocs, 0, 2, kLdAsLe);
    ExpectRewritten(TlsCode(kLdIndirect, output), kLdIndirectRelocs, 0, 2, indirect);
  }
}

TEST(RelaxLd, LibrariesKeepIt) { ExpectKept(TlsCode(kLd, Shared()), kLdRelocs, kNeedTlsLd); }

TEST(RelaxLd, NearMissesAreKept) {
  ExpectKept(TlsCode(kLd, Pie()), {kLdRelocs[0]}, kNeedTlsLd);
  ExpectKept(TlsCode(kLd, Pie()), {kLdRelocs[0], Rel(R_X86_64_PLT32, 9, -4)}, kNeedTlsLd);
  ExpectKept(TlsCode(kLd, Pie()), kLdIndirectRelocs, kNeedTlsLd);
  ExpectKept(TlsCode(kLdIndirect, Pie()), kLdRelocs, kNeedTlsLd);
  for (size_t i : {0, 1, 2, 7}) {
    Bytes code = kLd;
    code[i] ^= 0x01;
    ExpectKept(TlsCode(code, Pie()), kLdRelocs, kNeedTlsLd);
  }
  for (const Bytes& code : {kLd, kLdIndirect}) {
    Bytes cut = code;
    cut.pop_back();
    ExpectKept(TlsCode(cut, Pie()), code == kLd ? kLdRelocs : kLdIndirectRelocs, kNeedTlsLd);
  }
  const Bytes late(kLd.begin() + 1, kLd.end());
  ExpectKept(TlsCode(late, Pie()), {Rel(R_X86_64_TLSLD, 2, -4), Rel(R_X86_64_PLT32, 7, -4)}, kNeedTlsLd);
}

TEST(RelaxLd, BlockTooLarge) {
  Fixture f = TlsCode(kLd, Pie());
  f.image.tls_pointer = f.image.tls_begin + 0x80000000;
  EXPECT_EQ(ErrorOf(f.Apply(kLdRelocs)), "out of range");
  EXPECT_EQ(f.bytes, kLd);
}

// --- Initial exec ---

const std::vector<Reloc> kIeRelocs = {Rel(R_X86_64_GOTTPOFF, 3, -4)};

TEST(RelaxIe, ToLocalExec) {
  for (const OutputTraits& output : {NonPie(), Pie(), Static()}) {
    // mov x@gottpoff(%rip), %rax -> mov $x@tpoff, %rax
    ExpectRewritten(TlsCode({0x48, 0x8b, 0x05, 0, 0, 0, 0}, output), kIeRelocs, 0, 1,
                    {0x48, 0xc7, 0xc0, 0x10, 0xff, 0xff, 0xff});
    // mov x@gottpoff(%rip), %rsp -> mov $x@tpoff, %rsp
    ExpectRewritten(TlsCode({0x48, 0x8b, 0x25, 0, 0, 0, 0}, output), kIeRelocs, 0, 1,
                    {0x48, 0xc7, 0xc4, 0x10, 0xff, 0xff, 0xff});
    // mov x@gottpoff(%rip), %r12 -> mov $x@tpoff, %r12
    ExpectRewritten(TlsCode({0x4c, 0x8b, 0x25, 0, 0, 0, 0}, output), kIeRelocs, 0, 1,
                    {0x49, 0xc7, 0xc4, 0x10, 0xff, 0xff, 0xff});
    // add x@gottpoff(%rip), %rbx -> add $x@tpoff, %rbx
    ExpectRewritten(TlsCode({0x48, 0x03, 0x1d, 0, 0, 0, 0}, output), kIeRelocs, 0, 1,
                    {0x48, 0x81, 0xc3, 0x10, 0xff, 0xff, 0xff});
    // add x@gottpoff(%rip), %r15 -> add $x@tpoff, %r15
    ExpectRewritten(TlsCode({0x4c, 0x03, 0x3d, 0, 0, 0, 0}, output), kIeRelocs, 0, 1,
                    {0x49, 0x81, 0xc7, 0x10, 0xff, 0xff, 0xff});
  }
}

TEST(RelaxIe, KeptForImportsLibrariesAndOtherInstructions) {
  const Bytes mov = {0x48, 0x8b, 0x05, 0, 0, 0, 0};
  ExpectKept(TlsCode(mov, Pie(), ImportedTls()), kIeRelocs, kNeedGotTp);
  ExpectKept(TlsCode(mov, Shared()), kIeRelocs, kNeedGotTp | kNeedStaticTls);
  ExpectKept(TlsCode({0x48, 0x3b, 0x05, 0, 0, 0, 0}, Pie()), kIeRelocs, kNeedGotTp);  // cmp
  ExpectKept(TlsCode({0x48, 0x8b, 0x80, 0, 0, 0, 0}, Pie()), kIeRelocs, kNeedGotTp);  // not from %rip
  ExpectKept(TlsCode({0x44, 0x8b, 0x05, 0, 0, 0, 0}, Pie()), kIeRelocs, kNeedGotTp);  // 32 bits
  ExpectKept(TlsCode({0x8b, 0x05, 0, 0, 0, 0}, Pie()), {Rel(R_X86_64_GOTTPOFF, 2, -4)}, kNeedGotTp);
}

// --- Descriptors ---

const Bytes kDesc = {0x48, 0x8d, 0x05, 0, 0, 0, 0,  // lea x@tlsdesc(%rip), %rax
                     0xff, 0x10};                   // call *x@tlscall(%rax)
const std::vector<Reloc> kDescLea = {Rel(R_X86_64_GOTPC32_TLSDESC, 3, -4)};
const std::vector<Reloc> kDescCall = {Rel(R_X86_64_TLSDESC_CALL, 7, 0)};

TEST(RelaxDesc, ToLocalExec) {
  for (const OutputTraits& output : {NonPie(), Pie(), Static()}) {
    // mov $x@tpoff, %rax
    ExpectRewritten(TlsCode(kDesc, output), kDescLea, 0, 1,
                    {0x48, 0xc7, 0xc0, 0x10, 0xff, 0xff, 0xff, 0xff, 0x10});
    // xchg %ax, %ax
    ExpectRewritten(TlsCode(kDesc, output), kDescCall, 0, 1, {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x66, 0x90});
  }
}

TEST(RelaxDesc, ToInitialExec) {
  // mov x@gottpoff(%rip), %rax: 0x7010 - 0x1007
  ExpectRewritten(TlsCode(kDesc, Pie(), ImportedTls()), kDescLea, kNeedGotTp, 1,
                  {0x48, 0x8b, 0x05, 0x09, 0x60, 0, 0, 0xff, 0x10});
  ExpectRewritten(TlsCode(kDesc, Pie(), ImportedTls()), kDescCall, 0, 1,
                  {0x48, 0x8d, 0x05, 0, 0, 0, 0, 0x66, 0x90});
}

TEST(RelaxDesc, LibrariesKeepIt) {
  ExpectKept(TlsCode(kDesc, Shared()), kDescLea, kNeedTlsDesc);
  ExpectRewritten(TlsCode(kDesc, Shared()), kDescCall, 0, 1, kDesc);
}

TEST(RelaxDesc, OtherInstructionsAreErrors) {
  Bytes other = kDesc;
  other[2] = 0x1d;  // lea x@tlsdesc(%rip), %rbx
  other[8] = 0x13;  // call *(%rbx)
  for (const std::vector<Reloc>& relocs : {kDescLea, kDescCall}) {
    Fixture f = TlsCode(other, Pie());
    EXPECT_EQ(ErrorOf(f.Scan(relocs)), "unexpected instruction");
    EXPECT_EQ(ErrorOf(f.Apply(relocs)), "unexpected instruction");
    EXPECT_EQ(f.bytes, other);
  }
}

}  // namespace
}  // namespace kitlink::arch
