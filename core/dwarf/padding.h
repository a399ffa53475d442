// Legal filler for holes in debug sections, so that every reader walks over them in silence.
#ifndef CORE_DWARF_PADDING_H_
#define CORE_DWARF_PADDING_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace kitlink::dwarf {

// How a debug section's holes may be filled. Sections without an entry tolerate zeros.
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
  virtual void Fill(MutableBytes hole, uint64_t offset, uint64_t padding_abbrev) const = 0;
};

// The abbreviation table that padding units refer to; it is put into every .debug_abbrev that has holes beside it.
ByteView PaddingAbbrev();

}  // namespace kitlink::dwarf

#endif  // CORE_DWARF_PADDING_H_
