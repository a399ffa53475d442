#include "core/output/elf/frames.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace kitlink::elf {
namespace {

constexpr size_t kRowsOfFiller = 16;
constexpr uint8_t kEncodingPcRelSData4 = 0x1b;
constexpr uint8_t kEncodingUData4 = 0x03;
constexpr uint8_t kEncodingDataRelSData4 = 0x3b;

// What makes two CIEs one: their bytes, and what their fields refer to.
std::string CieKey(const Program& program, uint32_t u, const EhFrame& frame, const EhRecord& cie) {
  const Unit& unit = program.units[u];
  const InputSection& section = unit.object->sections[frame.section];
  std::string key(AsString(section.bytes.subspan(cie.offset, cie.size)));
  for (uint32_t r = 0; r < cie.reloc_count; ++r) {
    const Reloc& reloc = frame.sorted[cie.first_reloc + r];
    const SymbolId global = program.GlobalOf(unit, reloc.symbol);
    const uint64_t offset = reloc.offset - cie.offset, addend = static_cast<uint64_t>(reloc.addend);
    const uint32_t type = reloc.type;
    absl::StrAppend(&key, "|", offset, ":", type, ":", addend, ":", global.valid() ? -1 : static_cast<int64_t>(u), ":",
                    global.valid() ? global.value : reloc.symbol + 0u);
  }
  return key;
}

// The atom that a frame description is about, if that is in the image.
AtomId LiveFunction(const Program& program, const Unit& unit, const EhRecord& fde) {
  const InputSymbol& symbol = unit.object->symbols[fde.function_symbol];
  AtomId atom;
  const SymbolId global = program.GlobalOf(unit, fde.function_symbol);
  if (symbol.section < kSectionCommon) {
    atom = AtomId(unit.first_atom + symbol.section);
  } else if (global.valid()) {
    atom = program.symbols[global.value].atom;
  }
  if (!atom.valid() || program.atoms[atom.value].state != Atom::kLive) return AtomId();
  return atom;
}

}  // namespace

Frames PlanFrames(const LinkOptions& options, const Program& program) {
  Frames frames;
  frames.unit_start.resize(program.units.size());
  absl::flat_hash_map<std::string, uint32_t> cies;  // key -> offset in the output
  uint32_t offset = 0;
  bool any = false;
  for (uint32_t u = 0; u < program.units.size(); ++u) {
    const Unit& unit = program.units[u];
    frames.unit_start[u] = offset;
    for (uint32_t f = 0; f < unit.eh_frames.size(); ++f) {
      const EhFrame& frame = unit.eh_frames[f];
      any = true;
      std::vector<int64_t> placed(frame.cies.size(), -1);
      for (uint32_t d = 0; d < frame.fdes.size(); ++d) {
        const EhRecord& fde = frame.fdes[d];
        const AtomId function = LiveFunction(program, unit, fde);
        if (!function.valid()) continue;
        if (placed[fde.cie] < 0) {
          const EhRecord& cie = frame.cies[fde.cie];
          auto [it, fresh] = cies.try_emplace(CieKey(program, u, frame, cie), offset);
          placed[fde.cie] = it->second;
          if (fresh) {
            const uint32_t capacity = static_cast<uint32_t>(AlignUp(cie.size, 8));
            frames.cies.push_back({UnitId(u), f, static_cast<uint32_t>(fde.cie), offset, capacity, 0, AtomId()});
            offset += capacity;
          }
        }
        const uint32_t capacity = static_cast<uint32_t>(AlignUp(fde.size, 8));
        frames.fdes.push_back({UnitId(u), f, d, offset, capacity, static_cast<uint32_t>(placed[fde.cie]), function});
        offset += capacity;
      }
    }
  }
  if (!any) return frames;
  frames.used = offset;
  if (options.incremental) frames.reserve = static_cast<uint32_t>(AlignUp(std::clamp(offset / 8, 2048u, 1u << 20), 8));
  frames.size = frames.used + frames.reserve + 4;
  frames.header_rows = static_cast<uint32_t>(frames.fdes.size());
  if (options.incremental) frames.header_rows += std::max<uint32_t>(frames.header_rows / 8, 256);
  return frames;
}

void WriteFrameHeader(MutableBytes at, uint64_t address, uint64_t eh_frame, std::vector<FrameRow> rows) {
  std::sort(rows.begin(), rows.end(), [](const FrameRow& a, const FrameRow& b) {
    return std::make_tuple(a.function, a.empty, a.record) < std::make_tuple(b.function, b.empty, b.record);
  });
  // Two descriptions at one address: the search expects distinct keys. clang leaves functions without code where it
  // can prove that nobody gets there; what follows them must be found.
  rows.erase(std::unique(rows.begin(), rows.end(),
                         [](const FrameRow& a, const FrameRow& b) { return a.function == b.function; }),
             rows.end());
  WriteFrameHead(at, address, eh_frame);
  const size_t spare = (at.size() - kFrameHeaderSize) / 8 - rows.size();
  size_t fillers = std::min(spare / 2, rows.size() / kRowsOfFiller);
  size_t to = kFrameHeaderSize;
  for (size_t i = 0; i < rows.size(); ++i) {
    const bool twice = fillers != 0 && (i + 1) % kRowsOfFiller == 0;
    if (twice) --fillers;
    for (int n = 0; n < (twice ? 2 : 1); ++n, to += 8) {
      Store(&at[to], static_cast<int32_t>(rows[i].function - address));
      Store(&at[to + 4], static_cast<int32_t>(rows[i].record - address));
    }
  }
  Store(&at[8], static_cast<uint32_t>((to - kFrameHeaderSize) / 8));
}

void WriteFrameHead(MutableBytes at, uint64_t address, uint64_t eh_frame) {
  at[0] = 1;  // version
  at[1] = kEncodingPcRelSData4;
  at[2] = kEncodingUData4;
  at[3] = kEncodingDataRelSData4;
  Store(&at[4], static_cast<int32_t>(eh_frame - (address + 4)));
}

namespace {

// Records that change places: pointers that are distances from their own place have to change.
class RecordMover {
 public:
  RecordMover(MutableBytes bytes, uint64_t shift, bool pic) : bytes_(bytes), shift_(shift), pic_(pic) {}

  absl::Status Run() {
    for (uint64_t at = 0; at + 8 <= bytes_.size();) {
      const uint32_t length = Load<uint32_t>(&bytes_[at]), id = Load<uint32_t>(&bytes_[at + 4]);
      const uint64_t end = at + 4 + length;
      if (length < 4 || end > bytes_.size()) return Refuse("a record of another kind");
      absl::Status status = id == 0 ? MoveCie(at, end) : MoveFde(at, end, at + 4 - id);
      if (!status.ok()) return status;
      at = end;
    }
    return absl::OkStatus();
  }

 private:
  // How the records of a CIE tell addresses.
  struct Shape {
    uint8_t code = 0x00, exceptions = kOmitted;
    bool sized = false;  // what belongs to the exceptions has a length of its own
  };
  static constexpr uint8_t kOmitted = 0xff, kAbsolute = 0x00, kPcRelative = 0x10;

  static absl::Status Refuse(const char* what) { return absl::UnimplementedError(absl::StrCat(".eh_frame: ", what)); }

  // Width of a pointer, 0 for other kinds.
  static uint64_t Width(uint8_t encoding) {
    switch (encoding & 0x0f) {
      case 0x00: case 0x04: case 0x0c: return 8;
      case 0x03: case 0x0b: return 4;
      default: return 0;
    }
  }

  absl::Status Move(uint64_t at, uint64_t end, uint8_t encoding) {
    const uint64_t width = Width(encoding);
    if (width == 0 || at + width > end) return Refuse("a pointer of another kind");
    if ((encoding & 0x70) == kAbsolute && !pic_) return absl::OkStatus();
    if ((encoding & 0x70) != kPcRelative) return Refuse("a pointer that is no distance");
    if (width == 8) {
      const uint64_t value = Load<uint64_t>(&bytes_[at]);
      if (value != 0) Store(&bytes_[at], value + shift_);
      return absl::OkStatus();
    }
    const int32_t value = Load<int32_t>(&bytes_[at]);
    const int64_t moved = int64_t{value} + static_cast<int64_t>(shift_);
    if (value == 0) return absl::OkStatus();  // none
    if (moved != static_cast<int32_t>(moved)) return Refuse("a distance that is too far");
    Store(&bytes_[at], static_cast<int32_t>(moved));
    return absl::OkStatus();
  }

  bool SkipLeb(uint64_t* at, uint64_t end) const {
    while (*at < end && (bytes_[*at] & 0x80)) ++*at;
    return ++*at <= end;
  }

  absl::Status MoveCie(uint64_t begin, uint64_t end) {
    Shape shape;
    uint64_t at = begin + 9;
    std::string augmentation;
    while (at < end && bytes_[at] != 0) augmentation.push_back(static_cast<char>(bytes_[at++]));
    if (++at > end) return Refuse("a record of another kind");
    if (!augmentation.empty() && augmentation[0] != 'z') return Refuse("an augmentation of another kind");
    // Alignment of code and data, the register of the return address, how long what follows is.
    for (int field = 0; field < (augmentation.empty() ? 3 : 4); ++field) {
      if (!SkipLeb(&at, end)) return Refuse("a record of another kind");
    }
    for (char letter : augmentation) {
      if (letter == 'z') {
        shape.sized = true;
        continue;
      }
      if (letter == 'S' || letter == 'B') continue;
      if (at >= end || (letter != 'R' && letter != 'L' && letter != 'P')) return Refuse("an augmentation of another kind");
      const uint8_t encoding = bytes_[at++];
      if (letter == 'R') shape.code = encoding;
      if (letter == 'L') shape.exceptions = encoding;
      if (letter != 'P' || encoding == kOmitted) continue;
      if (absl::Status status = Move(at, end, encoding); !status.ok()) return status;
      at += Width(encoding);
    }
    shapes_[begin] = shape;
    return absl::OkStatus();
  }

  absl::Status MoveFde(uint64_t begin, uint64_t end, uint64_t cie) {
    const auto it = shapes_.find(cie);
    if (it == shapes_.end()) return Refuse("a record whose CIE does not stand before it");
    const Shape& shape = it->second;
    uint64_t at = begin + 8;
    if (absl::Status status = Move(at, end, shape.code); !status.ok()) return status;
    at += 2 * Width(shape.code);
    if (!shape.sized || shape.exceptions == kOmitted) return absl::OkStatus();
    if (!SkipLeb(&at, end)) return Refuse("a record of another kind");
    return Move(at, end, shape.exceptions);
  }

  MutableBytes bytes_;
  const uint64_t shift_;
  const bool pic_;
  absl::flat_hash_map<uint64_t, Shape> shapes_;  // by where the CIE is
};

}  // namespace

absl::Status MoveFrameRecords(MutableBytes records, uint64_t from, uint64_t to, bool pic) {
  return RecordMover(records, from - to, pic).Run();
}

bool DescribesNoCode(ByteView record, uint64_t field, uint64_t width) {
  const uint64_t length = field + width;
  if (!InBounds(length, width, record.size())) return false;
  const ByteView bytes = record.subspan(length, width);
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

void FillFrameHole(MutableBytes bytes, uint64_t size) {
  if (bytes.empty()) return;
  // length, CIE id 0, version 1, augmentation "", code alignment 1, data alignment -8, return register 16, then nops.
  static constexpr uint8_t kCie[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0x78, 16};
  std::memset(bytes.data(), 0, bytes.size());
  std::memcpy(bytes.data(), kCie, std::min(bytes.size(), sizeof(kCie)));
  Store(bytes.data(), static_cast<uint32_t>(size - 4));
}

}  // namespace kitlink::elf
