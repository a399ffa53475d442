// A small program with imports, exports, cells and IFUNCs, linked and captured; and a reader that sees of its file what a
// loader sees.
#ifndef CORE_OUTPUT_ELF_TESTING_HOT_IMAGE_H_
#define CORE_OUTPUT_ELF_TESTING_HOT_IMAGE_H_

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/output/elf/hot_elf.h"
#include "core/output/elf/write.h"
#include "core/symbols/testing/program_builder.h"
#include "gtest/gtest.h"

namespace kitlink::elf::testing {

using kitlink::testing::ObjBuilder;
using kitlink::testing::ProgramBuilder;

inline constexpr uint32_t kLibraryFunctions = 30;

struct Linked {
  std::optional<Program> program;
  ElfImage image;
  std::vector<uint8_t> file;
  std::string build_id;
  std::vector<uint64_t> build_id_leaves;
};

inline Linked Link(ProgramBuilder& builder) {
  Linked result;
  result.program = builder.Resolve();
  EXPECT_TRUE(result.program.has_value()) << builder.messages;
  if (!result.program.has_value()) return result;
  Diagnostics diagnostics;
  Demands demands = ScanRelocations(builder.options, X86_64(), &*result.program, diagnostics);
  result.image = PlaceElf(builder.options, X86_64(), std::move(demands), &*result.program);
  result.file.assign(result.image.file_size, 0);
  absl::StatusOr<WriteResult> written = WriteElf(builder.options, *result.program, result.image, X86_64(),
                                                 absl::MakeSpan(result.file), diagnostics);
  EXPECT_TRUE(written.ok());
  if (written.ok()) result.build_id = written->build_id, result.build_id_leaves = written->build_id_leaves;
  builder.Collect(diagnostics);
  EXPECT_EQ(builder.messages, "");
  return result;
}

// libx.so: functions f0 ... with versions V1, V2 and V3 in turn, and a variable of each thread.
inline std::vector<uint8_t> Library() {
  ProgramBuilder builder;
  ObjBuilder object;
  std::string nodes[3];
  object.Section(".text", std::string(16 * kLibraryFunctions, '\xc3')).Section(".tdata", "12345678");
  object.StackNote();
  for (uint32_t f = 0; f < kLibraryFunctions; ++f) {
    object.Symbol(absl::StrCat("f", f), ".text", {16 * f, 1, STB_GLOBAL, STT_FUNC, STV_DEFAULT});
    absl::StrAppend(&nodes[f % 3], "f", f, ";");
  }
  object.Symbol("thread", ".tdata", {0, 8, STB_GLOBAL, STT_TLS, STV_DEFAULT});
  const std::string script = absl::StrCat("V1 {global: thread; ", nodes[0], " local: *;}; V2 {", nodes[1], "} V1; V3 {",
                                          nodes[2], "} V2;");
  builder.files.Put("script", std::vector<uint8_t>(script.begin(), script.end()));
  builder.options.kind = OutputKind::kShared;
  builder.options.entry.clear();
  builder.options.soname = "libx.so";
  builder.options.version_script = "script";
  builder.options.incremental = false;
  builder.Object("x.o", object);
  return Link(builder).file;
}

inline std::string VersionName(uint32_t function) { return absl::StrCat("V", function % 3 + 1); }

// Reads an image as a loader does, from its program headers.
class Loaded {
 public:
  explicit Loaded(const std::vector<uint8_t>& file) : file_(file) {
    header_ = Load<Elf64_Ehdr>(file.data());
    for (uint32_t p = 0; p < header_.e_phnum; ++p) {
      const auto segment = Load<Elf64_Phdr>(&file[header_.e_phoff + p * sizeof(Elf64_Phdr)]);
      if (segment.p_type == PT_LOAD) segments_.push_back(segment);
      if (segment.p_type != PT_DYNAMIC) continue;
      for (uint64_t at = segment.p_offset; at < segment.p_offset + segment.p_filesz; at += sizeof(Elf64_Dyn)) {
        const auto entry = Load<Elf64_Dyn>(&file[at]);
        dynamic_[entry.d_tag] = entry.d_un.d_val;
      }
    }
    ReadVersions();
    ReadRows(DT_RELA, DT_RELASZ);
    ReadRows(DT_JMPREL, DT_PLTRELSZ);
  }

  template <typename T>
  T At(uint64_t address) const {
    for (const Elf64_Phdr& segment : segments_) {
      if (address >= segment.p_vaddr && address + sizeof(T) <= segment.p_vaddr + segment.p_filesz) {
        return Load<T>(&file_[segment.p_offset + address - segment.p_vaddr]);
      }
    }
    ADD_FAILURE() << std::hex << address << " is not in the file";
    return T();
  }
  std::string String(uint64_t table, uint64_t at) const {
    std::string text;
    while (char c = At<char>(table + at++)) text.push_back(c);
    return text;
  }
  uint64_t Tag(int64_t tag) const { return dynamic_.count(tag) ? dynamic_.at(tag) : 0; }
  Elf64_Sym Symbol(uint32_t row) const { return At<Elf64_Sym>(Tag(DT_SYMTAB) + row * sizeof(Elf64_Sym)); }
  // "name@version" of a row in the dynamic symbol table.
  std::string Name(uint32_t row) const {
    const std::string name = String(Tag(DT_STRTAB), Symbol(row).st_name);
    EXPECT_LT(Symbol(row).st_name + name.size(), Tag(DT_STRSZ));
    const uint16_t version = Tag(DT_VERSYM) != 0 ? At<uint16_t>(Tag(DT_VERSYM) + 2 * row) & 0x7fff : 1;
    if (version <= 1) return name;
    return versions_.count(version) ? absl::StrCat(name, "@", versions_.at(version)) : name + "@?";
  }
  // What the word holds once the loader has been there.
  std::string Meaning(uint64_t word) const {
    const auto it = rows_.find(word);
    if (it == rows_.end()) return absl::StrCat("= ", absl::Hex(At<uint64_t>(word)));
    const Elf64_Rela& row = it->second;
    const uint32_t type = ELF64_R_TYPE(row.r_info), symbol = ELF64_R_SYM(row.r_info);
    if (type == R_X86_64_RELATIVE) {
      EXPECT_EQ(At<uint64_t>(word), static_cast<uint64_t>(row.r_addend)) << "the file's word is what a static tool sees";
      return absl::StrCat("base + ", absl::Hex(row.r_addend));
    }
    return absl::StrCat("type ", type, " ", symbol != 0 ? Name(symbol) : "", " + ", absl::Hex(row.r_addend));
  }
  // Where a lazily bound entry leads; also that its row, its cell and it fit together.
  std::string PltTarget(uint64_t entry) const {
    const uint64_t cell = entry + 6 + static_cast<int64_t>(At<int32_t>(entry + 2));
    EXPECT_EQ(At<uint16_t>(entry), 0x25ff);
    EXPECT_EQ(At<uint64_t>(cell), entry + 6);
    const auto row = At<Elf64_Rela>(Tag(DT_JMPREL) + At<uint32_t>(entry + 7) * sizeof(Elf64_Rela));
    EXPECT_EQ(row.r_offset, cell);
    EXPECT_EQ(ELF64_R_TYPE(row.r_info), static_cast<uint32_t>(R_X86_64_JUMP_SLOT));
    EXPECT_LT(At<uint32_t>(entry + 7) * sizeof(Elf64_Rela), Tag(DT_PLTRELSZ));
    return Name(ELF64_R_SYM(row.r_info));
  }
  Elf64_Shdr Section(const std::string& name) const {
    const auto names = Header(header_.e_shstrndx);
    for (uint32_t s = 1; s < header_.e_shnum; ++s) {
      if (reinterpret_cast<const char*>(&file_[names.sh_offset + Header(s).sh_name]) == name) return Header(s);
    }
    return Elf64_Shdr{};
  }
  std::set<std::string> Symtab() const {
    std::set<std::string> rows;
    const Elf64_Shdr table = Section(".symtab"), strings = Section(".strtab");
    for (uint64_t r = table.sh_info; r < table.sh_size / sizeof(Elf64_Sym); ++r) {
      const auto row = Load<Elf64_Sym>(&file_[table.sh_offset + r * sizeof(Elf64_Sym)]);
      rows.insert(absl::StrCat(reinterpret_cast<const char*>(&file_[strings.sh_offset + row.st_name]), " ", row.st_shndx,
                               " ", absl::Hex(row.st_value)));
    }
    return rows;
  }
  std::set<std::string> Imports() const {
    std::set<std::string> names;
    const Elf64_Shdr dynsym = Section(".dynsym");
    for (uint32_t row = dynsym.sh_info; row < dynsym.sh_size / sizeof(Elf64_Sym); ++row) {
      if (Symbol(row).st_shndx != SHN_UNDEF) continue;
      EXPECT_TRUE(names.insert(Name(row)).second) << Name(row) << " twice";
    }
    return names;
  }
  std::set<std::string> Versions() const {
    std::set<std::string> names;
    for (const auto& [number, name] : versions_) names.insert(name);
    return names;
  }
  // The row that the loader finds a definition in, by either table; 0 for none. Both must say the same.
  uint32_t Find(const std::string& name) const {
    const uint32_t found = FindByGnuHash(name);
    EXPECT_EQ(FindBySysvHash(name), found) << name;
    return found;
  }
  // How many definitions the hash tables lead to.
  uint32_t hashed() const {
    const uint64_t table = Tag(DT_GNU_HASH);
    const uint32_t buckets = At<uint32_t>(table), first = At<uint32_t>(table + 4), bloom = At<uint32_t>(table + 8);
    const uint64_t heads = table + 16 + 8 * uint64_t{bloom}, chains = heads + 4 * uint64_t{buckets};
    uint32_t count = 0;
    for (uint32_t bucket = 0; bucket < buckets; ++bucket) {
      uint32_t row = At<uint32_t>(heads + 4 * bucket);
      if (row == 0) continue;
      do {
        EXPECT_EQ(GnuHash(String(Tag(DT_STRTAB), Symbol(row).st_name)) % buckets, bucket);
        ++count;
      } while ((At<uint32_t>(chains + 4 * uint64_t{row++ - first}) & 1) == 0);
    }
    return count;
  }
  const Elf64_Ehdr& header() const { return header_; }
  const std::map<uint64_t, Elf64_Rela>& rows() const { return rows_; }
  uint32_t irelative() const { return irelative_; }

 private:
  uint32_t FindByGnuHash(const std::string& name) const {
    const uint64_t table = Tag(DT_GNU_HASH);
    const uint32_t hash = GnuHash(name), buckets = At<uint32_t>(table), first = At<uint32_t>(table + 4);
    const uint32_t words = At<uint32_t>(table + 8), shift = At<uint32_t>(table + 12);
    const auto word = At<uint64_t>(table + 16 + 8 * uint64_t{(hash / 64) & (words - 1)});
    if (((word >> (hash % 64)) & (word >> ((hash >> shift) % 64)) & 1) == 0) return 0;
    const uint64_t heads = table + 16 + 8 * uint64_t{words}, chains = heads + 4 * uint64_t{buckets};
    for (uint32_t row = At<uint32_t>(heads + 4 * (hash % buckets)); row != 0; ++row) {
      const auto link = At<uint32_t>(chains + 4 * uint64_t{row - first});
      if ((link | 1) == (hash | 1) && String(Tag(DT_STRTAB), Symbol(row).st_name) == name) return row;
      if (link & 1) break;
    }
    return 0;
  }
  uint32_t FindBySysvHash(const std::string& name) const {
    const uint64_t table = Tag(DT_HASH);
    const uint32_t buckets = At<uint32_t>(table);
    for (uint32_t row = At<uint32_t>(table + 8 + 4 * uint64_t{SysvHash(name) % buckets}); row != 0;) {
      if (String(Tag(DT_STRTAB), Symbol(row).st_name) == name) return row;
      row = At<uint32_t>(table + 8 + 4 * (uint64_t{buckets} + row));
    }
    return 0;
  }

  Elf64_Shdr Header(uint32_t s) const { return Load<Elf64_Shdr>(&file_[header_.e_shoff + s * sizeof(Elf64_Shdr)]); }

  void ReadVersions() {
    uint64_t at = Tag(DT_VERNEED);
    for (uint64_t n = 0; n < Tag(DT_VERNEEDNUM); ++n) {
      const auto need = At<Elf64_Verneed>(at);
      uint64_t aux_at = at + need.vn_aux;
      for (uint32_t v = 0; v < need.vn_cnt; ++v) {
        const auto aux = At<Elf64_Vernaux>(aux_at);
        const std::string name = String(Tag(DT_STRTAB), aux.vna_name);
        EXPECT_EQ(aux.vna_hash, SysvHash(name));
        EXPECT_EQ(aux.vna_next == 0, v + 1 == need.vn_cnt);
        EXPECT_TRUE(versions_.emplace(aux.vna_other, name).second) << "a version's number is its own";
        aux_at += aux.vna_next;
      }
      at += need.vn_next;
    }
  }

  void ReadRows(int64_t table, int64_t size) {
    for (uint64_t at = 0; at < Tag(size); at += sizeof(Elf64_Rela)) {
      const auto row = At<Elf64_Rela>(Tag(table) + at);
      const uint32_t type = ELF64_R_TYPE(row.r_info);
      if (table == DT_RELA) {
        EXPECT_EQ(type == R_X86_64_RELATIVE, at / sizeof(row) < Tag(DT_RELACOUNT));
      } else {
        EXPECT_TRUE(type == R_X86_64_JUMP_SLOT || type == R_X86_64_IRELATIVE) << type;
        irelative_ += type == R_X86_64_IRELATIVE;
        EXPECT_TRUE(type != R_X86_64_JUMP_SLOT || irelative_ == 0) << "jump slots first: entries know their rows";
      }
      if (type != R_X86_64_NONE) {
        EXPECT_TRUE(rows_.emplace(row.r_offset, row).second) << "one row a word";
      }
    }
  }

  const std::vector<uint8_t>& file_;
  Elf64_Ehdr header_;
  std::vector<Elf64_Phdr> segments_;
  std::map<int64_t, uint64_t> dynamic_;
  std::map<uint32_t, std::string> versions_;
  std::map<uint64_t, Elf64_Rela> rows_;
  uint32_t irelative_ = 0;
};

// What the model knows of a symbol: its definition or its library's, and the cells that somebody asked for.
struct Known {
  std::string name;
  bool imported = false;
  uint64_t address = 0;
  uint16_t needs = 0;
  bool exported = false;     // of a definition
  bool preemptible = false;  // its cells are filled by name
};

class HotElfTest : public ::testing::TestWithParam<OutputKind> {
 protected:
  HotElfTest() { Start(); }

  // Links the program and captures its tables.
  void Start() {
    linked_ = Linked();
    builder_.emplace();
    symbols_.clear();
    left_.clear();
    hot_.reset();
    builder_->options.kind = GetParam();
    if (GetParam() == OutputKind::kShared) builder_->options.entry.clear();
    builder_->options.build_id = BuildIdStyle::kSha1;
    builder_->options.hash_style = HashStyle::kBoth;
    ObjBuilder object;
    object.Section(".text", std::string(256, '\xc3')).Symbol("main", ".text").Section(".data", std::string(64, 'd'));
    object.StackNote().Symbol("chosen", ".text", {64, 1, STB_GLOBAL, STT_GNU_IFUNC, STV_HIDDEN});
    object.Symbol("other_chosen", ".text", {66, 1, STB_GLOBAL, STT_GNU_IFUNC, STV_HIDDEN});
    object.Symbol("here", ".data", {8, 4, STB_GLOBAL, STT_OBJECT, STV_HIDDEN});
    object.Section(".tdata", "12345678").Symbol("own_thread", ".tdata", {4, 4, STB_GLOBAL, STT_TLS, STV_HIDDEN});
    object.Reloc(".text", 4, R_X86_64_PLT32, "f0", -4).Reloc(".text", 12, R_X86_64_GOTPCREL, "f1", -4);
    object.Reloc(".text", 20, R_X86_64_GOTPCREL, "here", -4).Reloc(".text", 28, R_X86_64_PLT32, "chosen", -4);
    object.Reloc(".text", 36, R_X86_64_PLT32, "other_chosen", -4);
    builder_->Object("main.o", object).File("libx.so", Library());
    linked_ = Link(*builder_);
    absl::StatusOr<std::unique_ptr<HotTables>> hot =
        CaptureElf(builder_->options, *linked_.program, linked_.image, X86_64(), linked_.build_id, linked_.build_id_leaves,
                   [this](uint64_t offset, MutableBytes into) {
                     std::copy_n(linked_.file.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
                     return absl::OkStatus();
                   });
    EXPECT_TRUE(hot.ok());
    if (!hot.ok()) return;
    hot_ = *std::move(hot);
    const SymbolId here = linked_.program->names.Find("here");
    symbols_[linked_.program->names.Find("f0")] = {"f0@V1", true, 0, kNeedPlt};
    symbols_[linked_.program->names.Find("f1")] = {"f1@V2", true, 0, kNeedGot};
    symbols_[here] = {"here", false, SymbolAddress(*linked_.program, linked_.image, X86_64(), here), kNeedGot};
    data_ = linked_.image.placement.sections.size();
    for (uint32_t s = 0; s < linked_.image.placement.sections.size(); ++s) {
      if (linked_.image.placement.sections[s].name == ".data") data_ = s;
    }
  }

  void Commit() {
    hot_->Finish(&mutations_);
    for (const Mutation& mutation : mutations_) {
      ASSERT_LE(mutation.offset + mutation.bytes.size(), linked_.file.size());
      std::copy(mutation.bytes.begin(), mutation.bytes.end(),
                linked_.file.begin() + static_cast<ptrdiff_t>(mutation.offset));
    }
    mutations_.clear();
    hot_->Accept();
  }

  absl::Status Import(SymbolId id, uint32_t function, absl::string_view soname = "libx.so") {
    NewImport import;
    import.symbol = id;
    const std::string name = absl::StrCat("f", function), version = VersionName(function);
    import.name = name;
    import.version = version;
    import.soname = soname;
    import.type = SymbolType::kFunction;
    return hot_->AddImport(import, &mutations_);
  }

  absl::Status Add(SymbolId id, absl::string_view name, bool exported = false) {
    NewSymbol symbol;
    symbol.symbol = id;
    symbol.name = name;
    symbol.type = SymbolType::kObject;
    symbol.visibility = exported ? Visibility::kDefault : Visibility::kHidden;
    symbol.exported = exported;
    symbol.preemptible = exported && GetParam() == OutputKind::kShared;
    return hot_->AddSymbol(symbol, &mutations_);
  }

  absl::Status Update(SymbolId id, uint64_t body, uint64_t address) {
    SymbolUpdate update;
    update.symbol = id;
    update.body = body;
    update.size = 4;
    update.output_section = data_;
    update.republished = address != 0;
    update.address = address;
    return hot_->UpdateSymbol(update, &mutations_);
  }

  absl::Status Need(SymbolId id, const Known& known, uint16_t needs) {
    CellRequest request;
    request.symbol = id;
    request.needs = needs;
    request.address = known.address;
    request.traits.imported = known.imported || known.preemptible;
    request.traits.function = true;
    return hot_->NeedCells(request, &mutations_);
  }

  TargetValue CellsOf(SymbolId id) const {
    TargetValue value;
    hot_->AddCells(id, &value);
    return value;
  }

  // Every cell means what its symbol is; nothing else was lost.
  void Check() const {
    const Loaded loaded(linked_.file);
    const bool pic = GetParam() != OutputKind::kExecutable;
    for (const auto& [id, known] : symbols_) {
      const TargetValue value = CellsOf(id);
      if (known.needs & kNeedGot) {
        const std::string expected = known.imported || known.preemptible ? absl::StrCat("type ", R_X86_64_GLOB_DAT, " ", known.name, " + 0")
                                                    : absl::StrCat(pic ? "base + " : "= ", absl::Hex(known.address));
        ASSERT_NE(value.got, 0u) << known.name;
        EXPECT_EQ(loaded.Meaning(value.got), expected) << known.name;
      }
      if (known.needs & kNeedPlt) {
        ASSERT_NE(value.plt, 0u) << known.name;
        EXPECT_EQ(loaded.PltTarget(value.plt), known.name);
      }
    }
    EXPECT_EQ(loaded.irelative(), 2u);
    std::set<std::string> imports, versions;
    uint32_t exports = GetParam() == OutputKind::kShared ? 1 : 0;  // main
    for (const auto& [id, known] : symbols_) {
      exports += known.exported;
      if (const uint32_t row = known.imported ? 0 : loaded.Find(known.name); known.exported) {
        EXPECT_NE(row, 0u) << known.name;
        EXPECT_EQ(loaded.Symbol(row).st_value, known.address) << known.name;
      } else {
        EXPECT_EQ(row, 0u) << known.name;
      }
      if (!known.imported) continue;
      imports.insert(known.name);
      versions.insert(known.name.substr(known.name.find('@') + 1));
    }
    EXPECT_EQ(loaded.hashed(), exports);
    EXPECT_EQ(loaded.Imports(), imports);
    EXPECT_EQ(loaded.Versions(), versions) << "none that a full link would not need";
    const Elf64_Shdr dynsym = loaded.Section(".dynsym");
    for (uint32_t row = 0; row < dynsym.sh_size / sizeof(Elf64_Sym); ++row) {
      EXPECT_EQ(ELF64_ST_BIND(loaded.Symbol(row).st_info) == STB_LOCAL, row < dynsym.sh_info) << row;
    }
    const uint64_t rows = dynsym.sh_size / sizeof(Elf64_Sym);
    EXPECT_EQ(loaded.Section(".gnu.version").sh_size, rows * 2);
    EXPECT_EQ(loaded.At<uint32_t>(loaded.Tag(DT_HASH) + 4), rows);
    EXPECT_EQ(loaded.Section(".rela.plt").sh_size, loaded.Tag(DT_PLTRELSZ));
  }

  std::optional<ProgramBuilder> builder_;
  Linked linked_;
  std::unique_ptr<HotTables> hot_;
  std::vector<Mutation> mutations_;
  std::map<SymbolId, Known> symbols_;
  std::map<SymbolId, uint16_t> left_;  // cells of symbols that went; whoever comes back has them again
  uint32_t data_ = 0;
};

}  // namespace kitlink::elf::testing

#endif  // CORE_OUTPUT_ELF_TESTING_HOT_IMAGE_H_
