// Finding the tables of a dynamic image.
#ifndef CORE_INPUT_ELF_DYNAMIC_H_
#define CORE_INPUT_ELF_DYNAMIC_H_

#include <elf.h>

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/input/elf_view.h"

namespace kitlink::elf {

// Views into the image; empty where a table is absent.
struct SharedTables {
  std::vector<Elf64_Dyn> entries;  // up to DT_NULL
  StringTable entry_names;         // what DT_NEEDED and DT_SONAME refer to
  ByteView symbols;                // whole Elf64_Syms
  StringTable symbol_names;
  ByteView versions;               // of the symbols, two bytes each
  ByteView definitions;            // chain of Elf64_Verdef, perhaps with bytes of other tables after it
  uint64_t definition_count = 0;
  StringTable definition_names;
};

// The program headers. OutOfRange when they reach past the image.
absl::StatusOr<std::vector<Elf64_Phdr>> ReadProgramHeaders(const ElfView& elf);

// Through section headers if there are any, else through PT_DYNAMIC.
absl::StatusOr<SharedTables> FindDynamicTables(const ElfView& elf, const std::vector<Elf64_Phdr>& segments);

}  // namespace kitlink::elf

#endif  // CORE_INPUT_ELF_DYNAMIC_H_
