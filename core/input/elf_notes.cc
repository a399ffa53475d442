#include "core/input/elf_notes.h"

#include <elf.h>

#include <algorithm>
#include <cstring>

namespace kitlink::elf {
namespace {

constexpr uint32_t kPropertyNoteType = 5;  // NT_GNU_PROPERTY_TYPE_0

absl::Status Malformed() { return absl::InvalidArgumentError("malformed .note.gnu.property"); }

absl::Status ReadProperties(const MachineTraits& machine, ByteView properties, UnitTraits& traits) {
  while (properties.size() >= 8) {
    const uint32_t type = Load<uint32_t>(properties.data());
    const uint32_t size = Load<uint32_t>(properties.data() + 4);
    if (!InBounds(8, size, properties.size())) return Malformed();
    if (type == machine.feature_property && machine.feature_property != 0) {
      if (size < 4) return Malformed();
      traits.x86_feature_1_and |= Load<uint32_t>(properties.data() + 8);
      traits.has_feature_note = true;
    }
    properties = properties.subspan(std::min<uint64_t>(8 + AlignUp(size, 8), properties.size()));
  }
  return properties.empty() ? absl::OkStatus() : Malformed();
}

}  // namespace

absl::Status ReadPropertyNotes(const MachineTraits& machine, ByteView section, UnitTraits& traits) {
  while (!section.empty()) {
    if (section.size() < sizeof(Elf64_Nhdr)) return Malformed();
    const Elf64_Nhdr note = Load<Elf64_Nhdr>(section.data());
    // Properties are aligned to eight bytes in 64-bit objects, and the name "GNU" keeps them so.
    const uint64_t description = AlignUp(sizeof(Elf64_Nhdr) + uint64_t{note.n_namesz}, 4);
    if (!InBounds(description, note.n_descsz, section.size())) return Malformed();
    const bool gnu = note.n_namesz == 4 && std::memcmp(section.data() + sizeof(Elf64_Nhdr), "GNU", 4) == 0;
    if (gnu && note.n_type == kPropertyNoteType) {
      absl::Status status = ReadProperties(machine, section.subspan(description, note.n_descsz), traits);
      if (!status.ok()) return status;
    }
    section = section.subspan(std::min<uint64_t>(AlignUp(description + note.n_descsz, 8), section.size()));
  }
  return absl::OkStatus();
}

}  // namespace kitlink::elf
