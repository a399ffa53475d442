#include "core/session/fixed_imports.h"

#include <algorithm>
#include <string>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

constexpr uint16_t kFixed = kNeedCopy | kNeedCanonicalPlt;

// Calls `each(symbol, needs)` for the references of a unit to imports that need an address in the image.
template <typename Each>
void ForEachFixed(const UnitDiff& diff, const PlacementState& state, Each each) {
  const Memory& memory = state.memory();
  const ObjectFile& object = *diff.object;
  for (uint32_t s = 0; s < object.sections.size(); ++s) {
    const InputSection& section = object.sections[s];
    const SectionDiff::Fate fate = diff.sections[s].fate;
    const bool out = fate == SectionDiff::kDead || fate == SectionDiff::kDiscarded || fate == SectionDiff::kIgnored;
    if (!(section.flags & kSecAlloc) || out) continue;
    for (size_t r = 0; r < section.relocs.size(); ++r) {
      const uint32_t index = section.relocs[r].symbol;
      if (index < object.first_global || index >= object.symbols.size()) continue;
      const SymbolId id = GlobalId(memory, object, index);
      if (!id.valid() || state.symbol(id).kind != SymbolMemory::kShared) continue;
      const ScanResult scan = memory.arch->Scan(section.relocs.subspan(r), section.bytes, (section.flags & kSecWrite) != 0,
                                                state.symbol(id).traits, memory.output);
      if (scan.error == nullptr && (scan.needs & kFixed)) each(id, scan.needs);
    }
  }
}

class FixedPlacer {
 public:
  FixedPlacer(const GatePass& pass, PlacementState* state, std::vector<FixedImport>* fixed)
      : pass_(pass), state_(*state), memory_(state->memory()), fixed_(*fixed) {}

  Refusal Run() {
    Refusal refusal;
    for (const UnitDiff& diff : pass_.units()) {
      changed_.insert(diff.unit);
      ForEachFixed(diff, state_, [&](SymbolId id, uint16_t needs) {
        if (refusal || state_.symbol(id).address != 0 || !known_.insert(id).second) return;
        refusal = Fix(id, (needs & kNeedCopy) != 0);
      });
      if (refusal) return refusal;
    }
    return AskOthers();
  }

 private:
  Refusal Refuse(SymbolId id, absl::string_view what) const {
    return GateRefusal{GateReason::kImportSetChanged, absl::StrCat(memory_.names.Name(id), what)};
  }

  Refusal Fix(SymbolId id, bool copy) {
    if (memory_.options->gate != GatePolicy::kExact) return Refuse(id, " needs an address in the image");
    FixedImport import;
    import.symbol = id;
    import.name = memory_.names.Name(id);
    import.copy = copy;
    if (copy) {
      if (Refusal refusal = PlaceCopy(id, &import)) return refusal;
    }
    fixed_.push_back(import);
    return std::nullopt;
  }

  Refusal PlaceCopy(SymbolId id, FixedImport* import) {
    const auto offer = memory_.library_offers.find(id);
    if (offer == memory_.library_offers.end()) return Refuse(id, " is to be copied, but from where?");
    const CopyShape* shape = memory_.libraries[offer->second.library].ObjectNamed(id);
    if (shape == nullptr) return Refuse(id, " is to be copied, and has other names");
    InputSection section;
    section.name = shape->readonly ? ".bss.rel.ro" : ".bss";
    section.kind = SectionKind::kNobits;
    section.flags = kSecAlloc | kSecWrite;
    const SectionId home = FindHome(memory_, section);
    if (!home.valid() || memory_.sections[home.value].relro != shape->readonly || shape->alignment > kSmallestPage) {
      return Refuse(id, absl::StrCat(" is to be copied, and there is no ", section.name));
    }
    const uint64_t capacity = CapacityIn(memory_.sections[home.value], shape->size);
    const std::optional<Slot> slot = state_.TakeRoom(home, capacity, shape->alignment);
    if (!slot) {
      GateRefusal refusal(GateReason::kSlackExhausted, absl::StrCat(memory_.names.Name(id), ": no room left in ", section.name));
      refusal.grow = home;
      refusal.grow_bytes = capacity + shape->alignment;
      return refusal;
    }
    import->address = memory_.sections[slot->section.value].address + slot->offset;
    import->size = shape->size;
    import->output_section = slot->section.value;
    SymbolMemory symbol = state_.symbol(id);
    symbol.address = symbol.body = import->address;
    symbol.size = shape->size;
    symbol.exported = true;
    state_.SetSymbol(id, symbol);
    return std::nullopt;
  }

  // Debug information that names the symbol had no address for it; no site of an import is remembered.
  Refusal AskOthers() const {
    GateRefusal refusal(GateReason::kImportSetChanged, "others describe what gets an address in the image");
    absl::flat_hash_set<UnitId> asked;
    for (const FixedImport& import : fixed_) {
      for (UnitId user : memory_.users.Of(import.symbol)) {
        if (changed_.contains(user) || asked.contains(user) || !Describes(memory_.units[user.value], import.symbol)) continue;
        asked.insert(user);
        refusal.rewrite.push_back(user);
      }
    }
    if (refusal.rewrite.empty()) return std::nullopt;
    return refusal;
  }

  bool Describes(const UnitMemory& unit, SymbolId id) const {
    const GlobalMemory* global = unit.Find(id);
    if (global == nullptr) return false;
    if (memory_.options->gc_sections) return global->unloaded;
    return std::any_of(unit.atoms.begin(), unit.atoms.end(), [&](const AtomMemory& atom) {
      return atom.state == AtomMemory::kPlaced && !memory_.sections[atom.section.value].alloc();
    });
  }

  const GatePass& pass_;
  PlacementState& state_;
  const Memory& memory_;
  std::vector<FixedImport>& fixed_;
  absl::flat_hash_set<UnitId> changed_;
  absl::flat_hash_set<SymbolId> known_;
};

}  // namespace

Refusal PlaceFixedImports(const GatePass& pass, PlacementState* state, std::vector<FixedImport>* fixed) {
  return FixedPlacer(pass, state, fixed).Run();
}

Refusal WriteFixedImports(const std::vector<FixedImport>& fixed, PlacementState* state, std::vector<Mutation>* mutations) {
  HotTables& tables = *state->memory().tables;
  for (const FixedImport& import : fixed) {
    if (absl::Status status = tables.FixImport(import, mutations); !status.ok()) {
      return GateRefusal{GateReason::kImportSetChanged, absl::StrCat(import.name, ": ", status.message())};
    }
    if (import.copy) continue;
    TargetValue value;
    tables.AddCells(import.symbol, &value);
    SymbolMemory symbol = state->symbol(import.symbol);
    symbol.address = symbol.body = value.plt;
    state->SetSymbol(import.symbol, symbol);
  }
  return std::nullopt;
}

void NoteFixedImports(const PlacementState& state, const std::vector<FixedImport>& fixed, std::vector<PlacedUnit>* units) {
  if (fixed.empty()) return;
  absl::flat_hash_set<SymbolId> wanted;
  for (const FixedImport& import : fixed) wanted.insert(import.symbol);
  for (PlacedUnit& unit : *units) {
    std::vector<GlobalMemory>& globals = unit.memory.globals;
    ForEachFixed(*unit.diff, state, [&](SymbolId id, uint16_t) {
      if (!wanted.contains(id)) return;
      const auto it = std::lower_bound(globals.begin(), globals.end(), id,
                                       [](const GlobalMemory& g, SymbolId symbol) { return g.symbol < symbol; });
      if (it != globals.end() && it->symbol == id) it->copied = true;
    });
  }
}

void AdoptCopies(const std::vector<SymbolId>& copies, Memory* memory) {
  for (SymbolId id : copies) {
    LibraryMemory& library = memory->libraries[memory->library_offers.at(id).library];
    library.copies.push_back({id, library.ObjectNamed(id)->digest});
  }
}

}  // namespace kitlink
