#include "core/verify/eh_frame.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/verify/cursor.h"

namespace kitlink::verify {
namespace {

constexpr uint8_t kOmit = 0xff, kIndirect = 0x80, kPcRel = 0x10, kDataRel = 0x30;

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

// An encoded pointer (DW_EH_PE_*) at cursor; `base` is the address of the buffer's first byte. An absolute or
// relative one of value zero means none and is returned as zero.
std::optional<uint64_t> ReadEncoded(Cursor& in, uint8_t encoding, uint64_t base, uint64_t data_base) {
  const uint64_t at = base + in.offset();
  uint64_t value = 0;
  switch (encoding & 0x0f) {
    case 0x00:
    case 0x04:
    case 0x0c:
      value = in.U64();
      break;
    case 0x01:
      value = in.Uleb();
      break;
    case 0x02:
      value = in.U16();
      break;
    case 0x03:
      value = in.U32();
      break;
    case 0x09:
      value = static_cast<uint64_t>(in.Sleb());
      break;
    case 0x0a:
      value = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int16_t>(in.U16())));
      break;
    case 0x0b:
      value = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(in.U32())));
      break;
    default:
      return std::nullopt;
  }
  if (!in.ok()) return std::nullopt;
  if (value == 0) return 0;
  switch (encoding & 0x70) {
    case 0:
      return value;
    case kPcRel:
      return value + at;
    case kDataRel:
      return value + data_base;
    default:
      return std::nullopt;
  }
}

ByteView StripNops(ByteView program) {
  size_t size = program.size();
  while (size != 0 && program[size - 1] == 0) --size;  // DW_CFA_nop
  return program.subspan(0, size);
}

struct Cie {
  FrameEntry common;
  uint8_t fde_encoding = 0, lsda_encoding = kOmit;
  bool sized = false;  // 'z'
};

// Reads the CIE whose length field is at `offset` of `frames`, which lies at `base`.
bool ReadCie(const LoadedImage& image, ByteView frames, uint64_t base, uint64_t offset, Cie& cie) {
  Cursor in(frames, offset);
  const uint32_t length = in.U32();
  if (length == 0 || length >= 0xfffffff0u || !InBounds(offset + 4, length, frames.size())) return false;
  in.Limit(offset + 4 + length);
  if (in.U32() != 0) return false;
  const uint8_t version = in.U8();
  cie.common.augmentation = std::string(in.String());
  cie.common.code_alignment = in.Uleb();
  cie.common.data_alignment = in.Sleb();
  cie.common.return_register = version == 1 ? in.U8() : in.Uleb();
  const std::string& augmentation = cie.common.augmentation;
  uint64_t data_end = 0;
  if (!augmentation.empty() && augmentation[0] == 'z') {
    cie.sized = true;
    data_end = in.Uleb();
    data_end += in.offset();
  }
  for (size_t i = cie.sized ? 1 : 0; i < augmentation.size() && in.ok(); ++i) {
    if (augmentation[i] == 'R') {
      cie.fde_encoding = in.U8();
    } else if (augmentation[i] == 'L') {
      cie.lsda_encoding = in.U8();
    } else if (augmentation[i] == 'P') {
      const uint8_t encoding = in.U8();
      std::optional<uint64_t> at = ReadEncoded(in, encoding & 0x7f, base, 0);
      if (!at) return false;
      if (*at != 0)
        cie.common.personality = (encoding & kIndirect) != 0 ? image.Word(*at) : image.Canonical(*at);
    } else if (augmentation[i] != 'S' && augmentation[i] != 'B') {
      return false;
    }
  }
  if (cie.sized) in.Seek(data_end);
  cie.common.cie_program = StripNops(in.Rest());
  return in.ok() && (version == 1 || version == 3);
}

}  // namespace

void FrameTable::Problem(std::string what) {
  if (problems_.size() < 20) problems_.push_back(std::move(what));
}

FrameTable FrameTable::Read(const LoadedImage& image) {
  FrameTable table;
  table.image_ = &image;
  const Elf64_Phdr* header = image.image().Segment(PT_GNU_EH_FRAME);
  const ImageSection* section = image.image().SectionNamed(".eh_frame");
  if (header != nullptr) {
    table.present_ = true;
    table.ReadHeader(header->p_vaddr, header->p_memsz);
    if (table.frames_ && section != nullptr && section->header.sh_addr != *table.frames_) {
      table.Problem("the .eh_frame that PT_GNU_EH_FRAME points to is not where its section header says");
    }
  } else if (section != nullptr) {
    table.frames_ = section->header.sh_addr;
  }
  if (table.frames_) table.ReadEntries(*table.frames_);
  if (table.present_) table.CheckTable();
  return table;
}

void FrameTable::ReadHeader(uint64_t address, uint64_t size) {
  std::optional<ByteView> bytes = image_->image().FileBytes(address, size);
  if (!bytes) return Problem("PT_GNU_EH_FRAME is not in the file");
  Cursor in(*bytes, 0);
  const uint8_t version = in.U8(), frame_encoding = in.U8(), count_encoding = in.U8(),
                table_encoding = in.U8();
  if (version != 1) return Problem("PT_GNU_EH_FRAME has an unknown version");
  frames_ = ReadEncoded(in, frame_encoding, address, address);
  if (!frames_) return Problem("PT_GNU_EH_FRAME does not lead to .eh_frame");
  if (count_encoding == kOmit || table_encoding == kOmit) return;  // libgcc then searches linearly
  std::optional<uint64_t> count = ReadEncoded(in, count_encoding, address, address);
  // The only form that libgcc's binary search takes.
  if (!count || table_encoding != (kDataRel | 0x0b)) return Problem(".eh_frame_hdr cannot be searched");
  if (*count > (bytes->size() - in.offset()) / 8)
    return Problem(".eh_frame_hdr counts more rows than it has");
  rows_.resize(*count);
  for (Row& row : rows_) {
    row.start = address + static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(in.U32())));
    row.fde = address + static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(in.U32())));
  }
}

void FrameTable::ReadEntries(uint64_t address) {
  const ByteView frames = image_->image().FileBytesFrom(address);
  uint64_t at = 0;
  while (InBounds(at, 4, frames.size())) {
    const uint32_t length = Load<uint32_t>(frames.data() + at);
    if (length == 0) break;  // the terminator
    if (length < 4 || length >= 0xfffffff0u || !InBounds(at + 4, length, frames.size())) {
      return Problem(absl::StrCat("a frame at ", Hex(address + at), " has a bad length"));
    }
    const uint32_t id = Load<uint32_t>(frames.data() + at + 4);
    if (id == 0) {  // a CIE; one that nobody uses is legal filler
      at += 4 + uint64_t{length};
      continue;
    }
    Cie cie;
    if (id > at + 4 || !ReadCie(*image_, frames, address, at + 4 - id, cie)) {
      return Problem(absl::StrCat("the FDE at ", Hex(address + at), " has no readable CIE"));
    }
    Cursor in(frames, at + 8);
    in.Limit(at + 4 + length);
    FrameEntry entry = cie.common;
    entry.address = address + at;
    std::optional<uint64_t> start = ReadEncoded(in, cie.fde_encoding, address, 0);
    std::optional<uint64_t> size = ReadEncoded(in, cie.fde_encoding & 0x0f, address, 0);
    if (!start || !size)
      return Problem(absl::StrCat("the FDE at ", Hex(address + at), " has no readable range"));
    entry.start = *start;
    entry.size = *size;
    if (cie.sized) {
      const uint64_t data = in.Uleb(), end = in.offset() + data;
      if (cie.lsda_encoding != kOmit && data != 0) {
        std::optional<uint64_t> lsda = ReadEncoded(in, cie.lsda_encoding, address, 0);
        if (lsda && *lsda != 0) entry.lsda = *lsda;
      }
      in.Seek(end);
    }
    entry.program = StripNops(in.Rest());
    if (!in.ok()) return Problem(absl::StrCat("the FDE at ", Hex(address + at), " is malformed"));
    all_.push_back(entry.address);
    if (entry.size != 0 && entry.start != 0) entries_.push_back(std::move(entry));
    at += 4 + uint64_t{length};
  }
  if (!InBounds(at, 4, frames.size())) Problem(".eh_frame has no terminator");
}

void FrameTable::CheckTable() {
  auto find = [&](uint64_t fde) -> const FrameEntry* {
    auto it = std::lower_bound(entries_.begin(), entries_.end(), fde,
                               [](const FrameEntry& e, uint64_t a) { return e.address < a; });
    return it != entries_.end() && it->address == fde ? &*it : nullptr;
  };
  for (size_t i = 0; i < rows_.size(); ++i) {
    const Row& row = rows_[i];
    if (i != 0) {
      const Row& before = rows_[i - 1];
      if (row.start < before.start) {
        Problem(absl::StrCat(".eh_frame_hdr is not sorted at row ", i));
      } else if (row.start == before.start && row.fde != before.fde) {
        Problem(absl::StrCat(".eh_frame_hdr has two FDEs for ", Hex(row.start)));
      }
    }
    const FrameEntry* entry = find(row.fde);
    if (entry == nullptr) {
      // A row may lead to an FDE that covers nothing (code that is gone); it must still be an FDE.
      if (!std::binary_search(all_.begin(), all_.end(), row.fde)) {
        Problem(absl::StrCat(".eh_frame_hdr leads to ", Hex(row.fde), ", where no FDE is"));
      }
      continue;
    }
    if (entry->start != row.start) {
      Problem(absl::StrCat(".eh_frame_hdr says that the FDE at ", Hex(row.fde), " starts at ", Hex(row.start),
                           ", itself it says ", Hex(entry->start)));
    }
  }
  for (const FrameEntry& entry : entries_) {
    const FrameEntry* found = Search(entry.start);
    if (rows_.empty() || found == nullptr) {
      if (!rows_.empty())
        Problem(absl::StrCat(".eh_frame_hdr does not lead to the FDE of ", Hex(entry.start)));
    }
  }
}

const FrameEntry* FrameTable::Search(uint64_t pc) const {
  uint64_t fde = 0;
  if (!rows_.empty()) {
    // libgcc's unwind-dw2-fde-dip.c: the last row whose start is not above pc.
    auto it = std::upper_bound(rows_.begin(), rows_.end(), pc,
                               [](uint64_t p, const Row& r) { return p < r.start; });
    if (it == rows_.begin()) return nullptr;
    fde = std::prev(it)->fde;
  } else {
    for (const FrameEntry& e : entries_) {
      if (e.Covers(pc)) return &e;
    }
    return nullptr;
  }
  auto entry = std::lower_bound(entries_.begin(), entries_.end(), fde,
                                [](const FrameEntry& e, uint64_t a) { return e.address < a; });
  if (entry == entries_.end() || entry->address != fde || !entry->Covers(pc)) return nullptr;
  return &*entry;
}

}  // namespace kitlink::verify
