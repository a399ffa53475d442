#include "core/session/site_writer.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/session/rows.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

class SiteWriter {
 public:
  SiteWriter(absl::Span<const PlacedUnit> units, const PlacementState& state, HotTables* tables,
             std::vector<Mutation>* mutations, std::vector<Slot>* touched)
      : units_(units), state_(state), memory_(state.memory()), tables_(*tables), mutations_(*mutations), touched_(*touched) {
    for (const PlacedUnit& unit : units) written_.insert(unit.diff->unit);
    for (const auto& [section, layout] : state.rows()) {
      for (const RowLayout::Row& row : layout.rows) {
        if (!row.changed && row.from != row.offset) moved_[{section, row.from}] = row.offset;
      }
    }
  }

  Refusal Run(uint64_t* relocations) {
    // The linker's own names belong to no unit.
    for (SymbolId id : state_.rules().republish) {
      if (Refusal refusal = Follow(id)) return refusal;
    }
    for (const PlacedUnit& unit : units_) {
      for (const GlobalMemory& global : unit.memory.globals) {
        if (!global.owner || !global.symbol.valid() || state_.rules().republish.contains(global.symbol)) continue;
        if (Refusal refusal = Follow(global.symbol)) return refusal;
      }
    }
    *relocations += fields_;
    return std::nullopt;
  }

 private:
  Refusal Follow(SymbolId id) {
    const SymbolMemory& was = memory_.symbols[id.value];
    const SymbolMemory& is = state_.symbol(id);
    const bool published = was.address != is.address || (is.sized && was.size != is.size);
    if (!published && (was.body == is.body || !was.described)) return std::nullopt;
    TargetValue target;
    target.address = is.address;
    target.size = is.size;
    target.traits = is.traits;
    tables_.AddCells(id, &target);
    Refusal failure;
    for (UnitId user : memory_.site_users.Of(id)) {
      const UnitMemory& unit = memory_.units[user.value];
      const GlobalMemory* global = written_.contains(user) ? nullptr : unit.Find(id);
      if (global == nullptr) continue;
      unit.sites.ForEach(*memory_.arch, static_cast<uint32_t>(global - unit.globals.data()), [&](const Site& site) {
        if (!failure) failure = Write(id, unit.atoms[site.atom], site, target, published);
      });
      if (failure) return failure;
    }
    return std::nullopt;
  }

  Refusal Write(SymbolId id, const AtomMemory& atom, const Site& site, const TargetValue& target, bool published) {
    if (atom.state != AtomMemory::kPlaced) {
      if (!published || atom.state != AtomMemory::kFrames) return std::nullopt;
      return Refuse(GateReason::kUnsupportedSection, id, atom, "such rows are not written by themselves");
    }
    if (!memory_.sections[atom.section.value].alloc()) return WriteUnloaded(id, atom, site);
    return published ? WriteLoaded(id, atom, site, target) : std::nullopt;
  }

  Refusal Refuse(GateReason reason, SymbolId id, const AtomMemory& atom, absl::string_view what) const {
    return GateRefusal{reason, absl::StrCat(atom.name, " refers to ", memory_.names.Name(id), ": ", what)};
  }

  Refusal WriteLoaded(SymbolId id, const AtomMemory& atom, const Site& site, const TargetValue& target) {
    const SectionMemory& home = memory_.sections[atom.section.value];
    const RelocInfo info = memory_.arch->Info(site.type);
    // The instruction as it was compiled, or as much of it as relaxation looks at.
    Mutation mutation = Window(home, atom, site, info);
    const Reloc reloc{std::min<uint64_t>(info.lead, Site::kMostLead), site.type, 0, site.addend};
    const absl::Span<const Reloc> relocs(&reloc, 1);
    const bool writable = (atom.flags & kSecWrite) != 0;
    const ScanResult scan = memory_.arch->Scan(relocs, mutation.bytes, writable, target.traits, memory_.output);
    if (scan.error != nullptr) return Refuse(GateReason::kLinkError, id, atom, scan.error);
    const uint64_t word = home.address + PlaceOf(atom) + site.offset;
    if (scan.needs & kNeedRelative) {
      if (!writable) return Refuse(GateReason::kUnsupportedSection, id, atom, "a relocation of read-only memory");
      const absl::Status status = tables_.RewriteWord({word, SymbolId(), target.address + static_cast<uint64_t>(site.addend)});
      if (!status.ok()) return Refuse(GateReason::kUnsupportedSection, id, atom, status.message());
    }
    const ApplyResult result =
        memory_.arch->Apply(relocs, absl::MakeSpan(mutation.bytes), word - reloc.offset, target, memory_.values, memory_.output);
    if (result.error != nullptr) return Refuse(GateReason::kLinkError, id, atom, result.error);
    Keep(atom, std::move(mutation));
    return std::nullopt;
  }

  Refusal WriteUnloaded(SymbolId id, const AtomMemory& atom, const Site& site) {
    const SymbolMemory& symbol = state_.symbol(id);
    const SectionMemory& home = memory_.sections[atom.section.value];
    const RelocInfo info = memory_.arch->Info(site.type);
    Mutation mutation = Window(home, atom, site, info);
    const Reloc reloc{std::min<uint64_t>(info.lead, Site::kMostLead), site.type, 0, site.addend};
    const uint64_t body = symbol.executable && !symbol.traits.ifunc ? symbol.body : symbol.address;
    const ApplyResult result = memory_.arch->ApplyUnloaded(reloc, absl::MakeSpan(mutation.bytes), body, false, memory_.values);
    if (result.error != nullptr) return Refuse(GateReason::kLinkError, id, atom, result.error);
    Keep(atom, std::move(mutation));
    return std::nullopt;
  }

  // Rows of units that have not changed may move in the same plan.
  uint64_t PlaceOf(const AtomMemory& atom) const {
    const auto it = moved_.find({atom.section, atom.offset});
    return it == moved_.end() ? atom.offset : it->second;
  }

  Mutation Window(const SectionMemory& home, const AtomMemory& atom, const Site& site, const RelocInfo& info) const {
    const size_t lead = std::min<size_t>(info.lead, Site::kMostLead);
    Mutation mutation;
    mutation.offset = home.offset + PlaceOf(atom) + site.offset - lead;
    mutation.phase = PatchPhase::kSwitch;
    mutation.bytes.resize(lead + info.width + info.trail);
    std::copy_n(site.lead.begin(), lead, mutation.bytes.begin());
    return mutation;
  }

  void Keep(const AtomMemory& atom, Mutation mutation) {
    mutations_.push_back(std::move(mutation));
    ++fields_;
    if (known_.insert({atom.section, atom.offset}).second) touched_.push_back({atom.section, PlaceOf(atom), atom.capacity});
  }

  const absl::Span<const PlacedUnit> units_;
  const PlacementState& state_;
  const Memory& memory_;
  HotTables& tables_;
  std::vector<Mutation>& mutations_;
  std::vector<Slot>& touched_;
  absl::flat_hash_map<std::pair<SectionId, uint64_t>, uint64_t> moved_;  // rows: from which offset to which
  absl::flat_hash_set<UnitId> written_;  // whole, by others
  absl::flat_hash_set<std::pair<SectionId, uint64_t>> known_;
  uint64_t fields_ = 0;
};

}  // namespace

std::optional<GateRefusal> WriteSites(absl::Span<const PlacedUnit> units, const PlacementState& state, HotTables* tables,
                                      std::vector<Mutation>* mutations, std::vector<Slot>* touched,
                                      uint64_t* relocations) {
  return SiteWriter(units, state, tables, mutations, touched).Run(relocations);
}

}  // namespace kitlink
