#include "core/output/elf/hot_symtab.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/output/elf/symtab.h"

namespace kitlink::elf {
namespace {

bool KeepLocal(const LinkOptions& options, const UnitUpdate& update, const InputSymbol& symbol) {
  if (symbol.type == SymbolType::kFile) return !symbol.name.empty();
  if (symbol.type == SymbolType::kSection || symbol.name.empty() || absl::StartsWith(symbol.name, ".L")) return false;
  if (options.discard_all) return false;
  if (symbol.section == kSectionAbsolute) return true;
  return symbol.section < update.sections.size() && update.sections[symbol.section].placed &&
         update.sections[symbol.section].alloc;
}

// Divides a unit's names between its two stretches of .strtab: the first, as long as they fit.
class NameSplit {
 public:
  explicit NameSplit(const LocalRows& rows) : room_(rows.name_bytes) {}
  // True when the next name, which has `size` bytes, goes to the first one.
  bool Take(uint64_t size) {
    const uint64_t bytes = size + 1;  // with its end
    if (bytes > room_) {
      more_ += bytes;
      return false;
    }
    room_ -= bytes;
    return true;
  }
  // Bytes that the second one must have.
  uint64_t more() const { return more_; }

 private:
  uint64_t room_;
  uint64_t more_ = 0;
};

constexpr uint32_t kMoreRows = 1024;
constexpr uint64_t kMoreNames = 64 << 10;

Mutation Table(uint64_t offset, size_t size) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.phase = PatchPhase::kTables;
  mutation.bytes.resize(size);
  return mutation;
}

}  // namespace

HotSymtab::HotSymtab(const SymtabPlan& plan, ByteView globals, const SymtabHome& home)
    : present_(plan.present), home_(home), first_global_(plan.first_global), capacity_(plan.capacity) {
  if (!present_) return;
  locals_.resize(plan.locals.size());
  for (size_t u = 0; u < plan.locals.size(); ++u) locals_[u] = plan.locals[u];
  const uint32_t count = static_cast<uint32_t>(std::min(plan.globals.size(), globals.size() / sizeof(Elf64_Sym)));
  rows_.resize(count);
  for (uint32_t g = 0; g < count; ++g) {
    const uint64_t end = g + 1 < count ? plan.names[g + 1] : plan.name_bytes;
    rows_[g] = {Load<Elf64_Sym>(&globals[uint64_t{g} * sizeof(Elf64_Sym)]), plan.globals[g],
                static_cast<uint32_t>(end - plan.names[g])};
    const uint32_t id = plan.globals[g].value;
    ReserveRowOf(id);
    row_of_[id] = g;
  }
  free_locals_.Give(plan.spare_locals.first, plan.spare_locals.capacity);
  free_names_.Give(plan.name_bytes, plan.strtab_size - plan.name_bytes);
  Begin();
}

void HotSymtab::ReserveRowOf(uint32_t symbol) {
  const size_t known = row_of_.size();
  if (symbol < known) return;
  row_of_.resize(size_t{symbol} + 1);
  for (size_t s = known; s <= symbol; ++s) row_of_[s] = kNoRow;
}

void HotSymtab::Begin() {
  staged_locals_.clear();
  staged_rows_.clear();
  staged_row_of_.clear();
  staged_names_.clear();
  staged_count_ = static_cast<uint32_t>(rows_.size());
  staged_free_locals_ = free_locals_;
  staged_free_names_ = free_names_;
  lack_ = Lack();
}

HotSymtab::Shape HotSymtab::Larger() const {
  const uint32_t globals = static_cast<uint32_t>(rows_.size());
  Shape shape;
  shape.first_global = first_global_ + std::max(2 * lack_.locals + kMoreRows, first_global_ / 8);
  shape.capacity = shape.first_global + globals + std::max(2 * lack_.globals + kMoreRows, globals / 8);
  return shape;
}

uint64_t HotSymtab::LongerNames() const {
  return home_.strtab_size + std::max({2 * lack_.names, home_.strtab_size / 8, kMoreNames});
}

TableRoom HotSymtab::MoreRows() const {
  TableRoom room;
  if (lack_.locals == 0 && lack_.globals == 0) return room;
  room.size = uint64_t{Larger().capacity} * sizeof(Elf64_Sym);
  room.kept = uint64_t{first_global_} * sizeof(Elf64_Sym);
  return room;
}

TableRoom HotSymtab::MoreNames() const {
  TableRoom room;
  if (lack_.names == 0) return room;
  room.size = LongerNames();
  room.kept = home_.strtab_size;
  return room;
}

void HotSymtab::MoveRows(uint64_t offset) {
  const Shape shape = Larger();
  if (!moves_) kept_rows_ = first_global_;
  moves_ = true;
  free_locals_.Give(first_global_, shape.first_global - first_global_);
  first_global_ = shape.first_global;
  capacity_ = shape.capacity;
  home_.symtab = offset;
  lack_.locals = lack_.globals = 0;
}

void HotSymtab::MoveNames(uint64_t offset) {
  const uint64_t size = LongerNames();
  free_names_.Give(home_.strtab_size, size - home_.strtab_size);
  home_.strtab = offset;
  home_.strtab_size = size;
  lack_.names = 0;
}

void HotSymtab::PublishMove(std::vector<Mutation>* mutations) const {
  if (!moves_) return;
  FillLocals(kept_rows_, first_global_ - kept_rows_, mutations);
  Mutation info = Table(home_.info_field, sizeof(Elf64_Word));
  Store(info.bytes.data(), Elf64_Word{first_global_});
  mutations->push_back(std::move(info));
}

int64_t HotSymtab::RowOf(SymbolId symbol) const {
  if (auto it = staged_row_of_.find(symbol); it != staged_row_of_.end()) return it->second;
  const uint32_t row = symbol.value < row_of_.size() ? row_of_[symbol.value] : kNoRow;
  return row == kNoRow ? -1 : int64_t{row};
}

const HotSymtab::Row& HotSymtab::At(uint32_t row) const {
  auto it = staged_rows_.find(row);
  return it != staged_rows_.end() ? it->second : rows_[row];
}

HotSymtab::Row& HotSymtab::Stage(uint32_t row) {
  auto [it, fresh] = staged_rows_.try_emplace(row);
  if (fresh && row < rows_.size()) it->second = std::as_const(rows_)[row];
  return it->second;
}

absl::Status HotSymtab::Add(const NewSymbol& symbol) {
  if (!present_) return absl::OkStatus();
  int64_t row = RowOf(symbol.symbol);
  if (row < 0) {
    if (first_global_ + staged_count_ >= capacity_) {
      ++lack_.globals;
      return absl::ResourceExhaustedError(".symtab: no free rows for more global symbols");
    }
    const uint64_t name = staged_free_names_.Take(symbol.name.size() + 1);
    if (name == FreeRooms::kNone) {
      lack_.names += symbol.name.size() + 1;
      return absl::ResourceExhaustedError(".strtab: no room for more names");
    }
    staged_names_[name] = std::string(symbol.name);
    row = staged_count_++;
    staged_row_of_[symbol.symbol] = row;
    // The row's number may be that of one removed by this plan.
    Row& fresh = staged_rows_[static_cast<uint32_t>(row)] = Row();
    fresh.symbol.st_name = static_cast<uint32_t>(name);
    fresh.name_bytes = static_cast<uint32_t>(symbol.name.size()) + 1;
    fresh.id = symbol.symbol;
  }
  Row& staged = Stage(static_cast<uint32_t>(row));
  const uint32_t name = staged.symbol.st_name;
  staged.symbol = MakeGlobalRow(symbol.type, symbol.binding, symbol.visibility);
  staged.symbol.st_name = name;
  return absl::OkStatus();
}

void HotSymtab::Remove(SymbolId symbol) {
  const int64_t row = RowOf(symbol);
  if (row < 0) return;
  const Row& gone = At(static_cast<uint32_t>(row));
  staged_free_names_.Give(gone.symbol.st_name, gone.name_bytes);
  staged_names_.erase(gone.symbol.st_name);  // the room may be somebody else's by the end of the plan
  const uint32_t last = staged_count_ - 1;
  if (row != last) {
    const Row moved = At(last);
    staged_rows_[static_cast<uint32_t>(row)] = moved;
    staged_row_of_[moved.id] = row;
  }
  staged_rows_[last] = Row();
  staged_row_of_[symbol] = -1;
  staged_count_ = last;
}

void HotSymtab::Define(const SymbolUpdate& update) {
  const int64_t at = RowOf(update.symbol);
  if (at < 0) return;
  Elf64_Sym& row = Stage(static_cast<uint32_t>(at)).symbol;
  row.st_shndx = update.absolute ? SHN_ABS : static_cast<uint16_t>(update.output_section + 1);
  row.st_value = update.tls ? update.body - home_.tls_begin : update.body;
  row.st_size = update.size;
}

void HotSymtab::Emit(std::vector<Mutation>* mutations) const {
  for (const auto& [offset, text] : staged_names_) {
    Mutation names = Table(home_.strtab + offset, text.size() + 1);
    std::copy(text.begin(), text.end(), names.bytes.begin());
    mutations->push_back(std::move(names));
  }
  const uint64_t globals = home_.symtab + uint64_t{first_global_} * sizeof(Elf64_Sym);
  if (moves_) {
    Mutation all = Table(globals, rows_.size() * sizeof(Elf64_Sym));
    for (size_t row = 0; row < rows_.size(); ++row) Store(&all.bytes[row * sizeof(Elf64_Sym)], std::as_const(rows_)[row].symbol);
    if (!all.bytes.empty()) mutations->push_back(std::move(all));
  }
  for (const auto& [row, content] : staged_rows_) {
    Mutation table = Table(globals + uint64_t{row} * sizeof(Elf64_Sym), sizeof(Elf64_Sym));
    Store(table.bytes.data(), content.symbol);
    mutations->push_back(std::move(table));
  }
  if (moves_ || staged_count_ != rows_.size()) {
    Mutation size = Table(home_.size_field, sizeof(Elf64_Xword));
    Store(size.bytes.data(), (uint64_t{first_global_} + staged_count_) * sizeof(Elf64_Sym));
    mutations->push_back(std::move(size));
  }
}

void HotSymtab::Accept() {
  // any order: each unit goes to its own place.
  for (const auto& [unit, rows] : staged_locals_) {
    if (unit >= locals_.size()) locals_.resize(unit + 1);
    locals_[unit] = rows;
  }
  rows_.resize(staged_count_);
  for (const auto& [row, content] : staged_rows_) {
    if (row < staged_count_) rows_[row] = content;
  }
  // any order: each symbol goes to its own place.
  for (const auto& [symbol, row] : staged_row_of_) {
    ReserveRowOf(symbol.value);
    row_of_[symbol.value] = row < 0 ? kNoRow : static_cast<uint32_t>(row);
  }
  free_locals_ = staged_free_locals_;
  free_names_ = staged_free_names_;
  moves_ = false;
  Begin();
}

void HotSymtab::FillLocals(uint32_t first, uint32_t count, std::vector<Mutation>* mutations) const {
  if (count == 0) return;
  Mutation table = Table(home_.symtab + uint64_t{first} * sizeof(Elf64_Sym), uint64_t{count} * sizeof(Elf64_Sym));
  for (uint32_t r = 0; r < count; ++r) Store(&table.bytes[uint64_t{r} * sizeof(Elf64_Sym)], FillerRow());
  mutations->push_back(std::move(table));
}

// Sees to it that `rows` has room for `used`, and for one row without a name behind them: what follows is not of this
// unit's file. What does not fit moves to where there is more.
absl::Status HotSymtab::PlaceLocals(uint32_t used, LocalRows* rows, std::vector<Mutation>* mutations) {
  if (used == 0 || used < rows->capacity) return absl::OkStatus();
  uint32_t capacity = LocalCapacity(true, used);
  uint64_t first = staged_free_locals_.Take(capacity);
  if (first == FreeRooms::kNone) first = staged_free_locals_.Take(capacity = used + 1);
  if (first == FreeRooms::kNone) {
    lack_.locals += capacity;
    return absl::ResourceExhaustedError(".symtab: no free rows for more local symbols");
  }
  FillLocals(rows->first, rows->capacity, mutations);
  staged_free_locals_.Give(rows->first, rows->capacity);
  rows->first = static_cast<uint32_t>(first);
  rows->capacity = capacity;
  return absl::OkStatus();
}

// Makes sure that the second stretch of a unit's names has room for so many bytes: a new one is twice as large as it
// must be, where there is room, so that a file that grows name by name does not get one each time.
absl::Status HotSymtab::ReserveNames(uint64_t bytes, LocalRows* rows) {
  if (bytes <= rows->more_name_bytes) return absl::OkStatus();
  uint64_t room = 2 * bytes;
  uint64_t names = staged_free_names_.Take(room);
  if (names == FreeRooms::kNone) names = staged_free_names_.Take(room = bytes);
  if (names == FreeRooms::kNone) {
    lack_.names += 2 * bytes;
    return absl::ResourceExhaustedError(".strtab: no room for more names");
  }
  staged_free_names_.Give(rows->more_names, rows->more_name_bytes);
  rows->more_names = static_cast<uint32_t>(names);
  rows->more_name_bytes = static_cast<uint32_t>(room);
  return absl::OkStatus();
}

// Rows may have been read from disk.
bool HotSymtab::Holds(const LocalRows& rows) const {
  const auto within = [](uint64_t begin, uint64_t size, uint64_t end) { return begin + size <= end; };
  return first_global_ <= capacity_ && within(rows.first, rows.capacity, first_global_) &&
         within(rows.names, rows.name_bytes, home_.strtab_size) && within(rows.more_names, rows.more_name_bytes, home_.strtab_size);
}

absl::Status HotSymtab::UpdateLocals(const LinkOptions& options, const UnitUpdate& update,
                                     std::vector<Mutation>* mutations) {
  if (!present_) return absl::OkStatus();
  LocalRows rows;
  if (auto it = staged_locals_.find(update.unit.value); it != staged_locals_.end()) {
    rows = it->second;
  } else if (update.unit.value < locals_.size()) {
    rows = std::as_const(locals_)[update.unit.value];
  }
  if (!Holds(rows)) return absl::DataLossError(".symtab: a unit's rows are not in the table");
  if (update.gone) {
    FillLocals(rows.first, rows.capacity, mutations);
    staged_free_locals_.Give(rows.first, rows.capacity);
    staged_free_names_.Give(rows.names, rows.name_bytes);
    staged_free_names_.Give(rows.more_names, rows.more_name_bytes);
    staged_locals_[update.unit.value] = LocalRows();
    return absl::OkStatus();
  }
  std::vector<uint32_t> kept;
  NameSplit split(rows);
  const uint32_t end = std::min<uint32_t>(update.object->first_global, update.object->symbols.size());
  for (uint32_t i = 1; i < end; ++i) {
    if (!KeepLocal(options, update, update.object->symbols[i])) continue;
    kept.push_back(i);
    split.Take(update.object->symbols[i].name.size());
  }
  rows.used = static_cast<uint32_t>(kept.size());
  if (absl::Status status = PlaceLocals(rows.used, &rows, mutations); !status.ok()) return status;
  if (absl::Status status = ReserveNames(split.more(), &rows); !status.ok()) return status;
  WriteLocals(update, kept, rows, mutations);
  staged_locals_[update.unit.value] = rows;
  return absl::OkStatus();
}

void HotSymtab::WriteLocals(const UnitUpdate& update, const std::vector<uint32_t>& kept, const LocalRows& rows,
                            std::vector<Mutation>* mutations) const {
  Mutation table = Table(home_.symtab + uint64_t{rows.first} * sizeof(Elf64_Sym), uint64_t{rows.capacity} * sizeof(Elf64_Sym));
  Mutation names = Table(home_.strtab + rows.names, 0), more = Table(home_.strtab + rows.more_names, 0);
  NameSplit split(rows);
  for (uint32_t r = 0; r < rows.capacity; ++r) {
    Elf64_Sym row = FillerRow();
    if (r < kept.size()) {
      const InputSymbol& symbol = update.object->symbols[kept[r]];
      Mutation& to = split.Take(symbol.name.size()) ? names : more;
      row = LocalRow(update, symbol, static_cast<uint32_t>(to.offset - home_.strtab + to.bytes.size()));
      to.bytes.insert(to.bytes.end(), symbol.name.begin(), symbol.name.end());
      to.bytes.push_back(0);
    }
    Store(&table.bytes[uint64_t{r} * sizeof(Elf64_Sym)], row);
  }
  for (Mutation* mutation : {&table, &names, &more}) {
    if (!mutation->bytes.empty()) mutations->push_back(std::move(*mutation));
  }
}

Elf64_Sym HotSymtab::LocalRow(const UnitUpdate& update, const InputSymbol& symbol, uint32_t name) const {
  if (symbol.section >= update.sections.size()) return MakeLocalRow(symbol, name, symbol.value, SHN_ABS);
  const SectionPlace& place = update.sections[symbol.section];
  uint64_t value = place.address + symbol.value;
  if (symbol.type == SymbolType::kTls) value -= home_.tls_begin;
  return MakeLocalRow(symbol, name, value, static_cast<uint16_t>(place.output_section + 1));
}

uint64_t HotSymtab::bytes_held() const {
  return locals_.bytes() + rows_.bytes() + row_of_.bytes() + free_locals_.bytes_held() + free_names_.bytes_held();
}

}  // namespace kitlink::elf
