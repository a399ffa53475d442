#include "core/session/import_needs.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

class NeedFinder {
 public:
  NeedFinder(const Memory& memory, const std::vector<UnitDiff>& diffs) : memory_(memory), diffs_(diffs) {
    for (const UnitDiff& diff : diffs) changed_.insert(diff.unit);
  }

  std::optional<GateRefusal> Run(NameChanges* names) {
    for (const NameChanges::Imported& import : names->imported) {
      if (IsNew(import, *names)) Expect(import);
    }
    if (pending_.empty()) return std::nullopt;
    for (const UnitDiff& diff : diffs_) LookAt(diff);
    for (NameChanges::Imported& import : names->imported) {
      if (!pending_.contains(import.symbol)) continue;
      if (!memory_.options->gc_sections) {
        return GateRefusal{GateReason::kImportSetChanged, absl::StrCat(memory_.names.Name(import.symbol), " is not needed at run time")};
      }
      import.dormant = true;
    }
    return std::nullopt;
  }

 private:
  // True of names that nobody has looked up so far. Units that have to be written anew first may need them.
  bool IsNew(const NameChanges::Imported& import, const NameChanges& names) const {
    if (import.dormant || (import.open && !memory_.output.shared) || memory_.tables->Imports(import.symbol)) return false;
    if (std::find(names.rebound.begin(), names.rebound.end(), import.symbol) == names.rebound.end()) return true;
    const std::vector<UnitId> users = memory_.users.Of(import.symbol);
    return std::all_of(users.begin(), users.end(), [&](UnitId user) {
      return changed_.contains(user) || memory_.units[user.value].Find(import.symbol) == nullptr;
    });
  }

  // What it will be to those who refer to it.
  void Expect(const NameChanges::Imported& import) {
    TargetTraits traits;
    traits.imported = traits.function = true;
    if (!import.open) {
      const LibraryOffer& offer = memory_.library_offers.at(import.symbol);
      traits.tls = offer.type == SymbolType::kTls;
      traits.function = offer.function;
    }
    pending_.emplace(import.symbol, traits);
  }

  void LookAt(const UnitDiff& diff) {
    const ObjectFile& object = *diff.object;
    std::vector<SymbolId> ids(object.symbols.size());
    for (size_t s = object.first_global; s < ids.size(); ++s) ids[s] = GlobalId(memory_, object, static_cast<uint32_t>(s));
    for (uint32_t s = 0; s < diff.sections.size(); ++s) {
      const InputSection& section = object.sections[s];
      if (!(section.flags & kSecAlloc)) continue;
      switch (diff.sections[s].fate) {
        case SectionDiff::kMatched:
        case SectionDiff::kAdded: LookAtLoaded(object, section, ids); break;
        case SectionDiff::kFrames:
          for (const Reloc& reloc : section.relocs) {
            if (reloc.symbol < ids.size()) pending_.erase(ids[reloc.symbol]);
          }
          break;
        default: break;  // not in the image, or without relocations
      }
    }
  }

  void LookAtLoaded(const ObjectFile& object, const InputSection& section, const std::vector<SymbolId>& ids) {
    for (size_t r = 0; r < section.relocs.size();) {
      const Reloc& reloc = section.relocs[r];
      if (reloc.symbol >= ids.size()) return;
      const SymbolId id = ids[reloc.symbol];
      const auto pending = pending_.find(id);
      const TargetTraits traits = pending != pending_.end() ? pending->second : TraitsOf(object, reloc.symbol, id);
      const ScanResult scan =
          memory_.arch->Scan(section.relocs.subspan(r), section.bytes, (section.flags & kSecWrite) != 0, traits, memory_.output);
      r += std::max<uint16_t>(scan.consumed, 1);
      if (pending != pending_.end() && LastingNeeds(scan.needs) != 0) pending_.erase(pending);
    }
  }

  // As far as they decide how many relocations are consumed.
  TargetTraits TraitsOf(const ObjectFile& object, uint32_t index, SymbolId id) const {
    TargetTraits traits;
    if (id.valid() && id.value < memory_.symbols.size()) traits = memory_.symbols[id.value].traits;
    traits.local = index < object.first_global;
    traits.tls |= object.symbols[index].type == SymbolType::kTls;
    return traits;
  }

  const Memory& memory_;
  const std::vector<UnitDiff>& diffs_;
  absl::flat_hash_set<UnitId> changed_;
  absl::flat_hash_map<SymbolId, TargetTraits> pending_;  // that nobody was found to need
};

}  // namespace

std::optional<GateRefusal> SettleImportNeeds(const Memory& memory, const std::vector<UnitDiff>& diffs, NameChanges* names) {
  return NeedFinder(memory, diffs).Run(names);
}

}  // namespace kitlink
