#include "core/dwarf/padding.h"

#include <algorithm>
#include <cstring>

namespace kitlink::dwarf {
namespace {

// Appends to a hole of `size` bytes from its start, of which `head` has the first; whatever is not written stays zero.
class Writer {
 public:
  Writer(MutableBytes head, uint64_t size) : head_(head), size_(size) {
    if (!head.empty()) std::memset(head.data(), 0, head.size());
  }
  Writer& U8(uint8_t value) { return Put(value); }
  Writer& U16(uint16_t value) { return Put(value); }
  Writer& U32(uint32_t value) { return Put(value); }
  Writer& U64(uint64_t value) { return Put(value); }
  // unit_length of a unit that ends where the hole ends.
  Writer& UnitLength() { return U32(static_cast<uint32_t>(size_ - at_ - 4)); }
  Writer& Repeat(uint8_t value, uint64_t count) {
    if (at_ < head_.size()) std::memset(head_.data() + at_, value, std::min(count, head_.size() - at_));
    at_ += count;
    return *this;
  }
  Writer& Uleb(uint64_t value) {
    do {
      uint8_t byte = value & 0x7f;
      value >>= 7;
      U8(byte | (value != 0 ? 0x80 : 0));
    } while (value != 0);
    return *this;
  }
  uint64_t left() const { return size_ - at_; }

 private:
  template <typename T>
  Writer& Put(T value) {
    uint8_t bytes[sizeof(T)];
    Store<T>(bytes, value);
    if (at_ < head_.size()) std::memcpy(head_.data() + at_, bytes, std::min(sizeof(T), head_.size() - at_));
    at_ += sizeof(T);
    return *this;
  }
  const MutableBytes head_;
  const uint64_t size_;
  uint64_t at_ = 0;
};

uint64_t UlebSize(uint64_t value) {
  uint64_t size = 1;
  while (value >>= 7) ++size;
  return size;
}

// How many of `bytes` an ULEB128 takes that counts the others; 0 when there is none.
uint64_t LengthSize(uint64_t bytes) {
  for (uint64_t size = 1; size <= 5; ++size) {
    if (bytes >= size && UlebSize(bytes - size) == size) return size;
  }
  return 0;
}

// Codes of the table below. A block whose length has one byte reaches small holes; four bytes reach all others,
// without the gaps that a variable-length length would leave.
enum AbbrevCode : uint8_t { kUnitBlock1 = 1, kUnitBlock4 = 2, kTypeBlock1 = 3, kTypeBlock4 = 4 };

// DW_AT_hi_user (0x3fff): nobody gives it a meaning, so no reader looks into the block. Tags: DW_TAG_compile_unit
// 0x11, DW_TAG_type_unit 0x41; all without children. Forms: DW_FORM_block1 0x0a, DW_FORM_block4 0x04.
constexpr uint8_t kAbbrev[] = {
    kUnitBlock1, 0x11, 0, 0xff, 0x7f, 0x0a, 0, 0,  //
    kUnitBlock4, 0x11, 0, 0xff, 0x7f, 0x04, 0, 0,  //
    kTypeBlock1, 0x41, 0, 0xff, 0x7f, 0x0a, 0, 0,  //
    kTypeBlock4, 0x41, 0, 0xff, 0x7f, 0x04, 0, 0,  //
    0,
};

void WriteBlockEntry(Writer& out, uint8_t code1, uint8_t code4) {
  if (out.left() <= 2 + 0xff) {
    out.U8(code1);
    out.U8(static_cast<uint8_t>(out.left() - 1));
  } else {
    out.U8(code4);
    out.U32(static_cast<uint32_t>(out.left() - 4));
  }
}

// Zeros: strings of no characters, empty abbreviation tables, ends of lists.
class ZeroFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 1; }
  bool zeros_behind_head() const override { return true; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override { Writer zeros(head, size); }
};

// DWARF 4, 7.5.1.1: length, version, abbreviations, address size; one entry. Version 4 is read by everybody, also
// among units of version 5.
class InfoFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 11 + 3; }  // readelf warns of a block of no bytes at the end
  bool zeros_behind_head() const override { return true; }
  bool terse() const override { return true; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t padding_abbrev) const override {
    if (size == 0) return;
    Writer out(head, size);
    out.UnitLength().U16(4).U32(static_cast<uint32_t>(padding_abbrev)).U8(8);
    WriteBlockEntry(out, kUnitBlock1, kUnitBlock4);
  }
};

// DWARF 4, 7.5.1.2. The signature must differ from every other's: its upper half is a constant, its lower half the
// place in the section. The type that it stands for is the unit's only entry.
class TypesFiller : public Filler {
 public:
  uint64_t min_hole() const override { return kHeader + 3; }
  bool zeros_behind_head() const override { return true; }
  bool terse() const override { return true; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t offset, uint64_t padding_abbrev) const override {
    if (size == 0) return;
    Writer out(head, size);
    out.UnitLength().U16(4).U32(static_cast<uint32_t>(padding_abbrev)).U8(8);
    out.U64((uint64_t{0x6b6c7061} << 32) + offset).U32(kHeader);
    WriteBlockEntry(out, kTypeBlock1, kTypeBlock4);
  }

 private:
  static constexpr uint32_t kHeader = 23;
};

// DWARF 4, 6.2.4: a table with no folders, no files, and a program that adds no row. Small holes are filled with
// DW_LNS_set_basic_block, which only sets a flag; large ones with one extended opcode of the user range, which
// readers skip by its length.
class LineFiller : public Filler {
 public:
  uint64_t min_hole() const override { return kHeader; }
  bool zeros_behind_head() const override { return true; }
  bool terse() const override { return true; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer out(head, size);
    out.UnitLength().U16(4).U32(kHeader - 10);
    out.U8(1).U8(1).U8(1).U8(0xfb).U8(14).U8(13);  // instruction, operations, is_stmt, line base and range, opcodes
    for (uint8_t operands : {0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1}) out.U8(operands);
    out.U8(0).U8(0);
    if (out.left() < kSkipFrom) {
      out.Repeat(kSetBasicBlock, out.left());
      return;
    }
    uint64_t own = LengthSize(out.left() - 1);
    if (own == 0) {  // the length's own size does not come out even: one more harmless opcode
      out.U8(kSetBasicBlock);
      own = LengthSize(out.left() - 1);
    }
    const uint64_t length = out.left() - 1 - own;
    out.U8(0).Uleb(length).U8(0xff);  // DW_LNE_hi_user
  }

 private:
  static constexpr uint32_t kHeader = 30;
  static constexpr uint8_t kSetBasicBlock = 7;
  static constexpr uint64_t kSkipFrom = 64;
};

// DWARF 5, 7.28: a table without offsets whose lists are all empty.
class RngListsFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 12 + 1; }  // readelf warns of a table without a list
  bool zeros_behind_head() const override { return true; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer(head, size).UnitLength().U16(5).U8(8).U8(0).U32(0);
  }
};

// DWARF 5, 7.29: a table with one offset (readelf warns of none) and one list that covers the rest (readelf takes
// what follows for the next table): the empty range from 0 to 0 with an expression of DW_OP_nop.
class LocListsFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 12 + 4 + 4 + 1; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer out(head, size);
    out.UnitLength().U16(5).U8(8).U8(0).U32(1).U32(4).U8(4);  // DW_LLE_offset_pair
    uint64_t rest = out.left() - 1 - 2;  // length and expression
    if (LengthSize(rest) == 0) {         // a zero of two bytes evens it
      out.U8(0x80);
      --rest;
    }
    out.U8(0).U8(0);
    const uint64_t length = rest - LengthSize(rest);
    out.Uleb(length).Repeat(0x96, length);
  }
};

// DWARF 4, 2.17.3: lists of nothing, which keep the grid of pairs that readers of the whole section walk on.
class RangesFiller : public ZeroFiller {
 public:
  uint64_t min_hole() const override { return 16; }
  uint64_t granularity() const override { return 16; }
};

// DWARF 4, 2.6.2: one list of entries for the empty range from 1 to 1, with expressions of DW_OP_nop.
class LocFiller : public Filler {
 public:
  uint64_t min_hole() const override { return kEntry + kEnd; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer out(head, size);
    while (out.left() > kEnd) {
      uint64_t entry = out.left() - kEnd;
      if (entry > kEntry + 0xffff) entry = 0xffff;  // leaves enough for another entry
      out.U64(1).U64(1).U16(static_cast<uint16_t>(entry - kEntry)).Repeat(0x96, entry - kEntry);
    }
  }

 private:
  static constexpr uint64_t kEntry = 8 + 8 + 2;
  static constexpr uint64_t kEnd = 16;
};

// DWARF 5, 7.27: a table of null addresses.
class AddrFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 8; }
  bool zeros_behind_head() const override { return true; }
  uint64_t granularity() const override { return 8; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer(head, size).UnitLength().U16(5).U8(8).U8(0);
  }
};

// DWARF 5, 7.26: a table that names the string at 0 again and again.
class StrOffsetsFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 8; }
  bool zeros_behind_head() const override { return true; }
  uint64_t granularity() const override { return 4; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer(head, size).UnitLength().U16(5).U16(0);
  }
};

// DWARF 4, 6.4.1: a common information entry (version 1, no augmentation, factors 1) of DW_CFA_nop, used by nobody.
class FrameFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 13; }
  bool zeros_behind_head() const override { return true; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer(head, size).UnitLength().U32(0xffffffff).U8(1).U8(0).U8(1).U8(1).U8(0);
  }
};

// DWARF 5, 6.3.1: a unit with one DW_MACRO_undef of a name as long as needed.
class MacroFiller : public Filler {
 public:
  uint64_t min_hole() const override { return 3 + 3 + 1; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer out(head, size);
    out.U16(5).U8(0).U8(2).U8(0);
    out.Repeat('_', out.left() - 2);
  }
};

// DWARF 4, 6.1.1: a set for the unit at 0 (there always is one) with one name as long as needed. The GNU form has a
// byte of kind before the name.
class PubFiller : public Filler {
 public:
  explicit PubFiller(bool gnu) : gnu_(gnu) {}
  uint64_t min_hole() const override { return 14 + 4 + (gnu_ ? 1 : 0) + 1 + 4; }
  void FillHead(MutableBytes head, uint64_t size, uint64_t, uint64_t) const override {
    if (size == 0) return;
    Writer out(head, size);
    out.UnitLength().U16(2).U32(0).U32(0).U32(11);
    if (gnu_) out.U8(0);
    out.Repeat('_', out.left() - 5);
  }

 private:
  bool gnu_;
};

}  // namespace

const Filler* Filler::For(absl::string_view section) {
  static const ZeroFiller zeros;
  static const InfoFiller info;
  static const TypesFiller types;
  static const LineFiller line;
  static const RngListsFiller rnglists;
  static const LocListsFiller loclists;
  static const RangesFiller ranges;
  static const LocFiller loc;
  static const AddrFiller addr;
  static const StrOffsetsFiller str_offsets;
  static const FrameFiller frame;
  static const MacroFiller macro;
  static const PubFiller pub(false), gnu_pub(true);
  static const struct {
    absl::string_view section;
    const Filler* filler;
  } kFillers[] = {
      {".debug_info", &info},           {".debug_types", &types},
      {".debug_abbrev", &zeros},        {".debug_line", &line},
      {".debug_str", &zeros},           {".debug_line_str", &zeros},
      {".debug_rnglists", &rnglists},   {".debug_loclists", &loclists},
      {".debug_addr", &addr},           {".debug_str_offsets", &str_offsets},
      {".debug_ranges", &ranges},       {".debug_loc", &loc},
      {".debug_frame", &frame},         {".debug_macro", &macro},
      {".debug_pubnames", &pub},        {".debug_pubtypes", &pub},
      {".debug_gnu_pubnames", &gnu_pub}, {".debug_gnu_pubtypes", &gnu_pub},
  };
  for (const auto& entry : kFillers) {
    if (entry.section == section) return entry.filler;
  }
  return nullptr;
}

ByteView PaddingAbbrev() { return kAbbrev; }

bool PadInPlace(absl::string_view section, MutableBytes slot, uint64_t used) {
  if (used > slot.size() || used < 12 || slot.size() - 4 >= 0xfffffff0u) return false;
  if (Load<uint32_t>(slot.data()) != used - 4) return false;
  const uint64_t extra = slot.size() - used;
  if (extra == 0) return true;
  uint8_t* const tail = slot.data() + used;
  if (section == ".debug_aranges") {
    // version, unit, address size, segment size; the first tuple is aligned to its own size.
    constexpr uint64_t kTuple = 16;
    if (extra % kTuple != 0 || used < 2 * kTuple || used % kTuple != 0) return false;
    if (slot[10] != 8 || slot[11] != 0) return false;
    const uint8_t* const end = tail - kTuple;
    for (uint64_t i = 0; i < kTuple; ++i) {
      if (end[i] != 0) return false;
    }
    uint8_t last[kTuple];
    if (used > 2 * kTuple) {
      std::memcpy(last, end - kTuple, kTuple);
    } else {
      Store<uint64_t>(last, 1);
      Store<uint64_t>(last + 8, 0);
    }
    for (uint64_t at = 0; at < extra; at += kTuple) std::memcpy(tail - kTuple + at, last, kTuple);
    std::memset(slot.data() + slot.size() - kTuple, 0, kTuple);
  } else if (section == ".debug_addr" || section == ".debug_str_offsets") {
    if (extra % (section == ".debug_addr" ? 8 : 4) != 0) return false;
    std::memset(tail, 0, extra);
  } else if (section == ".debug_names" || section == ".debug_rnglists" || section == ".debug_loclists") {
    std::memset(tail, 0, extra);
  } else {
    return false;
  }
  Store<uint32_t>(slot.data(), static_cast<uint32_t>(slot.size() - 4));
  return true;
}

bool FillAranges(MutableBytes hole, uint64_t padding_unit) {
  constexpr uint64_t kTuple = 16;
  if (hole.empty()) return true;
  if (hole.size() < 2 * kTuple || hole.size() % kTuple != 0) return false;
  Writer out(hole, hole.size());
  out.UnitLength().U16(2).U32(static_cast<uint32_t>(padding_unit)).U8(8).U8(0).U32(0);
  while (out.left() > kTuple) out.U64(1).U64(0);
  return true;
}

}  // namespace kitlink::dwarf
