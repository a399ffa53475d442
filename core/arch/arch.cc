#include "core/arch/arch.h"

namespace kitlink {

const Arch* ArchFor(uint16_t elf_machine) {
  const Arch& x86_64 = X86_64();
  return elf_machine == x86_64.elf_machine() ? &x86_64 : nullptr;
}

}  // namespace kitlink
