// Writing atoms: their bytes, relocations applied, and the dynamic relocations that their words need.
#ifndef CORE_OUTPUT_ELF_ATOM_WRITER_H_
#define CORE_OUTPUT_ELF_ATOM_WRITER_H_

#include <functional>
#include <string>

#include "core/base/diagnostics.h"
#include "core/output/elf/image.h"

namespace kitlink::elf {

// The value that stands for code and data that is not in the image, in a debug section: an address that no unit can
// have (DWARF 5 reserves -1; location and range lists before it use -1 as a base address selector, hence -2).
uint64_t Tombstone(absl::string_view section);

struct AtomWriteStats {
  uint64_t relocations = 0;
};

// Writes every live atom of every unit that has a place in the file.
AtomWriteStats WriteAtoms(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
                          MutableBytes file, Diagnostics& diagnostics);

// Applies the relocations of a loaded section to `bytes`, which start out pristine and are loaded at `address`.
// `target` gives the target of a relocation; `error` is told about fields that cannot be written. Returns the number of
// relocations applied. Shared by cold and warm links.
uint64_t ApplyRelocations(absl::Span<const Reloc> relocs, MutableBytes bytes, uint64_t address, const Arch& arch,
                          const ImageValues& values, const OutputTraits& output,
                          const std::function<TargetValue(const Reloc&)>& target,
                          const std::function<void(const Reloc&, const char*)>& error);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_ATOM_WRITER_H_
