#include "core/symbols/resolve.h"

#include <algorithm>
#include <atomic>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/parallel.h"
#include "core/dwarf/link_messages.h"
#include "core/symbols/exports.h"
#include "core/symbols/linker_symbols.h"
#include "core/symbols/pull.h"

namespace kitlink {
namespace {

// A claim on a name, smaller is better: rank of the definition, then the unit, then the symbol's index.
constexpr uint64_t kNoClaim = ~uint64_t{0};
enum Rank : uint64_t { kStrong = 0, kCommonRank = 1, kWeak = 2 };

uint64_t Claim(Rank rank, uint32_t unit, uint32_t symbol) {
  return (uint64_t{rank} << 60) | (uint64_t{unit} << 32) | symbol;
}
Rank RankOf(uint64_t claim) { return static_cast<Rank>(claim >> 60); }
uint32_t UnitOf(uint64_t claim) { return static_cast<uint32_t>(claim >> 32) & 0x0fffffff; }

Rank RankOf(const InputSymbol& symbol) {
  if (symbol.common()) return kCommonRank;
  return symbol.binding == SymbolBinding::kWeak ? kWeak : kStrong;
}

// What references say of a name; gathered with atomic ORs.
enum RefBit : uint8_t { kUsed = 1, kStrongly = 2, kProtectedRef = 4, kHiddenRef = 8, kInternalRef = 16 };

uint8_t VisibilityBit(Visibility visibility) {
  switch (visibility) {
    case Visibility::kDefault: return 0;
    case Visibility::kProtected: return kProtectedRef;
    case Visibility::kHidden: return kHiddenRef;
    case Visibility::kInternal: return kInternalRef;
  }
  return 0;
}

Visibility VisibilityOf(uint8_t bits) {
  if (bits & kInternalRef) return Visibility::kInternal;
  if (bits & kHiddenRef) return Visibility::kHidden;
  if (bits & kProtectedRef) return Visibility::kProtected;
  return Visibility::kDefault;
}

class Resolver {
 public:
  Resolver(const LinkOptions& options, Program* program, Diagnostics& diagnostics)
      : options_(options), program_(*program), diagnostics_(diagnostics) {}

  void Run(Pulled pulled) {
    MakeUnits(&pulled);
    DecideGroups();
    StakeClaims();
    GatherReferences();
    DefineSymbols();
    NameVersions();
    BindLibraries(pulled);
    BindVersionedReferences();
    ReportDuplicates();
    AllocateCommons();
    DefineLinkerSymbols(options_, &program_, diagnostics_);
    DecideBinding(options_, &program_, diagnostics_);
    CheckLibraries();
    CheckEntry();
    if (options_.z_ibt) {
      diagnostics_.Warning("-z ibt: PLT entries have no landing pads, so the output is not marked for branch tracking");
    }
  }

 private:
  void MakeUnits(Pulled* pulled) {
    uint32_t next_atom = 0;
    program_.units.reserve(pulled->objects.size() + 2);
    for (PulledObject& object : pulled->objects) {
      Unit unit;
      unit.object = std::move(object.object);
      unit.globals = std::move(object.globals);
      unit.rank = object.rank;
      unit.lazy = object.lazy;
      unit.first_atom = next_atom;
      next_atom += static_cast<uint32_t>(unit.object->sections.size());
      signatures_.push_back(std::move(object.group_signatures));
      program_.units.push_back(std::move(unit));
    }
    program_.atoms.resize(next_atom);
    ParallelFor(program_.units.size(), 16, [&](size_t u) {
      const Unit& unit = program_.units[u];
      for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
        Atom& atom = program_.atoms[unit.first_atom + s];
        const InputSection& section = unit.object->sections[s];
        atom.unit = UnitId(static_cast<uint32_t>(u));
        atom.section = s;
        if (section.kind != SectionKind::kNone && (section.flags & kSecExclude) == 0) atom.state = Atom::kLive;
      }
    });
    const uint32_t capacity = program_.names.capacity();
    program_.symbols.resize(capacity);
    claims_ = std::vector<std::atomic<uint64_t>>(capacity);
    references_ = std::vector<std::atomic<uint8_t>>(capacity);
    ParallelFor(capacity, 1 << 14, [&](size_t i) { claims_[i].store(kNoClaim, std::memory_order_relaxed); });
  }

  // The first unit that has a COMDAT group keeps it; the members of all others are discarded.
  void DecideGroups() {
    std::vector<uint32_t> owner(program_.symbols.size(), Id<void>::kNone);
    for (uint32_t u = 0; u < program_.units.size(); ++u) {
      for (SymbolId id : signatures_[u]) {
        if (id.valid() && owner[id.value] == Id<void>::kNone) owner[id.value] = u;
      }
    }
    ParallelFor(program_.units.size(), 16, [&](size_t u) {
      const Unit& unit = program_.units[u];
      for (size_t g = 0; g < signatures_[u].size(); ++g) {
        const SymbolId id = signatures_[u][g];
        if (!id.valid() || owner[id.value] == u) continue;
        for (uint32_t member : unit.object->groups[g].members) {
          Atom& atom = program_.atoms[unit.first_atom + member];
          if (atom.state == Atom::kLive) atom.state = Atom::kDiscarded;
        }
      }
    });
  }

  // True when `symbol` is a definition that counts.
  bool Defines(const Unit& unit, const InputSymbol& symbol) const {
    if (symbol.undefined()) return false;
    if (symbol.section >= kSectionCommon) return true;
    return program_.atoms[unit.first_atom + symbol.section].state == Atom::kLive ||
           unit.object->sections[symbol.section].kind == SectionKind::kNone;
  }

  void StakeClaims() {
    ParallelFor(program_.units.size(), 8, [&](size_t u) {
      const Unit& unit = program_.units[u];
      const ObjectFile& object = *unit.object;
      for (uint32_t g = 0; g < unit.globals.size(); ++g) {
        const InputSymbol& symbol = object.symbols[object.first_global + g];
        if (!Defines(unit, symbol)) continue;
        const uint64_t claim = Claim(RankOf(symbol), static_cast<uint32_t>(u), object.first_global + g);
        std::atomic<uint64_t>& best = claims_[unit.globals[g].value];
        uint64_t seen = best.load(std::memory_order_relaxed);
        while (claim < seen && !best.compare_exchange_weak(seen, claim, std::memory_order_relaxed)) {
        }
      }
    });
  }

  void GatherReferences() {
    ParallelFor(program_.units.size(), 8, [&](size_t u) {
      const Unit& unit = program_.units[u];
      const ObjectFile& object = *unit.object;
      for (uint32_t g = 0; g < unit.globals.size(); ++g) {
        const InputSymbol& symbol = object.symbols[object.first_global + g];
        uint8_t bits = kUsed | VisibilityBit(symbol.visibility);
        if (!Defines(unit, symbol) && symbol.binding != SymbolBinding::kWeak) bits |= kStrongly;
        std::atomic<uint8_t>& all = references_[unit.globals[g].value];
        if ((all.load(std::memory_order_relaxed) & bits) != bits) all.fetch_or(bits, std::memory_order_relaxed);
      }
    });
  }

  void DefineSymbols() {
    ParallelFor(program_.symbols.size(), 1 << 13, [&](size_t i) {
      const uint8_t bits = references_[i].load(std::memory_order_relaxed);
      Symbol& symbol = program_.symbols[i];
      if (bits == 0) return;
      symbol.name = program_.names.Name(SymbolId(static_cast<uint32_t>(i)));
      symbol.used = true;
      symbol.strongly_referenced = (bits & kStrongly) != 0;
      symbol.visibility = VisibilityOf(bits);
      symbol.binding = symbol.strongly_referenced ? SymbolBinding::kGlobal : SymbolBinding::kWeak;
      const uint64_t claim = claims_[i].load(std::memory_order_relaxed);
      if (claim == kNoClaim) return;
      const Unit& unit = program_.units[UnitOf(claim)];
      const InputSymbol& definition = unit.object->symbols[static_cast<uint32_t>(claim)];
      symbol.kind = definition.section == kSectionAbsolute ? SymbolKind::kAbsolute : SymbolKind::kDefined;
      symbol.binding = definition.binding;
      symbol.type = definition.type;
      symbol.file = UnitOf(claim);
      symbol.index = static_cast<uint32_t>(claim);
      symbol.value = definition.value;
      symbol.size = definition.size;
      if (definition.section < kSectionCommon) symbol.atom = AtomId(unit.first_atom + definition.section);
    });
  }

  // Definitions that .symver made: "name@@VERSION" is interned as "name", "name@VERSION" as what it is.
  void NameVersions() {
    ParallelFor(program_.units.size(), 16, [&](size_t u) {
      const Unit& unit = program_.units[u];
      for (uint32_t g = 0; g < unit.globals.size(); ++g) {
        const absl::string_view name = unit.object->symbols[unit.object->first_global + g].name;
        const size_t at = name.find('@');
        if (at == absl::string_view::npos) continue;
        Symbol& symbol = program_.symbols[unit.globals[g].value];
        const bool defined = symbol.kind == SymbolKind::kDefined || symbol.kind == SymbolKind::kAbsolute;
        if (!defined || symbol.file != u) continue;
        symbol.hidden_version = !absl::StartsWith(name.substr(at), "@@");
        symbol.version = name.substr(at + (symbol.hidden_version ? 1 : 2));
        symbol.name = name.substr(0, at);
      }
    });
  }

  void BindLibraries(Pulled& pulled) {
    std::vector<std::pair<uint32_t, uint32_t>> best(program_.symbols.size(), {Id<void>::kNone, 0});
    for (uint32_t l = 0; l < pulled.libraries.size(); ++l) {
      const std::vector<SymbolId>& defined = pulled.libraries[l].defined;
      for (uint32_t s = 0; s < defined.size(); ++s) {
        if (!defined[s].valid()) continue;
        Symbol& symbol = program_.symbols[defined[s].value];
        if (!symbol.used) continue;
        if (symbol.visibility >= Visibility::kHidden) continue;  // must be defined here
        symbol.shared_reference = true;
        if (symbol.kind == SymbolKind::kUndefined && best[defined[s].value].first == Id<void>::kNone) {
          best[defined[s].value] = {l, s};
        }
      }
    }
    for (PulledLibrary& library : pulled.libraries) {
      program_.libraries.push_back({std::move(library.file), library.as_needed, !library.as_needed});
    }
    for (size_t i = 0; i < best.size(); ++i) {
      if (best[i].first != Id<void>::kNone && program_.symbols[i].strongly_referenced) {
        program_.libraries[best[i].first].needed = true;
      }
    }
    NeedForLibraries(pulled);
    for (size_t i = 0; i < best.size(); ++i) {
      if (best[i].first == Id<void>::kNone || !program_.libraries[best[i].first].needed) continue;
      BindShared(&program_.symbols[i], best[i].first, best[i].second);
    }
    for (const Library& library : program_.libraries) {
      for (absl::string_view name : library.file->undefined) {
        const SymbolId id = program_.names.Find(name);
        if (id.valid()) program_.symbols[id.value].shared_reference = true;
      }
    }
  }

  // A library under --as-needed is needed, too, by a needed library that does not name it as a dependency of its own.
  void NeedForLibraries(const Pulled& pulled) {
    std::vector<uint32_t> spare;
    for (uint32_t l = 0; l < program_.libraries.size(); ++l) {
      if (!program_.libraries[l].needed) spare.push_back(l);
    }
    for (bool again = !spare.empty(); again;) {
      again = false;
      absl::flat_hash_set<SymbolId> wanted;
      for (const Library& library : program_.libraries) {
        if (!library.needed || !library.file->needed.empty()) continue;
        for (absl::string_view name : library.file->undefined_strong) {
          const SymbolId id = program_.names.Find(name);
          if (id.valid() && program_.symbols[id.value].kind == SymbolKind::kUndefined) wanted.insert(id);
        }
      }
      for (uint32_t l = 0; l < program_.libraries.size(); ++l) {
        if (!program_.libraries[l].needed) continue;
        for (SymbolId id : pulled.libraries[l].defined) wanted.erase(id);
      }
      for (uint32_t l : spare) {
        const std::vector<SymbolId>& defined = pulled.libraries[l].defined;
        if (program_.libraries[l].needed || wanted.empty()) continue;
        if (std::none_of(defined.begin(), defined.end(), [&](SymbolId id) { return wanted.contains(id); })) continue;
        program_.libraries[l].needed = again = true;
        break;
      }
    }
  }

  // --no-allow-shlib-undefined: what a library leaves open must be defined by something on the command line. A library
  // whose own dependencies are not all here may find it there.
  void CheckLibraries() {
    if (options_.allow_shlib_undefined) return;
    absl::flat_hash_set<absl::string_view> present, provided;
    for (const Library& library : program_.libraries) {
      present.insert(library.file->soname);
      for (const SharedSymbol& symbol : library.file->defined) provided.insert(symbol.name);
    }
    for (const Library& library : program_.libraries) {
      const std::vector<std::string>& needed = library.file->needed;
      if (!library.needed) continue;
      const bool whole = std::all_of(needed.begin(), needed.end(), [&](const auto& n) { return present.contains(n); });
      if (!whole) continue;
      for (absl::string_view name : library.file->undefined_strong) {
        const SymbolId id = program_.names.Find(name);
        const bool here = id.valid() && program_.symbols[id.value].kind != SymbolKind::kUndefined &&
                          program_.symbols[id.value].visibility < Visibility::kHidden;
        if (!here && !provided.contains(name)) {
          diagnostics_.Error(absl::StrCat("undefined symbol: ", name, "\n>>> referenced by ", library.file->path));
        }
      }
    }
  }

  // A program that starts nowhere is linked all the same: it may be meant for something else than running.
  void CheckEntry() {
    if (options_.kind == OutputKind::kShared && options_.entry.empty()) return;
    const std::string name = options_.entry.empty() ? "_start" : options_.entry;
    const SymbolId id = program_.names.Find(name);
    uint64_t address = 0;
    if (absl::SimpleAtoi(name, &address) || absl::SimpleHexAtoi(name, &address)) return;
    if (id.valid() && program_.symbols[id.value].kind != SymbolKind::kUndefined) return;
    diagnostics_.Warning(absl::StrCat("cannot find entry symbol ", name, "; the entry is the start of .text"));
  }

  void BindShared(Symbol* symbol, uint32_t library, uint32_t index) {
    const SharedSymbol& shared = program_.libraries[library].file->defined[index];
    symbol->kind = SymbolKind::kShared;
    symbol->file = library;
    symbol->index = index;
    symbol->type = shared.type;
    symbol->size = shared.size;
    symbol->version = shared.version;
    symbol->binding = symbol->strongly_referenced ? SymbolBinding::kGlobal : SymbolBinding::kWeak;
  }

  // References that .symver made: "name@VERSION" means that very version of a shared library's symbol.
  void BindVersionedReferences() {
    for (Symbol& symbol : program_.symbols) {
      if (!symbol.used || symbol.kind != SymbolKind::kUndefined) continue;
      const size_t at = symbol.name.find('@');
      if (at == absl::string_view::npos) continue;
      const absl::string_view name = symbol.name.substr(0, at);
      absl::string_view version = symbol.name.substr(at + 1);
      while (absl::ConsumePrefix(&version, "@")) {
      }
      for (uint32_t l = 0; l < program_.libraries.size() && symbol.kind == SymbolKind::kUndefined; ++l) {
        const SharedFile& file = *program_.libraries[l].file;
        for (uint32_t s = 0; s < file.defined.size(); ++s) {
          if (file.defined[s].name != name || file.defined[s].version != version) continue;
          if (symbol.strongly_referenced) program_.libraries[l].needed = true;
          if (!program_.libraries[l].needed) continue;
          BindShared(&symbol, l, s);
          break;
        }
      }
      if (symbol.kind == SymbolKind::kShared) {
        symbol.name = name;
        symbol.hidden_version = true;
      }
    }
  }

  void ReportDuplicates() {
    if (options_.allow_multiple_definition) return;
    std::vector<std::vector<std::string>> found(program_.units.size());
    ParallelFor(program_.units.size(), 16, [&](size_t u) {
      const Unit& unit = program_.units[u];
      const ObjectFile& object = *unit.object;
      for (uint32_t g = 0; g < unit.globals.size(); ++g) {
        const InputSymbol& symbol = object.symbols[object.first_global + g];
        if (!Defines(unit, symbol) || RankOf(symbol) != kStrong) continue;
        const uint64_t claim = claims_[unit.globals[g].value].load(std::memory_order_relaxed);
        if (UnitOf(claim) == u || RankOf(claim) != kStrong) continue;
        if (symbol.binding == SymbolBinding::kUnique) continue;
        const ObjectFile& winner = *program_.units[UnitOf(claim)].object;
        const InputSymbol& first = winner.symbols[static_cast<uint32_t>(claim)];
        const dwarf::SymbolUse both[] = {{&winner, first.section, first.value},
                                         {&object, symbol.section, symbol.value}};
        found[u].push_back(dwarf::DuplicateSymbolText(symbol.name, both));
      }
    });
    for (const std::vector<std::string>& list : found) {
      for (const std::string& text : list) diagnostics_.Error(text);
    }
  }

  // COMMON symbols that won become sections of a unit of our own, each as large as the largest of its name.
  void AllocateCommons() {
    std::vector<std::pair<uint32_t, uint64_t>> commons;  // (symbol, alignment), in order of the winners
    for (uint32_t i = 0; i < program_.symbols.size(); ++i) {
      const uint64_t claim = claims_[i].load(std::memory_order_relaxed);
      if (claim != kNoClaim && RankOf(claim) == kCommonRank) commons.push_back({i, 1});
    }
    if (commons.empty()) return;
    std::sort(commons.begin(), commons.end(), [&](const auto& a, const auto& b) {
      return claims_[a.first].load(std::memory_order_relaxed) < claims_[b.first].load(std::memory_order_relaxed);
    });
    absl::flat_hash_map<uint32_t, size_t> index;
    for (size_t c = 0; c < commons.size(); ++c) index[commons[c].first] = c;
    for (const Unit& unit : program_.units) {
      for (uint32_t g = 0; g < unit.globals.size(); ++g) {
        const InputSymbol& symbol = unit.object->symbols[unit.object->first_global + g];
        if (!symbol.common()) continue;
        auto it = index.find(unit.globals[g].value);
        if (it == index.end()) continue;
        commons[it->second].second = std::max(commons[it->second].second, symbol.value);
        Symbol& winner = program_.symbols[unit.globals[g].value];
        winner.size = std::max(winner.size, symbol.size);
      }
    }
    SyntheticUnit pieces("<common symbols>");
    for (const auto& [id, alignment] : commons) {
      Symbol& symbol = program_.symbols[id];
      const bool tls = symbol.type == SymbolType::kTls;
      InputSection section;
      section.name = tls ? ".tbss" : "COMMON";
      section.kind = SectionKind::kNobits;
      section.flags = kSecAlloc | kSecWrite | (tls ? uint32_t{kSecTls} : 0);
      section.alignment = static_cast<uint32_t>(std::max<uint64_t>(alignment, 1));
      section.size = symbol.size;
      symbol.atom = pieces.Add(program_, section);
      symbol.value = 0;
      if (symbol.type == SymbolType::kCommon) symbol.type = SymbolType::kObject;
    }
    pieces.AddTo(&program_);
  }

  const LinkOptions& options_;
  Program& program_;
  Diagnostics& diagnostics_;
  std::vector<std::vector<SymbolId>> signatures_;  // by UnitId, for its groups
  std::vector<std::atomic<uint64_t>> claims_;      // by SymbolId
  std::vector<std::atomic<uint8_t>> references_;   // by SymbolId, RefBits
};

}  // namespace

absl::StatusOr<Program> Resolve(const LinkOptions& options, Inputs inputs, ExportRules exports,
                                Diagnostics& diagnostics) {
  Program program;
  program.exports = std::move(exports);
  absl::StatusOr<Pulled> pulled = PullObjects(options, inputs, program.names, diagnostics);
  if (!pulled.ok()) return pulled.status();
  program.archives = std::move(inputs.archives);
  program.opened = std::move(inputs.opened);
  program.bytes_read = inputs.bytes_read;
  program.offered = std::move(pulled->offered);
  // Names that only the linker knows must have ids before the tables are sized.
  for (const auto& [name, expression] : options.defsym) program.names.Intern(name);
  Resolver(options, &program, diagnostics).Run(*std::move(pulled));
  if (diagnostics.has_errors()) return diagnostics.ToStatus();
  return program;
}

}  // namespace kitlink
