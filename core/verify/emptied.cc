#include "core/verify/emptied.h"

#include <algorithm>
#include <cstdint>

#include "core/verify/cursor.h"

namespace kitlink::verify {
namespace {

bool IsZero(ByteView bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// Location expressions that say nothing.
bool IsNops(ByteView bytes) {
  constexpr uint8_t kNop = 0x96;  // DW_OP_nop
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == kNop; });
}

// DWARF 5, 7.28: tables whose lists end where they begin.
bool NoRanges5(Cursor in) {
  while (in.ok() && !in.AtEnd()) {
    const uint32_t length = in.U32();
    Cursor table(in.Take(length), 0);
    if (table.U16() != 5 || table.U8() != 8 || table.U8() != 0 || table.U32() != 0) return false;
    if (!IsZero(table.Rest()) || !table.ok()) return false;
  }
  return in.ok();
}

// DWARF 5, 7.29: tables of one list with the empty range from 0 to 0, as long as the table.
bool NoLocations5(Cursor in) {
  constexpr uint8_t kEndOfList = 0, kOffsetPair = 4;  // DW_LLE_*
  while (in.ok() && !in.AtEnd()) {
    const uint32_t length = in.U32();
    Cursor table(in.Take(length), 0);
    if (table.U16() != 5 || table.U8() != 8 || table.U8() != 0 || table.U32() != 1 || table.U32() != 4) return false;
    if (table.U8() != kOffsetPair || table.Uleb() != 0 || table.Uleb() != 0) return false;
    const uint64_t size = table.Uleb();
    if (!IsNops(table.Take(size)) || table.U8() != kEndOfList || !table.ok() || !table.AtEnd()) return false;
  }
  return in.ok();
}

// DWARF 4, 2.6.2: lists of empty ranges.
bool NoLocations4(Cursor in) {
  while (in.ok() && !in.AtEnd()) {
    const uint64_t begin = in.U64(), end = in.U64();
    if (begin != end || begin > 1) return false;
    if (begin == 0) continue;
    const uint16_t size = in.U16();
    if (!IsNops(in.Take(size))) return false;
  }
  return in.ok();
}

}  // namespace

bool HoldsNoLists(absl::string_view name, ByteView content) {
  const Cursor in(content, 0);
  if (name == ".debug_rnglists") return NoRanges5(in);
  if (name == ".debug_loclists") return NoLocations5(in);
  if (name == ".debug_loc") return NoLocations4(in);
  return name == ".debug_ranges" && content.size() % 16 == 0 && IsZero(content);
}

}  // namespace kitlink::verify
