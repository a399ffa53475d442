#include "core/session/ifuncs.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

// So many units may have to be read again to find out whether they need an entry.
constexpr size_t kMostAsked = 64;

class IfuncFinder {
 public:
  IfuncFinder(const Memory& memory, const std::vector<UnitDiff>& diffs) : memory_(memory), diffs_(diffs) {
    for (const UnitDiff& diff : diffs) changed_.insert(diff.unit);
  }

  std::optional<GateRefusal> Run(NameChanges* names) {
    for (const UnitDiff& diff : diffs_) {
      for (const GlobalMemory& global : memory_.units[diff.unit.value].globals) NoteBefore(global);
      for (const GlobalMemory& global : diff.globals) NoteBefore(global);
    }
    NoteChanges(*names);
    if (ifuncs_.empty()) return std::nullopt;
    for (const UnitDiff& diff : diffs_) LookAt(diff);
    GateRefusal refusal;
    for (auto& [id, state] : ifuncs_) {
      if (state.here && !state.needed) state.needed = NeededByOthers(id, &refusal);
    }
    for (const auto& [id, state] : ifuncs_) {
      if (state.needed != memory_.tables->HasIfunc(id)) AskOwner(id, &refusal);
      names->ifuncs.push_back({id, state.needed});
    }
    if (refusal.rewrite.empty() && refusal.reason == GateReason::kNone) return std::nullopt;
    return refusal;
  }

 private:
  struct State {
    bool here = false;    // it is an IFUNC of this image now
    bool needed = false;  // and something in the image needs its entry
  };

  void NoteBefore(const GlobalMemory& global) {
    if (!global.symbol.valid() || global.symbol.value >= memory_.symbols.size()) return;
    const SymbolMemory& symbol = memory_.symbols[global.symbol.value];
    if (symbol.kind == SymbolMemory::kDefined && symbol.traits.ifunc) ifuncs_[global.symbol].here = !symbol.dead;
  }

  void NoteChanges(const NameChanges& names) {
    for (const auto* list : {&names.added, &names.redeclared, &names.woken}) {
      for (const NameChanges::Added& now : *list) {
        const auto diff = std::find_if(diffs_.begin(), diffs_.end(), [&](const UnitDiff& d) { return d.unit == now.unit; });
        const bool ifunc = diff->object->symbols[now.index].type == SymbolType::kIfunc && !now.publicity.preemptible;
        if (ifunc || ifuncs_.contains(now.symbol)) ifuncs_[now.symbol].here = ifunc;
      }
    }
    const auto leaves = [&](SymbolId id) {
      if (const auto it = ifuncs_.find(id); it != ifuncs_.end()) it->second.here = false;
    };
    for (SymbolId id : names.removed) leaves(id);
    for (const NameChanges::Added& dormant : names.dormant) leaves(dormant.symbol);
    for (const NameChanges::Imported& imported : names.imported) leaves(imported.symbol);
  }

  void LookAt(const UnitDiff& diff) {
    const ObjectFile& object = *diff.object;
    std::vector<SymbolId> ids(object.symbols.size());
    bool any = false;
    for (size_t s = object.first_global; s < ids.size(); ++s) {
      ids[s] = GlobalId(memory_, object, static_cast<uint32_t>(s));
      any |= ifuncs_.contains(ids[s]);
    }
    for (uint32_t s = 0; any && s < diff.sections.size(); ++s) {
      const SectionDiff::Fate fate = diff.sections[s].fate;
      const bool loaded = (object.sections[s].flags & kSecAlloc) != 0;
      if (loaded && (fate == SectionDiff::kMatched || fate == SectionDiff::kAdded || fate == SectionDiff::kFrames)) {
        LookAtLoaded(object, object.sections[s], ids);
      }
    }
  }

  void LookAtLoaded(const ObjectFile& object, const InputSection& section, const std::vector<SymbolId>& ids) {
    for (size_t r = 0; r < section.relocs.size();) {
      const Reloc& reloc = section.relocs[r];
      if (reloc.symbol >= ids.size()) return;
      const SymbolId id = ids[reloc.symbol];
      const auto ifunc = ifuncs_.find(id);
      TargetTraits traits;
      if (id.valid() && id.value < memory_.symbols.size()) traits = memory_.symbols[id.value].traits;
      if (ifunc != ifuncs_.end()) {
        traits = {};
        traits.ifunc = traits.function = ifunc->second.here;
      }
      // As far as it decides how many relocations are consumed.
      traits.local = reloc.symbol < object.first_global;
      traits.tls |= object.symbols[reloc.symbol].type == SymbolType::kTls;
      const ScanResult scan =
          memory_.arch->Scan(section.relocs.subspan(r), section.bytes, (section.flags & kSecWrite) != 0, traits, memory_.output);
      r += std::max<uint16_t>(scan.consumed, 1);
      if (ifunc != ifuncs_.end()) ifunc->second.needed |= ifunc->second.here && LastingNeeds(scan.needs) != 0;
    }
  }

  // What units that have not changed say: none of them needs an entry that was not there. Who goes through a cell is not
  // remembered, and has to be looked at.
  bool NeededByOthers(SymbolId id, GateRefusal* refusal) const {
    if (!memory_.tables->HasIfunc(id)) return false;
    std::vector<UnitId> unclear;
    for (UnitId user : memory_.users.Of(id)) {
      const UnitMemory& unit = memory_.units[user.value];
      const GlobalMemory* global = changed_.contains(user) ? nullptr : unit.Find(id);
      if (global == nullptr || unit.gone) continue;
      bool needed = false;
      unit.sites.ForEach(*memory_.arch, static_cast<uint32_t>(global - unit.globals.data()), [&](const Site& site) {
        const AtomMemory& atom = unit.atoms[site.atom];
        needed |= atom.state == AtomMemory::kPlaced && (atom.flags & kSecAlloc) != 0 &&
                  memory_.arch->Info(site.type).form != RelocForm::kSize;
      });
      if (needed) return true;
      unclear.push_back(user);
    }
    if (unclear.size() > kMostAsked) {
      refusal->reason = GateReason::kSymbolKindChanged;
      refusal->detail = absl::StrCat(memory_.names.Name(id), " is an IFUNC, and many refer to it");
      return true;
    }
    Ask(id, unclear, refusal);
    return false;
  }

  // Its definition's rows change with the entry.
  void AskOwner(SymbolId id, GateRefusal* refusal) const {
    const SymbolMemory& symbol = memory_.symbols[id.value];
    if (symbol.kind == SymbolMemory::kDefined && !symbol.dead && !changed_.contains(symbol.owner)) Ask(id, {symbol.owner}, refusal);
  }

  void Ask(SymbolId id, const std::vector<UnitId>& units, GateRefusal* refusal) const {
    if (units.empty()) return;
    if (refusal->reason == GateReason::kNone) {
      refusal->reason = GateReason::kSymbolKindChanged;
      refusal->detail = absl::StrCat(memory_.names.Name(id), " is an IFUNC");
    }
    for (UnitId unit : units) {
      std::vector<UnitId>& list = refusal->rewrite;
      if (std::find(list.begin(), list.end(), unit) == list.end()) list.push_back(unit);
    }
  }

  const Memory& memory_;
  const std::vector<UnitDiff>& diffs_;
  absl::flat_hash_set<UnitId> changed_;
  absl::btree_map<SymbolId, State> ifuncs_;
};

// By how many the rows of IFUNCs get more.
int64_t MoreRows(const GatePass& pass, const Memory& memory) {
  int64_t more = 0;
  for (const NameChanges::Ifunc& ifunc : pass.names().ifuncs) {
    more += static_cast<int64_t>(ifunc.entry) - static_cast<int64_t>(memory.tables->HasIfunc(ifunc.symbol));
  }
  return more;
}

}  // namespace

std::optional<GateRefusal> SettleIfuncs(const Memory& memory, const std::vector<UnitDiff>& diffs, NameChanges* names) {
  return IfuncFinder(memory, diffs).Run(names);
}

std::vector<SymbolId> IfuncsWithOtherAddress(const GatePass& pass, const Memory& memory) {
  const std::vector<SymbolId>& removed = pass.names().removed;
  std::vector<SymbolId> moved;
  for (const NameChanges::Ifunc& ifunc : pass.names().ifuncs) {
    const SymbolMemory& symbol = memory.symbols[ifunc.symbol.value];
    const bool stays = symbol.kind == SymbolMemory::kDefined && !symbol.dead &&
                       std::find(removed.begin(), removed.end(), ifunc.symbol) == removed.end();
    if (stays && ifunc.entry != memory.tables->HasIfunc(ifunc.symbol)) moved.push_back(ifunc.symbol);
  }
  return moved;
}

std::optional<GateRefusal> MoveIfuncEnd(const GatePass& pass, const MoveRules& rules, PlacementState* state) {
  const Memory& memory = state->memory();
  const int64_t bytes = MoreRows(pass, memory) * static_cast<int64_t>(memory.tables->ifunc_row_size());
  const SymbolId end = memory.names.Find("__rela_iplt_end");
  if (bytes == 0 || !end.valid() || memory.symbols[end.value].kind != SymbolMemory::kLinker) return std::nullopt;
  GateRefusal refusal(GateReason::kSymbolKindChanged, "the first IFUNC, or one more, and start-up code asks for the end of their rows");
  if (!rules.republish.contains(end)) {
    refusal.republish.push_back(end);
    return refusal;
  }
  const uint64_t address = memory.symbols[end.value].address + static_cast<uint64_t>(bytes);
  for (uint32_t s = 0; s < memory.sections.size(); ++s) {
    const SectionMemory& section = memory.sections[s];
    if (!section.alloc() || section.size == 0 || address < section.address || address - section.address > section.size) continue;
    state->MoveEnd({end, address, SectionId(s)});
    return std::nullopt;
  }
  return refusal;
}

std::optional<GateRefusal> WriteIfuncs(const GatePass& pass, PlacementState* state, std::vector<Mutation>* mutations) {
  const Memory& memory = state->memory();
  for (const NameChanges::Ifunc& ifunc : pass.names().ifuncs) {
    if (!ifunc.entry) memory.tables->RemoveIfunc(ifunc.symbol, mutations);
  }
  for (const NameChanges::Ifunc& ifunc : pass.names().ifuncs) {
    if (!ifunc.entry) continue;
    SymbolMemory symbol = state->symbol(ifunc.symbol);
    const absl::StatusOr<uint64_t> address = memory.tables->AddIfunc(ifunc.symbol, symbol.body, mutations);
    if (!address.ok()) {
      return GateRefusal{GateReason::kImportSetChanged,
                         absl::StrCat(memory.names.Name(ifunc.symbol), ": ", address.status().message())};
    }
    symbol.address = *address;
    state->SetSymbol(ifunc.symbol, symbol);
  }
  return std::nullopt;
}

}  // namespace kitlink
