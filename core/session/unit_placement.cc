#include "core/session/unit_placement.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "core/layout/assign.h"
#include "core/layout/slack.h"
#include "core/symbols/merge.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

// So many units that refer to a section's functions otherwise than through cells are no more trouble than islands. More
// would make a patch cost what the functions' popularity is, and again each time that the section changes.
constexpr size_t kFewReferrers = 32;

// One of the unit's own global definitions.
struct OwnSymbol {
  SymbolId id;
  uint32_t section = 0;
  uint64_t value = 0;
  uint64_t size = 0;
  bool label = false;  // a place in the section, not an entry: somebody may count from it
};

bool Inside(uint64_t address, uint64_t begin, uint64_t size) { return address >= begin && address - begin < size; }

class UnitPlacer {
 public:
  UnitPlacer(const UnitDiff& diff, PlacementState* state, PlacedUnit* placed, std::vector<Mutation>* mutations)
      : diff_(diff), object_(*diff.object), state_(*state), memory_(state->memory()),
        old_(memory_.units[diff.unit.value]), placed_(*placed), mutations_(*mutations) {}

  Refusal Run() {
    placed_.diff = &diff_;
    placed_.sections.resize(object_.sections.size());
    placed_.slots.resize(object_.sections.size());
    placed_.pieces.resize(object_.sections.size());
    CopyUnit();
    FindOwnSymbols();
    // First everything that stays or goes, so that what is new can use the room of what has gone.
    if (Refusal refusal = DecideAllMatched()) return refusal;
    for (uint32_t atom : diff_.removed) {
      if (!state_.LaidOut(old_.atoms[atom].section)) Vacate(old_.atoms[atom]);
      ++placed_.atoms.removed;
    }
    if (Refusal refusal = MakeIslands()) return refusal;
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      if (Refusal refusal = PlaceSection(s)) return refusal;
    }
    if (Refusal refusal = DefineSymbols()) return refusal;
    if (Refusal refusal = CheckSharedEntries()) return refusal;
    if (Refusal refusal = CheckAliases()) return refusal;
    if (Refusal refusal = NoteInteriorReferences()) return refusal;
    RememberAtoms();
    return std::nullopt;
  }

 private:
  void CopyUnit() {
    UnitMemory& unit = placed_.memory;
    unit.file = old_.file;
    unit.member = old_.member;
    unit.ordinal = old_.ordinal;
    unit.rank = old_.rank;
    if (!unit.member.empty() && !diff_.leaves) unit.content = DigestQuickly(object_.image);
    unit.gone = diff_.leaves;
    unit.captured = !diff_.leaves;
    unit.traits = object_.traits;
    unit.globals = diff_.globals;
    unit.kept_groups = diff_.kept_and_lost.kept;
    unit.lost_groups = diff_.kept_and_lost.lost;
    unit.local_cells = old_.local_cells;
    unit.static_tls = old_.gone ? memory_.output.shared && UsesStaticTls(*memory_.arch, object_, memory_.output, [](uint32_t) { return true; })
                                : old_.static_tls;
    unit.lazy = old_.lazy;
    for (const IslandMemory& old : old_.islands) {
      IslandMemory island = old;
      std::erase_if(island.symbols, [&](SymbolId id) {
        return state_.symbol(id).kind == SymbolMemory::kNone || state_.symbol(id).dead || state_.free(id);
      });
      if (island.symbols.empty()) {  // nobody jumps here any more
        placed_.vacated.push_back({island.section, island.offset, island.capacity});
      } else {
        unit.islands.push_back(std::move(island));
      }
    }
  }

  void FindOwnSymbols() {
    own_.resize(object_.sections.size());
    for (uint32_t i = object_.first_global; i < object_.symbols.size(); ++i) {
      const InputSymbol& symbol = object_.symbols[i];
      if (symbol.section >= object_.sections.size()) continue;
      const SymbolId id = GlobalId(memory_, object_, i);
      const GlobalMemory* global = FindGlobal(diff_.globals, id);
      if (global == nullptr || !global->owner) continue;
      const bool label = symbol.type == SymbolType::kNone && symbol.value != 0;
      own_[symbol.section].push_back({id, symbol.section, symbol.value, symbol.size, label});
    }
  }

  const SectionMemory& Home(SectionId id) const { return memory_.sections[id.value]; }
  uint64_t AddressOf(SectionId section, uint64_t offset) const { return Home(section).address + offset; }

  Refusal Refuse(GateReason reason, uint32_t s, absl::string_view what) const {
    return GateRefusal{reason, absl::StrCat(object_.DisplayName(), ":(", object_.sections[s].name, ")", what)};
  }

  // True when the section fits into its slot as it stands.
  bool Fits(const InputSection& section, const AtomMemory& atom, const SectionMemory& home) const {
    if (section.size > atom.capacity) return false;
    if ((home.address + atom.offset) % std::max<uint32_t>(section.alignment, 1) != 0) return false;
    const uint64_t hole = atom.capacity - section.size;
    return home.min_hole == 0 || hole == 0 || hole >= home.min_hole;
  }

  // True when every entry that was published in the slot would still be where it was.
  bool EntriesStay(uint32_t s, const AtomMemory& atom, const SectionMemory& home) const {
    const uint64_t begin = home.address + atom.offset;
    for (const OwnSymbol& own : own_[s]) {
      const SymbolMemory& symbol = state_.symbol(own.id);
      if (symbol.traits.ifunc || state_.free(own.id)) continue;
      if (Inside(symbol.address, begin, std::max<uint64_t>(atom.capacity, 1)) && symbol.address != begin + own.value) return false;
    }
    return true;
  }

  // What would have to be republished is gathered, so that it is asked for once.
  Refusal DecideAllMatched() {
    Refusal gathered;
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      if (diff_.sections[s].fate != SectionDiff::kMatched) continue;
      Refusal refusal = DecideMatched(s);
      if (!refusal) continue;
      if (refusal->republish.empty()) return refusal;
      if (gathered) gathered->Join(*refusal);
      else gathered = std::move(refusal);
    }
    return gathered;
  }

  Refusal DecideMatched(uint32_t s) {
    const InputSection& section = object_.sections[s];
    const AtomMemory& atom = old_.atoms[diff_.sections[s].old];
    const SectionMemory& home = Home(atom.section);
    if (const std::optional<Slot> row = state_.RowSlot(diff_.unit, s)) {
      placed_.atoms.moved += row->offset != atom.offset;
      Put(s, *row);
      return std::nullopt;
    }
    const bool fits = Fits(section, atom, home), entries = EntriesStay(s, atom, home);
    if (fits && entries) {
      Stay(s, atom);
      return std::nullopt;
    }
    if (entries && Lengthen(s, atom, home)) return std::nullopt;
    if ((section.flags & kSecTls) && home.exact) return Refuse(GateReason::kTlsChanged, s, "");
    if (home.exact) {
      return Refuse(home.alloc() ? GateReason::kExactSectionChanged : GateReason::kUnsupportedSection, s,
                    " outgrew its slot");
    }
    const bool code = (section.flags & kSecExec) != 0;
    if (code && PrefersReapply(s)) {
      // With many functions in one section those behind the one that changed have shifted: then the section itself stays.
      Refusal follow = OrRepublish(PublishedNames(s), Refuse(GateReason::kIslandOverlap, s, ": functions have moved"));
      follow->preference = true;
      if (!follow->republish.empty()) return follow;
    }
    if (!code && PublishedIn(s, atom, home)) return OrRepublish(PublishedNames(s), Refuse(GateReason::kDataGrew, s, ""));
    if (code) {
      for (const OwnSymbol& own : own_[s]) {
        const SymbolMemory& symbol = state_.symbol(own.id);
        if (symbol.traits.ifunc || state_.free(own.id)) continue;
        if (own.label) {
          // A jump would do for who calls it, not for who takes the difference to the function before it.
          return OrRepublish(PublishedNames(s), Refuse(GateReason::kIslandOverlap, s,
                                                       absl::StrCat(": ", memory_.names.Name(own.id), " is no function")));
        }
        if (section.alignment > atom.alignment && (symbol.address - own.value) % section.alignment != 0) {
          // A pointer to it would be one to the jump.
          return OrRepublish(PublishedNames(s), Refuse(GateReason::kIslandOverlap, s,
                                                       absl::StrCat(": ", memory_.names.Name(own.id), " asks for alignment that a jump has not")));
        }
        if (symbol.interior) {
          return OrRepublish(PublishedNames(s),
                             Refuse(GateReason::kIslandOverlap, s,
                                    absl::StrCat(": others refer to more of ", memory_.names.Name(own.id), " than its entry")));
        }
      }
    }
    Vacate(atom);
    moved_.push_back(s);
    return std::nullopt;
  }

  // Whether those who refer to the section's functions should follow them, rather than jumps stay behind.
  bool PrefersReapply(uint32_t s) const {
    if (!state_.rules().ask) return false;
    switch (state_.rules().policy) {
      case MovePolicy::kThunk: return false;
      case MovePolicy::kReapply: return true;
      case MovePolicy::kAuto:
      case MovePolicy::kGot: break;
    }
    size_t units = 0;
    for (SymbolId id : PublishedNames(s)) units += memory_.site_users.Count(id);
    return units <= kFewReferrers;
  }

  // Adds to a refusal which symbols would have to be republished; none when one of them cannot be.
  Refusal OrRepublish(std::vector<SymbolId> symbols, Refusal refusal) const {
    const bool possible = std::none_of(symbols.begin(), symbols.end(), [&](SymbolId id) {
      const SymbolMemory& symbol = state_.symbol(id);
      return symbol.traits.ifunc || symbol.kind != SymbolMemory::kDefined;
    });
    if (possible) refusal->republish = std::move(symbols);
    return refusal;
  }

  // An IFUNC's resolver is not among them: what others refer to is its PLT entry.
  std::vector<SymbolId> PublishedNames(uint32_t s) const {
    std::vector<SymbolId> symbols;
    for (const OwnSymbol& own : own_[s]) {
      if (!state_.free(own.id) && !state_.symbol(own.id).traits.ifunc) symbols.push_back(own.id);
    }
    return symbols;
  }

  bool PublishedIn(uint32_t s, const AtomMemory& atom, const SectionMemory& home) const {
    return std::any_of(own_[s].begin(), own_[s].end(), [&](const OwnSymbol& own) {
      return !state_.free(own.id) && Inside(state_.symbol(own.id).address, home.address + atom.offset, std::max<uint64_t>(atom.capacity, 1));
    });
  }

  void Stay(uint32_t s, const AtomMemory& atom) { Put(s, {atom.section, atom.offset, atom.capacity}); }

  void Put(uint32_t s, const Slot& slot) {
    const SectionMemory& home = Home(slot.section);
    placed_.slots[s] = slot;
    SectionPlace& place = placed_.sections[s];
    place.placed = true;
    place.alloc = home.alloc();
    place.output_section = slot.section.value;
    place.address = home.address + slot.offset;
    place.size = object_.sections[s].size;
  }

  void Vacate(const AtomMemory& atom) {
    if (atom.capacity != 0) placed_.vacated.push_back({atom.section, atom.offset, atom.capacity});
  }

  // A slot that published entries lie in keeps jumps at them; any other that was vacated is free again.
  Refusal MakeIslands() {
    std::vector<Slot> free;
    for (const Slot& slot : placed_.vacated) {
      IslandMemory island;
      island.section = slot.section;
      island.offset = slot.offset;
      island.capacity = slot.capacity;
      const uint64_t begin = AddressOf(slot.section, slot.offset);
      // Only code was published: what is not loaded counts from 0 and may look like it.
      const bool code = Home(slot.section).alloc() && (Home(slot.section).flags & kSecExec) != 0;
      for (const std::vector<OwnSymbol>& list : own_) {
        for (const OwnSymbol& own : list) {
          const SymbolMemory& symbol = state_.symbol(own.id);
          if (code && !state_.free(own.id) && symbol.executable && !symbol.traits.ifunc && Inside(symbol.address, begin, slot.capacity)) island.symbols.push_back(own.id);
        }
      }
      if (island.symbols.empty()) {
        state_.space(slot.section).Give({slot.offset, slot.capacity});
        free.push_back(slot);
        continue;
      }
      if (Refusal refusal = CheckIsland(&island)) return refusal;
      placed_.memory.islands.push_back(std::move(island));
    }
    placed_.vacated = std::move(free);
    return std::nullopt;
  }

  Refusal CheckIsland(IslandMemory* island) const {
    std::vector<SymbolId>& symbols = island->symbols;
    std::sort(symbols.begin(), symbols.end(), [&](SymbolId a, SymbolId b) {
      return std::make_pair(state_.symbol(a).address, a) < std::make_pair(state_.symbol(b).address, b);
    });
    const uint64_t size = memory_.arch->island_size(memory_.options->z_ibt);
    const uint64_t end = AddressOf(island->section, island->offset) + island->capacity;
    for (size_t i = 0; i < symbols.size(); ++i) {
      const uint64_t at = state_.symbol(symbols[i]).address;
      uint64_t next = end;
      for (size_t k = i + 1; k < symbols.size() && next == end; ++k) {
        if (state_.symbol(symbols[k]).address != at) next = state_.symbol(symbols[k]).address;
      }
      if (next - at < size) {
        return OrRepublish(symbols, GateRefusal{GateReason::kIslandOverlap, std::string(memory_.names.Name(symbols[i]))});
      }
    }
    return std::nullopt;
  }

  Refusal PlaceSection(uint32_t s) {
    switch (diff_.sections[s].fate) {
      case SectionDiff::kMatched:
        if (placed_.sections[s].placed) return std::nullopt;
        ++placed_.atoms.moved;
        return Append(s, old_.atoms[diff_.sections[s].old].section);
      case SectionDiff::kAdded: {
        const InputSection& section = object_.sections[s];
        if (const std::optional<Slot> row = state_.RowSlot(diff_.unit, s)) {
          ++placed_.atoms.added;
          Put(s, *row);
          return std::nullopt;
        }
        const SectionId home = FindHome(memory_, section);
        if (!home.valid()) {
          const bool linked = memory_.options->gc_sections && section.group >= 0;  // it may keep others alive
          if (section.size == 0 && !linked) return std::nullopt;  // nothing to place, nothing to refer to
          return Refuse(GateReason::kUnsupportedSection, s, " has no output section");
        }
        ++placed_.atoms.added;
        return Append(s, home);
      }
      case SectionDiff::kMerged: {
        const Refusal unmerged = PlacePieces(s);
        if (!unmerged) return std::nullopt;
        // Nobody relies on strings and constants being merged: one of a new kind, or that finds no room, stands alone.
        placed_.pieces[s] = {};
        const SectionId home = FindHome(memory_, object_.sections[s]);
        if (!home.valid()) return unmerged;
        ++placed_.atoms.added;
        return Append(s, home);
      }
      default:
        return std::nullopt;
    }
  }

  // A section that outgrew its slot need not move when what follows is free.
  bool Lengthen(uint32_t s, const AtomMemory& atom, const SectionMemory& home) {
    const InputSection& section = object_.sections[s];
    if (home.exact || home.padded || (section.flags & kSecTls) || atom.capacity == 0 || section.size + home.min_hole <= atom.capacity) return false;
    if ((home.address + atom.offset) % std::max<uint32_t>(section.alignment, 1) != 0) return false;
    const uint64_t least = section.size + home.min_hole;
    const std::optional<Room> room = state_.space(atom.section).Lengthen(
        {atom.offset, atom.capacity}, least, std::max(least, CapacityIn(home, section.size)));
    if (room) Put(s, {atom.section, room->offset, room->size});
    return room.has_value();
  }

  Refusal Append(uint32_t s, SectionId id) {
    const InputSection& section = object_.sections[s];
    if (Home(id).growth_of.valid()) id = Home(id).growth_of;
    const SectionMemory& home = Home(id);
    if (home.nobits && section.kind != SectionKind::kNobits) return Refuse(GateReason::kUnsupportedSection, s, "");
    const uint64_t capacity = CapacityIn(home, section.size);
    const uint64_t alignment = std::max<uint64_t>(section.alignment, 1);
    if (alignment > kSmallestPage) {
      return Refuse(GateReason::kSlackExhausted, s, absl::StrCat(": ", home.name, " is not aligned to ", alignment));
    }
    if (const std::optional<Slot> slot = state_.TakeRoom(id, capacity, alignment)) {
      Put(s, *slot);
      return std::nullopt;
    }
    const GateReason reason = (home.flags & kSecTls) ? GateReason::kTlsChanged : GateReason::kSlackExhausted;
    Refusal refusal = Refuse(reason, s, absl::StrCat(": no room left in ", home.name));
    refusal->grow = id;
    refusal->grow_bytes = std::max(WantedIn(id), capacity) + alignment;
    return refusal;
  }

  // About as much as the sections of the unit that are still to be placed will ask for.
  uint64_t WantedIn(SectionId id) const {
    uint64_t bytes = 0;
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      const SectionDiff::Fate fate = diff_.sections[s].fate;
      if (placed_.sections[s].placed || (fate != SectionDiff::kAdded && fate != SectionDiff::kMatched)) continue;
      if (FindHome(memory_, object_.sections[s]) == id) bytes += object_.sections[s].size + object_.sections[s].size / 8 + 64;
    }
    return bytes;
  }

  Refusal PlacePieces(uint32_t s) {
    const InputSection& section = object_.sections[s];
    if (section.size == 0) return std::nullopt;
    PieceMap& map = placed_.pieces[s];
    const absl::string_view name = OutputSectionName(memory_.options, section);
    uint32_t merged = 0;
    const uint32_t ignored = kSecLinkOrder | kSecRetain;
    for (; merged < memory_.merged.size(); ++merged) {
      const MergedMemory& m = memory_.merged[merged];
      if (m.name == name && ((m.flags ^ section.flags) & ~ignored) == 0 && m.entry_size == section.entry_size &&
          m.alignment == section.alignment) {
        break;
      }
    }
    if (merged == memory_.merged.size() || !section.relocs.empty() || !SplitPieces(section, &map.starts)) {
      return Refuse(GateReason::kUnsupportedSection, s, " cannot be merged with what is there");
    }
    const auto piece = [&](size_t p) {
      const uint64_t end = p + 1 < map.starts.size() ? map.starts[p + 1] : section.bytes.size();
      return section.bytes.subspan(map.starts[p], end - map.starts[p]);
    };
    std::vector<PieceDigest> digests;
    digests.reserve(map.starts.size());
    for (size_t p = 0; p < map.starts.size(); ++p) {
      digests.push_back(DigestPiece(piece(p)));
      memory_.merged[merged].offsets.Expect(digests.back());
    }
    for (size_t p = 0; p < map.starts.size(); ++p) {
      std::optional<uint64_t> address = state_.Piece(merged, digests[p], piece(p), &mutations_);
      if (!address) {
        Refusal refusal = Refuse(GateReason::kSlackExhausted, s, absl::StrCat(": no room left in ", name));
        refusal->grow = memory_.merged[merged].section;
        refusal->grow_bytes = section.bytes.size();
        return refusal;
      }
      map.addresses.push_back(*address);
    }
    return std::nullopt;
  }

  // The unit's names lead where its sections are now. What was published stays what others refer to.
  Refusal DefineSymbols() {
    for (const std::vector<OwnSymbol>& list : own_) {
      for (const OwnSymbol& own : list) {
        SymbolMemory symbol = state_.symbol(own.id);
        const SectionPlace& place = placed_.sections[own.section];
        const bool dead = diff_.sections[own.section].fate == SectionDiff::kDead;
        if (symbol.dead != dead) return Refuse(GateReason::kLivenessChanged, own.section, absl::StrCat(": ", memory_.names.Name(own.id)));
        if (dead) continue;
        uint64_t body = 0;
        if (place.placed) {
          body = place.address + own.value;
        } else if (diff_.sections[own.section].fate == SectionDiff::kMerged) {
          body = placed_.pieces[own.section].Address(own.value);
        } else if (symbol.address != 0 || state_.free(own.id)) {
          return Refuse(GateReason::kLivenessChanged, own.section, absl::StrCat(": ", memory_.names.Name(own.id)));
        } else {
          continue;
        }
        if (symbol.sized && symbol.size != own.size && !state_.free(own.id)) {
          return OrRepublish({own.id}, Refuse(GateReason::kDefinedSetChanged, own.section,
                                              absl::StrCat(": others ask for the size of ", memory_.names.Name(own.id))));
        }
        if (symbol.traits.ifunc && symbol.address == symbol.body) symbol.address = body;  // it has no PLT entry
        symbol.body = body;
        symbol.size = own.size;
        if (state_.free(own.id)) {
          symbol.address = body;
          state_.SetSymbol(own.id, symbol);
          continue;
        }
        if (body != symbol.address && !symbol.traits.ifunc && !HasIsland(own.id)) {
          return OrRepublish({own.id}, Refuse(GateReason::kDataGrew, own.section,
                                              absl::StrCat(": ", memory_.names.Name(own.id), " moved")));
        }
        state_.SetSymbol(own.id, symbol);
      }
    }
    return std::nullopt;
  }

  // Names of one function have one address, or pointers to it would differ: one that is new does not get along with one
  // that was published where a jump is now.
  Refusal CheckAliases() const {
    absl::flat_hash_map<uint64_t, uint64_t> addresses;  // by body
    absl::flat_hash_set<uint64_t> differing;
    const auto each = [&](auto visit) {
      for (const std::vector<OwnSymbol>& list : own_) {
        for (const OwnSymbol& own : list) {
          const SymbolMemory& symbol = state_.symbol(own.id);
          if (symbol.executable && !symbol.dead && !symbol.traits.ifunc && symbol.body != 0) visit(own.id, symbol);
        }
      }
    };
    each([&](SymbolId, const SymbolMemory& symbol) {
      if (addresses.try_emplace(symbol.body, symbol.address).first->second != symbol.address) differing.insert(symbol.body);
    });
    if (differing.empty()) return std::nullopt;
    std::vector<SymbolId> behind;
    each([&](SymbolId id, const SymbolMemory& symbol) {
      if (differing.contains(symbol.body) && symbol.address != symbol.body) behind.push_back(id);
    });
    return OrRepublish(behind, GateRefusal{GateReason::kIslandOverlap,
                                           absl::StrCat(memory_.names.Name(behind[0]), " has another name now")});
  }

  // One address has room for one jump: names that once meant the same code still have to.
  Refusal CheckSharedEntries() const {
    for (const IslandMemory& island : placed_.memory.islands) {
      absl::flat_hash_map<uint64_t, uint64_t> bodies;  // by entry
      for (SymbolId id : island.symbols) {
        const SymbolMemory& symbol = state_.symbol(id);
        if (bodies.try_emplace(symbol.address, symbol.body).first->second == symbol.body) continue;
        return OrRepublish(island.symbols,
                           GateRefusal{GateReason::kIslandOverlap, absl::StrCat(memory_.names.Name(id), " had another name")});
      }
    }
    return std::nullopt;
  }

  // A function that others refer to the middle of can no longer be moved, and not be referred to so once it has moved.
  Refusal NoteInteriorReferences() {
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      if (!placed_.sections[s].placed || !placed_.sections[s].alloc) continue;
      for (const Reloc& reloc : object_.sections[s].relocs) {
        if (reloc.symbol < object_.first_global) continue;
        const SymbolId id = GlobalId(memory_, object_, reloc.symbol);
        if (!id.valid()) continue;
        SymbolMemory symbol = state_.symbol(id);
        if (memory_.arch->Info(reloc.type).form == RelocForm::kSize) {
          symbol.sized = true;
          state_.SetSymbol(id, symbol);
        }
        if (!symbol.executable || IsEntryReference(*memory_.arch, reloc)) continue;
        if (!symbol.traits.ifunc && symbol.body != symbol.address && !state_.free(id)) {
          return OrRepublish({id}, Refuse(GateReason::kIslandOverlap, s,
                                          absl::StrCat(": refers to more of ", memory_.names.Name(id),
                                                       " than its entry, which has moved")));
        }
        symbol.interior = true;
        state_.SetSymbol(id, symbol);
      }
    }
    return std::nullopt;
  }

  bool HasIsland(SymbolId id) const {
    for (const IslandMemory& island : placed_.memory.islands) {
      if (std::find(island.symbols.begin(), island.symbols.end(), id) != island.symbols.end()) return true;
    }
    return false;
  }

  void RememberAtoms() {
    const bool collected = memory_.options->gc_sections;
    std::vector<uint32_t> numbers(object_.sections.size(), References::kOwn);
    std::vector<bool> movable;  // only of units with rows
    placed_.atom_of.assign(object_.sections.size(), kNoAtomMemory);
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      const SectionDiff& diff = diff_.sections[s];
      if (diff.fate == SectionDiff::kIgnored) continue;
      const InputSection& section = object_.sections[s];
      AtomMemory atom;
      atom.name = std::string(section.name);
      atom.flags = section.flags;
      atom.kind = section.kind;
      atom.alignment = section.alignment;
      atom.size = section.size;
      switch (diff.fate) {
        case SectionDiff::kMerged:
          atom.state = placed_.sections[s].placed ? AtomMemory::kPlaced : AtomMemory::kMerged;
          break;
        case SectionDiff::kFrames: atom.state = AtomMemory::kFrames; break;
        case SectionDiff::kDiscarded: atom.state = AtomMemory::kDiscarded; break;
        case SectionDiff::kDead: atom.state = AtomMemory::kDead; break;
        default: atom.state = AtomMemory::kPlaced; break;
      }
      if (atom.state == AtomMemory::kPlaced) {
        if (!placed_.sections[s].placed) continue;
        atom.section = placed_.slots[s].section;
        atom.offset = placed_.slots[s].offset;
        atom.capacity = placed_.slots[s].capacity;
        if (IsRow(memory_, atom)) {
          if (movable.empty()) movable = MovableSections(object_, *memory_.arch);
          atom.movable = movable[s];
        }
      }
      numbers[s] = static_cast<uint32_t>(placed_.memory.atoms.size());
      placed_.atom_of[s] = numbers[s];
      placed_.memory.atoms.push_back(std::move(atom));
    }
    if (!collected) return;
    References references = diff_.references;
    std::vector<std::pair<SymbolId, uint32_t>> definitions;
    for (const std::vector<OwnSymbol>& list : own_) {
      for (const OwnSymbol& own : list) definitions.push_back({own.id, own.section});
    }
    references.SetDefinitions(std::move(definitions));
    placed_.memory.references = references.Renumbered(numbers, static_cast<uint32_t>(placed_.memory.atoms.size()));
  }

  const UnitDiff& diff_;
  const ObjectFile& object_;
  PlacementState& state_;
  const Memory& memory_;
  const UnitMemory& old_;
  PlacedUnit& placed_;
  std::vector<Mutation>& mutations_;
  std::vector<std::vector<OwnSymbol>> own_;  // by section
  std::vector<uint32_t> moved_;
};

// What a definition is to those who refer to it.
void Declare(const ObjectFile& object, const NameChanges::Added& added, SymbolMemory* symbol) {
  const InputSymbol& definition = object.symbols[added.index];
  symbol->owner = added.unit;
  symbol->visibility = added.publicity.visibility;
  symbol->exported = added.publicity.exported;
  symbol->traits.imported = added.publicity.preemptible;
  symbol->traits.tls = definition.type == SymbolType::kTls;
  symbol->traits.ifunc = definition.type == SymbolType::kIfunc && !added.publicity.preemptible;
  symbol->traits.function = definition.type == SymbolType::kFunction || definition.type == SymbolType::kIfunc ||
                            (definition.type == SymbolType::kNone && definition.size == 0);
  symbol->executable = (object.sections[definition.section].flags & kSecExec) != 0;
}

}  // namespace

uint64_t CapacityIn(const SectionMemory& home, uint64_t size) {
  OutputSection shape;  // what slack depends on
  shape.name = home.name;
  shape.flags = home.flags;
  shape.exact = home.exact;
  return SlotCapacity(shape, size, home.min_hole);
}

std::optional<Slot> PlacementState::TakeRoom(SectionId id, uint64_t capacity, uint64_t alignment) {
  for (uint32_t s = id.value; s < memory_.sections.size(); ++s) {
    const SectionId section(s);
    if (section != id && memory_.sections[s].growth_of != id) continue;
    if (const std::optional<Room> room = space(section).Take(capacity, alignment, memory_.sections[s].address)) {
      return Slot{section, room->offset, room->size};
    }
  }
  return std::nullopt;
}

SectionId FindHome(const Memory& memory, const InputSection& section) {
  const absl::string_view name = OutputSectionName(memory.options, section);
  for (uint32_t i = 0; i < memory.sections.size(); ++i) {
    const SectionMemory& home = memory.sections[i];
    const bool merged = (home.flags & kSecMerge) != 0;
    if (home.name == name && !merged && ((home.flags ^ section.flags) & (kSecAlloc | kSecTls)) == 0) return SectionId(i);
  }
  return SectionId();
}

uint64_t PieceMap::Address(uint64_t offset) const {
  if (starts.empty()) return 0;
  auto it = std::upper_bound(starts.begin(), starts.end(), offset);
  const size_t k = it == starts.begin() ? 0 : static_cast<size_t>(it - starts.begin()) - 1;
  return addresses[k] + (offset - starts[k]);
}

PlacementState::PlacementState(const Memory& memory, const GatePass& pass, const MoveRules& rules, RowLayouts rows)
    : memory_(memory), rules_(rules), rows_(std::move(rows)) {
  absl::flat_hash_map<UnitId, const ObjectFile*> objects;
  for (const UnitDiff& diff : pass.units()) objects[diff.unit] = diff.object.get();
  for (SymbolId id : pass.names().removed) {
    SymbolMemory gone;
    gone.lazy = memory.symbols[id.value].lazy;
    gone.shared = memory.symbols[id.value].shared;
    SetSymbol(id, gone);
  }
  for (const NameChanges::Added& added : pass.names().added) {
    SymbolMemory symbol;
    symbol.kind = SymbolMemory::kDefined;
    symbol.lazy = memory.symbols[added.symbol.value].lazy;
    symbol.shared = memory.symbols[added.symbol.value].shared;
    Declare(*objects.at(added.unit), added, &symbol);
    SetSymbol(added.symbol, symbol);
  }
  for (const NameChanges::Imported& imported : pass.names().imported) {
    const SymbolMemory& before = memory.symbols[imported.symbol.value];
    SymbolMemory symbol;
    symbol.kind = imported.open ? SymbolMemory::kUndefined : SymbolMemory::kShared;
    symbol.lazy = before.lazy;
    symbol.shared = before.shared;
    symbol.strong = !imported.weak;
    symbol.traits.function = true;
    if (imported.open) {
      // A library's may still be satisfied by others; an executable's is 0 for good.
      symbol.traits.imported = memory.output.shared;
      symbol.traits.undefined_weak = symbol.traits.absolute = !memory.output.shared;
    } else {
      const LibraryOffer& offer = memory.library_offers.at(imported.symbol);
      if (symbol.strong) symbol.import_group = offer.import_group;
      symbol.size = before.kind == SymbolMemory::kShared ? before.size : 0;
      symbol.traits.imported = true;
      symbol.traits.tls = offer.type == SymbolType::kTls;
      symbol.traits.function = offer.function;
    }
    SetSymbol(imported.symbol, symbol);
  }
  for (const NameChanges::Added& now : pass.names().redeclared) {
    SymbolMemory symbol = memory.symbols[now.symbol.value];
    Declare(*objects.at(now.unit), now, &symbol);
    SetSymbol(now.symbol, symbol);
  }
  for (const auto* list : {&pass.names().woken, &pass.names().dormant}) {
    for (const NameChanges::Added& entry : *list) {
      SymbolMemory symbol = memory.symbols[entry.symbol.value];
      symbol.kind = SymbolMemory::kDefined;
      symbol.dead = list == &pass.names().dormant;
      symbol.address = symbol.body = symbol.size = 0;
      symbol.traits = {};
      Declare(*objects.at(entry.unit), entry, &symbol);
      SetSymbol(entry.symbol, symbol);
    }
  }
  for (const auto& [id, value] : pass.names().absolutes) {
    SymbolMemory symbol = memory.symbols[id.value];
    symbol.address = symbol.body = value;
    SetSymbol(id, symbol);
  }
  for (const auto& [id, layout] : rows_) {
    if (!layout.end.valid()) continue;
    MoveEnd({layout.end, memory.sections[id.value].address + layout.used, id});
  }
}

void PlacementState::MoveEnd(const LinkerEnd& end) {
  SymbolMemory symbol = memory_.symbols[end.symbol.value];
  symbol.address = symbol.body = end.address;
  SetSymbol(end.symbol, symbol);
  ends_.push_back(end);
}

std::optional<Slot> PlacementState::RowSlot(UnitId unit, uint32_t section) const {
  for (const auto& [id, layout] : rows_) {
    const auto it = layout.places.find({unit, section});
    if (it != layout.places.end()) return Slot{id, it->second.first, it->second.second};
  }
  return std::nullopt;
}

Space& PlacementState::space(SectionId id) {
  return spaces_.try_emplace(id, memory_.sections[id.value].space).first->second;
}

const SymbolMemory& PlacementState::symbol(SymbolId id) const {
  auto it = symbols_.find(id.value);
  return it == symbols_.end() ? memory_.symbols[id.value] : it->second;
}

std::optional<uint64_t> PlacementState::Piece(uint32_t merged, const PieceDigest& digest, ByteView bytes,
                                              std::vector<Mutation>* mutations) {
  const MergedMemory& known = memory_.merged[merged];
  const SectionMemory& home = memory_.sections[known.section.value];
  if (const auto offset = known.offsets.Find(digest)) return home.address + *offset;
  MergedGrowth& growth = merged_.try_emplace(merged, MergedGrowth{known.used, {}}).first->second;
  if (auto it = growth.offsets.find(digest); it != growth.offsets.end()) return home.address + it->second;
  const uint64_t offset = AlignUp(home.address + growth.used, known.alignment) - home.address;
  if (!InBounds(offset, bytes.size(), home.size)) return std::nullopt;
  growth.used = offset + bytes.size();
  growth.offsets.emplace(digest, static_cast<uint32_t>(offset));
  Mutation mutation;
  mutation.offset = home.offset + offset;
  mutation.bytes.assign(bytes.begin(), bytes.end());
  mutations->push_back(std::move(mutation));
  return home.address + offset;
}

void PlacementState::Finish(Plan* plan) {
  plan->spaces = std::move(spaces_);
  plan->merged = std::move(merged_);
  plan->rows = std::move(rows_);
  plan->commons = std::move(commons_);
  // any order: each goes to its own place.
  for (auto& [id, symbol] : symbols_) plan->symbols.push_back({SymbolId(id), symbol});
}

std::optional<GateRefusal> PlaceUnit(const UnitDiff& diff, PlacementState* state, PlacedUnit* placed,
                                     std::vector<Mutation>* mutations) {
  return UnitPlacer(diff, state, placed, mutations).Run();
}

}  // namespace kitlink
