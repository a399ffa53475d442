#include <elf.h>
#include <zlib.h>
#include <zstd.h>

#include <string>

#include "core/base/memory_files.h"
#include "core/input/inputs.h"
#include "core/input/testing/obj_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;
using testing::ObjBuilder;
using testing::ReadBytes;
using testing::SectionSpec;
using testing::SymbolSpec;
using namespace std::string_literals;

absl::Status ReadError(std::vector<uint8_t> bytes) {
  auto file = std::make_shared<MemoryBytes>(std::move(bytes));
  return ReadObject("bad.o", "", file, file->bytes()).status();
}

const InputSection* Find(const ObjectFile& object, absl::string_view name) {
  for (const InputSection& section : object.sections) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

const InputSymbol* FindSymbol(const ObjectFile& object, absl::string_view name) {
  for (const InputSymbol& symbol : object.symbols) {
    if (symbol.name == name) return &symbol;
  }
  return nullptr;
}

TEST(ReadObject, SectionsSymbolsAndRelocations) {
  auto object = ReadBytes(ObjBuilder()
                              .Section(".text.f", "\xe8\0\0\0\0\xc3"s)
                              .Section(".data", "12345678")
                              .Bss(".bss", 100, 32)
                              .Symbol("f", ".text.f")
                              .Symbol("local", ".data", {4, 2, STB_LOCAL, STT_OBJECT, STV_DEFAULT})
                              .Symbol("hidden", ".bss", {0, 1, STB_WEAK, STT_OBJECT, STV_HIDDEN})
                              .Common("c", 16, 8)
                              .Absolute("a", 77)
                              .Reloc(".text.f", 1, R_X86_64_PLT32, "g", -4)
                              .Reloc(".data", 0, R_X86_64_64, ".text.f", 3)
                              .Build());
  ASSERT_NE(object, nullptr);
  const InputSection* text = Find(*object, ".text.f");
  ASSERT_NE(text, nullptr);
  EXPECT_EQ(text->kind, SectionKind::kProgbits);
  EXPECT_EQ(text->flags, kSecAlloc | kSecExec);
  EXPECT_EQ(text->size, 6u);
  ASSERT_EQ(text->relocs.size(), 1u);
  EXPECT_EQ(object->symbols[text->relocs[0].symbol].name, "g");
  EXPECT_TRUE(object->symbols[text->relocs[0].symbol].undefined());
  EXPECT_EQ(static_cast<int64_t>(text->relocs[0].addend), -4);
  const InputSection* bss = Find(*object, ".bss");
  EXPECT_EQ(bss->kind, SectionKind::kNobits);
  EXPECT_EQ(bss->size, 100u);
  EXPECT_EQ(bss->alignment, 32u);
  EXPECT_TRUE(bss->bytes.empty());
  const InputSymbol& section_symbol = object->symbols[Find(*object, ".data")->relocs[0].symbol];
  EXPECT_EQ(section_symbol.type, SymbolType::kSection);
  EXPECT_EQ(&object->sections[section_symbol.section], text);
  const InputSymbol* hidden = FindSymbol(*object, "hidden");
  EXPECT_EQ(hidden->visibility, Visibility::kHidden);
  EXPECT_EQ(hidden->binding, SymbolBinding::kWeak);
  EXPECT_EQ(FindSymbol(*object, "c")->section, kSectionCommon);
  EXPECT_EQ(FindSymbol(*object, "c")->value, 8u);
  EXPECT_EQ(FindSymbol(*object, "a")->section, kSectionAbsolute);
  EXPECT_EQ(object->first_global, 3u);
  for (size_t i = 1; i < object->symbols.size(); ++i) {
    EXPECT_EQ(object->symbols[i].binding == SymbolBinding::kLocal, i < object->first_global);
  }
}

TEST(ReadObject, Groups) {
  auto object = ReadBytes(ObjBuilder()
                              .Section(".text._Z1fv", "\xc3")
                              .Section(".rodata.x", "x")
                              .Section(".gnu.linkonce.t.old", "\xc3", testing::SpecForName(".text"))
                              .Symbol("_Z1fv", ".text._Z1fv", {0, 1, STB_WEAK, STT_FUNC, STV_DEFAULT})
                              .Group("_Z1fv", {".text._Z1fv", ".rodata.x"})
                              .Build());
  ASSERT_NE(object, nullptr);
  ASSERT_EQ(object->groups.size(), 2u);
  EXPECT_EQ(object->groups[0].signature, "_Z1fv");
  EXPECT_TRUE(object->groups[0].comdat);
  EXPECT_EQ(object->groups[0].members.size(), 2u);
  EXPECT_EQ(Find(*object, ".text._Z1fv")->group, 0);
  EXPECT_EQ(object->groups[1].signature, ".gnu.linkonce.t.old");
  auto plain = ReadBytes(ObjBuilder().Section(".text", "x").Group("g", {".text"}, /*comdat=*/false).Build());
  EXPECT_FALSE(plain->groups[0].comdat);
}

TEST(ReadObject, MergeFlagsOnlyWhereSectionsCanBeCut) {
  SectionSpec strings;
  strings.flags = SHF_ALLOC | SHF_MERGE | SHF_STRINGS;
  strings.entry_size = 1;
  auto object = ReadBytes(ObjBuilder()
                              .Section(".rodata.good", "a\0b\0"s, strings)
                              .Section(".rodata.open", "a\0b"s, strings)
                              .Section(".rodata.pointed", "12345678\0"s, strings)
                              .Reloc(".rodata.pointed", 0, R_X86_64_64, "x", 0)
                              .Build());
  EXPECT_TRUE(Find(*object, ".rodata.good")->flags & kSecMerge);
  EXPECT_FALSE(Find(*object, ".rodata.open")->flags & kSecMerge);
  EXPECT_FALSE(Find(*object, ".rodata.pointed")->flags & kSecMerge);
}

TEST(ReadObject, NotesBecomeTraits) {
  EXPECT_FALSE(ReadBytes(ObjBuilder().Build())->traits.has_stack_note);
  const std::string property("\4\0\0\0\x10\0\0\0\5\0\0\0GNU\0\2\0\0\xc0\4\0\0\0\3\0\0\0\0\0\0\0", 32);
  SectionSpec spec;
  spec.type = SHT_NOTE;
  spec.flags = SHF_ALLOC;
  spec.alignment = 8;
  auto object = ReadBytes(ObjBuilder().StackNote().Section(".note.gnu.property", property, spec).Build());
  EXPECT_TRUE(object->traits.has_stack_note);
  EXPECT_FALSE(object->traits.exec_stack);
  EXPECT_TRUE(object->traits.has_feature_note);
  EXPECT_EQ(object->traits.x86_feature_1_and, 3u);
  EXPECT_EQ(Find(*object, ".note.gnu.property")->kind, SectionKind::kNone);
  SectionSpec executable;
  executable.flags = SHF_EXECINSTR;
  EXPECT_TRUE(ReadBytes(ObjBuilder().Section(".note.GNU-stack", "", executable).Build())->traits.exec_stack);
  EXPECT_THAT(ReadError(ObjBuilder().Section(".note.gnu.property", property.substr(0, 20), spec).Build()).message(),
              HasSubstr(".note.gnu.property"));
}

std::string CompressionHeader(uint32_t type, uint64_t size) {
  Elf64_Chdr header = {};
  header.ch_type = type;
  header.ch_size = size;
  header.ch_addralign = 1;
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header));
}

std::string Deflate(const std::string& text) {
  uLongf size = compressBound(text.size());
  std::string packed(size, '\0');
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(text.data()), text.size());
  packed.resize(size);
  return packed;
}

TEST(ReadObject, CompressedSections) {
  const std::string text(5000, 'k');
  std::string zstd(ZSTD_compressBound(text.size()), '\0');
  zstd.resize(ZSTD_compress(zstd.data(), zstd.size(), text.data(), text.size(), 3));
  SectionSpec spec;
  spec.flags = SHF_COMPRESSED;
  const std::string size_big_endian("\0\0\0\0\0\0\x13\x88", 8);
  auto object = ReadBytes(ObjBuilder()
                              .Section(".debug_info", CompressionHeader(1, text.size()) + Deflate(text), spec)
                              .Section(".debug_str", CompressionHeader(2, text.size()) + zstd, spec)
                              .Section(".zdebug_line", "ZLIB" + size_big_endian + Deflate(text))
                              .Build());
  ASSERT_NE(object, nullptr);
  for (const char* name : {".debug_info", ".debug_str", ".debug_line"}) {
    ASSERT_NE(Find(*object, name), nullptr) << name;
    EXPECT_EQ(AsString(Find(*object, name)->bytes), text) << name;
  }
  for (uint64_t claimed : {uint64_t{4999}, uint64_t{5001}, uint64_t{1} << 50, ~uint64_t{0}}) {
    EXPECT_FALSE(
        ReadError(ObjBuilder().Section(".debug_info", CompressionHeader(1, claimed) + Deflate(text), spec).Build()).ok());
    EXPECT_FALSE(ReadError(ObjBuilder().Section(".debug_str", CompressionHeader(2, claimed) + zstd, spec).Build()).ok());
  }
  EXPECT_FALSE(ReadError(ObjBuilder().Section(".debug_info", CompressionHeader(9, 4) + "1234", spec).Build()).ok());
  EXPECT_FALSE(ReadError(ObjBuilder().Section(".debug_info", "short", spec).Build()).ok());
}

TEST(ReadObject, MoreSectionsThanAnIndexCanSay) {
  ObjBuilder builder;
  for (int i = 0; i < 65400; ++i) builder.Section(".text." + std::to_string(i), "x");
  auto object = ReadBytes(builder.Symbol("last", ".text.65399", SymbolSpec()).Build());
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(object->sections[FindSymbol(*object, "last")->section].name, ".text.65399");
}

TEST(ReadObject, SectionKinds) {
  SectionSpec retain;
  retain.flags = SHF_ALLOC | (1u << 21);
  SectionSpec exclude;
  exclude.flags = 0x80000000u;
  SectionSpec unwind;
  unwind.type = SHT_X86_64_UNWIND;
  unwind.flags = SHF_ALLOC;
  SectionSpec ordered;
  ordered.flags = SHF_ALLOC | SHF_LINK_ORDER;
  ordered.link = ".text";
  auto object = ReadBytes(ObjBuilder()
                              .Section(".text", "\xc3")
                              .Section("kept", "x", retain)
                              .Section("gone", "x", exclude)
                              .Section(".eh_frame", "\0\0\0\0"s)
                              .Section(".eh_frame.other", "\0\0\0\0"s, unwind)
                              .Section("ordered", "x", ordered)
                              .Section(".gnu.lto_.decls", "x")
                              .Section(".init_array", "12345678")
                              .Build());
  EXPECT_TRUE(Find(*object, "kept")->flags & kSecRetain);
  EXPECT_TRUE(Find(*object, "gone")->flags & kSecExclude);
  EXPECT_EQ(Find(*object, ".eh_frame")->kind, SectionKind::kEhFrame);
  EXPECT_EQ(Find(*object, ".eh_frame.other")->kind, SectionKind::kEhFrame);
  EXPECT_EQ(object->sections[Find(*object, "ordered")->link].name, ".text");
  EXPECT_EQ(Find(*object, ".gnu.lto_.decls")->kind, SectionKind::kNone);
  EXPECT_EQ(Find(*object, ".init_array")->kind, SectionKind::kInitArray);
}

TEST(ReadObject, MalformedInputIsNamed) {
  EXPECT_THAT(ReadError(ObjBuilder().Section(".text", "1234").Reloc(".text", 4, R_X86_64_PC32, "g", 0).Build()).message(),
              AllOf(HasSubstr("bad.o"), HasSubstr(".rela.text"), HasSubstr("past the section")));
  EXPECT_TRUE(ReadError(ObjBuilder().Section(".text", "1234").Reloc(".text", 4, R_X86_64_NONE, "g", 0).Build()).ok());
  EXPECT_FALSE(ReadError(ObjBuilder().Bss(".bss", 8).Reloc(".bss", 0, R_X86_64_64, "g", 0).Build()).ok());
  SectionSpec odd = testing::SpecForName(".text");
  odd.alignment = 3;
  EXPECT_THAT(ReadError(ObjBuilder().Section(".text", "x", odd).Build()).message(), HasSubstr("power of two"));
  EXPECT_THAT(ReadError(ObjBuilder().Common("c", 4, 3).Build()).message(), HasSubstr("(c)"));
  EXPECT_THAT(ReadError(ObjBuilder().Section(".text", "x").Group("g", {".text", "nowhere"}).Build()).message(),
              HasSubstr("member 0"));
  EXPECT_THAT(ReadError(ObjBuilder().Section(".text", "x").Group("a", {".text"}).Group("b", {".text"}).Build()).message(),
              HasSubstr("two groups"));
  EXPECT_THAT(ReadError(ObjBuilder().Machine(EM_AARCH64).Build()).message(), HasSubstr("aarch64"));
  EXPECT_THAT(ReadError(ObjBuilder().Common("__gnu_lto_slim", 1, 1).Build()).message(), HasSubstr("-flto"));
  EXPECT_THAT(ReadError({'B', 'C', 0xc0, 0xde}).message(), HasSubstr("-flto"));
  EXPECT_THAT(ReadError({}).message(), HasSubstr("empty"));
}

TEST(ReadObject, TornFilesMeanNothing) {
  auto file = std::make_shared<MemoryBytes>(ObjBuilder().Build());
  file->set_torn();
  EXPECT_EQ(ReadObject("a.o", "", file, file->bytes()).status().code(), absl::StatusCode::kAborted);
}

// Every prefix, and every byte changed in three ways: an error or an object, never anything else. Under ASan this
// finds reads outside the copy.
TEST(ReadObject, SurvivesEveryTruncationAndFlip) {
  const std::vector<uint8_t> whole = ObjBuilder()
                                         .Section(".text.f", "\xe8\0\0\0\0\xc3"s)
                                         .Symbol("f", ".text.f")
                                         .Group("f", {".text.f"})
                                         .Reloc(".text.f", 1, R_X86_64_PLT32, "g", -4)
                                         .StackNote()
                                         .Build();
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_FALSE(ReadError(std::vector<uint8_t>(whole.begin(), whole.begin() + length)).ok()) << length;
  }
  for (size_t at = 0; at < whole.size(); ++at) {
    for (uint8_t mask : {0x01, 0x80, 0xff}) {
      std::vector<uint8_t> flipped = whole;
      flipped[at] ^= mask;
      (void)ReadError(std::move(flipped));
    }
  }
}

}  // namespace
}  // namespace kitlink
