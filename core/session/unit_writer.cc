#include "core/session/unit_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/dwarf/padding.h"
#include "core/output/relocate.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

// What fills the room of a section where no atom is.
void FillRoom(const Memory& memory, const SectionMemory& home, uint64_t offset, MutableBytes room) {
  if (room.empty()) return;
  if (home.flags & kSecExec) {
    memory.arch->FillTraps(room);
  } else if (!home.alloc() && home.min_hole != 0) {
    dwarf::Filler::For(home.name)->Fill(room, offset, memory.padding_abbrev);
  } else {
    std::fill(room.begin(), room.end(), 0);
  }
}

class Targets : public UnitTargets {
 public:
  Targets(const PlacedUnit& placed, const PlacementState& state, const HotTables& tables)
      : placed_(placed), object_(*placed.diff->object), state_(state), tables_(tables) {
    ids_.reserve(object_.symbols.size() - std::min<size_t>(object_.first_global, object_.symbols.size()));
    for (uint32_t i = object_.first_global; i < object_.symbols.size(); ++i) ids_.push_back(GlobalId(state.memory(), object_, i));
    published_.resize(ids_.size());
    bodies_.resize(ids_.size());
  }

  TargetValue Target(uint32_t symbol, int64_t addend) const override { return Value(symbol, addend, false); }
  TargetValue BodyTarget(uint32_t symbol, int64_t addend) const override { return Value(symbol, addend, true); }
  SymbolId Global(uint32_t symbol) const override {
    return symbol < object_.first_global ? SymbolId() : ids_[symbol - object_.first_global];
  }

  // The symbol has got cells.
  void Forget(uint32_t symbol) {
    if (symbol < object_.first_global) return;
    published_[symbol - object_.first_global].reset();
    bodies_[symbol - object_.first_global].reset();
  }

 private:
  TargetValue Value(uint32_t index, int64_t addend, bool body) const {
    if (const SymbolId id = Global(index); id.valid()) {
      std::optional<TargetValue>& known = (body ? bodies_ : published_)[index - object_.first_global];
      if (!known) known = Look(id, body);
      return *known;
    }
    TargetValue value;
    const InputSymbol& symbol = object_.symbols[index];
    value.size = symbol.size;
    value.traits.local = true;
    value.traits.tls = symbol.type == SymbolType::kTls;
    value.traits.ifunc = symbol.type == SymbolType::kIfunc;
    value.traits.function = symbol.type == SymbolType::kFunction;
    if (symbol.section >= kSectionCommon) {
      value.address = symbol.section == kSectionAbsolute ? symbol.value : 0;
      value.traits.absolute = true;
      value.traits.undefined_weak = symbol.undefined();
      return value;
    }
    if (object_.sections[symbol.section].flags & kSecTls) value.traits.tls = true;
    if (placed_.sections[symbol.section].placed) {
      value.address = placed_.sections[symbol.section].address + symbol.value;
    } else if (!placed_.pieces[symbol.section].starts.empty()) {
      // An offset from the section's start means the piece that it reaches.
      const bool whole = symbol.type == SymbolType::kSection;
      const uint64_t offset = symbol.value + (whole ? static_cast<uint64_t>(addend) : 0);
      value.address = placed_.pieces[symbol.section].Address(offset) - (whole ? static_cast<uint64_t>(addend) : 0);
    } else if (placed_.diff->sections[symbol.section].fate == SectionDiff::kFrames && tables_.records_start() != 0) {
      value.address = tables_.records_start() + symbol.value;
    } else {
      value.traits.absolute = value.traits.undefined_weak = true;
    }
    return value;
  }

  TargetValue Look(SymbolId id, bool body) const {
    TargetValue value;
    const SymbolMemory& symbol = state_.symbol(id);
    value.address = body && symbol.executable && !symbol.traits.ifunc ? symbol.body : symbol.address;
    value.size = symbol.size;
    value.traits = symbol.traits;
    tables_.AddCells(id, &value);
    return value;
  }

  const PlacedUnit& placed_;
  const ObjectFile& object_;
  const PlacementState& state_;
  const HotTables& tables_;
  std::vector<SymbolId> ids_;
  // A symbol is asked for by each relocation that refers to it, and twice.
  mutable std::vector<std::optional<TargetValue>> published_, bodies_;
};

class UnitWriter {
 public:
  UnitWriter(const PlacedUnit& placed, const PlacementState& state, HotTables* tables,
             std::vector<Mutation>* mutations)
      : placed_(placed), object_(*placed.diff->object), state_(state), memory_(state.memory()), tables_(*tables),
        mutations_(*mutations), targets_(placed, state, *tables) {}

  Refusal Run(uint64_t* relocations) {
    update_.unit = placed_.diff->unit;
    update_.object = &object_;
    update_.gone = placed_.diff->leaves;
    update_.sections = placed_.sections;
    update_.targets = &targets_;
    MarkStaleWords();
    for (const Slot& slot : placed_.vacated) ClearSlot(memory_, slot, &mutations_);
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      if (!placed_.sections[s].placed) continue;
      if (Refusal refusal = WriteSection(s)) return refusal;
    }
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      if (placed_.diff->sections[s].fate != SectionDiff::kFrames) continue;
      if (Refusal refusal = CheckFrames(s)) return refusal;
    }
    WriteIslands();
    if (absl::Status status = tables_.Update(update_, &mutations_); !status.ok()) return FromStatus(status);
    if (Refusal refusal = WriteSymbols()) return refusal;
    *relocations += relocations_;
    return std::nullopt;
  }

 private:
  Refusal FromStatus(const absl::Status& status) const {
    const GateReason reason = absl::IsResourceExhausted(status) ? GateReason::kSlackExhausted
                              : absl::IsInvalidArgument(status) ? GateReason::kUnreadableInput
                                                                : GateReason::kUnsupportedSection;
    return GateRefusal{reason, absl::StrCat(object_.DisplayName(), ": ", status.message())};
  }

  Refusal Refuse(GateReason reason, uint32_t s, const Reloc& reloc, absl::string_view what) const {
    return GateRefusal{reason, absl::StrCat(object_.DisplayName(), ":(", object_.sections[s].name, "+0x",
                                            absl::Hex(reloc.offset), "): ", what)};
  }

  // The words of all slots that the unit had, and of those it has now, get their dynamic relocations anew.
  void MarkStaleWords() {
    auto mark = [&](SectionId section, uint64_t offset, uint64_t capacity) {
      const SectionMemory& home = memory_.sections[section.value];
      // Nothing in memory that starts out as zeros is relocated; the addresses of .tbss belong to what follows, too.
      if (!home.alloc() || home.nobits || capacity == 0) return;
      if (!(home.flags & kSecWrite) && !memory_.output.text_relocs) return;
      update_.stale_words.push_back({home.address + offset, home.address + offset + capacity});
    };
    for (const AtomMemory& atom : memory_.units[placed_.diff->unit.value].atoms) {
      // Where rows are laid out anew, others have what it had.
      if (atom.state == AtomMemory::kPlaced && !state_.LaidOut(atom.section)) mark(atom.section, atom.offset, atom.capacity);
    }
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      if (placed_.sections[s].placed) mark(placed_.slots[s].section, placed_.slots[s].offset, placed_.slots[s].capacity);
    }
  }

  Refusal WriteSection(uint32_t s) {
    const InputSection& section = object_.sections[s];
    const Slot& slot = placed_.slots[s];
    const SectionMemory& home = memory_.sections[slot.section.value];
    if (home.nobits) return std::nullopt;
    Mutation mutation;
    mutation.offset = home.offset + slot.offset;
    mutation.phase = PatchPhase::kSwitch;
    mutation.bytes.resize(slot.capacity);
    if (section.bytes.size() > slot.capacity) return Refuse(GateReason::kUnreadableInput, s, Reloc{}, "torn section");
    std::copy(section.bytes.begin(), section.bytes.end(), mutation.bytes.begin());
    const MutableBytes bytes = absl::MakeSpan(mutation.bytes);
    FillRoom(memory_, home, slot.offset + section.size, bytes.subspan(section.size));
    Refusal refusal = home.alloc() ? Relocate(s, bytes.first(section.size)) : RelocateUnloaded(s, bytes.first(section.size));
    if (refusal) return refusal;
    if (home.padded && section.size != slot.capacity && !dwarf::PadInPlace(home.name, bytes, section.size)) {
      return GateRefusal{GateReason::kUnsupportedSection,
                         absl::StrCat(object_.DisplayName(), ":(", section.name, ") outgrew its slot")};
    }
    mutations_.push_back(std::move(mutation));
    return std::nullopt;
  }

  Refusal Relocate(uint32_t s, MutableBytes bytes) {
    const InputSection& section = object_.sections[s];
    if (Refusal refusal = CheckNeeds(s)) return refusal;
    Refusal failure;
    relocations_ += ApplyRelocations(
        section.relocs, bytes, placed_.sections[s].address, *memory_.arch, memory_.values, memory_.output,
        [&](const Reloc& reloc) { return targets_.Target(reloc.symbol, reloc.addend); },
        [&](const Reloc& reloc, const char* error) {
          if (!failure) failure = Refuse(GateReason::kLinkError, s, reloc, error);
        });
    return failure;
  }

  // Every cell that the section's references ask for must be there already; dynamic relocations are listed.
  Refusal CheckNeeds(uint32_t s) {
    const InputSection& section = object_.sections[s];
    const uint64_t address = placed_.sections[s].address;
    for (size_t r = 0; r < section.relocs.size();) {
      const Reloc& reloc = section.relocs[r];
      if (section.name != ".gcc_except_table" && InSection(reloc.symbol, SectionDiff::kDiscarded)) {
        return Refuse(GateReason::kLinkError, s, reloc, "refers to a section that was discarded with its COMDAT group");
      }
      if (InSection(reloc.symbol, SectionDiff::kFrames) && !MeansFirstRecord(reloc.symbol)) {
        return Refuse(GateReason::kUnsupportedSection, s, reloc, "refers to unwind records");
      }
      TargetValue target = targets_.Target(reloc.symbol, reloc.addend);
      const ScanResult scan = memory_.arch->Scan(section.relocs.subspan(r), section.bytes, (section.flags & kSecWrite) != 0,
                                                 target.traits, memory_.output);
      if (scan.error != nullptr) return Refuse(GateReason::kLinkError, s, reloc, scan.error);
      if (Lacks(target, scan.needs)) {
        if (Refusal refusal = MakeCells(s, reloc, scan.needs, target)) return refusal;
        targets_.Forget(reloc.symbol);
        target = targets_.Target(reloc.symbol, reloc.addend);
        if (Lacks(target, scan.needs)) return Refuse(GateReason::kImportSetChanged, s, reloc, "a cell is missing");
      }
      if ((scan.needs & (kNeedRelative | kNeedSymbolic)) && !(section.flags & kSecWrite)) {
        // The loader may not have been told to make this writable.
        return Refuse(GateReason::kUnsupportedSection, s, reloc, "needs a relocation of read-only memory");
      }
      if (scan.needs & kNeedRelative) {
        update_.words.push_back({address + reloc.offset, SymbolId(), target.address + static_cast<uint64_t>(reloc.addend)});
      }
      if (scan.needs & kNeedSymbolic) {
        update_.words.push_back({address + reloc.offset, targets_.Global(reloc.symbol), static_cast<uint64_t>(reloc.addend)});
      }
      r += std::max<uint16_t>(scan.consumed, 1);
    }
    return std::nullopt;
  }

  // True of the unit's own symbols in such a section.
  bool InSection(uint32_t symbol, SectionDiff::Fate fate) const {
    if (symbol >= object_.first_global) return false;
    const uint32_t section = object_.symbols[symbol].section;
    return section < placed_.diff->sections.size() && placed_.diff->sections[section].fate == fate;
  }

  // Records have no place of their own. Static programs' crtbeginT.o means where they all begin, by a section without any.
  bool MeansFirstRecord(uint32_t symbol) const {
    return object_.sections[object_.symbols[symbol].section].size == 0 && tables_.records_start() != 0;
  }

  // Unwind tables are written by the format's tables, which make no cells: a personality that is new to the program may
  // need some.
  Refusal CheckFrames(uint32_t s) const {
    const InputSection& section = object_.sections[s];
    for (size_t r = 0; r < section.relocs.size(); ++r) {
      const Reloc& reloc = section.relocs[r];
      const TargetValue target = targets_.Target(reloc.symbol, reloc.addend);
      const ScanResult scan = memory_.arch->Scan(section.relocs.subspan(r), section.bytes, false, target.traits, memory_.output);
      if (Lacks(target, scan.needs)) return Refuse(GateReason::kImportSetChanged, s, reloc, "a cell is missing");
    }
    return std::nullopt;
  }

  // Cells that a global symbol lacks, out of the tables' reserves.
  Refusal MakeCells(uint32_t s, const Reloc& reloc, uint16_t needs, const TargetValue& target) {
    CellRequest request;
    request.symbol = targets_.Global(reloc.symbol);
    request.needs = needs & (kNeedGot | kNeedPlt | kNeedGotTp | kNeedTlsGd | kNeedTlsDesc);
    request.address = target.address;
    request.traits = target.traits;
    if (!request.symbol.valid() || memory_.options->gate != GatePolicy::kExact || request.needs == 0) {
      return Refuse(GateReason::kImportSetChanged, s, reloc, "a cell is missing");
    }
    if (absl::Status status = tables_.NeedCells(request, &mutations_); !status.ok()) {
      return Refuse(GateReason::kImportSetChanged, s, reloc, status.message());
    }
    return std::nullopt;
  }

  bool Lacks(const TargetValue& target, uint16_t needs) const {
    return ((needs & kNeedGot) && target.got == 0) || ((needs & kNeedPlt) && target.plt == 0) ||
           ((needs & kNeedGotTp) && target.gottp == 0) || ((needs & kNeedTlsGd) && target.tlsgd == 0) ||
           ((needs & kNeedTlsDesc) && target.tlsdesc == 0) || ((needs & kNeedTlsLd) && memory_.values.tlsld == 0) ||
           ((needs & (kNeedCopy | kNeedCanonicalPlt)) && target.address == 0) ||
           ((needs & kNeedGotBase) && memory_.values.got_base == 0);
  }

  Refusal RelocateUnloaded(uint32_t s, MutableBytes bytes) {
    const InputSection& section = object_.sections[s];
    const uint64_t tombstone = Tombstone(section.name);
    for (const Reloc& reloc : section.relocs) {
      bool gone = false;
      if (const uint32_t in = object_.symbols[reloc.symbol].section; in < object_.sections.size()) {
        gone = !placed_.sections[in].placed && placed_.pieces[in].starts.empty();
      }
      const uint64_t value = gone ? tombstone : targets_.BodyTarget(reloc.symbol, reloc.addend).address;
      const ApplyResult result = memory_.arch->ApplyUnloaded(reloc, bytes, value, gone, memory_.values);
      if (result.error != nullptr) return Refuse(GateReason::kLinkError, s, reloc, result.error);
      ++relocations_;
    }
    return std::nullopt;
  }

  void WriteIslands() {
    for (const IslandMemory& island : placed_.memory.islands) {
      const SectionMemory& home = memory_.sections[island.section.value];
      const uint64_t begin = home.address + island.offset;
      Mutation mutation;
      mutation.offset = home.offset + island.offset;
      mutation.phase = PatchPhase::kSwitch;
      mutation.bytes.resize(island.capacity);
      const MutableBytes bytes = absl::MakeSpan(mutation.bytes);
      FillRoom(memory_, home, island.offset, bytes);
      const bool pad = memory_.options->z_ibt;
      for (SymbolId id : island.symbols) {
        const SymbolMemory& symbol = state_.symbol(id);
        memory_.arch->WriteIsland(bytes.subspan(symbol.address - begin, memory_.arch->island_size(pad)), symbol.address,
                                  symbol.body, pad);
      }
      mutations_.push_back(std::move(mutation));
      update_.islands.push_back({begin, begin + island.capacity});
    }
  }

  Refusal WriteSymbols() {
    for (uint32_t g = 0; g < placed_.memory.globals.size(); ++g) {
      if (!placed_.memory.globals[g].owner) continue;
      const SymbolId id = placed_.memory.globals[g].symbol;
      const SymbolMemory& symbol = state_.symbol(id);
      if (symbol.dead) continue;
      SymbolUpdate update;
      update.symbol = id;
      update.body = symbol.body;
      update.size = symbol.size;
      update.tls = symbol.traits.tls;
      update.ifunc = symbol.traits.ifunc;
      update.address = symbol.address;
      const SymbolMemory& before = memory_.symbols[id.value];
      update.republished = before.kind == SymbolMemory::kDefined && before.address != symbol.address;
      if (!FindSection(symbol.body, symbol.traits.tls, &update.output_section)) continue;
      if (absl::Status status = tables_.UpdateSymbol(update, &mutations_); !status.ok()) return FromStatus(status);
    }
    return std::nullopt;
  }

  bool FindSection(uint64_t address, bool tls, uint32_t* index) const {
    for (uint32_t s = 0; s < memory_.sections.size(); ++s) {
      const SectionMemory& section = memory_.sections[s];
      if (!section.alloc() || section.size == 0 || ((section.flags & kSecTls) != 0) != tls) continue;
      if (address >= section.address && address < section.address + section.size) {
        *index = s;
        return true;
      }
    }
    return false;
  }

  const PlacedUnit& placed_;
  const ObjectFile& object_;
  const PlacementState& state_;
  const Memory& memory_;
  HotTables& tables_;
  std::vector<Mutation>& mutations_;
  Targets targets_;
  UnitUpdate update_;
  uint64_t relocations_ = 0;
};

}  // namespace

std::optional<GateRefusal> WriteUnit(const PlacedUnit& placed, const PlacementState& state, HotTables* tables,
                                     std::vector<Mutation>* mutations, uint64_t* relocations) {
  return UnitWriter(placed, state, tables, mutations).Run(relocations);
}

void ClearSlot(const Memory& memory, const Slot& slot, std::vector<Mutation>* mutations) {
  const SectionMemory& home = memory.sections[slot.section.value];
  if (home.nobits || slot.capacity == 0) return;
  Mutation mutation;
  mutation.offset = home.offset + slot.offset;
  mutation.phase = PatchPhase::kSwitch;
  mutation.bytes.resize(slot.capacity);
  FillRoom(memory, home, slot.offset, absl::MakeSpan(mutation.bytes));
  mutations->push_back(std::move(mutation));
}

}  // namespace kitlink
