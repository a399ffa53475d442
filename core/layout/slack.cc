#include "core/layout/slack.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "core/base/bytes.h"

namespace kitlink {

bool HasRoom(const OutputSection& section) {
  if (section.synthetic != 0 || section.merged != OutputSection::kNotMerged) return false;
  if (section.flags & kSecTls) return false;  // offsets from the thread pointer count from the segment's end
  if (!section.alloc()) return absl::StartsWith(section.name, ".debug_");
  for (absl::string_view name :
       {".text", ".rodata", ".data", ".bss", ".data.rel.ro", ".gcc_except_table", ".bss.rel.ro"}) {
    if (section.name == name) return true;
  }
  return false;
}

uint64_t SlotCapacity(const OutputSection& section, uint64_t size, uint64_t min_hole) {
  if (section.exact || size == 0) return size;
  // Code grows by instructions, data by elements, debug information by rows: an eighth, and some bytes at least, so
  // that small functions survive an added call. Large objects rarely grow in proportion.
  const uint64_t least = (section.flags & kSecExec) ? 32 : (section.flags & kSecTls) ? 8 : section.alloc() ? 16 : 48;
  const uint64_t slack = std::min<uint64_t>(std::max(size / 8, least), 64 << 10);
  return AlignUp(size + std::max(slack, min_hole), section.alloc() ? 8 : 1);
}

bool PaddedInPlace(const OutputSection& section) {
  return !section.alloc() && (section.name == ".debug_aranges" || section.name == ".debug_addr" ||
                              section.name == ".debug_str_offsets");
}

uint64_t LeastTable(absl::string_view section) { return section == ".debug_aranges" ? 32 : 8; }

uint64_t PaddedCapacity(const OutputSection& section, ByteView bytes) {
  if (bytes.size() < LeastTable(section.name) || uint64_t{Load<uint32_t>(bytes.data())} + 4 != bytes.size()) return bytes.size();
  return bytes.size() + AlignUp(std::max<uint64_t>(bytes.size() / 4, 128), 16);
}

bool HasThreadRoom(const OutputSection& section) {
  return (section.flags & kSecTls) != 0 && (section.name == ".tdata" || section.name == ".tbss");
}

bool HoldsRows(const OutputSection& section) {
  if (!section.alloc() || HasRoom(section) || section.synthetic != 0 || section.merged != OutputSection::kNotMerged) return false;
  if (section.flags & (kSecTls | kSecExec)) return false;
  switch (section.kind) {
    case SectionKind::kProgbits:
    case SectionKind::kInitArray:
    case SectionKind::kFiniArray:
    case SectionKind::kPreinitArray: return true;
    default: return false;
  }
}

uint64_t RowReserve(uint64_t used) {
  if (used == 0) return 0;
  return AlignUp(std::min<uint64_t>(std::max<uint64_t>(used / 8, 128), 64 << 10), 8);
}

uint64_t TableReserve(uint64_t used) {
  return AlignUp(std::min<uint64_t>(std::max<uint64_t>(used / 8, 4 << 10), 256 << 10), 16);
}

uint64_t TailReserve(const OutputSection& section, uint64_t used) {
  if (section.exact || (used == 0 && !section.alloc())) return 0;
  // Each thread pays for it.
  if (section.flags & kSecTls) return AlignUp(std::min<uint64_t>(std::max<uint64_t>(used / 8, 64), 4 << 10), 16);
  const uint64_t least = (section.flags & kSecExec) ? 32 << 10 : 8 << 10;
  // The tail of a debug section is filled anew whenever something is taken from it, so it is kept short, unless only the head
  // of the filler has to be written. One unit with a new template may need some megabytes there.
  const uint64_t most = section.alloc() ? 8 << 20 : section.long_tail ? 16 << 20 : 256 << 10;
  return AlignUp(std::min<uint64_t>(std::max(used / 8, least), most), 64);
}

}  // namespace kitlink
