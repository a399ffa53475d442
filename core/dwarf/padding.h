// Legal filler for holes in debug sections, so that every reader walks over them in silence.
#ifndef CORE_DWARF_PADDING_H_
#define CORE_DWARF_PADDING_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace kitlink::dwarf {

// How a debug section's holes may be filled. The filler is for 32-bit DWARF and 8-byte addresses; thread safe.
class Filler {
 public:
  // The filler for an output section by name (".debug_info", ...), nullptr where holes cannot be filled: then the
  // section must stay packed.
  static const Filler* For(absl::string_view section);

  virtual ~Filler() = default;
  // Smallest hole, in bytes, that can be filled; holes of 0 bytes are always fine. Every larger multiple of
  // granularity() can be filled too.
  virtual uint64_t min_hole() const = 0;
  virtual uint64_t granularity() const { return 1; }
  // Fills `hole`, which lies at `offset` in its section. `padding_abbrev` is the offset in .debug_abbrev of the
  // table from PaddingAbbrev(). REQUIRES: hole.size() is fillable.
  void Fill(MutableBytes hole, uint64_t offset, uint64_t padding_abbrev) const {
    FillHead(hole, hole.size(), offset, padding_abbrev);
  }
  // Writes the first bytes, head.size(), of what fills a hole of `size` bytes.
  virtual void FillHead(MutableBytes head, uint64_t size, uint64_t offset, uint64_t padding_abbrev) const = 0;
  // All fillers of this kind are zeros from kHead on, however long: a hole of zeros is filled by its head.
  virtual bool zeros_behind_head() const { return false; }
  // Tools that list the section say no more of a long hole than of a short one.
  virtual bool terse() const { return false; }
  static constexpr uint64_t kHead = 128;
};

// Lengthens the last table of a unit's own part of `section`, which fills the first `used` bytes of `slot` and is one
// table from its start, so that it covers all of the slot: where a filler of its own cannot be (.debug_aranges,
// .debug_names) or is not silent (readelf believes that .debug_addr is packed, eu-readelf that
// .debug_str_offsets is). .debug_aranges repeats the last range, or, where it has none (gcc's units without code), says one of
// no bytes at address 1, as FillAranges does (in steps of 16 bytes); .debug_addr (steps of 8), .debug_str_offsets (4), .debug_names, .debug_rnglists
// and .debug_loclists get zeros that nothing refers to. False, with `slot` unchanged, when the section is another one,
// the table is not of that form or the step does not fit; then the slot must fit exactly.
bool PadInPlace(absl::string_view section, MutableBytes slot, uint64_t used);

// Fills a whole free slot of .debug_aranges with a set for the padding unit at `padding_unit` in .debug_info. Each
// padding unit may be named by one set only: gdb ignores all of .debug_aranges when two sets name the same unit.
// False, and nothing written, unless the hole is a multiple of 16 bytes and at least 32 (or empty).
bool FillAranges(MutableBytes hole, uint64_t padding_unit);

// The abbreviation table that padding units refer to; it is put into every .debug_abbrev that has holes beside it.
ByteView PaddingAbbrev();

}  // namespace kitlink::dwarf

#endif  // CORE_DWARF_PADDING_H_
