#include "core/output/elf/hot_elf.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "core/base/paged_table.h"
#include "core/output/elf/build_id.h"
#include "core/output/elf/build_id_tree.h"
#include "core/output/elf/hot_cells.h"
#include "core/output/elf/hot_dynsym.h"
#include "core/output/elf/hot_exports.h"
#include "core/output/elf/hot_frames.h"
#include "core/output/elf/hot_growth.h"
#include "core/output/elf/hot_rela.h"
#include "core/output/elf/hot_symtab.h"

namespace kitlink::elf {
namespace {

template <typename T>
void Put(uint64_t offset, const T& value, std::vector<Mutation>* mutations) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.phase = PatchPhase::kTables;
  mutation.bytes.resize(sizeof(T));
  Store(mutation.bytes.data(), value);
  mutations->push_back(std::move(mutation));
}

// The written tables that are kept in memory.
struct TableBytes {
  std::vector<uint8_t> head, rela, frame_header, dynamic, globals, irelative, imports, exports;
};

class HotElf : public HotTables {
 public:
  // To be read from disk.
  HotElf(const LinkOptions& options, const Arch& arch) : options_(options), arch_(arch), cells_(arch), frames_(arch) {}
  HotElf(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
         const std::string& build_id, const std::vector<uint64_t>& build_id_leaves, const TableBytes& tables)
      : options_(options), arch_(arch), values_(image.values),
        cells_(image.cells, image.values, arch, CellsHomeOf(options, image, tables.dynamic), tables.irelative),
        dynsym_(image.dynamic, tables.imports, DynsymHomeOf(image, tables.dynamic)),
        exports_(program, image.dynamic, tables.exports, ExportsHomeOf(image)),
        symtab_(image.symtab, tables.globals, SymtabHomeOf(image)), build_id_(absl::HexStringToBytes(build_id)),
        rela_(image.rela, tables.rela, Offset(image, kRelaDyn), arch.dynamic_types()),
        frames_(program, image, arch, TraitsOf(options), tables.frame_header), growth_(image, options.max_page_size) {
    has_rela_ = image.Section(kRelaDyn) != nullptr;
    FindAddressFields(program, image, tables.dynamic);
    FindRowSizes(image, tables.dynamic);
    // An id that the user has chosen has no leaves: it stays.
    if (image.Section(kBuildId) && !build_id_leaves.empty()) {
      build_id_offset_ = Offset(image, kBuildId) + 16;
      build_id_tree_ = BuildIdTree(BuildIdTree::Pieces(tables.head, image.file_size), build_id_leaves,
                                   {build_id_offset_, build_id_.size()});
    }
    rela_count_offset_ = DynamicField(image, tables.dynamic, DT_RELACOUNT);
    rela_fields_ = {DynamicField(image, tables.dynamic, DT_RELA), DynamicField(image, tables.dynamic, DT_RELASZ)};
    for (size_t i = 0; i < image.headers.size(); ++i) {
      if (image.headers[i].p_type == PT_GNU_EH_FRAME) frame_segment_ = sizeof(Elf64_Ehdr) + i * sizeof(Elf64_Phdr);
    }
    ifuncs_by_symbol_ = image.Section(kRelaPlt) != nullptr && !image.dynamic.present;
    iplt_section_ = image.synthetic[kIplt].valid() ? image.synthetic[kIplt].value + 1 : 0;
    for (Synthetic which : {kRelaDyn, kSymtab, kStrtab, kEhFrame, kEhFrameHdr}) table_sections_.push_back(image.synthetic[which].value);
  }

  void Begin() override {
    rela_.Begin();
    frames_.Begin();
    symtab_.Begin();
    cells_.Begin();
    dynsym_.Begin();
    growth_.Begin();
    exports_.Begin();
    added_.clear();
    stale_.clear();
    staged_build_id_ = build_id_;
    staged_tree_.reset();
  }

  void MoveWords(WordRange range, const std::vector<WordMove>& moves) override {
    if (has_rela_) rela_.Move(range, moves);
  }

  void ResizeRows(uint32_t output_section, uint64_t used, std::vector<Mutation>* mutations) override {
    for (const auto& [section, offset] : row_sizes_) {
      if (section == output_section) Put(offset, used, mutations);
    }
  }

  std::optional<GrowthPlace> Grow(const GrowthRequest& request) override { return growth_.Announce(request); }
  std::vector<TableRoom> Cramped() const override {
    TableRoom rooms[] = {{}, symtab_.MoreRows(), symtab_.MoreNames(), {}, {}};
    rooms[3].size = frames_.MoreRecords(growth_.next_address());
    rooms[3].kept = frames_.kept();
    if (frame_segment_ != 0) rooms[4].size = frames_.MoreRows(growth_.next_address());
    if (has_rela_ && rela_fields_[0] != 0 && rela_fields_[1] != 0) rooms[0].size = rela_.Larger();
    std::vector<TableRoom> cramped;
    for (size_t t = 0; t < table_sections_.size(); ++t) {
      rooms[t].output_section = table_sections_[t];
      if (rooms[t].size != 0) cramped.push_back(rooms[t]);
    }
    return cramped;
  }

  void MoveTable(const TableRoom& room, const GrowthPlace& place) override {
    if (room.output_section == table_sections_[0]) {
      rela_.MoveTable(place.offset);
      rela_address_ = place.address;
    } else if (room.output_section == table_sections_[1]) {
      symtab_.MoveRows(place.offset);
    } else if (room.output_section == table_sections_[2]) {
      symtab_.MoveNames(place.offset);
    } else if (room.output_section == table_sections_[3]) {
      frames_.MoveRecords(place, room.size);
    } else {
      frames_.MoveHeader(place, room.size);
    }
  }

  absl::Status FollowMove(uint32_t output_section, MutableBytes kept) const override {
    return output_section == table_sections_[3] ? frames_.Follow(kept) : absl::OkStatus();
  }

  void PublishGrowth(std::vector<Mutation>* mutations) override {
    growth_.Publish(mutations);
    symtab_.PublishMove(mutations);
    if (frames_.header_moves()) {
      const GrowthPlace place = frames_.header();
      Put(frame_segment_ + offsetof(Elf64_Phdr, p_offset), place.offset, mutations);
      Put(frame_segment_ + offsetof(Elf64_Phdr, p_vaddr), place.address, mutations);
      Put(frame_segment_ + offsetof(Elf64_Phdr, p_paddr), place.address, mutations);
      Put(frame_segment_ + offsetof(Elf64_Phdr, p_filesz), frames_.header_size(), mutations);
      Put(frame_segment_ + offsetof(Elf64_Phdr, p_memsz), frames_.header_size(), mutations);
    }
    if (!rela_.moves()) return;
    Put(rela_fields_[0], rela_address_, mutations);
    Put(rela_fields_[1], rela_.size(), mutations);
  }

  bool OutOfSegments() const override { return growth_.full(); }

  uint64_t image_size() const override { return growth_.image_size(); }

  absl::Status Update(const UnitUpdate& update, std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    if (absl::Status status = UpdateWords(update); !status.ok()) return status;
    if (absl::Status status = symtab_.UpdateLocals(options_, update, mutations); !status.ok()) return status;
    return frames_.Update(update, mutations);
  }

  absl::Status RewriteWord(const DynamicWord& word) override {
    uint64_t info = 0;
    if (absl::Status status = InfoOf(word, &info); !status.ok()) return status;
    if (has_rela_ && rela_.Rewrite(word.address, !word.symbol.valid(), info, word.addend)) return absl::OkStatus();
    return absl::NotFoundError(".rela.dyn: no row for a word");
  }

  absl::Status UpdateSymbol(const SymbolUpdate& update, std::vector<Mutation>* mutations) override {
    symtab_.Define(update);
    // Cells of a symbol that had no definition hold no address yet.
    const auto added = added_.find(update.symbol);
    const bool fresh = added != added_.end(), placed = update.republished || fresh;
    if (fresh) added->second.defined = true;
    // A definition that only looks different may have left a jump where it was.
    const uint64_t address = update.republished || update.address != 0 ? update.address : update.body;
    const uint32_t row = RowOf(update.symbol);
    if (row != 0 && !dynsym_.IsImport(row)) {
      // Others bind to the address that was published.
      exports_.Define(row, update, address, placed, values_.tls_begin);
    } else if (row != 0 && !stale_.contains(update.symbol)) {
      return absl::UnimplementedError(".dynsym: a definition is an import there");
    }
    if (const CellSet* set = cells_.Find(update.symbol); set != nullptr && set->iplt >= 0) {
      const CellSet owned = *set;
      cells_.MoveResolver(owned, update.body, mutations);
    }
    if (update.ifunc && row != 0 && !dynsym_.IsImport(row)) DefineIfunc(row, update);
    if (!placed) return absl::OkStatus();
    SettleExports(mutations);
    for (const auto& [symbol, offset] : address_fields_) {
      if (symbol == update.symbol) Put(offset, address, mutations);
    }
    if (fresh && added->second.preemptible) return cells_.Import(update.symbol, row, &rela_, mutations);
    if (fresh) return cells_.Bind(update.symbol, address, update.absolute, &rela_);
    return cells_.Move(update.symbol, address, update.absolute, &rela_);
  }

  absl::Status AddSymbol(const NewSymbol& symbol, std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    const uint32_t row = RowOf(symbol.symbol);
    const bool defined = row != 0 && !dynsym_.IsImport(row);
    if (row != 0 && !(defined && symbol.exported)) stale_[symbol.symbol] = row;
    if (defined && symbol.exported) {
      if (absl::Status status = exports_.Rewrite(row, symbol); !status.ok()) return status;
    } else if (symbol.exported) {
      const absl::StatusOr<HotDynsym::Name> name = dynsym_.AddName(symbol.symbol, symbol.name, mutations);
      if (!name.ok()) return name.status();
      const absl::StatusOr<uint32_t> added = exports_.Add(symbol, name->offset, name->bytes);
      if (!added.ok()) return added.status();
    }
    added_[symbol.symbol] = {symbol.preemptible, false};
    return symtab_.Add(symbol);
  }

  absl::Status RemoveSymbol(SymbolId symbol, std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    const CellSet* set = cells_.Find(symbol);
    const uint32_t row = RowOf(symbol);
    if (dynsym_.IsImport(row)) return RemoveImport(symbol, row, mutations);
    if (set != nullptr && set->iplt >= 0) return absl::UnimplementedError(".iplt: entries are not removed");
    for (const auto& [known, offset] : address_fields_) {
      if (known == symbol) return absl::UnimplementedError("the program begins or ends there");
    }
    cells_.Vacate(symbol, &rela_);
    if (row != 0) {
      if (absl::Status status = RemoveExport(symbol, row, mutations); !status.ok()) return status;
    }
    added_.erase(symbol);
    symtab_.Remove(symbol);
    return absl::OkStatus();
  }

  absl::Status AddImport(const NewImport& import, std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    const uint32_t known = RowOf(import.symbol);
    if (known != 0 && dynsym_.IsImport(known)) {
      if (absl::Status status = dynsym_.Rewrite(known, import, mutations); !status.ok()) return status;
    } else {
      if (known != 0) stale_[import.symbol] = known;
      absl::StatusOr<uint32_t> row = dynsym_.Add(import, mutations);
      if (!row.ok()) return row.status();
      if (known != 0) rela_.Renumber({{known, *row}});
      if (absl::Status status = cells_.Import(import.symbol, *row, &rela_, mutations); !status.ok()) return status;
    }
    NewSymbol symbol;
    symbol.symbol = import.symbol;
    symbol.name = import.name;
    symbol.type = import.type == SymbolType::kIfunc ? SymbolType::kFunction : import.type;
    symbol.binding = import.weak ? SymbolBinding::kWeak : SymbolBinding::kGlobal;
    return symtab_.Add(symbol);
  }

  absl::Status FixImport(const FixedImport& import, std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    const uint32_t known = RowOf(import.symbol);
    if (known == 0 || !dynsym_.IsImport(known)) return absl::FailedPreconditionError(".dynsym: no row of an import");
    HotExports::Row row;
    row.symbol = import.symbol;
    const HotDynsym::Kind kind = dynsym_.KindOf(known);
    row.row = kind.row;
    row.version = kind.version;
    row.name_bytes = kind.name_bytes;
    if (import.copy) {
      row.row.st_shndx = static_cast<uint16_t>(import.output_section + 1);
      row.row.st_value = import.address;
      row.row.st_size = import.size;
    } else {
      // Undefined all the same: the address is for pointers.
      if (absl::Status status = cells_.MakeCanonical(import.symbol, mutations); !status.ok()) return status;
      TargetValue value;
      cells_.AddCells(import.symbol, &value);
      row.row.st_value = value.plt;
    }
    if (absl::Status status = exports_.AddFixed(import.name, row); !status.ok()) return status;
    SettleExports(mutations);  // whoever names the row of the import follows before another gets that
    FollowImport(dynsym_.Forget(known, mutations), mutations);
    return import.copy ? Copy(import) : absl::OkStatus();
  }

  absl::Status DropStaleRows(std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    for (const auto& [symbol, added] : added_) {
      if (added.defined) continue;
      if (absl::Status status = cells_.Bind(symbol, 0, true, &rela_); !status.ok()) return status;
    }
    // Rows that go make others move: each is looked up when its turn comes.
    std::vector<SymbolId> symbols;
    for (const auto& [symbol, row] : stale_) symbols.push_back(symbol);
    for (SymbolId symbol : symbols) {
      const uint32_t row = stale_[symbol];
      absl::Status status = dynsym_.IsImport(row) ? RemoveImportRow(symbol, row, mutations)
                                                  : RemoveExport(symbol, exports_.NewRow(symbol).value_or(row), mutations);
      if (!status.ok()) return status;
      stale_.erase(symbol);
    }
    return absl::OkStatus();
  }

  absl::Status NeedCells(const CellRequest& request, std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    return cells_.Need(request, &rela_, mutations);
  }

  absl::StatusOr<uint64_t> AddIfunc(SymbolId symbol, uint64_t resolver, std::vector<Mutation>* mutations) override {
    return cells_.AddIfunc(symbol, resolver, mutations);
  }

  void RemoveIfunc(SymbolId symbol, std::vector<Mutation>* mutations) override { cells_.RemoveIfunc(symbol, mutations); }
  bool HasIfunc(SymbolId symbol) const override { return cells_.HasIfunc(symbol); }
  uint64_t ifunc_row_size() const override { return ifuncs_by_symbol_ ? sizeof(Elf64_Rela) : 0; }

  void Finish(std::vector<Mutation>* mutations) override {
    SettleExports(mutations);
    AnnounceGnu(mutations);
    exports_.Emit(mutations);
    if (has_rela_) rela_.Emit(mutations);
    if (rela_count_offset_ != 0) Put(rela_count_offset_, uint64_t{rela_.relative_count()}, mutations);
    cells_.Emit(mutations);
    frames_.Emit(mutations);
    symtab_.Emit(mutations);
  }

  absl::Status StampBuildId(const ImageReader& read, std::vector<Mutation>* mutations) override {
    if (build_id_tree_.empty() || mutations->empty()) return absl::OkStatus();
    absl::StatusOr<BuildIdTree::Delta> delta = build_id_tree_.Stage(*mutations, read);
    if (!delta.ok()) return delta.status();
    const std::vector<uint8_t> id = BuildIdOf(delta->root, build_id_.size());
    staged_tree_ = *std::move(delta);
    staged_build_id_.assign(reinterpret_cast<const char*>(id.data()), id.size());
    Mutation mutation;
    mutation.offset = build_id_offset_;
    mutation.phase = PatchPhase::kTables;
    mutation.bytes = id;
    mutations->push_back(std::move(mutation));
    return absl::OkStatus();
  }

  void Accept() override {
    rela_.Accept();
    frames_.Accept();
    symtab_.Accept();
    cells_.Accept();
    dynsym_.Accept();
    growth_.Accept();
    exports_.Accept();
    added_.clear();
    build_id_ = staged_build_id_;
    if (staged_tree_) build_id_tree_.Apply(*std::move(staged_tree_));
    staged_tree_.reset();
  }

  void AddCells(SymbolId symbol, TargetValue* value) const override { cells_.AddCells(symbol, value); }

  uint64_t records_start() const override { return frames_.start(); }

  bool Imports(SymbolId symbol) const override {
    const CellSet* set = cells_.Known(symbol);
    return set != nullptr && set->dynsym != 0;
  }

  std::string build_id() const override { return absl::BytesToHexString(build_id_); }

  uint64_t bytes_held() const override {
    return rela_.bytes_held() + frames_.bytes_held() + symtab_.bytes_held() + cells_.bytes_held() + dynsym_.bytes_held() +
           exports_.bytes_held() + build_id_tree_.bytes_held();
  }

  KITLINK_FIELDS_BUT((options_, arch_, added_, stale_, staged_build_id_, staged_tree_), values_, cells_, dynsym_, exports_,
                     symtab_, build_id_, rela_, frames_, has_rela_, build_id_offset_, rela_count_offset_, rela_fields_,
                     rela_address_, frame_segment_, ifuncs_by_symbol_, iplt_section_, table_sections_, address_fields_, row_sizes_, build_id_tree_,
                     growth_)

 private:
  static uint64_t Offset(const ElfImage& image, Synthetic which) {
    return image.Section(which) ? image.Section(which)->offset : 0;
  }

  // The file offset of the value of a dynamic entry; 0 without one.
  static uint64_t DynamicField(const ElfImage& image, ByteView dynamic, int64_t tag) {
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic.size(); at += sizeof(Elf64_Dyn)) {
      if (Load<Elf64_Dyn>(&dynamic[at]).d_tag == tag) return Offset(image, kDynamic) + at + offsetof(Elf64_Dyn, d_un);
    }
    return 0;
  }

  // Fields outside all tables that hold the address of a symbol.
  void FindAddressFields(const Program& program, const ElfImage& image, ByteView dynamic) {
    auto add = [&](absl::string_view name, uint64_t offset) {
      const SymbolId id = program.names.Find(name);
      if (id.valid() && id.value < program.symbols.size() && offset != 0) address_fields_.push_back({id, offset});
    };
    if (options_.kind != OutputKind::kShared || !options_.entry.empty()) {
      add(options_.entry.empty() ? "_start" : options_.entry, offsetof(Elf64_Ehdr, e_entry));
    }
    add(options_.init, DynamicField(image, dynamic, DT_INIT));
    add(options_.fini, DynamicField(image, dynamic, DT_FINI));
  }

  // Where the sizes of sections with rows are told.
  void FindRowSizes(const ElfImage& image, ByteView dynamic) {
    for (uint32_t s = 0; s < image.placement.sections.size(); ++s) {
      const OutputSection& section = image.placement.sections[s];
      if (!section.rows) continue;
      const uint64_t header = image.section_headers + (uint64_t{s} + 1) * sizeof(Elf64_Shdr);
      row_sizes_.push_back({s, header + offsetof(Elf64_Shdr, sh_size)});
      const std::pair<const char*, int64_t> tags[] = {{".preinit_array", DT_PREINIT_ARRAYSZ},
                                                      {".init_array", DT_INIT_ARRAYSZ},
                                                      {".fini_array", DT_FINI_ARRAYSZ}};
      for (const auto& [name, tag] : tags) {
        const uint64_t field = section.name == name ? DynamicField(image, dynamic, tag) : 0;
        if (field != 0) row_sizes_.push_back({s, field});
      }
    }
  }

  static CellsHome CellsHomeOf(const LinkOptions& options, const ElfImage& image, ByteView dynamic) {
    CellsHome home;
    home.got = image.AddressOf(kGot), home.got_offset = Offset(image, kGot);
    home.got_plt = image.AddressOf(kGotPlt), home.got_plt_offset = Offset(image, kGotPlt);
    home.plt = image.AddressOf(kPlt), home.plt_offset = Offset(image, kPlt);
    home.iplt = image.AddressOf(kIplt), home.iplt_offset = Offset(image, kIplt);
    home.rela_plt_offset = Offset(image, kRelaPlt);
    if (home.rela_plt_offset != 0) {
      home.rela_plt_sizes.push_back(SectionHeader(image, kRelaPlt) + offsetof(Elf64_Shdr, sh_size));
      const uint64_t field = DynamicField(image, dynamic, DT_PLTRELSZ);
      if (field != 0) home.rela_plt_sizes.push_back(field);
    }
    home.pic = options.kind != OutputKind::kExecutable;
    home.shared = options.kind == OutputKind::kShared;
    home.static_tls = image.demands.static_tls;
    return home;
  }

  static DynsymHome DynsymHomeOf(const ElfImage& image, ByteView dynamic) {
    DynsymHome home;
    if (image.Section(kDynsym) == nullptr) return home;
    home.dynsym = Offset(image, kDynsym);
    home.info_field = SectionHeader(image, kDynsym) + offsetof(Elf64_Shdr, sh_info);
    home.dynstr = Offset(image, kDynstr);
    home.versym = Offset(image, kVersym);
    home.verneed = Offset(image, kVerneed);
    if (home.verneed == 0) return home;
    home.verneed_counts = {SectionHeader(image, kVerneed) + offsetof(Elf64_Shdr, sh_info),
                           DynamicField(image, dynamic, DT_VERNEEDNUM)};
    return home;
  }

  static ExportsHome ExportsHomeOf(const ElfImage& image) {
    ExportsHome home;
    const auto find = [&](Synthetic which, uint64_t* offset, uint64_t* size) {
      if (image.Section(which) == nullptr) return;
      *offset = Offset(image, which);
      *size = SectionHeader(image, which) + offsetof(Elf64_Shdr, sh_size);
    };
    find(kDynsym, &home.dynsym, &home.dynsym_size);
    find(kVersym, &home.versym, &home.versym_size);
    find(kGnuHash, &home.gnu_hash, &home.gnu_hash_size);
    find(kHash, &home.hash, &home.hash_size);
    return home;
  }

  static SymtabHome SymtabHomeOf(const ElfImage& image) {
    SymtabHome home;
    if (image.Section(kSymtab) == nullptr) return home;
    home.symtab = Offset(image, kSymtab);
    home.strtab = Offset(image, kStrtab);
    home.strtab_size = image.Section(kStrtab)->size;
    home.info_field = SectionHeader(image, kSymtab) + offsetof(Elf64_Shdr, sh_info);
    home.size_field = SectionHeader(image, kSymtab) + offsetof(Elf64_Shdr, sh_size);
    home.tls_begin = image.values.tls_begin;
    return home;
  }

  static uint64_t SectionHeader(const ElfImage& image, Synthetic which) {
    return image.section_headers + (uint64_t{image.synthetic[which].value} + 1) * sizeof(Elf64_Shdr);
  }

  // The row of a symbol in .dynsym, in this plan; 0 for none. One that is to be dropped only where there is no other.
  uint32_t RowOf(SymbolId symbol) const {
    const CellSet* set = cells_.Find(symbol);
    const uint32_t settled = set != nullptr ? set->dynsym : 0;
    const auto stale = stale_.find(symbol);
    if (stale != stale_.end() && !dynsym_.IsImport(stale->second)) return dynsym_.IsImport(settled) ? settled : 0;
    return exports_.NewRow(symbol).value_or(settled);
  }

  // Whatever names a row of .dynsym by its number follows the definitions that have another one. O(symbolic rows).
  void SettleExports(std::vector<Mutation>* mutations) {
    absl::flat_hash_map<uint32_t, uint32_t> renumbered;
    for (const auto& [symbol, from, to] : exports_.TakeMoved()) {
      const CellSet* set = cells_.Find(symbol);
      const uint32_t known = set != nullptr ? set->dynsym : 0;
      if (from != 0 && to != 0 && from != to) renumbered[from] = to;
      // What the plan makes an import leaves its old row to DropStaleRows.
      if (known != to && (from == 0 || known == from)) {
        if (from == 0 && known != 0) renumbered[known] = to;  // it was an import
        cells_.Renumber(symbol, to, mutations);
      }
    }
    if (!renumbered.empty()) rela_.Renumber(renumbered);
  }

  absl::Status RemoveExport(SymbolId symbol, uint32_t row, std::vector<Mutation>* mutations) {
    if (rela_.Names(row)) return absl::UnimplementedError(".rela.dyn: words refer to an export that is to go");
    const HotExports::Row gone = exports_.Remove(row);
    dynsym_.GiveName(symbol, {gone.row.st_name, gone.name_bytes});
    SettleExports(mutations);
    return absl::OkStatus();
  }

  absl::Status RemoveImport(SymbolId symbol, uint32_t row, std::vector<Mutation>* mutations) {
    cells_.Vacate(symbol, &rela_);
    if (absl::Status status = RemoveImportRow(symbol, row, mutations); !status.ok()) return status;
    symtab_.Remove(symbol);
    return absl::OkStatus();
  }

  absl::Status RemoveImportRow(SymbolId symbol, uint32_t row, std::vector<Mutation>* mutations) {
    if (rela_.Names(row)) return absl::UnimplementedError(".rela.dyn: words refer to an import that is to go");
    absl::StatusOr<HotDynsym::Moved> moved = dynsym_.Remove(row, mutations);
    if (!moved.ok()) return moved.status();
    if (const CellSet* set = cells_.Find(symbol); set != nullptr && set->dynsym == row) cells_.Renumber(symbol, 0, mutations);
    FollowImport(*moved, mutations);
    return absl::OkStatus();
  }

  // Others get the address that we use ourselves, or ask the resolver themselves.
  void DefineIfunc(uint32_t row, const SymbolUpdate& update) {
    TargetValue value;
    if (const CellSet* set = cells_.Find(update.symbol); set != nullptr && set->iplt >= 0) {
      cells_.AddCells(update.symbol, &value);
      exports_.DefineIfunc(row, STT_FUNC, value.plt, static_cast<uint16_t>(iplt_section_));
    } else {
      exports_.DefineIfunc(row, STT_GNU_IFUNC, update.body, static_cast<uint16_t>(update.output_section + 1));
    }
  }

  // IFUNCs and unique symbols are GNU extensions that the header announces.
  void AnnounceGnu(std::vector<Mutation>* mutations) const {
    const bool now = cells_.has_ifuncs() || exports_.has_unique();
    if (now == (cells_.had_ifuncs() || exports_.had_unique())) return;
    Put(offsetof(Elf64_Ehdr, e_ident) + EI_OSABI, static_cast<uint8_t>(now ? ELFOSABI_GNU : ELFOSABI_NONE), mutations);
  }

  // An import has taken the place of one that went: whatever names its row follows.
  void FollowImport(const HotDynsym::Moved& moved, std::vector<Mutation>* mutations) {
    if (!moved.symbol.valid()) return;
    if (auto it = stale_.find(moved.symbol); it != stale_.end() && it->second == moved.from) it->second = moved.to;
    if (const CellSet* set = cells_.Find(moved.symbol); set != nullptr && set->dynsym == moved.from) {
      cells_.Renumber(moved.symbol, moved.to, mutations);
    }
    rela_.Renumber({{moved.from, moved.to}});
  }

  // The loader fills the copy of a library's object.
  absl::Status Copy(const FixedImport& import) {
    SymbolUpdate update;
    update.symbol = import.symbol;
    update.body = import.address;
    update.size = import.size;
    update.output_section = import.output_section;
    symtab_.Define(update);
    if (!has_rela_) return absl::ResourceExhaustedError("the image has no dynamic relocations");
    return rela_.Add(import.address, false, ELF64_R_INFO(uint64_t{RowOf(import.symbol)}, arch_.dynamic_types().copy), 0);
  }

  absl::Status UpdateWords(const UnitUpdate& update) {
    if (!has_rela_) {
      if (update.words.empty()) return absl::OkStatus();
      return absl::ResourceExhaustedError("the image has no dynamic relocations");
    }
    // Rows of words that stay are rewritten where they are, so that the table moves as little as it must.
    std::vector<const DynamicWord*> fresh;
    absl::flat_hash_set<uint64_t> kept;
    for (const DynamicWord& word : update.words) {
      uint64_t info = 0;
      if (absl::Status status = InfoOf(word, &info); !status.ok()) return status;
      if (rela_.Rewrite(word.address, !word.symbol.valid(), info, word.addend)) {
        kept.insert(word.address);
      } else {
        fresh.push_back(&word);
      }
    }
    rela_.RemoveOthers(update.stale_words, kept);
    const auto relative = std::count_if(fresh.begin(), fresh.end(), [](const DynamicWord* word) { return !word->symbol.valid(); });
    rela_.Expect(static_cast<uint32_t>(relative), static_cast<uint32_t>(fresh.size() - static_cast<size_t>(relative)));
    for (const DynamicWord* word : fresh) {
      uint64_t info = 0;
      if (absl::Status status = InfoOf(*word, &info); !status.ok()) return status;
      if (absl::Status status = rela_.Add(word->address, !word->symbol.valid(), info, word->addend); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status InfoOf(const DynamicWord& word, uint64_t* info) const {
    *info = ELF64_R_INFO(uint64_t{0}, arch_.dynamic_types().relative);
    if (!word.symbol.valid()) return absl::OkStatus();
    const uint32_t row = RowOf(word.symbol);
    if (row == 0) return absl::ResourceExhaustedError("an imported symbol has no row in .dynsym");
    *info = ELF64_R_INFO(uint64_t{row}, arch_.dynamic_types().absolute);
    return absl::OkStatus();
  }

  const LinkOptions options_;
  const Arch& arch_;
  ImageValues values_;
  HotCells cells_;
  HotDynsym dynsym_;
  HotExports exports_;
  HotSymtab symtab_;
  std::string build_id_;  // raw bytes
  HotRela rela_;
  HotFrames frames_;
  HotGrowth growth_;
  bool has_rela_ = false;
  uint64_t build_id_offset_ = 0, rela_count_offset_ = 0;
  std::array<uint64_t, 2> rela_fields_{};  // DT_RELA, DT_RELASZ: file offsets
  uint64_t rela_address_ = 0;              // when the table moves
  uint64_t frame_segment_ = 0;             // file offset of PT_GNU_EH_FRAME
  bool ifuncs_by_symbol_ = false;          // start-up code finds the table of resolvers by two of the linker's names
  uint32_t iplt_section_ = 0;              // number of its section header
  std::vector<uint32_t> table_sections_;   // of .rela.dyn, .symtab, .strtab, .eh_frame, .eh_frame_hdr
  std::vector<std::pair<uint32_t, uint64_t>> row_sizes_;      // output section -> file offset
  std::vector<std::pair<SymbolId, uint64_t>> address_fields_;  // symbol -> file offset

  // Symbols that the plan gave a definition, or made undefined.
  struct Added {
    bool preemptible = false;
    bool defined = false;
  };
  absl::btree_map<SymbolId, Added> added_;
  absl::btree_map<SymbolId, uint32_t> stale_;  // rows that are no longer what their symbols want
  std::string staged_build_id_;
  BuildIdTree build_id_tree_;
  std::optional<BuildIdTree::Delta> staged_tree_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HotTables>> CaptureElf(const LinkOptions& options, const Program& program,
                                                     const ElfImage& image, const Arch& arch,
                                                     const std::string& build_id, const std::vector<uint64_t>& build_id_leaves,
                                                     const ImageReader& read) {
  TableBytes tables;
  const std::pair<Synthetic, std::vector<uint8_t>*> wanted[] = {
      {kRelaDyn, &tables.rela}, {kEhFrameHdr, &tables.frame_header}, {kDynamic, &tables.dynamic}};
  auto fetch = [&](uint64_t offset, uint64_t size, std::vector<uint8_t>* bytes) {
    bytes->resize(size);
    return read(offset, absl::MakeSpan(*bytes));
  };
  if (absl::Status status = fetch(0, std::min(image.file_size, BuildIdTree::kHead), &tables.head); !status.ok()) return status;
  for (const auto& [which, bytes] : wanted) {
    const OutputSection* section = image.Section(which);
    if (section == nullptr) continue;
    if (absl::Status status = fetch(section->offset, section->size, bytes); !status.ok()) return status;
  }
  if (const OutputSection* symtab = image.Section(kSymtab)) {
    absl::Status status = fetch(symtab->offset + uint64_t{image.symtab.first_global} * sizeof(Elf64_Sym),
                                image.symtab.globals.size() * sizeof(Elf64_Sym), &tables.globals);
    if (!status.ok()) return status;
  }
  if (const OutputSection* dynsym = image.Section(kDynsym)) {
    const uint64_t first = image.dynamic.first_row();
    absl::Status status = fetch(dynsym->offset + first * sizeof(Elf64_Sym),
                                (image.dynamic.first_defined - first) * sizeof(Elf64_Sym), &tables.imports);
    if (!status.ok()) return status;
    status = fetch(dynsym->offset + uint64_t{image.dynamic.first_defined} * sizeof(Elf64_Sym),
                   (image.dynamic.end_row() - image.dynamic.first_defined) * sizeof(Elf64_Sym), &tables.exports);
    if (!status.ok()) return status;
  }
  if (const OutputSection* rela = image.Section(kRelaPlt)) {
    absl::Status status = fetch(rela->offset + uint64_t{image.rela.jump_slots} * sizeof(Elf64_Rela),
                                uint64_t{image.rela.irelative} * sizeof(Elf64_Rela), &tables.irelative);
    if (!status.ok()) return status;
  }
  return std::make_unique<HotElf>(options, program, image, arch, build_id, build_id_leaves, tables);
}

void SaveElf(const HotTables& tables, Encoder* encoder) { encoder->Put(static_cast<const HotElf&>(tables)); }

absl::StatusOr<std::unique_ptr<HotTables>> LoadElf(const LinkOptions& options, const Arch& arch, Decoder* decoder) {
  auto tables = std::make_unique<HotElf>(options, arch);
  if (!decoder->Get(tables.get())) return absl::DataLossError("the tables make no sense");
  tables->Begin();
  return tables;
}

std::string ElfTablesSchema() { return DescribeSchema(HotElf(LinkOptions(), X86_64())); }

}  // namespace kitlink::elf
