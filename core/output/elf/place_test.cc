// The plan of whole images: segments, permissions, alignment, boundaries.
#include "core/output/elf/image.h"

#include <optional>
#include <string>

#include "core/symbols/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

using testing::ObjBuilder;
using testing::ProgramBuilder;
using testing::Spec;
using testing::SymbolNamed;

struct Planned {
  std::optional<Program> program;
  ElfImage image;

  const OutputSection* Find(absl::string_view name) const {
    for (const OutputSection& section : image.placement.sections) {
      if (section.name == name) return &section;
    }
    return nullptr;
  }
  const Elf64_Phdr* Header(uint32_t type) const {
    for (const Elf64_Phdr& header : image.headers) {
      if (header.p_type == type) return &header;
    }
    return nullptr;
  }
};

Planned Plan(ProgramBuilder& builder) {
  Planned result;
  result.program = builder.Resolve();
  EXPECT_TRUE(result.program.has_value()) << builder.messages;
  if (!result.program.has_value()) return result;
  Diagnostics diagnostics;
  Demands demands = ScanRelocations(builder.options, X86_64(), &*result.program, diagnostics);
  EXPECT_FALSE(diagnostics.has_errors());
  result.image = PlaceElf(builder.options, X86_64(), std::move(demands), &*result.program);
  return result;
}

ObjBuilder Everything() {
  return ObjBuilder()
      .Section(".text", "12345678")
      .Symbol("main", ".text")
      .Section(".rodata", "1234")
      .Section(".data", "12345678")
      .Section(".data.rel.ro", "12345678", Spec(SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, 8))
      .Section(".init_array", "12345678", Spec(SHT_INIT_ARRAY, SHF_ALLOC | SHF_WRITE, 8))
      .Section(".tdata", "1234", Spec(SHT_PROGBITS, SHF_ALLOC | SHF_WRITE | SHF_TLS, 4))
      .Bss(".tbss", 24, 16)
      .Bss(".bss", 100, 32)
      .Symbol("variable", ".tbss", {8, 4, STB_GLOBAL, STT_TLS, STV_DEFAULT})
      .Reloc(".init_array", 0, R_X86_64_64, "main", 0);
}

void CheckSegments(const Planned& planned) {
  uint64_t end = 0;
  for (const Elf64_Phdr& header : planned.image.headers) {
    if (header.p_type != PT_LOAD) continue;
    EXPECT_GE(header.p_vaddr, end) << "segments do not overlap";
    EXPECT_EQ(header.p_vaddr % header.p_align, header.p_offset % header.p_align);
    EXPECT_FALSE((header.p_flags & PF_W) && (header.p_flags & PF_X));
    end = header.p_vaddr + header.p_memsz;
  }
  for (const OutputSection& section : planned.image.placement.sections) {
    if (!section.alloc() || section.size == 0) continue;
    EXPECT_EQ(section.address % section.alignment, 0u) << section.name;
    if ((section.flags & kSecTls) && section.nobits()) continue;
    const bool covered = std::any_of(
        planned.image.headers.begin(), planned.image.headers.end(), [&](const Elf64_Phdr& header) {
          return header.p_type == PT_LOAD && section.address >= header.p_vaddr &&
                 section.address + section.size <= header.p_vaddr + header.p_memsz &&
                 ((header.p_flags & PF_X) != 0) == ((section.flags & kSecExec) != 0);
        });
    EXPECT_TRUE(covered) << section.name;
  }
}

TEST(PlaceElf, SegmentsOfEveryKindOfOutput) {
  for (OutputKind kind : {OutputKind::kExecutable, OutputKind::kPie, OutputKind::kShared}) {
    ProgramBuilder builder;
    builder.options.kind = kind;
    builder.options.dynamic_linker = "/lib/ld.so";
    builder.Object("a.o", Everything());
    CheckSegments(Plan(builder));
  }
}

TEST(PlaceElf, PagesOfTheWantedSize) {
  ProgramBuilder builder;
  builder.options.max_page_size = 0x10000;
  builder.Object("a.o", Everything());
  const Planned planned = Plan(builder);
  CheckSegments(planned);
  EXPECT_EQ(planned.Header(PT_LOAD)->p_align, 0x10000u);
}

TEST(PlaceElf, LargeAlignmentMovesTheImage) {
  ProgramBuilder builder;
  builder.Object("a.o", Everything().Section(".rodata.big", "1", Spec(SHT_PROGBITS, SHF_ALLOC, 1 << 23)));
  CheckSegments(Plan(builder));
}

TEST(PlaceElf, ThreadLocalStorageHasRoom) {
  for (OutputKind kind : {OutputKind::kExecutable, OutputKind::kPie, OutputKind::kShared}) {
    ProgramBuilder builder;
    builder.options.kind = kind;
    builder.Object("a.o", Everything());
    const Planned planned = Plan(builder);
    const Elf64_Phdr* tls = planned.Header(PT_TLS);
    ASSERT_NE(tls, nullptr);
    EXPECT_GE(tls->p_memsz, 40u + 2 * 64u);
    EXPECT_EQ(planned.image.values.tls_pointer, AlignUp(tls->p_vaddr + tls->p_memsz, 16));
  }
}

TEST(PlaceElf, ThreadLocalStorageOfLibrariesThatAreLoadedAtStartUpHasNone) {
  ProgramBuilder library;
  library.options.kind = OutputKind::kShared;
  // mov variable@gottpoff(%rip), %rax
  library.Object("a.o", Everything()
                            .Section(".text.ie", std::string("\x48\x8b\x05\0\0\0\0", 7))
                            .Reloc(".text.ie", 3, R_X86_64_GOTTPOFF, "variable", -4));
  const Planned planned = Plan(library);
  EXPECT_TRUE(planned.image.demands.static_tls);
  EXPECT_EQ(planned.Header(PT_TLS)->p_memsz, 16u + 24u);
}

TEST(PlaceElf, ThreadLocalStorageEndsAtThePointer) {
  ProgramBuilder builder;
  builder.options.incremental = false;
  builder.Object("a.o", Everything());
  const Planned planned = Plan(builder);
  const Elf64_Phdr* tls = planned.Header(PT_TLS);
  ASSERT_NE(tls, nullptr);
  EXPECT_EQ(tls->p_align, 16u);
  EXPECT_EQ(tls->p_vaddr % 16, 0u);
  EXPECT_EQ(tls->p_filesz, 4u);
  EXPECT_EQ(tls->p_memsz, 16u + 24u);
  EXPECT_EQ(planned.image.values.tls_pointer, planned.image.values.tls_begin + 48);
}

TEST(PlaceElf, RelroCoversWhatIsConstantAfterStart) {
  ProgramBuilder builder;
  builder.options.kind = OutputKind::kPie;
  builder.Object("a.o", Everything());
  const Planned planned = Plan(builder);
  const Elf64_Phdr* relro = planned.Header(PT_GNU_RELRO);
  ASSERT_NE(relro, nullptr);
  for (const OutputSection& section : planned.image.placement.sections) {
    if (!section.alloc() || (section.flags & kSecTls)) continue;
    const bool inside = section.address >= relro->p_vaddr && section.address < relro->p_vaddr + relro->p_memsz;
    EXPECT_EQ(inside, section.relro) << section.name;
  }
  EXPECT_TRUE(planned.Find(".init_array")->relro);
  EXPECT_FALSE(planned.Find(".data")->relro);
  EXPECT_EQ((relro->p_vaddr + relro->p_memsz) % 0x1000, 0u);
}

TEST(PlaceElf, BoundariesNameTheEndsOfSections) {
  ProgramBuilder builder;
  builder.Object("a.o", Everything()
                            .Section("rows", "1234567812345678", Spec(SHT_PROGBITS, SHF_ALLOC, 8))
                            .Undefined("__start_rows")
                            .Undefined("__stop_rows")
                            .Undefined("_end"));
  const Planned planned = Plan(builder);
  EXPECT_EQ(SymbolNamed(*planned.program, "__start_rows").value, planned.Find("rows")->address);
  EXPECT_EQ(SymbolNamed(*planned.program, "__stop_rows").value, planned.Find("rows")->address + 16);
  const OutputSection* bss = planned.Find(".bss");
  EXPECT_EQ(SymbolNamed(*planned.program, "_end").value, bss->address + bss->size);
}

TEST(PlaceElf, RelocatedWordsInReadOnlySectionsAreNoticed) {
  ProgramBuilder builder;
  builder.options.kind = OutputKind::kPie;
  builder.options.z_text = false;
  builder.Object("a.o", Everything().Section(".rodata.p", "12345678").Reloc(".rodata.p", 0, R_X86_64_64, "main", 0));
  EXPECT_TRUE(Plan(builder).image.text_relocs);
}

}  // namespace
}  // namespace kitlink::elf
