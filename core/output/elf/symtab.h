// .symtab and .strtab.
#ifndef CORE_OUTPUT_ELF_SYMTAB_H_
#define CORE_OUTPUT_ELF_SYMTAB_H_

#include "core/base/bytes.h"
#include "core/output/elf/image.h"

namespace kitlink::elf {

// True when a local symbol is worth a row: it has a name that is not the assembler's, and lies in what is loaded.
bool KeepLocal(const LinkOptions& options, const Program& program, const Unit& unit, uint32_t index);

// The row of local symbol `index`, its name at `name` of .strtab.
Elf64_Sym LocalRow(const ElfImage& image, const Unit& unit, uint32_t index, uint32_t name);

// The row of a local symbol at `value` in section `index`, its name at `name` of .strtab.
Elf64_Sym MakeLocalRow(const InputSymbol& symbol, uint32_t name, uint64_t value, uint16_t index);

// A row that no tool shows: an unnamed STT_FILE.
Elf64_Sym FillerRow();

// Room that a unit has for its local symbols when it needs `used` rows.
uint32_t LocalCapacity(bool incremental, uint32_t used);

// The row of a global symbol that is not anywhere yet; the name is left 0.
Elf64_Sym MakeGlobalRow(SymbolType type, SymbolBinding binding, Visibility visibility);

// The value, size, kind and section index of a global symbol's row in .symtab or .dynsym; the name is left 0.
Elf64_Sym GlobalRow(const Program& program, const ElfImage& image, const Arch& arch, SymbolId id, bool dynamic);

void WriteSymtab(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
                 MutableBytes file);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_SYMTAB_H_
