#include "core/output/elf/hot_frames.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/output/relocate.h"

namespace kitlink::elf {
namespace {

constexpr uint32_t kLeastHole = 16;
constexpr uint32_t kSearchNear = 512;    // rows looked at for a filler
constexpr uint32_t kShiftAtMost = 8192;  // rows moved towards the end
constexpr uint64_t kMoreRecords = 64 << 10;
constexpr uint32_t kMoreRows = 1024, kRowsOfFiller = 16;

// What makes two CIEs one: their bytes, and what their fields refer to (a global name, or an address).
std::string CieKey(ByteView bytes, absl::Span<const Reloc> relocs, uint64_t start,
                   absl::FunctionRef<std::pair<SymbolId, uint64_t>(const Reloc&)> target) {
  std::string key(AsString(bytes));
  for (const Reloc& reloc : relocs) {
    const auto [global, address] = target(reloc);
    const uint32_t type = reloc.type;
    const uint64_t offset = reloc.offset - start;
    const int64_t addend = reloc.addend;
    absl::StrAppend(&key, "|", offset, ":", type, ":", addend, ":");
    if (global.valid()) {
      absl::StrAppend(&key, "g", global.value);
    } else {
      absl::StrAppend(&key, "a", address);
    }
  }
  return key;
}

// CIE "zR": pc-relative pointers; CFA is the stack pointer plus 8, the return address lies there.
std::vector<uint8_t> PlainCie() {
  return {20, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0};
}

// True when something in the image asks where unwind records are: crtbeginT.o does.
bool RefersToRecords(const Program& program) {
  for (const Unit& unit : program.units) {
    const ObjectFile& object = *unit.object;
    const auto is_record = [&](uint32_t symbol) {
      const uint32_t section = symbol < object.symbols.size() ? object.symbols[symbol].section : kSectionCommon;
      return section < object.sections.size() && object.sections[section].kind == SectionKind::kEhFrame;
    };
    bool any = false;
    for (uint32_t i = 0; i < object.symbols.size(); ++i) {
      if (!is_record(i)) continue;
      if (i >= object.first_global) return true;  // others may
      any = true;
    }
    for (uint32_t s = 0; any && s < object.sections.size(); ++s) {
      const InputSection& section = object.sections[s];
      if (!(section.flags & kSecAlloc) || section.kind == SectionKind::kEhFrame) continue;
      if (program.atoms[unit.first_atom + s].state != Atom::kLive) continue;
      for (const Reloc& reloc : section.relocs) {
        if (is_record(reloc.symbol)) return true;
      }
    }
  }
  return false;
}

}  // namespace

HotFrames::HotFrames(const Program& program, const ElfImage& image, const Arch& arch, const OutputTraits& output,
                     ByteView header)
    : arch_(&arch), output_(output), values_(image.values) {
  const OutputSection* section = image.Section(kEhFrame);
  if (section == nullptr) return;
  present_ = true;
  address_ = published_address_ = section->address;
  base_ = image.base;
  referred_to_ = RefersToRecords(program);
  file_offset_ = section->offset;
  room_end_ = static_cast<uint32_t>(section->size) - 4;
  state_.used = image.frames.used;
  units_.resize(program.units.size());
  for (const FrameRecord& fde : image.frames.fdes) {
    const Unit& unit = program.units[fde.unit.value];
    const EhFrame& frame = unit.eh_frames[fde.frame];
    const Reloc& where = frame.sorted[frame.fdes[fde.record].first_reloc];
    const uint64_t function =
        TargetOf(program, image, arch, unit, where.symbol, where.addend).address + static_cast<uint64_t>(where.addend);
    units_[fde.unit.value].push_back({fde.offset, fde.capacity, function, false});
  }
  for (const FrameRecord& cie : image.frames.cies) {
    const Unit& unit = program.units[cie.unit.value];
    const EhFrame& frame = unit.eh_frames[cie.frame];
    const EhRecord& record = frame.cies[cie.record];
    const ByteView bytes = unit.object->sections[frame.section].bytes.subspan(record.offset, record.size);
    cies_[CieKey(bytes, absl::MakeSpan(frame.sorted).subspan(record.first_reloc, record.reloc_count), record.offset,
                 [&](const Reloc& reloc) {
                   return std::make_pair(program.GlobalOf(unit, reloc.symbol),
                                         TargetOf(program, image, arch, unit, reloc.symbol, reloc.addend).address);
                 })] = {cie.offset, cie.capacity};
  }
  if (const OutputSection* hdr = image.Section(kEhFrameHdr)) {
    has_header_ = true;
    header_address_ = hdr->address;
    header_offset_ = hdr->offset;
    row_capacity_ = image.frames.header_rows;
    state_.row_count = Load<uint32_t>(&header[8]);
    for (uint32_t i = 0; i < state_.row_count; ++i) {
      rows_.push_back({Load<int32_t>(&header[kFrameHeaderSize + i * 8]), Load<int32_t>(&header[kFrameHeaderSize + i * 8 + 4])});
    }
  }
}

void HotFrames::Begin() {
  staged_state_ = state_;
  staged_rows_.clear();
  staged_units_.clear();
  staged_cies_.clear();
  rewritten_cies_.clear();
  lack_ = {};
}

// A unit found no room: it will ask for all of it again.
void HotFrames::NoteLack(const UnitUpdate& update, bool rows) {
  for (const InputSection& section : update.object->sections) {
    if (section.kind == SectionKind::kEhFrame) lack_.records += section.size;
  }
  lack_.records += 64 * (update.islands.size() + 1);
  if (!rows) return;
  lack_.rows += static_cast<uint32_t>(lack_.records / 20);
  lack_.records = 0;
}

bool HotFrames::Reaches(uint64_t end, uint64_t size) const {
  constexpr uint64_t kPage = 1 << 16;
  return end + size + kPage - base_ < uint64_t{1} << 31;
}

uint64_t HotFrames::MoreRecords(uint64_t end) const {
  if (lack_.records == 0 || referred_to_) return 0;
  const uint64_t size = room_end_ + std::max<uint64_t>({2 * lack_.records, room_end_ / 8, kMoreRecords});
  return Reaches(end, size) ? AlignUp(size, 8) + 4 : 0;
}

uint64_t HotFrames::MoreRows(uint64_t end) const {
  if (lack_.rows == 0) return 0;
  const uint32_t rows = state_.row_count + state_.row_count / kRowsOfFiller + std::max({2 * lack_.rows, state_.row_count / 8, kMoreRows});
  const uint64_t size = kFrameHeaderSize + uint64_t{rows} * 8;
  return Reaches(end, size) ? size : 0;
}

void HotFrames::MoveRecords(const GrowthPlace& place, uint64_t size) {
  const int32_t shift = static_cast<int32_t>(place.address - address_);
  for (uint32_t i = 0; i < state_.row_count; ++i) rows_[i].record += shift;
  address_ = place.address;
  file_offset_ = place.offset;
  room_end_ = static_cast<uint32_t>(size) - 4;
  records_move_ = true;
  lack_.records = 0;
}

// Rows are spread again: where many were added, none near by was there twice.
void HotFrames::MoveHeader(const GrowthPlace& place, uint64_t size) {
  const int32_t shift = static_cast<int32_t>(header_address_ - place.address);
  std::vector<Row> rows;
  for (uint32_t i = 0; i < state_.row_count; ++i) {
    const Row row = std::as_const(rows_)[i];
    if (i > 0 && row == std::as_const(rows_)[i - 1]) continue;
    rows.push_back({row.function + shift, row.record + shift});
  }
  row_capacity_ = static_cast<uint32_t>((size - kFrameHeaderSize) / 8);
  rows_.resize(0);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows_.push_back(rows[i]);
    if ((i + 1) % kRowsOfFiller == 0) rows_.push_back(rows[i]);
  }
  state_.row_count = static_cast<uint32_t>(rows_.size());
  header_address_ = place.address;
  header_offset_ = place.offset;
  header_moves_ = true;
  lack_.rows = 0;
}

absl::Status HotFrames::Follow(MutableBytes records) const {
  return MoveFrameRecords(records, published_address_, address_, output_.pic);
}

void HotFrames::PutBytes(uint32_t offset, std::vector<uint8_t> bytes, std::vector<Mutation>* mutations) const {
  Mutation mutation;
  mutation.offset = file_offset_ + offset;
  mutation.phase = PatchPhase::kTables;
  mutation.bytes = std::move(bytes);
  mutations->push_back(std::move(mutation));
}

absl::Status HotFrames::Allocate(uint32_t size, uint32_t cie, Slot* slot) {
  size = static_cast<uint32_t>(AlignUp(size, 8));
  std::vector<Slot>& free = staged_state_.free;
  for (size_t i = 0; i < free.size(); ++i) {
    if (free[i].capacity < size || free[i].offset < cie) continue;
    *slot = free[i];  // whole: a record may be longer than it needs to be
    free.erase(free.begin() + static_cast<ptrdiff_t>(i));
    return absl::OkStatus();
  }
  const uint32_t left = room_end_ - staged_state_.used;
  if (left < size || (left != size && left - size < kLeastHole)) {
    return absl::ResourceExhaustedError(".eh_frame: no room for another record");
  }
  *slot = {staged_state_.used, size, 0, false};
  staged_state_.used += size;
  return absl::OkStatus();
}

void HotFrames::Release(const Slot& slot, std::vector<Mutation>* mutations) {
  std::vector<uint8_t> hole(slot.capacity);
  FillFrameHole(absl::MakeSpan(hole), slot.capacity);
  PutBytes(slot.offset, std::move(hole), mutations);
  staged_state_.free.push_back({slot.offset, slot.capacity, 0, false});
}

absl::Status HotFrames::Update(const UnitUpdate& update, std::vector<Mutation>* mutations) {
  if (!present_) {
    for (const InputSection& section : update.object->sections) {
      if (section.kind == SectionKind::kEhFrame && section.size != 0) {
        return absl::UnimplementedError("the image has no .eh_frame");
      }
    }
    return absl::OkStatus();
  }
  std::vector<Slot> old, now;
  if (update.unit.value < units_.size()) old = std::as_const(units_)[update.unit.value];
  const std::vector<Slot> before = old;
  for (uint32_t s = 0; s < update.object->sections.size(); ++s) {
    if (update.object->sections[s].kind != SectionKind::kEhFrame) continue;
    absl::StatusOr<EhFrame> frame = SplitEhFrame(*update.object, s);
    if (!frame.ok()) return frame.status();
    if (absl::Status status = WriteRecords(update, *frame, &old, &now, mutations); !status.ok()) {
      if (absl::IsResourceExhausted(status)) NoteLack(update, false);
      return status;
    }
  }
  for (const IslandRange& island : update.islands) {
    if (absl::Status status = AddIsland(island, &old, &now, mutations); !status.ok()) {
      if (absl::IsResourceExhausted(status)) NoteLack(update, false);
      return status;
    }
  }
  for (const Slot& slot : old) Release(slot, mutations);
  if (absl::Status status = UpdateRows(before, now); !status.ok()) {
    NoteLack(update, true);
    return status;
  }
  staged_units_[update.unit.value] = std::move(now);
  return absl::OkStatus();
}

absl::Status HotFrames::WriteRecords(const UnitUpdate& update, const EhFrame& frame, std::vector<Slot>* old,
                                     std::vector<Slot>* now, std::vector<Mutation>* mutations) {
  for (const EhRecord& fde : frame.fdes) {
    const uint32_t section = update.object->symbols[fde.function_symbol].section;
    if (section >= update.sections.size() || !update.sections[section].placed) continue;
    uint32_t cie_offset = 0;
    absl::Status status = CieFor(update, frame, frame.cies[fde.cie], mutations, &cie_offset);
    if (!status.ok()) return status;
    const uint64_t function = update.targets->BodyTarget(fde.function_symbol, fde.function_addend).address +
                              static_cast<uint64_t>(fde.function_addend);
    // The function's own slot if it is long enough, else any other of the unit's, else a new one.
    Slot slot;
    auto fits = [&](const Slot& s) { return s.capacity >= fde.size && s.offset > cie_offset; };
    auto it = std::find_if(old->begin(), old->end(), [&](const Slot& s) { return s.function == function && fits(s); });
    if (it == old->end()) it = std::find_if(old->begin(), old->end(), fits);
    if (it != old->end()) {
      slot = *it;
      old->erase(it);
    } else {
      status = Allocate(fde.size, cie_offset, &slot);
      if (!status.ok()) return status;
    }
    slot.function = function;
    status = WriteRecord(update, frame, fde, slot, &cie_offset, mutations);
    if (!status.ok()) return status;
    const Reloc& where = frame.sorted[fde.first_reloc];
    slot.empty = DescribesNoCode(mutations->back().bytes, where.offset - fde.offset, arch_->Info(where.type).width);
    now->push_back(slot);
  }
  return absl::OkStatus();
}

absl::Status HotFrames::CieFor(const UnitUpdate& update, const EhFrame& frame, const EhRecord& cie,
                               std::vector<Mutation>* mutations, uint32_t* offset) {
  const ByteView bytes = update.object->sections[frame.section].bytes.subspan(cie.offset, cie.size);
  const std::string key =
      CieKey(bytes, absl::MakeSpan(frame.sorted).subspan(cie.first_reloc, cie.reloc_count), cie.offset,
             [&](const Reloc& reloc) {
               return std::make_pair(update.targets->Global(reloc.symbol),
                                     update.targets->Target(reloc.symbol, reloc.addend).address);
             });
  for (const auto* known : {&cies_, &staged_cies_}) {
    const auto it = known->find(key);
    if (it == known->end()) continue;
    *offset = it->second.offset;
    // What it refers to by name may be elsewhere now: a personality's cell goes with its COMDAT group.
    if (cie.reloc_count == 0 || !rewritten_cies_.insert(*offset).second) return absl::OkStatus();
    return WriteRecord(update, frame, cie, it->second, nullptr, mutations);
  }
  Slot slot;
  if (absl::Status status = Allocate(cie.size, 0, &slot); !status.ok()) return status;
  staged_cies_[key] = slot;
  rewritten_cies_.insert(slot.offset);
  *offset = slot.offset;
  return WriteRecord(update, frame, cie, slot, nullptr, mutations);
}

absl::Status HotFrames::WriteRecord(const UnitUpdate& update, const EhFrame& frame, const EhRecord& in,
                                    const Slot& slot, const uint32_t* cie_offset,
                                    std::vector<Mutation>* mutations) const {
  std::vector<uint8_t> bytes(slot.capacity, 0);
  const InputSection& section = update.object->sections[frame.section];
  std::copy_n(&section.bytes[in.offset], in.size, bytes.begin());
  Store(bytes.data(), slot.capacity - 4);
  if (cie_offset != nullptr) Store(&bytes[4], slot.offset + 4 - *cie_offset);
  std::vector<Reloc> relocs;
  for (uint32_t r = 0; r < in.reloc_count; ++r) {
    relocs.push_back(frame.sorted[in.first_reloc + r]);
    relocs.back().offset -= in.offset;
  }
  const char* failure = nullptr;
  ApplyRelocations(
      relocs, absl::MakeSpan(bytes), address_ + slot.offset, *arch_, values_, output_,
      [&](const Reloc& reloc) { return update.targets->BodyTarget(reloc.symbol, reloc.addend); },
      [&](const Reloc&, const char* error) { failure = error; });
  if (failure != nullptr) return absl::UnimplementedError(absl::StrCat(".eh_frame: ", failure));
  PutBytes(slot.offset, std::move(bytes), mutations);
  return absl::OkStatus();
}

absl::Status HotFrames::AddIsland(const IslandRange& island, std::vector<Slot>* old, std::vector<Slot>* now,
                                  std::vector<Mutation>* mutations) {
  if (staged_state_.plain_cie == 0xffffffffu) {
    Slot cie;
    std::vector<uint8_t> bytes = PlainCie();
    if (absl::Status status = Allocate(static_cast<uint32_t>(bytes.size()), 0, &cie); !status.ok()) return status;
    bytes.resize(cie.capacity, 0);
    Store(bytes.data(), cie.capacity - 4);
    staged_state_.plain_cie = cie.offset;
    PutBytes(cie.offset, std::move(bytes), mutations);
  }
  Slot slot;
  auto kept = std::find_if(old->begin(), old->end(), [&](const Slot& s) {
    return s.function == island.begin && s.capacity >= 24 && s.offset > staged_state_.plain_cie;
  });
  if (kept != old->end()) {
    slot = *kept;
    old->erase(kept);
  } else if (absl::Status status = Allocate(24, staged_state_.plain_cie, &slot); !status.ok()) {
    return status;
  }
  slot.function = island.begin;
  slot.empty = false;
  std::vector<uint8_t> bytes(slot.capacity, 0);
  Store(bytes.data(), slot.capacity - 4);
  Store(&bytes[4], slot.offset + 4 - staged_state_.plain_cie);
  Store(&bytes[8], static_cast<int32_t>(island.begin - (address_ + slot.offset + 8)));
  Store(&bytes[12], static_cast<uint32_t>(island.end - island.begin));
  PutBytes(slot.offset, std::move(bytes), mutations);
  now->push_back(slot);
  return absl::OkStatus();
}

// Rows of functions that stay are only pointed at their records: the table moves as little as it must. Functions without
// code need none, and must not take that of a function, perhaps another unit's, that begins at the same address.
absl::Status HotFrames::UpdateRows(const std::vector<Slot>& before, const std::vector<Slot>& now) {
  if (!has_header_) return absl::OkStatus();
  absl::flat_hash_map<uint64_t, uint32_t> wanted;
  for (const Slot& slot : now) {
    if (!slot.empty) wanted.try_emplace(slot.function, slot.offset);
  }
  std::vector<Row> from, to;
  absl::flat_hash_set<uint64_t> known;
  for (const Slot& slot : before) {
    known.insert(slot.function);
    if (!slot.empty && !wanted.contains(slot.function)) from.push_back(RowOf(slot.function, slot.offset));
  }
  for (const auto& [function, record] : wanted) {  // any order: sorted below
    if (!known.contains(function)) to.push_back(RowOf(function, record));
  }
  // Of different numbers, the last come or go by themselves.
  const auto by_function = [](const Row& a, const Row& b) { return a.function < b.function; };
  std::sort(from.begin(), from.end(), by_function);
  std::sort(to.begin(), to.end(), by_function);
  const size_t pairs = std::min(from.size(), to.size());
  for (size_t k = from.size(); k-- > pairs;) RemoveRow(from[k]);
  from.resize(pairs);
  to.resize(pairs);
  const bool replaced = ReplaceRows(from, to);
  for (size_t k = 0; k < pairs && !replaced; ++k) RemoveRow(from[k]);
  for (const Slot& slot : now) {
    if (replaced && std::binary_search(to.begin(), to.end(), RowOf(slot.function, 0), by_function)) continue;
    const auto it = wanted.find(slot.function);
    if (it == wanted.end()) continue;
    const uint32_t offset = it->second;
    wanted.erase(it);
    if (absl::Status status = PutRow(slot.function, offset); !status.ok()) return status;
  }
  return absl::OkStatus();
}

HotFrames::Row HotFrames::RowAt(uint32_t i) const {
  if (staged_rows_.empty()) return rows_[i];
  auto it = staged_rows_.find(i);
  return it == staged_rows_.end() ? rows_[i] : it->second;
}

HotFrames::Row HotFrames::RowOf(uint64_t function, uint32_t record) const {
  return {static_cast<int32_t>(function - header_address_), static_cast<int32_t>(address_ + record - header_address_)};
}

void HotFrames::SetRow(uint32_t i, Row row) { staged_rows_[i] = row; }

uint32_t HotFrames::LowerBound(int32_t function) const {
  uint32_t low = 0, high = staged_state_.row_count;
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2;
    if (RowAt(middle).function < function) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Writes the rows `to` where those of `from` are, fillers included. False, and nothing done, when that is not in order: then
// rows go and come one by one. Functions that move on with a neighbour that grows keep their places. Both are as many, and
// sorted by function.
bool HotFrames::ReplaceRows(const std::vector<Row>& from, const std::vector<Row>& to) {
  const uint32_t count = staged_state_.row_count;
  std::vector<std::pair<uint32_t, uint32_t>> places;  // of each: [begin, end)
  for (const Row& row : from) {
    uint32_t begin = LowerBound(row.function), end = begin;
    while (end < count && RowAt(end) == row) ++end;
    if (end == begin || (end < count && RowAt(end).function == row.function)) return false;
    places.emplace_back(begin, end);
  }
  for (size_t k = 0; k < places.size(); ++k) {
    const auto [begin, end] = places[k];
    const bool behind = begin == 0 || (k > 0 && places[k - 1].second == begin) || RowAt(begin - 1).function < to[k].function;
    const bool before = end == count || (k + 1 < places.size() && places[k + 1].first == end) || to[k].function < RowAt(end).function;
    if (!behind || !before || (k > 0 && to[k - 1].function == to[k].function)) return false;
  }
  for (size_t k = 0; k < places.size(); ++k) {
    for (uint32_t i = places[k].first; i < places[k].second; ++i) SetRow(i, to[k]);
  }
  return true;
}

// Removes a row, if it is there.
void HotFrames::RemoveRow(Row row) {
  const int32_t key = row.function;
  uint32_t i = LowerBound(key);
  if (i == staged_state_.row_count || !(RowAt(i) == row)) return;
  // The row and the fillers that repeat it become copies of the row before; at the very front, of the one after.
  uint32_t end = i;
  while (end < staged_state_.row_count && RowAt(end).function == key) ++end;
  if (end == staged_state_.row_count) {
    staged_state_.row_count = i;
    return;
  }
  const Row replacement = i > 0 ? RowAt(i - 1) : RowAt(end);
  for (; i < end; ++i) SetRow(i, replacement);
}

absl::Status HotFrames::PutRow(uint64_t function, uint32_t record) {
  const Row row = RowOf(function, record);
  const uint32_t at = LowerBound(row.function);
  const uint32_t count = staged_state_.row_count;
  if (at < count && RowAt(at).function == row.function) {
    for (uint32_t i = at; i < count && RowAt(i).function == row.function; ++i) {
      if (!(RowAt(i) == row)) SetRow(i, row);
    }
    return absl::OkStatus();
  }
  // A filler before `at` gives its room: the rows between move down by one.
  for (uint32_t i = at; i-- > 1 && at - i < kSearchNear;) {
    if (!IsFiller(i)) continue;
    for (uint32_t k = i; k + 1 < at; ++k) SetRow(k, RowAt(k + 1));
    SetRow(at - 1, row);
    return absl::OkStatus();
  }
  uint32_t end = at;
  while (end < count && end - at < kSearchNear && !(end > at && IsFiller(end))) ++end;
  if (end == count || !IsFiller(end)) {
    if (count >= row_capacity_ || count - at > kShiftAtMost) {
      return absl::ResourceExhaustedError(".eh_frame_hdr: no room for another row");
    }
    end = count;
    staged_state_.row_count = count + 1;
    SetRow(end, {});
  }
  for (uint32_t k = end; k > at; --k) SetRow(k, RowAt(k - 1));
  SetRow(at, row);
  return absl::OkStatus();
}

void HotFrames::Emit(std::vector<Mutation>* mutations) const {
  if (!present_) return;
  if ((records_move_ || staged_state_.used != state_.used) && staged_state_.used < room_end_) {
    // The padding CIE begins later now; behind its first bytes it is zeros already.
    const uint32_t hole = room_end_ - staged_state_.used;
    std::vector<uint8_t> head(std::min<uint32_t>(hole, kLeastHole));
    FillFrameHole(absl::MakeSpan(head), hole);
    PutBytes(staged_state_.used, std::move(head), mutations);
  }
  if (!has_header_) return;
  if (records_move_ || header_moves_) EmitMovedHeader(mutations);
  auto put = [&](uint64_t offset, auto value) {
    Mutation mutation;
    mutation.offset = header_offset_ + offset;
    mutation.phase = PatchPhase::kTables;
    mutation.bytes.resize(sizeof(value));
    Store(mutation.bytes.data(), value);
    mutations->push_back(std::move(mutation));
  };
  // any order: mutations are sorted, and each row is written once.
  for (const auto& [i, row] : staged_rows_) {
    if (i < staged_state_.row_count) put(kFrameHeaderSize + uint64_t{i} * 8, row);
  }
  for (uint32_t i = staged_state_.row_count; i < state_.row_count; ++i) put(kFrameHeaderSize + uint64_t{i} * 8, Row{});
  if (staged_state_.row_count != state_.row_count) put(8, staged_state_.row_count);
}

// The search table anew: all rows lead elsewhere, or count from elsewhere.
void HotFrames::EmitMovedHeader(std::vector<Mutation>* mutations) const {
  Mutation table;
  table.offset = header_offset_;
  table.phase = PatchPhase::kTables;
  table.bytes.resize(kFrameHeaderSize + uint64_t{state_.row_count} * 8);
  WriteFrameHead(absl::MakeSpan(table.bytes), header_address_, address_);
  Store(&table.bytes[8], state_.row_count);
  for (uint32_t i = 0; i < state_.row_count; ++i) Store(&table.bytes[kFrameHeaderSize + uint64_t{i} * 8], std::as_const(rows_)[i]);
  mutations->push_back(std::move(table));
}

void HotFrames::Accept() {
  state_ = staged_state_;
  rows_.resize(std::max<size_t>(rows_.size(), state_.row_count));
  // any order: each row, unit and record goes to its own place.
  for (const auto& [i, row] : staged_rows_) {
    if (i < state_.row_count) rows_[i] = row;
  }
  rows_.resize(state_.row_count);
  // any order: as above.
  for (auto& [unit, slots] : staged_units_) {
    if (unit >= units_.size()) units_.resize(unit + size_t{1});
    units_[unit] = std::move(slots);
  }
  // any order: as above.
  for (auto& [key, offset] : staged_cies_) cies_[key] = offset;
  published_address_ = address_;
  records_move_ = header_moves_ = false;
  Begin();
}

uint64_t HotFrames::bytes_held() const {
  uint64_t total = rows_.bytes() + units_.bytes();
  units_.ForEachLoaded([&](const std::vector<Slot>& slots) { total += slots.capacity() * sizeof(Slot); });
  return total;
}

}  // namespace kitlink::elf
