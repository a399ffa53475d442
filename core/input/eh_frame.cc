#include "core/input/eh_frame.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

absl::Status Malformed(const ObjectFile& object, const InputSection& section, uint64_t offset, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(object.DisplayName(), ": ", section.name, "+0x", absl::Hex(offset), ": ", what));
}

int32_t FindCie(const EhFrame& frame, uint64_t offset) {
  auto it = std::lower_bound(frame.cies.begin(), frame.cies.end(), offset,
                             [](const EhRecord& record, uint64_t o) { return record.offset < o; });
  if (it == frame.cies.end() || it->offset != offset) return -1;
  return static_cast<int32_t>(it - frame.cies.begin());
}

}  // namespace

absl::StatusOr<EhFrame> SplitEhFrame(const ObjectFile& object, uint32_t section_index) {
  const InputSection& section = object.sections[section_index];
  const ByteView bytes = section.bytes;
  EhFrame frame;
  frame.section = section_index;
  frame.sorted.assign(section.relocs.begin(), section.relocs.end());
  std::stable_sort(frame.sorted.begin(), frame.sorted.end(),
                   [](const Reloc& a, const Reloc& b) { return a.offset < b.offset; });
  size_t reloc = 0;
  uint64_t offset = 0;
  while (offset < bytes.size()) {
    if (!InBounds(offset, 4, bytes.size())) return Malformed(object, section, offset, "truncated record");
    const uint64_t length = Load<uint32_t>(&bytes[offset]);
    if (length == 0) {  // the terminator; whatever follows is padding
      frame.terminator = true;
      break;
    }
    if (length == 0xffffffff) return Malformed(object, section, offset, "64-bit records are not supported");
    if (length < 4 || !InBounds(offset + 4, length, bytes.size())) {
      return Malformed(object, section, offset, "record reaches past the end of the section");
    }
    EhRecord record;
    record.offset = static_cast<uint32_t>(offset);
    record.size = static_cast<uint32_t>(length + 4);
    const uint64_t end = offset + record.size;
    while (reloc < frame.sorted.size() && frame.sorted[reloc].offset < offset) ++reloc;
    record.first_reloc = static_cast<uint32_t>(reloc);
    while (reloc < frame.sorted.size() && frame.sorted[reloc].offset < end) ++reloc;
    record.reloc_count = static_cast<uint32_t>(reloc - record.first_reloc);
    const uint32_t id = Load<uint32_t>(&bytes[offset + 4]);
    if (id == 0) {
      frame.cies.push_back(record);
    } else {
      record.cie = id > offset + 4 ? -1 : FindCie(frame, offset + 4 - id);
      if (record.cie < 0) return Malformed(object, section, offset, "frame description without its CIE");
      // A description whose function has no relocation was already discarded by the assembler or `ld -r`.
      if (record.reloc_count != 0 && frame.sorted[record.first_reloc].offset == offset + 8) {
        record.function_symbol = frame.sorted[record.first_reloc].symbol;
        record.function_addend = frame.sorted[record.first_reloc].addend;
        frame.fdes.push_back(record);
      }
    }
    offset = end;
  }
  return frame;
}

}  // namespace kitlink
