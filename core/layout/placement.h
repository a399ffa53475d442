// Where everything goes: output sections, and each atom's slot in one of them.
#ifndef CORE_LAYOUT_PLACEMENT_H_
#define CORE_LAYOUT_PLACEMENT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/ids.h"
#include "core/input/model.h"

namespace kitlink {

// An output section and its bucket of space: atoms in their slots, then a reserve that is handed out from `used` on.
struct OutputSection {
  std::string name;
  uint32_t flags = 0;  // SectionFlag
  SectionKind kind = SectionKind::kProgbits;
  uint32_t alignment = 1;
  uint32_t entry_size = 0;
  // What fills it: atoms, one merged section (index in Program::merged), or the format's own tables (its number there).
  static constexpr uint32_t kNotMerged = 0xffffffffu;
  uint32_t merged = kNotMerged;
  int synthetic = 0;  // 0: none
  bool exact = true;  // its pieces must lie side by side, so no slack between them (init rows, sets, fragments)
  bool padded = false;  // exact, but for tables that are lengthened to fill their slots (see slack.h)
  bool long_tail = false;  // much may be free behind the last slot: it costs nothing to fill
  bool rows = false;    // exact, with a reserve behind the last piece, in which more may come (see slack.h)
  bool relro = false;
  std::vector<AtomId> atoms;  // in order of place

  uint64_t used = 0;     // bytes laid out by the cold link
  uint64_t size = 0;     // with the reserve
  uint64_t address = 0;  // 0 when not loaded
  uint64_t offset = 0;   // in the image

  bool alloc() const { return (flags & kSecAlloc) != 0; }
  bool nobits() const { return kind == SectionKind::kNobits; }
};

// An atom's slot.
struct Place {
  SectionId section;
  uint64_t offset = 0;    // in the section
  uint64_t capacity = 0;  // bytes that the slot holds

  bool valid() const { return section.valid(); }
};

struct Placement {
  std::vector<OutputSection> sections;  // by SectionId, in image order
  std::vector<Place> places;            // by AtomId; invalid for atoms without a slot of their own

  const OutputSection& section(SectionId id) const { return sections[id.value]; }
  uint64_t Address(AtomId id) const {
    const Place& place = places[id.value];
    return place.valid() ? sections[place.section.value].address + place.offset : 0;
  }
  uint64_t FileOffset(AtomId id) const {
    const Place& place = places[id.value];
    return sections[place.section.value].offset + place.offset;
  }
};

}  // namespace kitlink

#endif  // CORE_LAYOUT_PLACEMENT_H_
