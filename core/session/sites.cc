#include "core/session/sites.h"

#include <algorithm>
#include <utility>

namespace kitlink {
namespace {

class SiteGatherer {
 public:
  SiteGatherer(const Memory& memory, const UnitView& unit, absl::FunctionRef<const SymbolMemory&(SymbolId)> symbol)
      : memory_(memory), unit_(unit), object_(unit.object), symbol_(symbol) {
    global_of_.assign(object_.symbols.size(), kNone);
    for (uint32_t g = 0; g < unit.globals.size(); ++g) {
      const GlobalMemory& global = unit.globals[g];
      if (global.symbol.valid() && global.index < global_of_.size()) global_of_[global.index] = g;
    }
  }

  SiteList Run() {
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      atom_ = unit_.atom_of[s];
      if (atom_ >= unit_.atoms.size()) continue;
      switch (unit_.atoms[atom_].state) {
        case AtomMemory::kPlaced:
          if (object_.sections[s].flags & kSecAlloc) GatherLoaded(object_.sections[s]);
          else GatherUnloaded(object_.sections[s]);
          break;
        case AtomMemory::kFrames: GatherFrames(object_.sections[s]); break;
        default: break;  // not in the image, or without relocations
      }
    }
    return SiteList(*memory_.arch, std::move(sites_));
  }

 private:
  static constexpr uint32_t kNone = 0xffffffffu;

  // The name that a field leads to, if it may ever lead elsewhere.
  const SymbolMemory* Target(const Reloc& reloc) const {
    if (reloc.symbol >= global_of_.size() || global_of_[reloc.symbol] == kNone) return nullptr;
    const GlobalMemory& global = unit_.globals[global_of_[reloc.symbol]];
    if (global.owner) return nullptr;
    const SymbolMemory& symbol = symbol_(global.symbol);
    return symbol.kind == SymbolMemory::kShared || symbol.traits.tls ? nullptr : &symbol;
  }

  void GatherLoaded(const InputSection& section) {
    const bool writable = (section.flags & kSecWrite) != 0;
    for (size_t r = 0; r < section.relocs.size();) {
      const Reloc& reloc = section.relocs[r];
      if (reloc.symbol >= object_.symbols.size()) return;  // the file is being rewritten under us
      // Thread-local sequences swallow the call that follows them.
      const uint32_t g = global_of_[reloc.symbol];
      const TargetTraits traits = g == kNone ? LocalTraits(reloc.symbol) : symbol_(unit_.globals[g].symbol).traits;
      const ScanResult scan = memory_.arch->Scan(section.relocs.subspan(r), section.bytes, writable, traits, memory_.output);
      r += std::max<uint16_t>(scan.consumed, 1);
      const SymbolMemory* target = Target(reloc);
      if (target != nullptr && !(scan.needs & kNeedGot) && !target->traits.imported) Add(section, reloc);
    }
  }

  // Debug information speaks of its own object's code and data: where these were discarded, it says so, though another's copy
  // is in the image.
  void GatherUnloaded(const InputSection& section) {
    for (const Reloc& reloc : section.relocs) {
      if (Target(reloc) != nullptr && !Discarded(object_.symbols[reloc.symbol].section)) Add(section, reloc);
    }
  }

  bool Discarded(uint32_t section) const {
    if (section >= object_.sections.size()) return false;
    const uint32_t atom = unit_.atom_of[section];
    return atom >= unit_.atoms.size() || (unit_.atoms[atom].state != AtomMemory::kPlaced && unit_.atoms[atom].state != AtomMemory::kMerged);
  }

  void GatherFrames(const InputSection& section) {
    for (const Reloc& reloc : section.relocs) {
      if (Target(reloc) != nullptr) Add(section, reloc);
    }
  }

  // As far as they decide how many relocations are consumed.
  TargetTraits LocalTraits(uint32_t index) const {
    TargetTraits traits;
    traits.local = index < object_.first_global;
    traits.tls = object_.symbols[index].type == SymbolType::kTls;
    return traits;
  }

  void Add(const InputSection& section, const Reloc& reloc) {
    const RelocInfo info = memory_.arch->Info(reloc.type);
    if (info.form == RelocForm::kNone) return;
    Site site;
    site.global = global_of_[reloc.symbol];
    site.atom = atom_;
    site.offset = reloc.offset;
    site.type = reloc.type;
    site.addend = reloc.addend;
    const size_t lead = std::min<size_t>(info.lead, Site::kMostLead);
    if (reloc.offset >= lead && InBounds(reloc.offset - lead, lead, section.bytes.size())) {
      std::copy_n(section.bytes.begin() + static_cast<ptrdiff_t>(reloc.offset - lead), lead, site.lead.begin());
    }
    sites_.push_back(site);
  }

  const Memory& memory_;
  const UnitView& unit_;
  const ObjectFile& object_;
  const absl::FunctionRef<const SymbolMemory&(SymbolId)> symbol_;
  std::vector<uint32_t> global_of_;  // by symbol of the object: index in globals
  uint32_t atom_ = 0;
  std::vector<Site> sites_;
};

// Whether unwind tables of the unit name the symbol.
bool FramesName(const Memory& memory, const UnitMemory& unit, uint32_t global) {
  bool frames = false;
  unit.sites.ForEach(*memory.arch, global, [&](const Site& site) {
    frames |= unit.atoms[site.atom].state == AtomMemory::kFrames;
  });
  return frames;
}

}  // namespace

SiteList SitesOf(const Memory& memory, const UnitView& unit, absl::FunctionRef<const SymbolMemory&(SymbolId)> symbol) {
  return SiteGatherer(memory, unit, symbol).Run();
}

std::vector<SymbolId> WithoutSites(const Memory& memory, const std::vector<SymbolId>& symbols,
                                   const absl::flat_hash_set<UnitId>& known) {
  std::vector<SymbolId> without;
  for (SymbolId id : symbols) {
    bool all = !memory.symbols[id.value].traits.tls;
    for (UnitId user : memory.site_users.Of(id)) {
      if (!all) break;
      if (known.contains(user)) continue;
      const UnitMemory& unit = memory.units[user.value];
      const GlobalMemory* global = unit.Find(id);
      if (global == nullptr) continue;
      all = unit.captured && !FramesName(memory, unit, static_cast<uint32_t>(global - unit.globals.data()));
    }
    if (!all) without.push_back(id);
  }
  return without;
}

}  // namespace kitlink
