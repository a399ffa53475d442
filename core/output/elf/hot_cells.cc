#include "core/output/elf/hot_cells.h"

#include <algorithm>
#include <utility>

namespace kitlink::elf {
namespace {

Mutation Table(uint64_t offset, size_t size, PatchPhase phase) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.phase = phase;
  mutation.bytes.resize(size);
  return mutation;
}

template <typename T>
void PutTable(uint64_t offset, const T& value, std::vector<Mutation>* mutations) {
  mutations->push_back(Table(offset, sizeof(T), PatchPhase::kTables));
  Store(mutations->back().bytes.data(), value);
}

}  // namespace

HotCells::HotCells(const Cells& cells, const ImageValues& values, const Arch& arch, const CellsHome& home,
                   ByteView irelative)
    : cells_(cells), values_(values), arch_(arch), home_(home) {
  cells_.got.clear();  // kinds and owners are in the sets
  cells_.got.shrink_to_fit();
  set_of_.resize(cells_.set_of.size());
  for (size_t i = 0; i < cells_.set_of.size(); ++i) set_of_[i] = cells_.set_of[i];
  sets_.resize(cells_.sets.size());
  for (size_t i = 0; i < cells_.sets.size(); ++i) sets_[i] = cells_.sets[i];
  cells_.set_of = {};
  cells_.sets = {};
  for (size_t at = 0; at + sizeof(Elf64_Rela) <= irelative.size(); at += sizeof(Elf64_Rela)) {
    irelative_.push_back(Load<Elf64_Rela>(&irelative[at]));
  }
  free_iplt_.Give(cells_.iplt.size(), cells_.iplt_reserve);
  Begin();
}

void HotCells::Begin() {
  staged_sets_.clear();
  staged_got_.clear();
  staged_got_count_ = cells_.got_count;
  staged_plt_.clear();
  staged_ifuncs_.reset();
}

HotCells::Ifuncs& HotCells::StageIfuncs() {
  if (!staged_ifuncs_) staged_ifuncs_ = Ifuncs{irelative_, free_iplt_};
  return *staged_ifuncs_;
}

const CellSet* HotCells::Find(SymbolId symbol) const {
  if (auto it = staged_sets_.find(symbol); it != staged_sets_.end()) return &it->second;
  return Known(symbol);
}

const CellSet* HotCells::Known(SymbolId symbol) const {
  const int32_t set = symbol.valid() && symbol.value < set_of_.size() ? set_of_[symbol.value] : -1;
  return set < 0 ? nullptr : &sets_[static_cast<size_t>(set)];
}

void HotCells::Own(SymbolId symbol, const CellSet& set) {
  const size_t known = set_of_.size();
  if (symbol.value >= known) {
    set_of_.resize(size_t{symbol.value} + 1);
    for (size_t i = known; i <= symbol.value; ++i) set_of_[i] = -1;
  }
  if (std::as_const(set_of_)[symbol.value] < 0) {
    set_of_[symbol.value] = static_cast<int32_t>(sets_.size());
    sets_.push_back(set);
  } else {
    sets_[static_cast<size_t>(std::as_const(set_of_)[symbol.value])] = set;
  }
}

CellSet& HotCells::Stage(SymbolId symbol) {
  auto [it, fresh] = staged_sets_.try_emplace(symbol);
  if (fresh) {
    if (const CellSet* known = Known(symbol)) it->second = *known;
  }
  return it->second;
}

absl::Status HotCells::Take(uint32_t count, int32_t* cell) {
  if (count > cells_.got_count + cells_.got_reserve - staged_got_count_) {
    return absl::ResourceExhaustedError(".got: no free cells");
  }
  *cell = static_cast<int32_t>(staged_got_count_);
  staged_got_count_ += count;
  return absl::OkStatus();
}

absl::Status HotCells::Relocate(int32_t cell, const Dynamic& dynamic, HotRela* rela) {
  const bool relative = dynamic.type == arch_.dynamic_types().relative;
  const uint64_t info = ELF64_R_INFO(uint64_t{dynamic.symbol}, dynamic.type);
  if (rela->Rewrite(Address(cell), relative, info, dynamic.addend)) return absl::OkStatus();
  Unrelocate(cell, rela);
  return rela->Add(Address(cell), relative, info, dynamic.addend);
}

bool HotCells::FilledByName(int32_t cell, const HotRela& rela) const {
  const RelaRow* row = rela.Find(Address(cell));
  return row != nullptr && ELF64_R_SYM(row->info) != 0;
}

absl::Status HotCells::FillAddress(int32_t cell, const Content& content, HotRela* rela) {
  staged_got_[cell] = content.imported ? 0 : content.address;
  if (content.imported) return Relocate(cell, {arch_.dynamic_types().glob_dat, content.dynsym, 0}, rela);
  if (home_.pic && !content.absolute) return Relocate(cell, {arch_.dynamic_types().relative, 0, content.address}, rela);
  Unrelocate(cell, rela);
  return absl::OkStatus();
}

absl::Status HotCells::FillTpOffset(int32_t cell, const Content& content, HotRela* rela) {
  const uint32_t type = arch_.dynamic_types().tpoff;
  staged_got_[cell] = 0;
  if (content.imported) return Relocate(cell, {type, content.dynsym, 0}, rela);
  if (home_.shared) return Relocate(cell, {type, 0, content.address - values_.tls_begin}, rela);
  staged_got_[cell] = content.address == 0 ? 0 : content.address - values_.tls_pointer;
  Unrelocate(cell, rela);
  return absl::OkStatus();
}

absl::Status HotCells::FillTlsGd(int32_t cell, const Content& content, HotRela* rela) {
  const DynamicTypes& types = arch_.dynamic_types();
  staged_got_[cell] = content.imported || home_.shared ? 0 : 1;
  staged_got_[cell + 1] = content.imported ? 0 : content.address - values_.tls_begin;
  if (content.imported) {
    if (absl::Status status = Relocate(cell, {types.dtpmod, content.dynsym, 0}, rela); !status.ok()) return status;
    return Relocate(cell + 1, {types.dtpoff, content.dynsym, 0}, rela);
  }
  Unrelocate(cell + 1, rela);
  if (home_.shared) return Relocate(cell, {types.dtpmod, 0, 0}, rela);
  Unrelocate(cell, rela);
  return absl::OkStatus();
}

absl::Status HotCells::FillTlsDesc(int32_t cell, const Content& content, HotRela* rela) {
  staged_got_[cell] = staged_got_[cell + 1] = 0;
  const uint64_t addend = content.imported ? 0 : content.address - values_.tls_begin;
  return Relocate(cell, {arch_.dynamic_types().tlsdesc, content.imported ? content.dynsym : 0, addend}, rela);
}

void HotCells::WriteJumpSlot(uint32_t index, uint32_t dynsym, std::vector<Mutation>* mutations) const {
  Elf64_Rela row{};
  row.r_offset = home_.got_plt + 8 * (uint64_t{kGotPltHeader} + index);
  row.r_info = ELF64_R_INFO(uint64_t{dynsym}, arch_.dynamic_types().jump_slot);
  PutTable(home_.rela_plt_offset + uint64_t{index} * sizeof(row), row, mutations);
}

absl::Status HotCells::AddPlt(SymbolId symbol, std::vector<Mutation>* mutations) {
  const uint32_t index = plt_count();
  if (index >= cells_.plt_capacity()) return absl::ResourceExhaustedError(".plt: no free entries");
  CellSet& set = Stage(symbol);
  set.plt = static_cast<int32_t>(index);
  staged_plt_.push_back(symbol);
  const uint64_t offset = arch_.plt_header_size() + uint64_t{index} * arch_.plt_entry_size();
  const uint64_t entry = home_.plt + offset, slot = 8 * (uint64_t{kGotPltHeader} + index);
  Mutation code = Table(home_.plt_offset + offset, arch_.plt_entry_size(), PatchPhase::kAppend);
  arch_.WritePltEntry(absl::MakeSpan(code.bytes), entry, home_.got_plt + slot, index, home_.plt);
  mutations->push_back(std::move(code));
  PutTable(home_.got_plt_offset + slot, arch_.LazyPltTarget(entry), mutations);
  WriteJumpSlot(index, set.dynsym, mutations);
  // An entry knows its row, so rows that no entry knows make room.
  if (has_ifuncs()) {
    std::vector<Elf64_Rela>& rows = StageIfuncs().rows;
    std::rotate(rows.begin(), rows.begin() + 1, rows.end());
  }
  return absl::OkStatus();
}

absl::Status HotCells::MakeCanonical(SymbolId symbol, std::vector<Mutation>* mutations) {
  if (Stage(symbol).plt < 0) {
    if (absl::Status status = AddPlt(symbol, mutations); !status.ok()) return status;
  }
  Stage(symbol).canonical_plt = true;
  return absl::OkStatus();
}

absl::Status HotCells::Need(const CellRequest& request, HotRela* rela, std::vector<Mutation>* mutations) {
  const TargetTraits& traits = request.traits;
  const CellSet* known = Find(request.symbol);
  CellSet set = known != nullptr ? *known : CellSet();
  if (request.needs & (kNeedCopy | kNeedCanonicalPlt)) {
    return absl::UnimplementedError("a symbol needs a copy or a canonical PLT entry");
  }
  if (((request.needs & kNeedTlsLd) && values_.tlsld == 0) ||
      ((request.needs & kNeedGotBase) && values_.got_base == 0) ||
      ((request.needs & kNeedStaticTls) && home_.shared && !home_.static_tls)) {
    return absl::UnimplementedError("the image lacks cells or flags for thread variables");
  }
  if (!request.symbol.valid()) return absl::UnimplementedError("a local symbol needs a cell");
  const bool address = (request.needs & (kNeedGot | kNeedPlt)) != 0;
  if (traits.ifunc && address && set.iplt < 0) return absl::UnimplementedError(".iplt: no entry for an IFUNC");
  if (traits.imported && set.dynsym == 0) {
    return absl::FailedPreconditionError("an imported symbol has no row in .dynsym");
  }
  Content content;
  content.imported = traits.imported;
  content.absolute = traits.absolute || traits.undefined_weak;
  content.address = traits.ifunc ? IpltAddress(set.iplt) : request.address;
  content.dynsym = set.dynsym;
  using Fill = absl::Status (HotCells::*)(int32_t, const Content&, HotRela*);
  auto give = [&](uint16_t need, int32_t CellSet::*cell, uint32_t count, Fill fill) {
    if ((request.needs & need) == 0 || set.*cell >= 0) return absl::OkStatus();
    if (absl::Status status = Take(count, &(set.*cell)); !status.ok()) return status;
    Stage(request.symbol).*cell = set.*cell;
    return (this->*fill)(set.*cell, content, rela);
  };
  const absl::Status given[] = {
      give(kNeedGot, &CellSet::got, 1, &HotCells::FillAddress),
      give(kNeedGotTp, &CellSet::gottp, 1, &HotCells::FillTpOffset),
      give(kNeedTlsGd, &CellSet::tlsgd, 2, &HotCells::FillTlsGd),
      give(kNeedTlsDesc, &CellSet::tlsdesc, 2, &HotCells::FillTlsDesc),
  };
  for (const absl::Status& status : given) {
    if (!status.ok()) return status;
  }
  if ((request.needs & kNeedPlt) == 0 || set.plt >= 0 || set.iplt >= 0) return absl::OkStatus();
  if (!traits.imported) return absl::UnimplementedError(".plt: an entry for what is not imported");
  return AddPlt(request.symbol, mutations);
}

absl::Status HotCells::Move(SymbolId symbol, uint64_t address, bool absolute, HotRela* rela) {
  const CellSet* known = Find(symbol);
  if (known == nullptr) return absl::OkStatus();
  const CellSet set = *known;
  if (set.iplt >= 0 ? address != IpltAddress(set.iplt) : set.canonical_plt) {
    return absl::UnimplementedError("a symbol whose address is its PLT entry's got another one");
  }
  Content content;
  content.absolute = absolute;
  content.address = address;
  return Refill(set, content, false, rela);
}

absl::Status HotCells::Bind(SymbolId symbol, uint64_t address, bool absolute, HotRela* rela) {
  const CellSet* known = Find(symbol);
  if (known == nullptr) return absl::OkStatus();
  const CellSet set = *known;
  if (set.iplt >= 0 ? address != IpltAddress(set.iplt) : set.canonical_plt) {
    return absl::UnimplementedError("a symbol whose address is its PLT entry's got another one");
  }
  Content content;
  content.absolute = absolute;
  content.address = address;
  return Refill(set, content, true, rela);
}

void HotCells::MoveResolver(const CellSet& set, uint64_t address, std::vector<Mutation>* mutations) {
  const uint64_t slot = IpltSlot(set.iplt);
  const std::vector<Elf64_Rela>& rows = Irelative();
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const Elf64_Rela& r) { return r.r_offset == home_.got_plt + slot; });
  if (row == rows.end() || row->r_addend == static_cast<int64_t>(address)) return;
  const auto at = static_cast<size_t>(row - rows.begin());  // staging may copy them
  StageIfuncs().rows[at].r_addend = static_cast<int64_t>(address);
  PutTable(home_.got_plt_offset + slot, address, mutations);
}

bool HotCells::HasIfunc(SymbolId symbol) const {
  const CellSet* set = Known(symbol);
  return set != nullptr && set->iplt >= 0;
}

absl::StatusOr<uint64_t> HotCells::AddIfunc(SymbolId symbol, uint64_t address, std::vector<Mutation>* mutations) {
  if (const CellSet* known = Find(symbol); known != nullptr && known->iplt >= 0) {
    const CellSet set = *known;
    MoveResolver(set, address, mutations);
    return IpltAddress(set.iplt);
  }
  const uint64_t free = StageIfuncs().free.Take(1);
  if (free == FreeRooms::kNone) return absl::ResourceExhaustedError(".iplt: no free entries");
  const int32_t entry = static_cast<int32_t>(free);
  Stage(symbol).iplt = entry;
  const uint64_t slot = IpltSlot(entry);
  Mutation code = Table(home_.iplt_offset + free * arch_.plt_entry_size(), arch_.plt_entry_size(), PatchPhase::kAppend);
  arch_.WritePltGotEntry(absl::MakeSpan(code.bytes), IpltAddress(entry), home_.got_plt + slot);
  mutations->push_back(std::move(code));
  PutTable(home_.got_plt_offset + slot, address, mutations);
  Elf64_Rela row{};
  row.r_offset = home_.got_plt + slot;
  row.r_info = ELF64_R_INFO(uint64_t{0}, arch_.dynamic_types().irelative);
  row.r_addend = static_cast<int64_t>(address);
  StageIfuncs().rows.push_back(row);
  return IpltAddress(entry);
}

void HotCells::RemoveIfunc(SymbolId symbol, std::vector<Mutation>* mutations) {
  if (const CellSet* known = Find(symbol); known == nullptr || known->iplt < 0) return;
  CellSet& set = Stage(symbol);
  const uint64_t slot = IpltSlot(set.iplt), entry = static_cast<uint64_t>(set.iplt);
  set.iplt = -1;
  // The table has no holes: start-up code of static programs wants none.
  std::erase_if(StageIfuncs().rows, [&](const Elf64_Rela& row) { return row.r_offset == home_.got_plt + slot; });
  Mutation traps = Table(home_.iplt_offset + entry * arch_.plt_entry_size(), arch_.plt_entry_size(), PatchPhase::kTables);
  arch_.FillTraps(absl::MakeSpan(traps.bytes));
  mutations->push_back(std::move(traps));
  PutTable(home_.got_plt_offset + slot, uint64_t{0}, mutations);
  StageIfuncs().free.Give(entry, 1);
}

void HotCells::Renumber(SymbolId symbol, uint32_t dynsym, std::vector<Mutation>* mutations) {
  CellSet& set = Stage(symbol);
  set.dynsym = dynsym;
  // Row 0 is a local symbol: the loader looks nothing up for a jump slot that names it.
  if (set.plt >= 0) WriteJumpSlot(static_cast<uint32_t>(set.plt), dynsym, mutations);
}

absl::Status HotCells::Import(SymbolId symbol, uint32_t dynsym, HotRela* rela, std::vector<Mutation>* mutations) {
  CellSet& set = Stage(symbol);
  if (set.iplt >= 0 || set.canonical_plt) {
    return absl::UnimplementedError("an imported symbol has an address of its own");
  }
  const CellSet known = set;
  Renumber(symbol, dynsym, mutations);
  Content content;
  content.imported = true;
  content.dynsym = dynsym;
  return Refill(known, content, false, rela);
}

absl::Status HotCells::Refill(const CellSet& set, const Content& content, bool by_name_too, HotRela* rela) {
  using Fill = absl::Status (HotCells::*)(int32_t, const Content&, HotRela*);
  const std::pair<int32_t, Fill> cells[] = {{set.got, &HotCells::FillAddress},
                                            {set.gottp, &HotCells::FillTpOffset},
                                            {set.tlsgd, &HotCells::FillTlsGd},
                                            {set.tlsdesc, &HotCells::FillTlsDesc}};
  for (const auto& [cell, fill] : cells) {
    if (cell < 0 || (!by_name_too && FilledByName(cell, *rela))) continue;
    if (absl::Status status = (this->*fill)(cell, content, rela); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void HotCells::Vacate(SymbolId symbol, HotRela* rela) {
  const CellSet* set = Find(symbol);
  if (set == nullptr) return;
  auto empty = [&](int32_t first, int32_t count) {
    for (int32_t cell = first; first >= 0 && cell < first + count; ++cell) {
      Unrelocate(cell, rela);
      staged_got_[cell] = 0;
    }
  };
  empty(set->got, 1);
  empty(set->gottp, 1);
  empty(set->tlsgd, 2);
  empty(set->tlsdesc, 2);
}

void HotCells::AddCells(SymbolId symbol, TargetValue* value) const {
  const CellSet* set = Find(symbol);
  if (set == nullptr) return;
  auto cell = [&](int32_t index) { return index < 0 ? 0 : Address(index); };
  value->got = cell(set->got);
  value->gottp = cell(set->gottp);
  value->tlsgd = cell(set->tlsgd);
  value->tlsdesc = cell(set->tlsdesc);
  if (set->plt >= 0) value->plt = home_.plt + arch_.plt_header_size() + uint64_t(set->plt) * arch_.plt_entry_size();
  if (set->iplt >= 0) value->plt = IpltAddress(set->iplt);
}

void HotCells::Emit(std::vector<Mutation>* mutations) const {
  for (const auto& [cell, content] : staged_got_) {
    PutTable(home_.got_offset + 8 * static_cast<uint64_t>(cell), content, mutations);
  }
  EmitIrelative(mutations);
}

// The rows behind the jump slots, all of them: they are few.
void HotCells::EmitIrelative(std::vector<Mutation>* mutations) const {
  if (staged_plt_.empty() && !staged_ifuncs_) return;
  const std::vector<Elf64_Rela>& now = Irelative();
  const uint64_t end = uint64_t{plt_count()} + now.size(), before = cells_.plt.size() + irelative_.size();
  Mutation rows = Table(home_.rela_plt_offset + uint64_t{plt_count()} * sizeof(Elf64_Rela),
                        (std::max(end, before) - plt_count()) * sizeof(Elf64_Rela), PatchPhase::kTables);
  for (size_t i = 0; i < now.size(); ++i) Store(&rows.bytes[i * sizeof(Elf64_Rela)], now[i]);
  if (!rows.bytes.empty()) mutations->push_back(std::move(rows));
  for (uint64_t field : home_.rela_plt_sizes) PutTable(field, end * sizeof(Elf64_Rela), mutations);
}

void HotCells::Accept() {
  // any order: sets are found by their symbols.
  for (const auto& [symbol, set] : staged_sets_) Own(symbol, set);
  cells_.got_reserve -= staged_got_count_ - cells_.got_count;
  cells_.got_count = staged_got_count_;
  cells_.plt_reserve -= static_cast<uint32_t>(staged_plt_.size());
  cells_.plt.insert(cells_.plt.end(), staged_plt_.begin(), staged_plt_.end());
  if (staged_ifuncs_) {
    irelative_ = std::move(staged_ifuncs_->rows);
    free_iplt_ = std::move(staged_ifuncs_->free);
  }
  Begin();
}

uint64_t HotCells::bytes_held() const {
  return set_of_.bytes() + sets_.bytes() + cells_.plt.capacity() * 4 +
         cells_.got.capacity() * sizeof(GotCell);
}

}  // namespace kitlink::elf
