// How much room an incremental link leaves. A function of the atom and its section alone, never of history, so that
// two cold links of the same inputs are byte-identical.
#ifndef CORE_LAYOUT_SLACK_H_
#define CORE_LAYOUT_SLACK_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "core/base/bytes.h"
#include "core/layout/placement.h"

namespace kitlink {

// True when nothing can depend on the pieces of a section lying side by side, so that slots may have slack and pieces
// may move. True for the sections that compilers spread functions, data and debug information over.
bool HasRoom(const OutputSection& section);

// The bytes of a slot for an atom of `size` bytes in `section`: its size and slack, a multiple of its alignment's
// fraction that keeps the next atom aligned. With min_hole != 0 the slack is 0 or at least that (filled debug sections).
uint64_t SlotCapacity(const OutputSection& section, uint64_t size, uint64_t min_hole);

// True for debug sections in which a stand-alone filler would not pass in silence, but whose tables can be lengthened to
// cover their slot (dwarf::PadInPlace). Their atoms have slack and never move.
bool PaddedInPlace(const OutputSection& section);

// The smallest table that can be lengthened there: a header, and in .debug_aranges the row that ends it.
uint64_t LeastTable(absl::string_view section);
// The bytes of a slot in such a section: with slack when `bytes` is one table, as compilers write it, else exact.
uint64_t PaddedCapacity(const OutputSection& section, ByteView bytes);

// The reserve behind `used` bytes of such tables, which the last of them is lengthened by.
uint64_t TableReserve(uint64_t used);

// True for thread variables. Offsets of a program's count from the end of their segment, so that room in it is all that there is.
bool HasThreadRoom(const OutputSection& section);

// True for loaded sections whose pieces lie side by side in the order of the link, because somebody may walk them from
// start to end: constructors, sets, sections with names of their own. They have no slack, but room behind the last piece.
bool HoldsRows(const OutputSection& section);

// The reserve behind `used` bytes of such pieces.
uint64_t RowReserve(uint64_t used);

// The reserve behind the last slot of a section that uses `used` bytes.
uint64_t TailReserve(const OutputSection& section, uint64_t used);

}  // namespace kitlink

#endif  // CORE_LAYOUT_SLACK_H_
