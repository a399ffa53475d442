#include "core/input/elf_machine.h"

namespace kitlink::elf {
namespace {

// x86-64 objects use SHT_RELA only; assemblers for bare hardware have been seen to write SHT_REL all the same.
int X8664AddendWidth(uint32_t type) {
  switch (type) {
    case R_X86_64_NONE:
      return 0;
    case R_X86_64_8:
    case R_X86_64_PC8:
      return 1;
    case R_X86_64_16:
    case R_X86_64_PC16:
      return 2;
    case R_X86_64_64:
    case R_X86_64_PC64:
    case R_X86_64_GOTOFF64:
    case R_X86_64_GOT64:
    case R_X86_64_GOTPCREL64:
    case R_X86_64_GOTPC64:
    case R_X86_64_PLTOFF64:
    case R_X86_64_SIZE64:
    case R_X86_64_DTPMOD64:
    case R_X86_64_DTPOFF64:
    case R_X86_64_TPOFF64:
      return 8;
    default:
      return 4;
  }
}

constexpr MachineTraits kMachines[] = {
    {EM_X86_64, "x86-64", "elf_x86_64", SHT_X86_64_UNWIND, GNU_PROPERTY_X86_FEATURE_1_AND,
     /*SHN_X86_64_LCOMMON=*/0xff02, X8664AddendWidth},
};

}  // namespace

const MachineTraits* FindMachine(uint16_t machine) {
  for (const MachineTraits& traits : kMachines) {
    if (traits.machine == machine) return &traits;
  }
  return nullptr;
}

const char* MachineName(uint16_t machine) {
  if (const MachineTraits* traits = FindMachine(machine)) return traits->name;
  switch (machine) {
    case EM_386:
      return "i386";
    case EM_AARCH64:
      return "aarch64";
    case EM_ARM:
      return "arm";
    case EM_RISCV:
      return "riscv";
    case EM_PPC64:
      return "ppc64";
    case EM_S390:
      return "s390";
    case EM_LOONGARCH:
      return "loongarch";
    default:
      return "another machine";
  }
}

}  // namespace kitlink::elf
