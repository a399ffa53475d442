// Relocatable ELF64 little-endian objects (System V ABI, chapters 4; the GNU and LLVM section types).
#ifndef CORE_INPUT_ELF_OBJECT_H_
#define CORE_INPUT_ELF_OBJECT_H_

#include "absl/status/status.h"
#include "core/input/model.h"

namespace kitlink::elf {

// Fills `object`, whose path, member, file and image are set, from its image. Everything that later steps index by
// is checked here: section bounds, symbol sections, relocation symbols and offsets, group members, alignments.
// InvalidArgument naming object, section or symbol; nothing may be concluded from a half-filled object.
absl::Status ReadElfObject(ObjectFile& object);

}  // namespace kitlink::elf

#endif  // CORE_INPUT_ELF_OBJECT_H_
