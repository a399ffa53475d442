// Whatever is damaged in an image is noticed, and said so that one finds it.
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/bytes.h"
#include "core/verify/eh_frame.h"
#include "core/verify/image.h"
#include "core/verify/instructions.h"
#include "core/verify/loader.h"
#include "core/verify/testing/damage.h"
#include "core/verify/testing/programs.h"
#include "core/verify/verify.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

using Form = ReferenceSite::Form;
using testing::HasSubstr;

const char kSources[] = "main.c data.c tls.c exceptions.cc";

class Mutations : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    pie_ = new Reference(Objects({"pie", "gcc", "-O0 -fPIE", "-pie"}, kSources).LinkReference());
    shared_ = new Reference(
        Objects({"shared", "gcc", "-O2 -fPIC", "-shared -Wl,--hash-style=both"}, kSources).LinkReference());
  }
  static void TearDownTestSuite() {
    delete pie_;
    delete shared_;
  }
  static Reference *pie_, *shared_;
};
Reference* Mutations::pie_ = nullptr;
Reference* Mutations::shared_ = nullptr;

TEST_F(Mutations, NoneIsNoDifference) {
  EXPECT_EQ(Damage(*pie_).Compare(), "");
  EXPECT_EQ(Damage(*shared_).Compare(), "");
}

TEST_F(Mutations, CallOfAnotherFunction) {
  Damage d(*pie_);
  const ReferenceSite& call = d.Site(".text.bump", ".text.helper");
  Add<int32_t>(d.Field(call), static_cast<int32_t>(d.Address("is_helper") - d.Address("helper")));
  EXPECT_THAT(d.Compare(), HasSubstr("main.o:(.text.bump)+0x11: calls is_helper"));
}

TEST_F(Mutations, CallIntoTheMiddle) {
  Damage d(*pie_);
  Add<int32_t>(d.Field(d.Site(".text.bump", ".text.helper")), 4);
  EXPECT_THAT(d.Compare(), HasSubstr("main.o:(.text.bump)+0x11: calls data.o:(.text.helper)+0x4"));
}

TEST_F(Mutations, ReferenceToOtherData) {
  Damage d(*pie_);
  Add<int32_t>(d.Field(d.Site(".text.helper", ".data.counter")), 4);
  EXPECT_THAT(d.Compare(), HasSubstr("data.o:(.text.helper)+"));
}

TEST_F(Mutations, SwappedPointers) {
  Damage d(*pie_);
  const uint64_t table = d.Address("table");
  std::swap(d.Relocation(table)->r_addend, d.Relocation(table + 8)->r_addend);
  EXPECT_THAT(d.Compare(), HasSubstr("table)+0x8: refers to data.o:(.text.local_one)"));
}

TEST_F(Mutations, JumpTableRow) {
  Damage d(*shared_);
  Add<int32_t>(d.Field(d.Site(".rodata.select_one", ".text.select_one")), 3);
  EXPECT_THAT(d.Compare(), HasSubstr("data.o:(.rodata.select_one): refers to"));
}

TEST_F(Mutations, MissingRelocation) {
  Damage d(*pie_);
  Elf64_Rela* r = d.Relocation(d.Address("table"));
  r->r_info = ELF64_R_INFO(0, R_X86_64_NONE);
  Store<uint64_t>(d.At(d.Address("table")), static_cast<uint64_t>(r->r_addend));  // right at base zero only
  EXPECT_THAT(d.Compare(), HasSubstr("table): refers to the constant"));
}

TEST_F(Mutations, DoubledRelocation) {
  Damage d(*pie_);
  *d.Relocation(d.Address("table")) = *d.Relocation(d.Address("table") + 8);
  EXPECT_THAT(d.Compare(), HasSubstr("more than one dynamic relocation for a word"));
}

TEST_F(Mutations, OverlappingRelocation) {
  Damage d(*pie_);
  d.Relocation(d.Address("table"))->r_offset += 4;
  EXPECT_THAT(d.Compare(), HasSubstr("more than one dynamic relocation for a word"));
}

TEST_F(Mutations, StrayRelocation) {
  Damage d(*pie_);
  d.Relocation(d.Address("table"))->r_offset = d.Address("counter") & ~uint64_t{7};
  EXPECT_THAT(d.Compare(), HasSubstr("a stray R_X86_64_RELATIVE"));
}

TEST_F(Mutations, RelocationOfCode) {
  Damage d(*pie_);
  d.Relocation(d.Address("table"))->r_offset = d.Address("main");
  EXPECT_THAT(d.Compare(), HasSubstr("in a segment without write permission"));
}

TEST_F(Mutations, RelaCount) {
  for (int delta : {-1, 1}) {
    Damage d(*pie_);
    d.Dynamic(DT_RELACOUNT)->d_un.d_val += static_cast<uint64_t>(delta);
    EXPECT_THAT(d.Compare(), HasSubstr("DT_RELACOUNT is"));
  }
}

TEST_F(Mutations, SwappedImports) {
  Damage d(*pie_);
  size_t count = 0;
  auto* plt = d.Rows<Elf64_Rela>(".rela.plt", &count);
  ASSERT_GT(count, 2u);
  std::swap(plt[0].r_info, plt[1].r_info);
  EXPECT_THAT(d.Compare(), HasSubstr(": calls the symbol "));
}

TEST_F(Mutations, LazyBinding) {
  Damage d(*pie_);
  const uint64_t cell = d.Rows<Elf64_Rela>(".rela.plt")[1].r_offset;
  Add<uint64_t>(d.At(cell), 16);  // pushes the next one's index
  EXPECT_THAT(d.Compare(), HasSubstr("does not lead to the loader before it is bound"));
}

TEST_F(Mutations, WidthOfRelaxedInstruction) {
  Damage d(*pie_);
  for (const ReferenceSite& s : pie_->sites) {
    if (s.form == Form::kGotPcRelative && s.lead == 3 && d.Field(s)[-2] == 0x8d) {
      d.Field(s)[-3] &= 0xf7;  // lea with a 32-bit register
      EXPECT_THAT(d.Compare(), HasSubstr("another instruction here"));
      return;
    }
  }
  FAIL() << "nothing was relaxed";
}

// mov x@gottpoff(%rip), %rcx, the distance to the cell being 0x110ff: found by the soak.
TEST_F(Mutations, DistanceLikeADescriptorCall) {
  const Image parsed = *Image::Parse("test", pie_->image);
  const LoadedImage loaded = LoadedImage::Load(parsed);
  for (const std::vector<uint8_t>& distance : {std::vector<uint8_t>{0xff, 0x10, 1, 0}, {0x66, 0x90, 1, 0}}) {
    std::vector<uint8_t> code = {0x48, 0x8b, 0x0d};
    code.insert(code.end(), distance.begin(), distance.end());
    ReferenceSite site;
    site.form = Form::kTlsSequence;
    site.offset = 3, site.width = 4, site.lead = 3;
    const Operand operand = DecodeField({&loaded, code, 0x1000}, site);
    EXPECT_EQ(operand.operation, Operation::kTlsOffset);
    EXPECT_EQ(operand.detail, 1u) << "%rcx";
  }
}

TEST_F(Mutations, SectionOfSymbol) {
  Damage d(*pie_);
  d.Symbol("helper")->st_shndx += 1;
  EXPECT_THAT(d.Compare(), HasSubstr(".symtab: helper is"));
}

TEST_F(Mutations, FrameTable) {
  {
    Damage d(*pie_);
    uint8_t* rows = d.Offset(d.Section(".eh_frame_hdr")->sh_offset) + 12;
    uint8_t first[4];
    memcpy(first, rows + 4, 4);
    memcpy(rows + 4, rows + 12, 4);
    memcpy(rows + 12, first, 4);
    EXPECT_THAT(d.Compare(), HasSubstr(".eh_frame_hdr says that the FDE"));
  }
  {  // a row that repeats its predecessor is legal filler, but here it hides a function
    Damage d(*pie_);
    uint8_t* rows = d.Offset(d.Section(".eh_frame_hdr")->sh_offset) + 12;
    memcpy(rows + 8 * 4, rows + 8 * 3, 8);
    EXPECT_THAT(d.Compare(), HasSubstr("the unwinder finds no FDE for"));
  }
  {  // shifted by one: every row leads to the next function's FDE
    Damage d(*pie_);
    uint8_t* rows = d.Offset(d.Section(".eh_frame_hdr")->sh_offset) + 12;
    memmove(rows, rows + 8, 8 * 6);
    EXPECT_THAT(d.Compare(), HasSubstr("finds no FDE"));
  }
}

TEST_F(Mutations, FrameEntry) {
  const Image image = *Image::Parse("test", pie_->image);
  const LoadedImage loaded = LoadedImage::Load(image);
  const FrameTable frames = FrameTable::Read(loaded);
  const FrameEntry* catcher = nullptr;
  for (const FrameEntry& e : frames.entries()) catcher = e.lsda ? &e : catcher;
  ASSERT_NE(catcher, nullptr);
  struct Case {
    uint64_t offset;  // in the FDE
    const char* message;
  };
  for (const Case& c : {Case{8, "FDE"}, Case{12, "covers ["}, Case{17, "its exception table is"},
                        Case{22, "its FDE unwinds differently"}}) {
    Damage d(*pie_);
    *d.At(catcher->address + c.offset) ^= 2;
    EXPECT_THAT(d.Compare(), HasSubstr(c.message)) << c.offset;
  }
}

TEST_F(Mutations, ExceptionTableType) {
  Damage d(*pie_);
  Add<int32_t>(d.Field(d.Site(".gcc_except_table", "DW.ref._ZTI")), 8);
  EXPECT_THAT(d.Compare(), HasSubstr("DW.ref._ZTI"));
}

TEST_F(Mutations, SwappedInitRows) {
  Damage d(*pie_);
  const uint64_t rows = d.Section(".init_array")->sh_addr;
  std::swap(d.Relocation(rows + 8)->r_addend, d.Relocation(rows + 16)->r_addend);
  EXPECT_THAT(d.Compare(), HasSubstr("main.o:(.init_array)"));
}

TEST_F(Mutations, InitRowsLeftOut) {
  Damage d(*pie_);
  d.Dynamic(DT_INIT_ARRAYSZ)->d_un.d_val -= 8;
  EXPECT_THAT(d.Compare(), HasSubstr("dynamic tag 0x1b is 0x10 here, 0x18 in a cold link"));
}

TEST_F(Mutations, EndOfSet) {
  Damage d(*pie_);
  for (const ReferenceSite& s : pie_->sites) {
    if (s.symbol == "__stop_rows") Add<int32_t>(d.Field(s), -16);
  }
  EXPECT_THAT(d.Compare(), HasSubstr("data.o:(rows)+0x10 in a cold link"));
}

TEST_F(Mutations, SetLength) {
  Damage d(*pie_);
  d.Section("rows")->sh_size += 16;
  EXPECT_THAT(d.Compare(), HasSubstr("ordered section rows has 48 bytes here, 32 in a cold link"));
}

TEST_F(Mutations, Export) {
  {
    Damage d(*shared_);
    d.Symbol("helper", ".dynsym")->st_value += 1;
    EXPECT_THAT(d.Compare(), HasSubstr("dynamic symbol helper: is data.o:(.text.helper)+0x1"));
  }
  {
    Damage d(*shared_);
    d.Symbol("helper", ".dynsym")->st_size += 1;
    EXPECT_THAT(d.Compare(), HasSubstr("dynamic symbol helper: has size"));
  }
  {
    Damage d(*shared_);
    d.Symbol("helper", ".dynsym")->st_info = ELF64_ST_INFO(STB_WEAK, STT_FUNC);
    EXPECT_THAT(d.Compare(), HasSubstr("exports: helper is missing"));
  }
  {
    Damage d(*shared_);
    d.Symbol("helper", ".dynsym")->st_shndx = SHN_UNDEF;
    EXPECT_THAT(d.Compare(), HasSubstr("exports: helper is missing"));
  }
}

TEST_F(Mutations, HashTables) {
  {  // the Bloom filter says no
    Damage d(*shared_);
    uint8_t* table = d.Offset(d.Section(".gnu.hash")->sh_offset);
    memset(table + 16, 0, 8 * Load<uint32_t>(table + 8));
    EXPECT_THAT(d.Compare(), HasSubstr("dynamic symbol helper: not found through the GNU hash table"));
  }
  {  // an end of chain too early
    Damage d(*shared_);
    uint8_t* table = d.Offset(d.Section(".gnu.hash")->sh_offset);
    const uint64_t size = d.Section(".gnu.hash")->sh_size;
    const uint64_t chains = 16 + 8 * Load<uint32_t>(table + 8) + 4 * Load<uint32_t>(table);
    for (uint64_t at = chains; at < size; at += 4) table[at] |= 1;
    EXPECT_THAT(d.Compare(), HasSubstr("not found through the GNU hash table"));
  }
  {
    Damage d(*shared_);
    uint8_t* table = d.Offset(d.Section(".hash")->sh_offset);
    memset(table + 8, 0, 4 * Load<uint32_t>(table));
    EXPECT_THAT(d.Compare(), HasSubstr("dynamic symbol helper: not found through the SysV hash table"));
  }
}

TEST_F(Mutations, Versions) {
  Damage d(*pie_);
  const Image parsed = d.image();
  for (const ImageSymbol& s : parsed.dynsym()) {
    if (s.name == "puts") Store<uint16_t>(d.Offset(d.Section(".gnu.version")->sh_offset) + 2 * s.index, 1);
  }
  EXPECT_THAT(d.Compare(), HasSubstr("imports: puts"));
}

TEST_F(Mutations, NeededLibraries) {
  Damage d(*pie_);
  std::swap(d.Dynamic(DT_NEEDED, 0)->d_un.d_val, d.Dynamic(DT_NEEDED, 1)->d_un.d_val);
  EXPECT_THAT(d.Compare(), HasSubstr("DT_NEEDED is ["));
}

TEST_F(Mutations, SymbolTable) {
  struct Case {
    std::function<void(Damage&)> damage;
    std::string message;
  };
  const std::vector<Case> cases = {
      {[](Damage& d) { d.Symbol("helper")->st_value += 4; }, ".symtab: helper is data.o:(.text.helper)+0x4"},
      {[](Damage& d) { d.Symbol("local_one")->st_value = d.Address("local_two"); }, ".symtab: local_one is"},
      {[](Damage& d) { d.Symbol("helper")->st_size += 1; }, ".symtab: no symbol helper"},
      {[](Damage& d) { d.Symbol("helper")->st_info = ELF64_ST_INFO(STB_WEAK, STT_FUNC); },
       ".symtab: no symbol helper"},
      {[](Damage& d) { *d.Symbol("helper") = *d.Symbol("main"); }, ".symtab: no symbol helper"},
      {[](Damage& d) { *d.Symbol("helper") = *d.Symbol("main"); }, ".symtab: main (type 2"},
      {[](Damage& d) { d.Section(".symtab")->sh_info += 1; }, "but sh_info is"},
      {[](Damage& d) { d.Section(".symtab")->sh_info -= 1; }, "but sh_info is"},
      {[](Damage& d) { d.Symbol("tls_main")->st_value += 4; }, ".symtab: tls_main is"},
  };
  for (const Case& c : cases) {
    Damage d(*pie_);
    c.damage(d);
    EXPECT_THAT(d.Compare(), HasSubstr(c.message));
  }
}

TEST_F(Mutations, OverlappingVariables) {
  Damage d(*pie_);
  // Every reference to one variable leads into the other.
  const ReferenceAtom &one = d.Atom("(.bss.zeroed)"), &two = d.Atom("(.bss.other_zeroed)");
  for (const ReferenceSite& s : pie_->sites) {
    if (s.target_atom == kNoAtom || pie_->atoms[s.target_atom].name != two.name) continue;
    const int64_t delta = static_cast<int64_t>(one.address + 32 - two.address);
    s.width == 4 ? Add<int32_t>(d.Field(s), static_cast<int32_t>(delta)) : Add<int64_t>(d.Field(s), delta);
  }
  d.Symbol("other_zeroed")->st_value = one.address + 32;
  EXPECT_THAT(d.Compare(), HasSubstr("overlaps main.o:(.bss.zeroed)"));
}

TEST_F(Mutations, DirtyBss) {
  Damage d(*pie_);
  Elf64_Phdr* p =
      d.Segment([](const Elf64_Phdr& s) { return s.p_type == PT_LOAD && s.p_memsz > s.p_filesz + 400; });
  p->p_filesz = p->p_memsz;
  EXPECT_THAT(d.Compare(), HasSubstr(": not zero here"));
}

TEST_F(Mutations, Permissions) {
  auto load = [](uint32_t flags) {
    return [flags](const Elf64_Phdr& s) { return s.p_type == PT_LOAD && s.p_flags == flags; };
  };
  {
    Damage d(*pie_);
    d.Segment(load(PF_R | PF_X))->p_flags |= PF_W;
    EXPECT_THAT(d.Compare(), HasSubstr("its segment is rwx here, r-x in a cold link"));
  }
  {
    Damage d(*pie_);
    d.Segment(load(PF_R))->p_flags |= PF_X;
    EXPECT_THAT(d.Compare(), HasSubstr("its segment is r-x here, r-- in a cold link"));
  }
  {
    Damage d(*pie_);
    d.Segment([](const Elf64_Phdr& s) { return s.p_type == PT_GNU_RELRO; })->p_memsz = 16;
    EXPECT_THAT(d.Compare(), HasSubstr("not read-only after relocation here"));
  }
  {
    Damage d(*pie_);
    d.Segment([](const Elf64_Phdr& s) { return s.p_type == PT_GNU_STACK; })->p_flags |= PF_X;
    EXPECT_THAT(d.Compare(), HasSubstr("PT_GNU_STACK has other flags"));
  }
}

TEST_F(Mutations, SectionHeaders) {
  {
    Damage d(*pie_);
    d.Section(".text")->sh_size = 16;
    EXPECT_THAT(d.Compare(), HasSubstr("no section header covers its place"));
  }
  {
    Damage d(*pie_);
    d.Section(".data")->sh_flags &= ~uint64_t{SHF_WRITE};
    EXPECT_THAT(d.Compare(), HasSubstr("its section .data has flags"));
  }
}

TEST_F(Mutations, Strings) {
  for (const char* text : {"first name", "second"}) {
    Damage d(*shared_);
    const ReferenceAtom* found = nullptr;
    for (const ReferenceAtom& a : shared_->atoms) {
      if (a.mergeable && a.alloc &&
          AsString(ByteView(shared_->image).subspan(a.file_offset, a.size - 1)) == text)
        found = &a;
    }
    ASSERT_NE(found, nullptr) << text;
    *d.Offset(found->file_offset) = 'X';
    EXPECT_THAT(d.Compare(), HasSubstr("whose bytes differ from offset 0x0")) << text;
  }
}

TEST_F(Mutations, Code) {
  Damage d(*pie_);
  *d.At(d.Address("local_one")) ^= 1;
  EXPECT_THAT(d.Compare(), HasSubstr("data.o:(.text.local_one)+0x0: bytes differ"));
}

TEST_F(Mutations, ThreadVariables) {
  {
    Damage d(*pie_);
    for (const ReferenceSite& s : pie_->sites) {
      if (s.form == Form::kTpOffset && s.symbol == "tls_main") Add<int32_t>(d.Field(s), 4);
    }
    EXPECT_THAT(d.Compare(), HasSubstr("thread variable"));
  }
  {
    Damage d(*pie_);
    d.Segment([](const Elf64_Phdr& s) { return s.p_type == PT_TLS; })->p_memsz += 64;
    EXPECT_THAT(d.Compare(), HasSubstr("thread variable"));
  }
  {
    Damage d(*pie_);
    d.Segment([](const Elf64_Phdr& s) { return s.p_type == PT_TLS; })->p_align = 1;
    EXPECT_THAT(d.Compare(), HasSubstr("PT_TLS is aligned to 1 here"));
  }
  {
    Damage d(*shared_);
    size_t count = 0;
    auto* r = d.Rows<Elf64_Rela>(".rela.dyn", &count);
    int damaged = 0;
    for (size_t i = 0; i < count; ++i) {
      if (ELF64_R_TYPE(r[i].r_info) != R_X86_64_DTPMOD64) continue;
      r[i].r_info = ELF64_R_INFO(ELF64_R_SYM(r[i].r_info), R_X86_64_64);
      ++damaged;
    }
    ASSERT_GT(damaged, 0);
    EXPECT_NE(d.Compare(), "");
  }
}

TEST_F(Mutations, EntryPoint) {
  Damage d(*pie_);
  d.header()->e_entry += 4;
  EXPECT_THAT(d.Compare(), HasSubstr("the entry point is Scrt1.o:(.text)+0x4"));
}

TEST_F(Mutations, Alignment) {
  Reference strict = *pie_;
  for (ReferenceAtom& a : strict.atoms) {
    if (absl::StrContains(a.name, "(.text.helper)")) a.alignment = 1 << 20;
  }
  absl::StatusOr<VerifyReport> report = CompareImages(strict, pie_->image);
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->differences.size(), 1u);
  EXPECT_THAT(report->differences[0].what, HasSubstr("which is not a multiple of 1048576"));
}

TEST_F(Mutations, DebugInformation) {
  {  // another function's address
    Damage d(*pie_);
    Add<int64_t>(d.Field(d.Site("main.o:(.debug_info)", "(.text.bump)")), 4);
    EXPECT_THAT(d.Compare(), HasSubstr("main.o:(.debug_info)"));
  }
  for (const char* section :
       {".debug_info", ".debug_line", ".debug_abbrev", ".debug_aranges", ".debug_rnglists"}) {
    Damage d(*pie_);
    *d.Offset(d.Atom(absl::StrCat("main.o:(", section, ")")).file_offset + 13) ^= 0x40;
    EXPECT_NE(d.Compare(), "") << section;
  }
  {  // a name that the unit refers to
    Damage d(*pie_);
    const ReferenceSite& name = d.Site("main.o:(.debug_info)", "(.debug_str)");
    *d.Offset(pie_->atoms[name.target_atom].file_offset) ^= 1;
    EXPECT_NE(d.Compare(), "");
  }
  {  // two sets for one unit
    Damage d(*pie_);
    const uint8_t* main = d.Offset(d.Atom("main.o:(.debug_aranges)").file_offset);
    memcpy(d.Offset(d.Atom("data.o:(.debug_aranges)").file_offset) + 6, main + 6, 4);
    EXPECT_THAT(d.Compare(), HasSubstr("two sets for the unit"));
  }
}

TEST_F(Mutations, NonsenseInTheReference) {
  {
    Reference r = *pie_;
    r.atoms[5].file_offset = ~uint64_t{0} - 2;
    EXPECT_EQ(CompareImages(r, pie_->image).status().code(), absl::StatusCode::kInvalidArgument);
  }
  {
    Reference r = *pie_;
    r.sites[5].offset = ~uint64_t{0};
    EXPECT_EQ(CompareImages(r, pie_->image).status().code(), absl::StatusCode::kInvalidArgument);
  }
  {
    Reference r = *pie_;
    for (ReferenceSite& s : r.sites) {
      if (s.symbol == "helper") s.target_offset += 2;
    }
    absl::Status status = CompareImages(r, pie_->image).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("should lead to data.o:(.text.helper)+0x2"));
  }
}

}  // namespace
}  // namespace kitlink::verify
