#include "core/output/elf/hot_elf.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "core/output/elf/build_id.h"
#include "core/output/elf/hot_frames.h"
#include "core/output/elf/hot_rela.h"
#include "core/output/elf/symtab.h"

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
  std::vector<uint8_t> rela, frame_header, dynamic;
};

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

class HotElf : public HotTables {
 public:
  HotElf(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
         const std::string& build_id, const TableBytes& tables)
      : options_(options), arch_(arch), cells_(image.cells), values_(image.values), symtab_(image.symtab),
        build_id_(absl::HexStringToBytes(build_id)), got_(image.AddressOf(kGot)), plt_(image.AddressOf(kPlt)),
        iplt_(image.AddressOf(kIplt)),
        rela_(image.rela, tables.rela, Offset(image, kRelaDyn), arch.dynamic_types()),
        frames_(program, image, arch, TraitsOf(options), tables.frame_header) {
    has_rela_ = image.Section(kRelaDyn) != nullptr;
    symtab_offset_ = Offset(image, kSymtab);
    strtab_offset_ = Offset(image, kStrtab);
    dynsym_offset_ = Offset(image, kDynsym);
    if (image.Section(kBuildId)) build_id_offset_ = Offset(image, kBuildId) + 16;
    FindRelaCount(image, tables.dynamic);
    NumberGlobals(program);
  }

  void Begin() override {
    rela_.Begin();
    frames_.Begin();
    staged_locals_.clear();
    staged_names_ = symtab_.name_bytes;
    staged_build_id_ = build_id_;
  }

  absl::Status Update(const UnitUpdate& update, std::vector<Mutation>* mutations) override {
    if (absl::Status status = UpdateWords(update); !status.ok()) return status;
    if (absl::Status status = UpdateLocals(update, mutations); !status.ok()) return status;
    return frames_.Update(update, mutations);
  }

  absl::Status UpdateSymbol(const SymbolUpdate& update, std::vector<Mutation>* mutations) override {
    const uint32_t row = update.symbol.value < row_of_.size() ? row_of_[update.symbol.value] : 0;
    if (row != 0) {
      const uint64_t at = symtab_offset_ + uint64_t{row} * sizeof(Elf64_Sym);
      Put(at + offsetof(Elf64_Sym, st_shndx), static_cast<uint16_t>(update.output_section + 1), mutations);
      Put(at + offsetof(Elf64_Sym, st_value), update.tls ? update.body - values_.tls_begin : update.body, mutations);
      Put(at + offsetof(Elf64_Sym, st_size), update.size, mutations);
    }
    // Others bind to the address that was published; only the size may change.
    const CellSet* set = cells_.Find(update.symbol);
    if (set != nullptr && set->dynsym != 0) {
      Put(dynsym_offset_ + uint64_t{set->dynsym} * sizeof(Elf64_Sym) + offsetof(Elf64_Sym, st_size), update.size,
          mutations);
    }
    return absl::OkStatus();
  }

  absl::Status AddSymbol(const NewSymbol&, std::vector<Mutation>*) override {
    return absl::UnimplementedError(".symtab: global rows are not added yet");
  }
  absl::Status RemoveSymbol(SymbolId, std::vector<Mutation>*) override {
    return absl::UnimplementedError(".symtab: global rows are not removed yet");
  }
  absl::Status AddImport(const NewImport&, std::vector<Mutation>*) override {
    return absl::UnimplementedError(".dynsym: rows are not added yet");
  }
  absl::Status NeedCells(const CellRequest&, std::vector<Mutation>*) override {
    return absl::UnimplementedError("a cell is missing");
  }

  void Finish(std::vector<Mutation>* mutations) override {
    if (has_rela_) rela_.Emit(mutations);
    if (rela_count_offset_ != 0) Put(rela_count_offset_, uint64_t{rela_.relative_count()}, mutations);
    frames_.Emit(mutations);
  }

  void StampBuildId(std::vector<Mutation>* mutations) override {
    if (build_id_.empty() || mutations->empty()) return;
    uint64_t digest = 0xcbf29ce484222325ull;
    for (const Mutation& mutation : *mutations) {
      digest = FnvWords(mutation.bytes, digest ^ mutation.offset);
    }
    const std::vector<uint8_t> id = NextBuildId(AsBytes(build_id_), digest);
    staged_build_id_.assign(reinterpret_cast<const char*>(id.data()), id.size());
    Mutation mutation;
    mutation.offset = build_id_offset_;
    mutation.phase = PatchPhase::kTables;
    mutation.bytes = id;
    mutations->push_back(std::move(mutation));
  }

  void Accept() override {
    rela_.Accept();
    frames_.Accept();
    for (auto& [unit, rows] : staged_locals_) symtab_.locals[unit] = rows;
    symtab_.name_bytes = staged_names_;
    build_id_ = staged_build_id_;
  }

  void AddCells(SymbolId symbol, TargetValue* value) const override {
    const CellSet* set = cells_.Find(symbol);
    if (set == nullptr) return;
    auto cell = [&](int32_t index) { return index < 0 ? 0 : got_ + 8 * static_cast<uint64_t>(index); };
    value->got = cell(set->got);
    value->gottp = cell(set->gottp);
    value->tlsgd = cell(set->tlsgd);
    value->tlsdesc = cell(set->tlsdesc);
    if (set->plt >= 0) value->plt = plt_ + arch_.plt_header_size() + uint64_t(set->plt) * arch_.plt_entry_size();
    if (set->iplt >= 0) value->plt = iplt_ + uint64_t(set->iplt) * arch_.plt_entry_size();
  }

  std::string build_id() const override { return absl::BytesToHexString(build_id_); }

  uint64_t bytes_held() const override {
    return rela_.bytes_held() + frames_.bytes_held() + row_of_.capacity() * 4 + symtab_.locals.capacity() * sizeof(LocalRows) +
           cells_.set_of.capacity() * 4 + cells_.sets.capacity() * sizeof(CellSet);
  }

 private:
  static uint64_t Offset(const ElfImage& image, Synthetic which) {
    return image.Section(which) ? image.Section(which)->offset : 0;
  }

  void FindRelaCount(const ElfImage& image, ByteView dynamic) {
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic.size(); at += sizeof(Elf64_Dyn)) {
      if (Load<Elf64_Dyn>(&dynamic[at]).d_tag != DT_RELACOUNT) continue;
      rela_count_offset_ = Offset(image, kDynamic) + at + offsetof(Elf64_Dyn, d_un);
    }
  }

  void NumberGlobals(const Program& program) {
    row_of_.assign(program.symbols.size(), 0);
    for (uint32_t g = 0; g < symtab_.globals.size(); ++g) row_of_[symtab_.globals[g].value] = symtab_.first_global + g;
    symtab_.globals = {};
    symtab_.names = {};
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
    const CellSet* set = cells_.Find(word.symbol);
    if (set == nullptr || set->dynsym == 0) {
      return absl::ResourceExhaustedError("an imported symbol has no row in .dynsym");
    }
    *info = ELF64_R_INFO(uint64_t{set->dynsym}, arch_.dynamic_types().absolute);
    return absl::OkStatus();
  }

  bool KeepLocal(const UnitUpdate& update, const InputSymbol& symbol) const {
    if (symbol.type == SymbolType::kFile) return !symbol.name.empty();
    if (symbol.type == SymbolType::kSection || symbol.name.empty() || absl::StartsWith(symbol.name, ".L")) return false;
    if (options_.discard_all) return false;
    if (symbol.section == kSectionAbsolute) return true;
    return symbol.section < update.sections.size() && update.sections[symbol.section].placed &&
           update.sections[symbol.section].alloc;
  }

  absl::Status UpdateLocals(const UnitUpdate& update, std::vector<Mutation>* mutations) {
    if (!symtab_.present) return absl::OkStatus();
    LocalRows rows = symtab_.locals[update.unit.value];
    std::vector<uint32_t> kept;
    NameSplit split(rows);
    const uint32_t end = std::min<uint32_t>(update.object->first_global, update.object->symbols.size());
    for (uint32_t i = 1; i < end; ++i) {
      if (!KeepLocal(update, update.object->symbols[i])) continue;
      kept.push_back(i);
      split.Take(update.object->symbols[i].name.size());
    }
    if (kept.size() > rows.capacity) {
      return absl::ResourceExhaustedError(".symtab: no free rows for more local symbols");
    }
    if (absl::Status status = ReserveNames(split.more(), &rows); !status.ok()) return status;
    rows.used = static_cast<uint32_t>(kept.size());
    Mutation table, names, more;
    table.phase = names.phase = more.phase = PatchPhase::kTables;
    table.offset = symtab_offset_ + uint64_t{rows.first} * sizeof(Elf64_Sym);
    table.bytes.resize(uint64_t{rows.capacity} * sizeof(Elf64_Sym));
    names.offset = strtab_offset_ + rows.names;
    more.offset = strtab_offset_ + rows.more_names;
    NameSplit again(rows);
    for (uint32_t r = 0; r < rows.capacity; ++r) {
      Elf64_Sym row = FillerRow();
      if (r < kept.size()) {
        const InputSymbol& symbol = update.object->symbols[kept[r]];
        Mutation& to = again.Take(symbol.name.size()) ? names : more;
        row = LocalRow(update, symbol, static_cast<uint32_t>(to.offset - strtab_offset_ + to.bytes.size()));
        to.bytes.insert(to.bytes.end(), symbol.name.begin(), symbol.name.end());
        to.bytes.push_back(0);
      }
      Store(&table.bytes[uint64_t{r} * sizeof(Elf64_Sym)], row);
    }
    for (Mutation* mutation : {&table, &names, &more}) {
      if (!mutation->bytes.empty()) mutations->push_back(std::move(*mutation));
    }
    staged_locals_[update.unit.value] = rows;
    return absl::OkStatus();
  }

  // Makes sure that the second stretch of a unit's names has room for so many bytes: a new one is twice as large as it
  // must be, where there is room, so that a file that grows name by name does not leave one behind each time.
  absl::Status ReserveNames(uint64_t bytes, LocalRows* rows) {
    if (bytes <= rows->more_name_bytes) return absl::OkStatus();
    const uint64_t room = symtab_.strtab_size - std::min(staged_names_, symtab_.strtab_size);
    if (bytes > room) return absl::ResourceExhaustedError(".strtab: no room for more names");
    rows->more_names = static_cast<uint32_t>(staged_names_);
    rows->more_name_bytes = static_cast<uint32_t>(std::min(room, 2 * bytes));
    staged_names_ += rows->more_name_bytes;
    return absl::OkStatus();
  }

  Elf64_Sym LocalRow(const UnitUpdate& update, const InputSymbol& symbol, uint32_t name) const {
    if (symbol.section >= update.sections.size()) return MakeLocalRow(symbol, name, symbol.value, SHN_ABS);
    const SectionPlace& place = update.sections[symbol.section];
    uint64_t value = place.address + symbol.value;
    if (symbol.type == SymbolType::kTls) value -= values_.tls_begin;
    return MakeLocalRow(symbol, name, value, static_cast<uint16_t>(place.output_section + 1));
  }

  const LinkOptions options_;
  const Arch& arch_;
  const Cells cells_;
  const ImageValues values_;
  SymtabPlan symtab_;
  std::string build_id_;  // raw bytes
  uint64_t got_, plt_, iplt_;
  HotRela rela_;
  HotFrames frames_;
  bool has_rela_ = false;
  uint64_t symtab_offset_ = 0, strtab_offset_ = 0, dynsym_offset_ = 0, build_id_offset_ = 0, rela_count_offset_ = 0;
  std::vector<uint32_t> row_of_;  // by SymbolId: row in .symtab, 0 for none

  absl::flat_hash_map<uint32_t, LocalRows> staged_locals_;
  uint64_t staged_names_ = 0;
  std::string staged_build_id_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HotTables>> CaptureElf(const LinkOptions& options, const Program& program,
                                                     const ElfImage& image, const Arch& arch,
                                                     const std::string& build_id, const ImageReader& read) {
  TableBytes tables;
  const std::pair<Synthetic, std::vector<uint8_t>*> wanted[] = {
      {kRelaDyn, &tables.rela}, {kEhFrameHdr, &tables.frame_header}, {kDynamic, &tables.dynamic}};
  for (const auto& [which, bytes] : wanted) {
    const OutputSection* section = image.Section(which);
    if (section == nullptr) continue;
    bytes->resize(section->size);
    if (absl::Status status = read(section->offset, absl::MakeSpan(*bytes)); !status.ok()) return status;
  }
  return std::make_unique<HotElf>(options, program, image, arch, build_id, tables);
}

}  // namespace kitlink::elf
