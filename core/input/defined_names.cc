// The names that an object defines, without reading the rest of it.
#include <elf.h>

#include "core/input/archive.h"
#include "core/input/elf_view.h"

namespace kitlink {

std::vector<absl::string_view> DefinedNames(ByteView object) {
  std::vector<absl::string_view> names;
  absl::StatusOr<elf::ElfView> elf = elf::ParseElfHeaders(object);
  if (!elf.ok()) return names;
  for (uint32_t i = 1; i < elf->sections.size(); ++i) {
    const Elf64_Shdr& header = elf->sections[i];
    if (header.sh_type != SHT_SYMTAB || header.sh_link >= elf->sections.size()) continue;
    absl::StatusOr<ByteView> table = elf->Bytes(i);
    absl::StatusOr<ByteView> strings = elf->Bytes(header.sh_link);
    if (!table.ok() || !strings.ok()) return names;
    const elf::StringTable string_table(*strings);
    const uint64_t count = table->size() / sizeof(Elf64_Sym);
    for (uint64_t s = header.sh_info; s < count; ++s) {
      const Elf64_Sym symbol = Load<Elf64_Sym>(table->data() + s * sizeof(Elf64_Sym));
      absl::string_view name;
      if (symbol.st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol.st_info) == STB_LOCAL) continue;
      if (string_table.Get(symbol.st_name, &name) && !name.empty()) names.push_back(name);
    }
  }
  return names;
}

}  // namespace kitlink
