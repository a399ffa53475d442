// How ELF's section and symbol attributes map to the model's.
#ifndef CORE_INPUT_ELF_SECTION_KIND_H_
#define CORE_INPUT_ELF_SECTION_KIND_H_

#include <elf.h>

#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/input/elf_machine.h"
#include "core/input/model.h"

namespace kitlink::elf {

struct KindOrError {
  SectionKind kind = SectionKind::kNone;
  bool note = false;            // kNone, but says something about the object
  const char* error = nullptr;  // completes "section 7 (.text) ..."
};

// What to do with a section of a relocatable object, by its type and name.
KindOrError KindOfSection(const MachineTraits& machine, const Elf64_Shdr& header, absl::string_view name);

// SHF_* as SectionFlag bits.
uint32_t MapSectionFlags(uint64_t flags);

SymbolType MapSymbolType(unsigned type);
// False for a binding that means nothing here.
bool MapSymbolBinding(unsigned bind, SymbolBinding* binding);
Visibility MapVisibility(unsigned char other);

}  // namespace kitlink::elf

#endif  // CORE_INPUT_ELF_SECTION_KIND_H_
