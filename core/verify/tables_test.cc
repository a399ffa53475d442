// Damage to headers and to the tables that the loader and debuggers read, one thing at a time, as an engine
// that updates them could do it.
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"
#include "core/verify/image.h"
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

const char kSources[] = "main.c data.c tls.c exceptions.cc absolute.s numbers.s size.s";

struct Case {
  std::string message;
  std::function<void(Damage&)> damage;
};

class Tables : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    pie_ = new Reference(Objects({"pie", "gcc", "-O0 -fPIE", "-pie"}, kSources).LinkReference());
    fixed_ = new Reference(Objects({"fixed", "gcc", "-O2 -fno-pie", "-no-pie"}, kSources).LinkReference());
    shared_ = new Reference(
        Objects({"shared", "gcc", "-O2 -fPIC", "-shared -Wl,--hash-style=both -Wl,-soname,me"}, kSources)
            .LinkReference());
    static_ = new Reference(Objects({"static", "gcc", "-O1 -fno-pie", "-static"}, kSources).LinkReference());
  }
  static void TearDownTestSuite() {
    for (Reference* r : {pie_, fixed_, shared_, static_}) delete r;
  }
  static void Run(const Reference& reference, const std::vector<Case>& cases) {
    ASSERT_EQ(Damage(reference).Compare(), "");
    for (const Case& c : cases) {
      Damage d(reference);
      c.damage(d);
      EXPECT_THAT(d.Compare(), HasSubstr(c.message));
    }
  }
  static Reference *pie_, *fixed_, *shared_, *static_;
};
Reference* Tables::pie_ = nullptr;
Reference* Tables::fixed_ = nullptr;
Reference* Tables::shared_ = nullptr;
Reference* Tables::static_ = nullptr;

Elf64_Phdr* Segment(Damage& d, uint32_t type) {
  return d.Segment([type](const Elf64_Phdr& p) { return p.p_type == type; });
}

Elf64_Phdr* Load(Damage& d, uint32_t flags) {
  return d.Segment([flags](const Elf64_Phdr& p) { return p.p_type == PT_LOAD && p.p_flags == flags; });
}

TEST_F(Tables, ElfHeader) {
  Run(*pie_, {{"names another ABI", [](Damage& d) { d.header()->e_ident[EI_OSABI] = ELFOSABI_FREEBSD; }},
              {"flags differ", [](Damage& d) { d.header()->e_flags = 1; }},
              {"not as the loader wants it", [](Damage& d) { d.header()->e_version = 0; }}});
}

TEST_F(Tables, ProgramHeaders) {
  Run(*pie_,
      {{"PT_PHDR has an offset", [](Damage& d) { Segment(d, PT_PHDR)->p_vaddr += 8; }},
       {"PT_PHDR is not where",
        [](Damage& d) { Segment(d, PT_PHDR)->p_filesz = Segment(d, PT_PHDR)->p_memsz -= 56; }},
       {"PT_PHDR is missing", [](Damage& d) { Segment(d, PT_PHDR)->p_type = PT_NULL; }},
       {"PT_INTERP has an offset", [](Damage& d) { Segment(d, PT_INTERP)->p_vaddr += 1; }},
       {"the interpreter differs", [](Damage& d) { Segment(d, PT_INTERP)->p_filesz -= 1; }},
       {"PT_DYNAMIC has an offset", [](Damage& d) { Segment(d, PT_DYNAMIC)->p_offset += 16; }},
       {"PT_TLS has an offset", [](Damage& d) { Segment(d, PT_TLS)->p_vaddr += 4; }},
       {"thread variable", [](Damage& d) { Segment(d, PT_TLS)->p_memsz += 64; }},
       {"PT_TLS is aligned to 1 here", [](Damage& d) { Segment(d, PT_TLS)->p_align = 1; }},
       {"thread variable", [](Damage& d) { Segment(d, PT_TLS)->p_align = 64; }},
       {"PT_GNU_STACK asks for", [](Damage& d) { Segment(d, PT_GNU_STACK)->p_memsz = 1 << 20; }},
       {"PT_GNU_STACK has other flags", [](Damage& d) { Segment(d, PT_GNU_STACK)->p_flags |= PF_X; }},
       {"PT_GNU_EH_FRAME is missing", [](Damage& d) { Segment(d, PT_GNU_EH_FRAME)->p_type = PT_NULL; }},
       {"more than one PT_TLS", [](Damage& d) { *Segment(d, PT_GNU_STACK) = *Segment(d, PT_TLS); }},
       {"PT_NOTE has an offset", [](Damage& d) { Segment(d, PT_NOTE)->p_vaddr += 4; }},
       {"lies in no PT_NOTE", [](Damage& d) { Segment(d, PT_NOTE)->p_type = PT_NULL; }},
       {"cannot be mapped in pages", [](Damage& d) { Load(d, PF_R | PF_X)->p_align = 16; }},
       {"has the physical address", [](Damage& d) { Load(d, PF_R | PF_X)->p_paddr += 4096; }},
       {"far more bytes in memory", [](Damage& d) {
          auto* last = d.Segment([&](const Elf64_Phdr& p) {
            return p.p_type == PT_LOAD && p.p_vaddr > d.Address("main") && p.p_memsz > p.p_filesz + 400;
          });
          last->p_memsz |= uint64_t{1} << 44;
        }}});
}

TEST_F(Tables, ReadOnlyAfterRelocation) {
  Run(*pie_, {{"read-only after relocation here, unlike",
               [](Damage& d) { Segment(d, PT_GNU_RELRO)->p_memsz += 3 * 4096; }},
              {".dynamic: not read-only after", [](Damage& d) { Segment(d, PT_GNU_RELRO)->p_memsz = 8; }}});
}

TEST_F(Tables, SectionHeaders) {
  Run(*pie_,
      {{"sections: .dynsym has type 1,", [](Damage& d) { d.Section(".dynsym")->sh_type = SHT_PROGBITS; }},
       {"sections: .rela.dyn has", [](Damage& d) { d.Section(".rela.dyn")->sh_entsize = 16; }},
       {"sections: .symtab has", [](Damage& d) { d.Section(".symtab")->sh_flags = SHF_ALLOC; }},
       {"is not where its address", [](Damage& d) { d.Section(".text")->sh_addr += 16; }},
       {"is not where its address", [](Damage& d) { d.Section(".eh_frame")->sh_offset += 8; }},
       {": overlaps .dynstr", [](Damage& d) { d.Section(".dynstr")->sh_size += 48; }},
       {"multiple of its alignment", [](Damage& d) { d.Section(".gnu.version")->sh_addralign = 4096; }},
       {"has an address, but is not loaded", [](Damage& d) { d.Section(".debug_line")->sh_addr = 64; }},
       {"sections: .comment is missing", [](Damage& d) { d.Section(".comment")->sh_name += 1; }},
       {"section header .bss: is not loaded", [](Damage& d) { d.Section(".bss")->sh_size += 1 << 24; }},
       {".symtab: no string table", [](Damage& d) { d.Section(".symtab")->sh_link = 0; }}});
}

// Each tag's value, a bit off.
TEST_F(Tables, DynamicTags) {
  for (const Reference* reference : {pie_, shared_}) {
    const Image image = *Image::Parse("cold", reference->image);
    for (const Elf64_Dyn& tag : image.dynamic()) {
      if (tag.d_tag == DT_DEBUG && tag.d_un.d_val == 0) continue;
      for (const uint64_t delta : {uint64_t{8}, ~uint64_t{23}}) {
        Damage d(*reference);
        d.Dynamic(tag.d_tag)->d_un.d_val += delta;
        EXPECT_NE(d.Compare(), "") << "tag " << tag.d_tag << " by " << static_cast<int64_t>(delta);
      }
      Damage d(*reference);
      d.Dynamic(tag.d_tag)->d_tag = 0x6ffffef0;
      EXPECT_NE(d.Compare(), "") << "tag " << tag.d_tag << " left out";
    }
  }
  Run(*pie_, {{"is there twice", [](Damage& d) { *d.Dynamic(DT_DEBUG) = *d.Dynamic(DT_STRSZ); }}});
}

Elf64_Rela* FirstOf(Damage& d, uint32_t type) {
  for (const char* table : {".rela.dyn", ".rela.plt"}) {
    const Image parsed = d.image();
    if (parsed.SectionNamed(table) == nullptr) continue;
    size_t count = 0;
    auto* r = d.Rows<Elf64_Rela>(table, &count);
    for (size_t i = 0; i < count; ++i) {
      if (ELF64_R_TYPE(r[i].r_info) == type) return r + i;
    }
  }
  ADD_FAILURE() << "no relocation of type " << type;
  return d.Rows<Elf64_Rela>(".rela.dyn");
}

TEST_F(Tables, CopiedVariables) {
  Run(*fixed_, {{"[_ZTI", [](Damage& d) { FirstOf(d, R_X86_64_COPY)->r_offset += 8; }},
                {"_ZTISt13runtime_error: has size",
                 [](Damage& d) { d.Symbol("_ZTISt13runtime_error", ".dynsym")->st_size += 8; }},
                {"_ZTISt13runtime_error",
                 [](Damage& d) { d.Symbol("_ZTISt13runtime_error", ".dynsym")->st_value += 8; }},
                {"other variables are copied", [](Damage& d) { FirstOf(d, R_X86_64_COPY)->r_info = 0; }}});
}

// Resolvers are called at start-up, whoever uses their results.
TEST_F(Tables, Resolvers) {
  Run(*fixed_,
      {{"is no function of a cold link", [](Damage& d) { FirstOf(d, R_X86_64_IRELATIVE)->r_addend = 0x10; }},
       {"tls.o:(.text.", [](Damage& d) { FirstOf(d, R_X86_64_IRELATIVE)->r_addend += 4; }}});
  Run(*static_, {{"table of resolvers holds a R_X86_64_NONE", [](Damage& d) {
                    const Image image = d.image();
                    const uint64_t start = image.FindSymbol("__rela_iplt_start")->symbol.st_value;
                    reinterpret_cast<Elf64_Rela*>(d.At(start))->r_info = R_X86_64_NONE;
                  }}});
  Damage d(*static_);  // the start-up code stops before the last
  for (const ReferenceSite& s : static_->sites) {
    if (s.symbol == "__rela_iplt_end") Store<int32_t>(d.Field(s), kitlink::Load<int32_t>(d.Field(s)) - 24);
  }
  EXPECT_THAT(d.Compare(), HasSubstr("__rela_iplt_end"));
}

TEST_F(Tables, StrayRelocations) {
  Run(*pie_,
      {{"a stray R_X86_64_RELATIVE",
        [](Damage& d) { FirstOf(d, R_X86_64_RELATIVE)->r_offset = d.Section(".dynamic")->sh_addr + 8; }},
       {"a stray R_X86_64_RELATIVE",
        [](Damage& d) { FirstOf(d, R_X86_64_RELATIVE)->r_offset = d.Section(".eh_frame")->sh_addr + 8; }},
       {"loader's own cells",
        [](Damage& d) { FirstOf(d, R_X86_64_RELATIVE)->r_offset = d.Section(".got.plt")->sh_addr + 8; }},
       {"loader's own cells", [](Damage& d) { *d.At(d.Section(".got.plt")->sh_addr + 8) = 1; }}});
}

TEST_F(Tables, SizesOfSymbols) {
  const Reference& reference = *shared_;
  Run(reference, {{"refers to", [](Damage& d) { FirstOf(d, R_X86_64_RELATIVE)->r_addend += 8; }}});
  int dynamic = 0, plain = 0;
  for (const ReferenceSite& s : reference.sites) {
    if (s.form != Form::kSize) continue;
    Damage d(reference);
    const Image image = *Image::Parse("cold", reference.image);
    const LoadedImage loaded = LoadedImage::Load(image);
    if (loaded.RelocationAt(d.FieldAddress(s)) != nullptr) {
      d.Relocation(d.FieldAddress(s))->r_addend += 1;
      EXPECT_THAT(d.Compare(), HasSubstr("for the size of names"));
      Damage other(reference);
      other.Relocation(d.FieldAddress(s))->r_info = R_X86_64_NONE;
      EXPECT_THAT(other.Compare(), HasSubstr("for the size of names"));
      ++dynamic;
    } else {
      *d.Field(s) += 8;
      EXPECT_THAT(d.Compare(), HasSubstr("for the size of "));
      ++plain;
    }
  }
  EXPECT_EQ(dynamic + plain, 2);
  EXPECT_GE(plain, 1);
}

TEST_F(Tables, AbsoluteValues) {
  for (const Reference* reference : {pie_, fixed_}) {
    int seen = 0;
    for (const ReferenceSite& s : reference->sites) {
      if (s.symbol != "fixed_number" && s.symbol != "hidden_number") continue;
      Damage d(*reference);
      *d.Field(s) += 1;
      EXPECT_THAT(d.Compare(), HasSubstr(s.symbol));
      ++seen;
    }
    EXPECT_EQ(seen, 2);
  }
  Run(*pie_, {{"fixed_number",
               [](Damage& d) { FirstOf(d, R_X86_64_RELATIVE)->r_offset = d.Address("holds_number"); }}});
}

TEST_F(Tables, UnwindRows) {
  const Image image = *Image::Parse("cold", pie_->image);
  const uint32_t count =
      kitlink::Load<uint32_t>(pie_->image.data() + image.SectionNamed(".eh_frame_hdr")->header.sh_offset + 8);
  ASSERT_GT(count, 6u);
  auto row = [](Damage& d, uint32_t i) {
    return reinterpret_cast<int32_t*>(d.Offset(d.Section(".eh_frame_hdr")->sh_offset + 12 + 8 * i));
  };
  auto fde = [&](Damage& d, uint32_t i) {
    return d.At(d.Section(".eh_frame_hdr")->sh_addr + static_cast<uint64_t>(int64_t{row(d, i)[1]}));
  };
  auto add = [](uint8_t* field, int32_t delta) {
    Store<int32_t>(field, kitlink::Load<int32_t>(field) + delta);
  };
  Run(*pie_,
      {{"where no FDE is", [&](Damage& d) { row(d, 3)[1] += 4; }},
       {"is not sorted", [&](Damage& d) { std::swap(row(d, 2)[0], row(d, 3)[0]); }},
       {".eh_frame_hdr says that", [&](Damage& d) { std::swap(row(d, 2)[1], row(d, 3)[1]); }},
       {"two FDEs for", [&](Damage& d) { add(fde(d, 3) + 12, 64); }},  // reaches into the next function
       {"does not lead to the FDE",
        [&](Damage& d) { d.Offset(d.Section(".eh_frame_hdr")->sh_offset)[8] -= 1; }},
       {"has no readable CIE", [&](Damage& d) { add(fde(d, 3) + 4, 8); }},
       {"counts more rows", [&](Damage& d) { d.Offset(d.Section(".eh_frame_hdr")->sh_offset)[9] = 0xff; }}});
}

// Start-up code of static programs says where unwind records begin.
TEST_F(Tables, WhereUnwindRecordsBegin) {
  const Image image = *Image::Parse("cold", static_->image);
  const Elf64_Shdr& frames = image.SectionNamed(".eh_frame")->header;
  ASSERT_EQ(Damage(*static_).Compare(), "");
  int fields = 0;
  for (const ReferenceSite& s : static_->sites) {
    if (!absl::StrContains(static_->atoms[s.atom].name, "crtbeginT.o") || s.width != 4 || s.form != Form::kAbsolute) continue;
    const uint32_t where = kitlink::Load<uint32_t>(static_->image.data() + static_->atoms[s.atom].file_offset + s.offset);
    if (where < frames.sh_addr || where >= frames.sh_addr + frames.sh_size) continue;
    ++fields;
    const uint64_t second = where + 4 + kitlink::Load<uint32_t>(static_->image.data() + frames.sh_offset + (where - frames.sh_addr));
    // In a record, at another, behind the last.
    for (const uint64_t wrong : {where + uint64_t{8}, second, frames.sh_addr + frames.sh_size - 4}) {
      Damage d(*static_);
      Store<uint32_t>(d.Field(s), static_cast<uint32_t>(wrong));
      EXPECT_NE(d.Compare(), "");  // which may name what ends where the records begin
    }
  }
  EXPECT_EQ(fields, 2);
}

TEST_F(Tables, Hashes) {
  auto gnu = [](Damage& d) { return d.Offset(d.Section(".gnu.hash")->sh_offset); };
  auto chains = [&](Damage& d) {
    return gnu(d) + 16 + 8 * kitlink::Load<uint32_t>(gnu(d) + 8) + 4 * kitlink::Load<uint32_t>(gnu(d));
  };
  Run(*shared_,
      {{"not found through the GNU hash table", [&](Damage& d) { *chains(d) ^= 2; }},
       {"not found through the GNU hash table", [&](Damage& d) { gnu(d)[4] += 1; }},   // first hashed symbol
       {"not found through the GNU hash table", [&](Damage& d) { gnu(d)[0] += 1; }},   // number of buckets
       {"not found through the GNU hash table", [&](Damage& d) { gnu(d)[12] ^= 3; }},  // shift of the filter
       {"not found through the GNU hash table",
        [&](Damage& d) { std::swap(*d.Symbol("helper", ".dynsym"), *d.Symbol("counter", ".dynsym")); }},
       {"not found through the SysV hash table", [&](Damage& d) {
          uint8_t* table = d.Offset(d.Section(".hash")->sh_offset);
          const uint32_t buckets = kitlink::Load<uint32_t>(table),
                         symbols = kitlink::Load<uint32_t>(table + 4);
          std::fill(table + 8 + 4 * buckets, table + 8 + 4 * (buckets + symbols), 0);
        }}});
}

// What a lookup of a name that is there would not notice.
TEST_F(Tables, HashesForNamesThatAreNotThere) {
  using kitlink::Load;
  using kitlink::Store;
  auto gnu = [](Damage& d) { return d.Offset(d.Section(".gnu.hash")->sh_offset); };
  auto chains = [&](Damage& d) { return gnu(d) + 16 + 8 * Load<uint32_t>(gnu(d) + 8) + 4 * Load<uint32_t>(gnu(d)); };
  auto rows = [&](Damage& d) {
    return static_cast<uint32_t>(d.image().dynsym().size()) - Load<uint32_t>(gnu(d) + 4);
  };
  auto sysv = [](Damage& d) { return d.Offset(d.Section(".hash")->sh_offset); };
  Run(*shared_,
      {{".gnu.hash: a chain leads to", [&](Damage& d) { chains(d)[4 * (rows(d) - 1)] &= ~1; }},  // the last one has no end
       {".gnu.hash: a chain leads to a row of another name",
        [&](Damage& d) {
          for (uint32_t i = 0; i + 1 < rows(d); ++i) chains(d)[4 * i] &= ~1;  // buckets run into each other
        }},
       {".gnu.hash: ",
        [&](Damage& d) {  // all buckets lead to one's rows
          uint8_t* heads = chains(d) - 4 * Load<uint32_t>(gnu(d));
          uint32_t full = 0;
          for (uint8_t* head = heads; head != chains(d); head += 4) full = std::max(full, Load<uint32_t>(head));
          for (uint8_t* head = heads; head != chains(d); head += 4) Store(head, full);
        }},
       {".gnu.hash: cut short", [](Damage& d) { d.Section(".gnu.hash")->sh_size -= 4; }},
       {".hash: counts other rows", [&](Damage& d) { sysv(d)[4] += 1; }},
       {".hash: cut short", [](Damage& d) { d.Section(".hash")->sh_size -= 4; }},
       {".hash: two chains lead to one row, or one in a circle",
        [&](Damage& d) {
          uint8_t* links = sysv(d) + 8 + 4 * Load<uint32_t>(sysv(d));
          for (uint32_t row = 0; row < Load<uint32_t>(sysv(d) + 4); ++row) Store(links + 4 * row, row);
        }},
       {".gnu.version: counts other rows", [](Damage& d) { d.Section(".gnu.version")->sh_size += 2; }}});
}

TEST_F(Tables, VersionRows) {
  auto need = [](Damage& d) { return d.Rows<Elf64_Verneed>(".gnu.version_r"); };
  auto aux = [&](Damage& d) {
    return reinterpret_cast<Elf64_Vernaux*>(reinterpret_cast<uint8_t*>(need(d)) + need(d)->vn_aux);
  };
  Run(*pie_, {{"versions: ", [&](Damage& d) { aux(d)->vna_hash ^= 1; }},
              {"versions: ", [&](Damage& d) { aux(d)->vna_name += 1; }},
              {"versions: ", [&](Damage& d) { aux(d)->vna_flags ^= VER_FLG_WEAK; }},
              {"imports: ", [&](Damage& d) { aux(d)->vna_other += 40; }},
              {"versions: (malformed)", [&](Damage& d) { need(d)->vn_cnt += 1; }},
              {"versions: ", [&](Damage& d) { need(d)->vn_file += 1; }},
              {"versions: (malformed)", [&](Damage& d) { need(d)->vn_next = 0; }},
              {"versions: (malformed)", [&](Damage& d) { d.Dynamic(DT_VERNEEDNUM)->d_un.d_val += 1; }},
              {"imports: ", [&](Damage& d) { d.Symbol("puts", ".dynsym")->st_other = STV_HIDDEN; }},
              {"imports: ",
               [&](Damage& d) { d.Symbol("puts", ".dynsym")->st_info = ELF64_ST_INFO(STB_WEAK, STT_FUNC); }},
              {"the first row of .dynsym", [&](Damage& d) { d.Rows<Elf64_Sym>(".dynsym")->st_value = 8; }}});
}

TEST_F(Tables, FilesOfLocalSymbols) {
  Run(*pie_, {{".symtab: local_one belongs to the file ", [](Damage& d) {
                 size_t count = 0;
                 auto* rows = d.Rows<Elf64_Sym>(".symtab", &count);
                 const uint32_t other = d.Symbol("tls.c")->st_name;
                 for (size_t i = 0; i < count; ++i) {
                   if (rows + i == d.Symbol("data.c")) rows[i].st_name = other;
                 }
               }}});
}

}  // namespace
}  // namespace kitlink::verify
