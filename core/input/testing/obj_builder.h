// Relocatable ELF objects declared in tests:
//
//   std::vector<uint8_t> bytes = ObjBuilder()
//       .Section(".text.f", "\xe8\0\0\0\0\xc3"s)
//       .Symbol("f", ".text.f")
//       .Reloc(".text.f", 1, R_X86_64_PLT32, "g", -4)   // g is undefined, and thereby declared
//       .Build();
#ifndef CORE_INPUT_TESTING_OBJ_BUILDER_H_
#define CORE_INPUT_TESTING_OBJ_BUILDER_H_

#include <elf.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/input/model.h"

namespace kitlink::testing {

// Headers as in <elf.h>. The defaults of `Section` come from the name: .text, .rodata, .data, .bss, .tdata, .tbss,
// .init_array, .fini_array, .eh_frame, .note and anything else (no flags), with what follows a dot left aside.
struct SectionSpec {
  uint32_t type = SHT_PROGBITS;
  uint64_t flags = 0;
  uint64_t alignment = 1;
  uint64_t entry_size = 0;
  uint64_t nobits_size = 0;  // of SHT_NOBITS
  std::string link;          // name of the section that sh_link names; with SHF_LINK_ORDER
};

struct SymbolSpec {
  uint64_t value = 0;
  uint64_t size = 0;
  unsigned char binding = STB_GLOBAL;
  unsigned char type = STT_NOTYPE;
  unsigned char visibility = STV_DEFAULT;
};

// What the name alone says about a section.
SectionSpec SpecForName(absl::string_view name);

// Names of sections and of symbols are unique in one builder. A mistake, such as a symbol in a section that was not
// declared, shows as the null section in the object.
class ObjBuilder {
 public:
  ObjBuilder& Section(std::string name, std::string bytes);
  ObjBuilder& Section(std::string name, std::string bytes, SectionSpec spec);
  // A section without bytes; NOBITS by default if the name is .bss or .tbss.
  ObjBuilder& Bss(std::string name, uint64_t size, uint64_t alignment = 1);
  // A symbol at the start of `section`, STT_FUNC in executable sections and STT_OBJECT in others.
  ObjBuilder& Symbol(std::string name, std::string section);
  ObjBuilder& Symbol(std::string name, std::string section, SymbolSpec spec);
  ObjBuilder& Undefined(std::string name, unsigned char binding = STB_GLOBAL);
  ObjBuilder& Absolute(std::string name, uint64_t value);
  ObjBuilder& Common(std::string name, uint64_t size, uint64_t alignment);
  // A relocation against a symbol, against a section by its name, or against a name not declared otherwise, which
  // becomes an undefined symbol.
  ObjBuilder& Reloc(const std::string& section, uint64_t offset, uint32_t type, std::string symbol, int64_t addend);
  ObjBuilder& Group(std::string signature, std::vector<std::string> sections, bool comdat = true);
  ObjBuilder& Machine(uint16_t machine);
  // An empty .note.GNU-stack, which says that the stack need not be executable.
  ObjBuilder& StackNote() { return Section(".note.GNU-stack", ""); }

  std::vector<uint8_t> Build() const;

 private:
  struct SectionRow {
    std::string name, bytes;
    SectionSpec spec;
  };
  struct SymbolRow {
    std::string name, section;  // section empty: `index` counts
    uint16_t index = SHN_UNDEF;
    SymbolSpec spec;
  };
  struct RelocRow {
    std::string section, symbol;
    uint64_t offset;
    uint32_t type;
    int64_t addend;
  };
  struct GroupRow {
    std::string signature;
    std::vector<std::string> sections;
    bool comdat;
  };

  // All symbols, those that relocations and groups imply included, locals first.
  std::vector<SymbolRow> AllSymbols() const;
  const SectionRow* FindSection(absl::string_view name) const;

  uint16_t machine_ = EM_X86_64;
  std::vector<SectionRow> sections_;
  std::vector<SymbolRow> symbols_;
  std::vector<RelocRow> relocs_;
  std::vector<GroupRow> groups_;
};

// The object that `bytes` are, read as `path`; null, with a test failure, when they cannot be read.
std::unique_ptr<ObjectFile> ReadBytes(std::vector<uint8_t> bytes, std::string path = "test.o");

// A GNU archive with an index that names `symbols` of each member.
struct MemberSpec {
  std::string name;
  std::vector<uint8_t> bytes;
  std::vector<std::string> symbols;
};
std::vector<uint8_t> BuildArchive(const std::vector<MemberSpec>& members, bool with_index = true);

}  // namespace kitlink::testing

#endif  // CORE_INPUT_TESTING_OBJ_BUILDER_H_
