// Writing atoms: their bytes, relocations applied, and the dynamic relocations that their words need.
#ifndef CORE_OUTPUT_ELF_ATOM_WRITER_H_
#define CORE_OUTPUT_ELF_ATOM_WRITER_H_

#include "core/base/diagnostics.h"
#include "core/output/elf/image.h"

namespace kitlink::elf {

struct AtomWriteStats {
  uint64_t relocations = 0;
};

// Writes every live atom of every unit that has a place in the file.
AtomWriteStats WriteAtoms(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
                          MutableBytes file, Diagnostics& diagnostics);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_ATOM_WRITER_H_
