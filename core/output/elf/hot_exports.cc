#include "core/output/elf/hot_exports.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"
#include "core/output/elf/symtab.h"

namespace kitlink::elf {
namespace {

Mutation Table(uint64_t offset, size_t size) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.phase = PatchPhase::kTables;
  mutation.bytes.resize(size);
  return mutation;
}

template <typename T>
void PutField(uint64_t offset, const T& value, std::vector<Mutation>* mutations) {
  mutations->push_back(Table(offset, sizeof(T)));
  Store(mutations->back().bytes.data(), value);
}

bool Unique(const Elf64_Sym& row) { return ELF64_ST_BIND(row.st_info) == STB_GNU_UNIQUE; }

// Versions that the image defines, by name.
absl::btree_map<std::string, uint16_t> OwnVersions(const DynamicTables& tables) {
  absl::btree_map<std::string, uint16_t> versions;
  const char* strings = tables.strings.bytes().c_str();
  uint32_t at = 0;
  for (uint32_t n = 0; n < tables.verdef_count; ++n) {
    const auto def = Load<Elf64_Verdef>(&tables.verdef[at]);
    const auto aux = Load<Elf64_Verdaux>(&tables.verdef[at + def.vd_aux]);
    if ((def.vd_flags & VER_FLG_BASE) == 0) versions[strings + aux.vda_name] = def.vd_ndx;
    at += def.vd_next;
  }
  return versions;
}

}  // namespace

HotExports::HotExports(const Program& program, const DynamicTables& tables, ByteView rows, const ExportsHome& home)
    : home_(home), shape_(tables.shape), first_(tables.first_defined),
      capacity_(tables.present ? tables.end_row() - tables.first_defined + tables.spare_exports : 0) {
  if (!tables.present) return;
  versions_ = OwnVersions(tables);
  for (uint32_t row = first_; row < tables.end_row(); ++row) {
    Row definition;
    definition.symbol = tables.symbols[row - tables.first_row()];
    const Symbol& symbol = program.symbols[definition.symbol.value];
    definition.gnu_hash = GnuHash(symbol.name);
    definition.sysv_hash = SysvHash(symbol.name);
    definition.row = Load<Elf64_Sym>(&rows[uint64_t{row - first_} * sizeof(Elf64_Sym)]);
    if (!tables.versym.empty()) definition.version = tables.versym[row];
    unique_ += symbol.kind == SymbolKind::kDefined && Unique(definition.row);
    rows_.push_back(definition);
  }
  Begin();
}

void HotExports::Begin() {
  staged_rows_.reset();
  changed_.clear();
  new_row_.clear();
  told_.clear();
  reordered_ = false;
  staged_unique_ = unique_;
}

std::optional<uint32_t> HotExports::NewRow(SymbolId symbol) const {
  const auto it = new_row_.find(symbol);
  if (it == new_row_.end()) return std::nullopt;
  return it->second;
}

std::vector<HotExports::Moved> HotExports::TakeMoved() {
  if (!reordered_) return {};
  reordered_ = false;
  const std::vector<Row>& now = *staged_rows_;
  std::vector<Moved> moved;
  absl::flat_hash_map<SymbolId, uint32_t> from;
  for (size_t i = 0; i < told_.size(); ++i) {
    if (i >= now.size() || now[i].symbol != told_[i]) from[told_[i]] = first_ + static_cast<uint32_t>(i);
  }
  for (size_t i = 0; i < now.size(); ++i) {
    if (i < told_.size() && now[i].symbol == told_[i]) continue;
    const auto it = from.find(now[i].symbol);
    moved.push_back({now[i].symbol, it == from.end() ? 0 : it->second, first_ + static_cast<uint32_t>(i)});
    if (it != from.end()) from.erase(it);
  }
  for (SymbolId symbol : told_) {
    if (const auto it = from.find(symbol); it != from.end()) moved.push_back({symbol, it->second, 0});
  }
  told_.clear();
  for (const Row& row : now) told_.push_back(row.symbol);
  return moved;
}

HotExports::Row& HotExports::Stage(uint32_t row) {
  const uint32_t index = row - first_;
  if (staged_rows_) return (*staged_rows_)[index];
  return changed_.try_emplace(index, rows_[index]).first->second;
}

// From here on rows change places.
void HotExports::Reorder() {
  reordered_ = true;
  if (staged_rows_) return;
  staged_rows_ = rows_;
  for (const Row& row : rows_) told_.push_back(row.symbol);
  for (const auto& [index, row] : changed_) (*staged_rows_)[index] = row;
  changed_.clear();
}

void HotExports::Place(size_t index, const Row& row) {
  (*staged_rows_)[index] = row;
  new_row_[row.symbol] = first_ + static_cast<uint32_t>(index);
}

// Everything behind `from` closes a gap of `count` rows in front of it.
void HotExports::MoveDown(size_t from, size_t count) {
  std::vector<Row>& rows = *staged_rows_;
  for (size_t i = from; i < rows.size(); ++i) Place(i - count, rows[i]);
  rows.resize(rows.size() - count);
}

// The last bucket of exactly `count` rows, behind `from`; the number of rows when there is none.
size_t HotExports::RunOf(size_t count, size_t from) const {
  const std::vector<Row>& rows = *staged_rows_;
  for (size_t end = rows.size(); end > from;) {
    size_t begin = end - 1;
    while (begin > from && BucketOf(rows[begin - 1]) == BucketOf(rows[end - 1])) --begin;
    if (end - begin == count) return begin;
    end = begin;
  }
  return rows.size();
}

absl::StatusOr<uint16_t> HotExports::VersionOf(const NewSymbol& symbol) const {
  if (symbol.version.empty()) return static_cast<uint16_t>(VER_NDX_GLOBAL);
  const auto it = versions_.find(std::string(symbol.version));
  if (it != versions_.end()) return it->second;
  return absl::NotFoundError(absl::StrCat(".gnu.version_d: no version ", symbol.version));
}

absl::StatusOr<uint32_t> HotExports::Add(const NewSymbol& symbol, uint32_t name, uint32_t name_bytes) {
  if (rows().size() >= capacity_) return absl::ResourceExhaustedError(".dynsym: no free rows for definitions");
  const absl::StatusOr<uint16_t> version = VersionOf(symbol);
  if (!version.ok()) return version.status();
  Row fresh;
  fresh.symbol = symbol.symbol;
  fresh.gnu_hash = GnuHash(symbol.name);
  fresh.sysv_hash = SysvHash(symbol.name);
  fresh.name_bytes = name_bytes;
  fresh.version = *version;
  fresh.row = MakeGlobalRow(symbol.type, symbol.binding, symbol.visibility);
  fresh.row.st_name = name;
  staged_unique_ += Unique(fresh.row);
  return Insert(fresh);
}

absl::Status HotExports::AddFixed(absl::string_view name, Row row) {
  if (rows().size() >= capacity_) return absl::ResourceExhaustedError(".dynsym: no free rows for definitions");
  row.gnu_hash = GnuHash(name);
  row.sysv_hash = SysvHash(name);
  Insert(row);
  return absl::OkStatus();
}

// Puts a row behind the others of its bucket; its number.
uint32_t HotExports::Insert(const Row& fresh) {
  Reorder();
  std::vector<Row>& rows = *staged_rows_;
  const auto same = [&](const Row& row) { return BucketOf(row) == BucketOf(fresh); };
  const auto begin = std::find_if(rows.begin(), rows.end(), same);
  const auto end = std::find_if_not(begin, rows.end(), same);
  if (end != rows.end()) {
    const std::vector<Row> bucket(begin, end);
    size_t hole = static_cast<size_t>(begin - rows.begin());
    const size_t other = RunOf(bucket.size(), hole + bucket.size());
    if (other != rows.size()) {
      for (size_t i = 0; i < bucket.size(); ++i) Place(hole + i, rows[other + i]);
      hole = other;
    }
    MoveDown(hole + bucket.size(), bucket.size());
    for (const Row& row : bucket) {
      rows.emplace_back();
      Place(rows.size() - 1, row);
    }
  }
  rows.emplace_back();
  Place(rows.size() - 1, fresh);
  return first_ + static_cast<uint32_t>(rows.size()) - 1;
}

HotExports::Row HotExports::Remove(uint32_t row) {
  Reorder();
  std::vector<Row>& rows = *staged_rows_;
  size_t hole = row - first_;
  const Row gone = rows[hole];
  staged_unique_ -= Unique(gone.row);
  // The last of the bucket takes its place, so that the hole is where another bucket may stand.
  size_t last = hole;
  while (last + 1 < rows.size() && BucketOf(rows[last + 1]) == BucketOf(gone)) ++last;
  if (last != hole) Place(hole, rows[last]);
  hole = last;
  const size_t other = RunOf(1, hole + 1);
  if (other != rows.size()) {
    Place(hole, rows[other]);
    hole = other;
  }
  MoveDown(hole + 1, 1);
  new_row_[gone.symbol] = 0;
  return gone;
}

absl::Status HotExports::Rewrite(uint32_t number, const NewSymbol& symbol) {
  const absl::StatusOr<uint16_t> version = VersionOf(symbol);
  if (!version.ok()) return version.status();
  Row& row = Stage(number);
  const Elf64_Sym kind = MakeGlobalRow(symbol.type, symbol.binding, symbol.visibility);
  staged_unique_ += Unique(kind);
  staged_unique_ -= Unique(row.row);
  row.row.st_info = kind.st_info;
  row.row.st_other = kind.st_other;
  row.version = *version;
  return absl::OkStatus();
}

void HotExports::Define(uint32_t number, const SymbolUpdate& update, uint64_t address, bool placed, uint64_t tls_begin) {
  Elf64_Sym& row = Stage(number).row;
  row.st_size = update.size;
  if (!placed) return;
  row.st_shndx = update.absolute ? SHN_ABS : static_cast<uint16_t>(update.output_section + 1);
  row.st_value = update.tls ? address - tls_begin : address;
}

void HotExports::EmitTables(std::vector<Mutation>* mutations) const {
  const std::vector<Row>& rows = *staged_rows_;
  const uint32_t count = static_cast<uint32_t>(rows.size()), end = first_ + count;
  std::vector<uint32_t> gnu, sysv;
  Mutation symbols = Table(home_.dynsym + uint64_t{first_} * sizeof(Elf64_Sym), count * sizeof(Elf64_Sym));
  Mutation versions = Table(home_.versym + uint64_t{first_} * 2, count * 2);
  for (uint32_t i = 0; i < count; ++i) {
    gnu.push_back(rows[i].gnu_hash);
    sysv.push_back(rows[i].sysv_hash);
    Store(&symbols.bytes[i * sizeof(Elf64_Sym)], rows[i].row);
    Store(&versions.bytes[i * 2], rows[i].version);
  }
  const auto put = [&](uint64_t offset, std::vector<uint8_t> bytes, uint64_t size_field) {
    if (offset == 0) return;
    PutField(size_field, Elf64_Xword{bytes.size()}, mutations);
    if (bytes.empty()) return;
    mutations->push_back(Table(offset, 0));
    mutations->back().bytes = std::move(bytes);
  };
  if (!symbols.bytes.empty()) mutations->push_back(std::move(symbols));
  PutField(home_.dynsym_size, Elf64_Xword{end * sizeof(Elf64_Sym)}, mutations);
  if (home_.versym != 0) {
    if (!versions.bytes.empty()) mutations->push_back(std::move(versions));
    PutField(home_.versym_size, Elf64_Xword{end * 2}, mutations);
  }
  put(home_.gnu_hash, EncodeGnuHash(shape_, first_, gnu, 0), home_.gnu_hash_size);
  put(home_.hash, EncodeSysvHash(shape_, first_, sysv, 0), home_.hash_size);
}

void HotExports::Emit(std::vector<Mutation>* mutations) const {
  if (staged_rows_) EmitTables(mutations);
  for (const auto& [index, row] : changed_) {
    PutField(home_.dynsym + (uint64_t{first_} + index) * sizeof(Elf64_Sym), row.row, mutations);
    if (home_.versym != 0) PutField(home_.versym + (uint64_t{first_} + index) * 2, row.version, mutations);
  }
}

void HotExports::DefineIfunc(uint32_t number, int type, uint64_t address, uint16_t section) {
  Elf64_Sym& row = Stage(number).row;
  row.st_info = ELF64_ST_INFO(ELF64_ST_BIND(row.st_info), type);
  row.st_value = address;
  row.st_shndx = section;
}

void HotExports::Accept() {
  if (staged_rows_) {
    rows_ = *std::move(staged_rows_);
  } else {
    for (const auto& [index, row] : changed_) rows_[index] = row;
  }
  unique_ = staged_unique_;
  Begin();
}

uint64_t HotExports::bytes_held() const { return rows_.capacity() * sizeof(Row) + versions_.size() * 40; }

}  // namespace kitlink::elf
