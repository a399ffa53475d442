#include "core/output/elf/dynamic_tables.h"

#include <elf.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/bytes.h"

namespace kitlink::elf {
namespace {

// True when a later patch may want to export something.
bool ReservesExports(const LinkOptions& options) {
  return options.incremental && (options.kind == OutputKind::kShared || (!options.is_static && !options.no_dynamic_linker));
}

// True when row for `symbol` carries a definition that others may bind to.
bool DefinedRow(const Symbol& symbol) {
  return symbol.exported && (symbol.kind != SymbolKind::kShared || symbol.atom.valid());
}

// An imported function whose PLT entry is its address: undefined, but other modules must find the address.
bool Canonical(const Cells& cells, SymbolId id) {
  const CellSet* set = cells.Find(id);
  return set != nullptr && set->canonical_plt;
}

std::vector<SymbolId> ChooseImports(const Program& program, const Demands& demands, const Cells& cells) {
  std::vector<SymbolId> imports;
  for (SymbolId id : demands.ordered) {
    const Symbol& symbol = program.symbols[id.value];
    if (symbol.imported && !DefinedRow(symbol) && !Canonical(cells, id)) imports.push_back(id);
  }
  return imports;
}

std::vector<SymbolId> ChooseExports(const Program& program, const Cells& cells) {
  std::vector<SymbolId> exports;
  for (uint32_t i = 0; i < program.symbols.size(); ++i) {
    const Symbol& symbol = program.symbols[i];
    if (!symbol.used || (!DefinedRow(symbol) && !Canonical(cells, SymbolId(i)))) continue;
    if (symbol.atom.valid() && program.atoms[symbol.atom.value].state != Atom::kLive) continue;
    exports.push_back(SymbolId(i));
  }
  // Versions of one name are different symbols.
  auto key = [&](SymbolId id) {
    const Symbol& symbol = program.symbols[id.value];
    return std::make_tuple(symbol.name, symbol.version, symbol.hidden_version);
  };
  std::sort(exports.begin(), exports.end(), [&](SymbolId a, SymbolId b) { return key(a) < key(b); });
  return exports;
}

// Stands definitions of one bucket side by side, and makes the tables that find them.
void MakeHashes(const LinkOptions& options, const Program& program, std::vector<SymbolId>* exports, DynamicTables* tables) {
  tables->shape = HashShapeFor(exports->size() + tables->spare_exports);
  const uint32_t buckets = tables->shape.buckets;
  auto hash_of = [&](SymbolId id) { return GnuHash(program.symbols[id.value].name); };
  std::stable_sort(exports->begin(), exports->end(),
                   [&](SymbolId a, SymbolId b) { return hash_of(a) % buckets < hash_of(b) % buckets; });
  std::vector<uint32_t> gnu, sysv;
  for (SymbolId id : *exports) {
    gnu.push_back(hash_of(id));
    sysv.push_back(SysvHash(program.symbols[id.value].name));
  }
  const uint32_t style = static_cast<uint32_t>(options.hash_style);
  if (style & static_cast<uint32_t>(HashStyle::kGnu)) {
    tables->gnu_hash = EncodeGnuHash(tables->shape, tables->first_defined, gnu, tables->spare_exports);
  }
  if (style & static_cast<uint32_t>(HashStyle::kSysv)) {
    tables->sysv_hash = EncodeSysvHash(tables->shape, tables->first_defined, sysv, tables->spare_exports);
  }
}

template <typename T>
void AppendStruct(std::vector<uint8_t>* out, const T& value) {
  const uint8_t* bytes = reinterpret_cast<const uint8_t*>(&value);
  out->insert(out->end(), bytes, bytes + sizeof(value));
}

bool Bound(const Symbol& symbol) { return symbol.kind == SymbolKind::kShared && !symbol.version.empty(); }

// .gnu.version_d: the file's own name as the base version, then the named nodes of the version script. Returns the
// first number that is free. Numbers follow the script: node i of the named ones has number 2 + i.
uint16_t MakeVerdef(const LinkOptions& options, const Program& program, DynamicTables* tables) {
  std::vector<const VersionNode*> nodes;
  for (const VersionNode& node : program.exports.script.nodes) {
    if (!node.name.empty()) nodes.push_back(&node);
  }
  if (nodes.empty()) return 2;  // 0 is local, 1 global without a version
  const std::string& output = options.output;
  const std::string base = options.soname.empty() ? output.substr(output.rfind('/') + 1) : options.soname;
  for (size_t i = 0; i <= nodes.size(); ++i) {
    std::vector<std::string> names = {i == 0 ? base : nodes[i - 1]->name};
    if (i != 0) names.insert(names.end(), nodes[i - 1]->parents.begin(), nodes[i - 1]->parents.end());
    Elf64_Verdef def{};
    def.vd_version = VER_DEF_CURRENT;
    def.vd_flags = i == 0 ? VER_FLG_BASE : 0;
    def.vd_ndx = static_cast<uint16_t>(i + 1);
    def.vd_cnt = static_cast<uint16_t>(names.size());
    def.vd_hash = SysvHash(names[0]);
    def.vd_aux = sizeof(def);
    def.vd_next = i == nodes.size() ? 0 : static_cast<uint32_t>(sizeof(def) + names.size() * sizeof(Elf64_Verdaux));
    AppendStruct(&tables->verdef, def);
    for (size_t n = 0; n < names.size(); ++n) {
      Elf64_Verdaux aux{};
      aux.vda_name = tables->strings.Add(names[n]);
      aux.vda_next = n + 1 == names.size() ? 0 : sizeof(aux);
      AppendStruct(&tables->verdef, aux);
    }
    ++tables->verdef_count;
  }
  return static_cast<uint16_t>(nodes.size() + 2);
}

using WantedVersions = std::map<uint32_t, std::map<absl::string_view, uint16_t>>;  // library -> version -> number

// .gnu.version_r: the versions of the libraries' symbols that are bound.
void MakeVerneed(const Program& program, const WantedVersions& wanted, DynamicTables* tables) {
  size_t left = wanted.size();
  for (const auto& [library, versions] : wanted) {
    Elf64_Verneed need{};
    need.vn_version = VER_NEED_CURRENT;
    need.vn_cnt = static_cast<uint16_t>(versions.size());
    need.vn_file = tables->strings.Add(program.libraries[library].file->soname);
    need.vn_aux = sizeof(need);
    need.vn_next = --left == 0 ? 0 : static_cast<uint32_t>(sizeof(need) + versions.size() * sizeof(Elf64_Vernaux));
    AppendStruct(&tables->verneed, need);
    size_t aux_left = versions.size();
    for (const auto& [version, number] : versions) {
      Elf64_Vernaux aux{};
      aux.vna_hash = SysvHash(version);
      aux.vna_other = number;
      aux.vna_name = tables->strings.Add(version);
      aux.vna_next = --aux_left == 0 ? 0 : sizeof(aux);
      AppendStruct(&tables->verneed, aux);
    }
    ++tables->verneed_count;
  }
}

// The number of the version that a definition of this image has.
uint16_t OwnVersion(const Program& program, const Symbol& symbol) {
  uint16_t number = VER_NDX_GLOBAL;
  for (const VersionNode& node : program.exports.script.nodes) {
    if (node.name.empty()) continue;
    ++number;
    if (node.name == symbol.version) return symbol.hidden_version ? number | 0x8000 : number;
  }
  return VER_NDX_GLOBAL;
}

void MakeVersions(const LinkOptions& options, const Program& program, DynamicTables* tables) {
  WantedVersions wanted;
  for (SymbolId id : tables->symbols) {
    const Symbol& symbol = program.symbols[id.value];
    if (Bound(symbol)) wanted[symbol.file][symbol.version] = 0;
  }
  uint16_t next = MakeVerdef(options, program, tables);
  if (wanted.empty() && tables->verdef.empty()) return;
  for (auto& [library, versions] : wanted) {
    for (auto& [version, number] : versions) number = next++;
  }
  const uint32_t first = tables->first_row();
  tables->versym.assign(first, VER_NDX_LOCAL);
  tables->versym.resize(first + tables->symbols.size(), VER_NDX_GLOBAL);
  for (size_t i = 0; i < tables->symbols.size(); ++i) {
    const Symbol& symbol = program.symbols[tables->symbols[i].value];
    if (Bound(symbol)) {
      tables->versym[first + i] = wanted[symbol.file][symbol.version];
    } else if (symbol.kind == SymbolKind::kUndefined) {
      tables->versym[first + i] = tables->verdef.empty() ? VER_NDX_GLOBAL : VER_NDX_LOCAL;
    } else if (!symbol.version.empty()) {
      tables->versym[first + i] = OwnVersion(program, symbol);
    }
  }
  tables->versym.resize(tables->versym.size() + tables->spare_exports, VER_NDX_GLOBAL);
  MakeVerneed(program, wanted, tables);
}

// Room for the names and versions of later imports and definitions.
void ReserveNames(const LinkOptions& options, DynamicTables* tables) {
  if (!ReservesImports(options) && tables->spare_exports == 0) return;
  tables->spare_strings = tables->strings.Reserve(std::max<size_t>(tables->strings.bytes().size() / 8, 8192));
  if (tables->verneed.empty()) return;
  tables->spare_verneed = static_cast<uint32_t>(tables->verneed.size());
  tables->verneed.resize(tables->verneed.size() + 16 * sizeof(Elf64_Vernaux));
}

}  // namespace

uint32_t StringTableBuilder::Add(absl::string_view text) {
  if (text.empty()) return 0;
  auto [it, fresh] = offsets_.try_emplace(std::string(text), static_cast<uint32_t>(bytes_.size()));
  if (fresh) {
    bytes_.append(text.data(), text.size());
    bytes_.push_back('\0');
  }
  return it->second;
}

uint32_t StringTableBuilder::Reserve(size_t bytes) {
  const uint32_t begin = static_cast<uint32_t>(bytes_.size());
  bytes_.append(bytes, '\0');
  return begin;
}

DynamicTables BuildDynamicTables(const LinkOptions& options, const Program& program, const Demands& demands,
                                 Cells* cells) {
  DynamicTables tables;
  tables.present = !options.is_static || options.kind != OutputKind::kExecutable;
  if (!tables.present) return tables;
  tables.symbols = ChooseImports(program, demands, *cells);
  std::vector<SymbolId> exports = ChooseExports(program, *cells);
  const uint32_t imports = static_cast<uint32_t>(tables.symbols.size());
  if (ReservesImports(options)) tables.spare_symbols = 32 + imports / 16;
  tables.first_defined = tables.first_row() + imports;
  if (ReservesExports(options)) tables.spare_exports = std::max<uint32_t>(static_cast<uint32_t>(exports.size()) / 8, 64);
  MakeHashes(options, program, &exports, &tables);
  tables.symbols.insert(tables.symbols.end(), exports.begin(), exports.end());
  for (uint32_t i = 0; i < tables.symbols.size(); ++i) {
    cells->Get(tables.symbols[i]).dynsym = tables.first_row() + i;
    tables.names.push_back(tables.strings.Add(program.symbols[tables.symbols[i].value].name));
  }
  for (const Library& library : program.libraries) {
    if (library.needed) tables.needed.push_back(tables.strings.Add(library.file->soname));
  }
  if (!options.soname.empty() && options.kind == OutputKind::kShared) tables.soname = tables.strings.Add(options.soname);
  if (!options.rpaths.empty()) tables.runpath = tables.strings.Add(absl::StrJoin(options.rpaths, ":"));
  MakeVersions(options, program, &tables);
  ReserveNames(options, &tables);
  return tables;
}

}  // namespace kitlink::elf
