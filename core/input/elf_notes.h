// Note sections that say something about the object as a whole.
#ifndef CORE_INPUT_ELF_NOTES_H_
#define CORE_INPUT_ELF_NOTES_H_

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/input/elf_machine.h"
#include "core/input/model.h"

namespace kitlink::elf {

// Adds what a .note.gnu.property section says to `traits` (Linux Extensions to gABI, "Program Property"). Several
// notes in one object add up, as `ld -r` leaves them. InvalidArgument when a note or property is cut short.
absl::Status ReadPropertyNotes(const MachineTraits& machine, ByteView section, UnitTraits& traits);

}  // namespace kitlink::elf

#endif  // CORE_INPUT_ELF_NOTES_H_
