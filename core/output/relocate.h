// Applying relocations to bytes whose place is known. Shared by cold and warm links, so that both relax alike.
#ifndef CORE_OUTPUT_RELOCATE_H_
#define CORE_OUTPUT_RELOCATE_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/arch/arch.h"
#include "core/base/bytes.h"
#include "core/input/model.h"

namespace kitlink {

// The value that stands for code and data that is not in the image, in a debug section: an address that no unit can
// have (DWARF 5 reserves -1; location and range lists before it use -1 as a base address selector, hence -2).
uint64_t Tombstone(absl::string_view section);

// Applies the relocations of a loaded section to `bytes`, which start out pristine and are loaded at `address`.
// `target` gives the target of a relocation; `error` is told about fields that cannot be written. Returns the number of
// relocations applied.
uint64_t ApplyRelocations(absl::Span<const Reloc> relocs, MutableBytes bytes, uint64_t address, const Arch& arch,
                          const ImageValues& values, const OutputTraits& output,
                          absl::FunctionRef<TargetValue(const Reloc&)> target,
                          absl::FunctionRef<void(const Reloc&, const char*)> error);

}  // namespace kitlink

#endif  // CORE_OUTPUT_RELOCATE_H_
