// What the ELF readers need to know of a machine; everything else is in core/arch.
#ifndef CORE_INPUT_ELF_MACHINE_H_
#define CORE_INPUT_ELF_MACHINE_H_

#include <elf.h>

#include <cstdint>

namespace kitlink::elf {

struct MachineTraits {
  uint16_t machine;           // e_machine
  const char* name;           // as people write it
  const char* emulation;      // what ld's -m calls it
  uint32_t unwind_type;       // section type that means .eh_frame, 0 for none
  uint32_t feature_property;  // the pr_type of the AND of processor features in .note.gnu.property, 0 for none
  uint16_t large_common;      // section index of commons of the large code model, 0 for none
  // Width in bytes of the field that a relocation of SHT_REL form keeps its addend in; 0 when it has none.
  int (*addend_width)(uint32_t type);
};

// The machines that objects can be read for. A new one needs its row in elf_machine.cc.
// Null for one that is not supported.
const MachineTraits* FindMachine(uint16_t machine);

// The machine's name for messages, supported or not.
const char* MachineName(uint16_t machine);

}  // namespace kitlink::elf

#endif  // CORE_INPUT_ELF_MACHINE_H_
