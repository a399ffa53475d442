#include "core/session/plan.h"

#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "core/dwarf/padding.h"
#include "core/session/commons.h"
#include "core/session/debug_tables.h"
#include "core/session/fixed_imports.h"
#include "core/session/growth.h"
#include "core/session/image_blocks.h"
#include "core/session/ifuncs.h"
#include "core/session/site_writer.h"
#include "core/session/sites.h"
#include "core/session/trim.h"
#include "core/session/unit_placement.h"
#include "core/session/unit_writer.h"
#include "core/symbols/linker_symbols.h"

namespace kitlink {
namespace {

// The tail of a filled section got shorter: `was` is what it was. What is filled with zeros but for its head is zeros already
// where it was free before.
void FillTail(const Memory& memory, SectionId id, Room was, Room is, std::vector<Mutation>* mutations) {
  const SectionMemory& home = memory.sections[id.value];
  const dwarf::Filler* filler = dwarf::Filler::For(home.name);
  if (home.nobits || is.size == 0) return;
  if (filler == nullptr || !filler->zeros_behind_head()) {
    ClearSlot(memory, {id, is.offset, is.size}, mutations);
    return;
  }
  const uint64_t dirty = std::max(was.offset, is.offset) + dwarf::Filler::kHead;
  Mutation mutation;
  mutation.offset = home.offset + is.offset;
  mutation.phase = PatchPhase::kSwitch;
  mutation.bytes.resize(std::min(dirty - is.offset, is.size));
  filler->FillHead(absl::MakeSpan(mutation.bytes), is.size, is.offset, memory.padding_abbrev);
  mutations->push_back(std::move(mutation));
}

// Holes that appeared in filled sections, and tails that got shorter, are filled anew.
void FillNewHoles(const Memory& memory, const PlacementState& state, std::vector<Mutation>* mutations) {
  for (const auto& [id, space] : state.spaces()) {
    const SectionMemory& home = memory.sections[id.value];
    if (home.min_hole == 0) continue;
    const std::vector<Room>& before = home.space.holes();
    for (const Room& hole : space.holes()) {
      const bool known = std::any_of(before.begin(), before.end(), [&](const Room& old) {
        return old.offset == hole.offset && old.size == hole.size;
      });
      if (!known) ClearSlot(memory, {id, hole.offset, hole.size}, mutations);
    }
    if (space.tail().offset != home.space.tail().offset) FillTail(memory, id, home.space.tail(), space.tail(), mutations);
  }
}

// Atoms that stayed in their slot and whose bytes differ; `touched` lists those of other units.
uint64_t CountChanged(const Memory& memory, const std::vector<PlacedUnit>& units, const std::vector<Slot>& touched,
                      const std::vector<Mutation>& patch) {
  uint64_t changed = 0;
  const auto count = [&](const Slot& slot) {
    const uint64_t begin = memory.sections[slot.section.value].offset + slot.offset, end = begin + slot.capacity;
    auto it = std::lower_bound(patch.begin(), patch.end(), begin, [](const Mutation& m, uint64_t offset) {
      return m.offset + m.bytes.size() <= offset;
    });
    changed += it != patch.end() && it->offset < end;
  };
  for (const Slot& slot : touched) count(slot);
  for (const PlacedUnit& unit : units) {
    for (uint32_t s = 0; s < unit.sections.size(); ++s) {
      if (!unit.sections[s].placed || unit.diff->sections[s].fate != SectionDiff::kMatched) continue;
      const AtomMemory& old = memory.units[unit.diff->unit.value].atoms[unit.diff->sections[s].old];
      const Slot& slot = unit.slots[s];
      if (old.section != slot.section || old.offset != slot.offset) continue;
      count(slot);
    }
  }
  return changed;
}

// Whoever refers to a symbol that means something else now must follow: by the sites that are remembered if it is still a
// definition that is reached in the same way, else written anew.
std::optional<GateRefusal> CheckMoved(const GatePass& pass, const Memory& memory, const SymbolSet& republish) {
  absl::flat_hash_map<UnitId, const ObjectFile*> known;  // an object of their own: of units that are written anew
  for (const UnitDiff& diff : pass.units()) known[diff.unit] = diff.object.get();
  absl::flat_hash_set<SymbolId> same_kind;
  for (const NameChanges::Added& now : pass.names().redeclared) {
    const SymbolMemory& was = memory.symbols[now.symbol.value];
    const bool ifunc = known.at(now.unit)->symbols[now.index].type == SymbolType::kIfunc && !now.publicity.preemptible;
    if (was.kind == SymbolMemory::kDefined && was.traits.imported == now.publicity.preemptible && was.traits.ifunc == ifunc) {
      same_kind.insert(now.symbol);
    }
  }
  GateRefusal refusal;
  for (SymbolId id : pass.names().rebound) {
    if (!republish.contains(id)) refusal.republish.push_back(id);
    if (same_kind.contains(id)) continue;
    for (UnitId user : memory.users.Of(id)) {
      if (known.contains(user) || memory.units[user.value].Find(id) == nullptr) continue;
      known[user] = nullptr;
      refusal.rewrite.push_back(user);
    }
  }
  for (const auto& [id, value] : pass.names().absolutes) {
    if (!republish.contains(id)) refusal.republish.push_back(id);
  }
  for (SymbolId id : IfuncsWithOtherAddress(pass, memory)) {
    if (!republish.contains(id)) refusal.republish.push_back(id);
  }
  if (refusal.republish.empty() && refusal.rewrite.empty()) return std::nullopt;
  refusal.reason = GateReason::kDefinedSetChanged;
  const SymbolId first = refusal.republish.empty() ? pass.names().rebound[0] : refusal.republish[0];
  refusal.detail = absl::StrCat(memory.names.Name(first), " is defined elsewhere now, or has another value");
  return refusal;
}

// Places all units. Refusals that republishing would lift are gathered, so that it is asked for once.
std::optional<GateRefusal> PlaceUnits(const GatePass& pass, PlacementState* state, std::vector<PlacedUnit>* units,
                                      std::vector<Mutation>* mutations) {
  std::optional<GateRefusal> gathered;
  for (size_t u = 0; u < units->size(); ++u) {
    std::optional<GateRefusal> refusal = PlaceUnit(pass.units()[u], state, &(*units)[u], mutations);
    if (!refusal) continue;
    if (refusal->republish.empty()) return refusal;
    if (!gathered) {
      gathered = std::move(refusal);
      continue;
    }
    gathered->Join(*refusal);
  }
  return gathered;
}

// Absolute symbols with another value.
std::optional<GateRefusal> UpdateAbsolutes(const GatePass& pass, const Memory& memory, std::vector<Mutation>* mutations) {
  for (const auto& [id, value] : pass.names().absolutes) {
    SymbolUpdate update;
    update.symbol = id;
    update.body = update.address = value;
    update.size = memory.symbols[id.value].size;
    update.absolute = update.republished = true;
    if (absl::Status status = memory.tables->UpdateSymbol(update, mutations); !status.ok()) {
      return GateRefusal{GateReason::kDefinedSetChanged, absl::StrCat(memory.names.Name(id), ": ", status.message())};
    }
  }
  return std::nullopt;
}

// The rows of a name that is defined elsewhere, or nowhere.
absl::Status AddImport(const NameChanges::Imported& imported, const Memory& memory, std::vector<Mutation>* mutations) {
  const absl::string_view name = memory.names.Name(imported.symbol);
  if (imported.open && !memory.output.shared) {  // 0 for good
    NewSymbol symbol;
    symbol.symbol = imported.symbol;
    symbol.name = name;
    symbol.binding = SymbolBinding::kWeak;
    return memory.tables->AddSymbol(symbol, mutations);
  }
  if (imported.dormant) {
    NewSymbol symbol;
    symbol.symbol = imported.symbol;
    symbol.name = name;
    if (!imported.open) symbol.type = memory.library_offers.at(imported.symbol).type;
    if (symbol.type == SymbolType::kIfunc) symbol.type = SymbolType::kFunction;
    symbol.binding = imported.weak ? SymbolBinding::kWeak : SymbolBinding::kGlobal;
    return memory.tables->AddSymbol(symbol, mutations);
  }
  NewImport import;
  import.symbol = imported.symbol;
  import.name = name;
  import.weak = imported.weak;
  if (!imported.open) {
    const LibraryOffer& offer = memory.library_offers.at(imported.symbol);
    import.soname = memory.libraries[offer.library].soname;
    import.version = offer.version;
    import.type = offer.type;
  }
  return memory.tables->AddImport(import, mutations);
}

// Rows of names that came, or are of another kind.
std::optional<GateRefusal> UpdateNames(const GatePass& pass, const Memory& memory, std::vector<Mutation>* mutations) {
  const auto refuse = [&](SymbolId id, const absl::Status& status) {
    const GateReason reason = absl::IsResourceExhausted(status) ? GateReason::kSlackExhausted : GateReason::kDefinedSetChanged;
    return GateRefusal{reason, absl::StrCat(memory.names.Name(id), ": ", status.message())};
  };
  for (const NameChanges::Imported& imported : pass.names().imported) {
    const absl::Status status = AddImport(imported, memory, mutations);
    if (status.ok()) continue;
    return GateRefusal{GateReason::kImportSetChanged, absl::StrCat(memory.names.Name(imported.symbol), ": ", status.message())};
  }
  absl::flat_hash_map<UnitId, const ObjectFile*> objects;
  for (const UnitDiff& diff : pass.units()) objects[diff.unit] = diff.object.get();
  for (const auto* list : {&pass.names().added, &pass.names().redeclared, &pass.names().woken}) {
    for (const NameChanges::Added& added : *list) {
      const InputSymbol& definition = objects.at(added.unit)->symbols[added.index];
      NewSymbol symbol;
      symbol.symbol = added.symbol;
      symbol.name = memory.names.Name(added.symbol);
      symbol.type = definition.type;
      symbol.binding = definition.binding;
      symbol.visibility = added.publicity.visibility;
      symbol.exported = added.publicity.exported;
      symbol.preemptible = added.publicity.preemptible;
      if (added.publicity.node >= 0) symbol.version = memory.exports.script.nodes[added.publicity.node].name;
      if (absl::Status status = memory.tables->AddSymbol(symbol, mutations); !status.ok()) return refuse(added.symbol, status);
    }
  }
  return std::nullopt;
}

// How many more pieces of thread variables each section has when `units` are what they will be.
absl::btree_map<SectionId, int64_t> ThreadPieces(const Memory& memory, const std::vector<std::pair<UnitId, const UnitMemory*>>& units) {
  absl::btree_map<SectionId, int64_t> more;
  const auto count = [&](const UnitMemory& unit, int64_t by) {
    for (const AtomMemory& atom : unit.atoms) {
      if (!unit.gone && atom.thread_piece()) more[atom.section] += by;
    }
  };
  for (const auto& [id, unit] : units) {
    count(memory.units[id.value], -1);
    count(*unit, 1);
  }
  return more;
}

// A library that has no thread variables has no thread segment either; each thread would have a block for nothing.
std::optional<GateRefusal> CheckThreadSections(const Memory& memory, const std::vector<PlacedUnit>& placed) {
  if (!memory.output.shared) return std::nullopt;
  std::vector<std::pair<UnitId, const UnitMemory*>> units;
  for (const PlacedUnit& unit : placed) units.push_back({unit.diff->unit, &unit.memory});
  for (const auto& [id, more] : ThreadPieces(memory, units)) {
    const SectionMemory& section = memory.sections[id.value];
    if (more >= 0 || static_cast<int64_t>(section.thread_pieces) + more > 0) continue;
    return GateRefusal{GateReason::kTlsChanged, absl::StrCat("the last thread variable in ", section.name, " goes")};
  }
  return std::nullopt;
}

// A file that grows is as long as what is written into it says.
void ReachEnd(uint64_t size, std::vector<Mutation>* mutations) {
  const bool reached = std::any_of(mutations->begin(), mutations->end(),
                                   [&](const Mutation& m) { return m.offset + m.bytes.size() == size; });
  if (reached) return;
  Mutation last;
  last.offset = size - 1;
  last.bytes.resize(1);
  mutations->push_back(std::move(last));
}

// What has grown moves ends, which whoever asks for them has to follow.
std::optional<GateRefusal> MoveEnds(const Memory& memory, const MoveRules& rules, PlacementState* state) {
  GateRefusal refusal(GateReason::kSlackExhausted, "a new segment, and others ask for the end of the program");
  for (const LinkerEnd& end : GrowthEnds(memory, *state)) {
    if (!rules.republish.contains(end.symbol)) refusal.republish.push_back(end.symbol);
    state->MoveEnd(end);
  }
  if (refusal.republish.empty()) return std::nullopt;
  return refusal;
}

// Rows that go elsewhere, and the linker's names for where they end.
std::optional<GateRefusal> UpdateRows(const Memory& memory, const PlacementState& state, const ImageReader& read,
                                      std::vector<Mutation>* mutations) {
  absl::Status written = WriteRows(memory, state.rows(), read, mutations);
  if (written.ok()) written = WriteTables(memory, state.rows(), read, mutations);
  if (const absl::Status& status = written; !status.ok()) {
    return GateRefusal{GateReason::kOutputChanged, std::string(status.message())};
  }
  for (const LinkerEnd& end : state.ends()) {
    SymbolUpdate update;
    update.symbol = end.symbol;
    update.body = update.address = end.address;
    update.output_section = end.section.value;
    update.republished = true;
    if (absl::Status status = memory.tables->UpdateSymbol(update, mutations); !status.ok()) {
      return GateRefusal{GateReason::kExactSectionChanged, std::string(status.message())};
    }
  }
  return std::nullopt;
}

// Rows of names that went, now that nobody refers to them any more.
std::optional<GateRefusal> RemoveNames(const GatePass& pass, const Memory& memory, std::vector<Mutation>* mutations) {
  std::vector<SymbolId> gone = pass.names().removed;
  for (const NameChanges::Added& dormant : pass.names().dormant) {
    const SymbolMemory& was = memory.symbols[dormant.symbol.value];
    if (was.kind != SymbolMemory::kNone && !was.dead) gone.push_back(dormant.symbol);
  }
  for (SymbolId id : gone) {
    const absl::Status status = memory.tables->RemoveSymbol(id, mutations);
    if (status.ok()) continue;
    return GateRefusal{GateReason::kDefinedSetChanged, absl::StrCat(memory.names.Name(id), ": ", status.message())};
  }
  const absl::Status status = memory.tables->DropStaleRows(mutations);
  if (!status.ok()) return GateRefusal{GateReason::kImportSetChanged, std::string(status.message())};
  return std::nullopt;
}

}  // namespace

std::variant<Plan, GateRefusal> PlanPatch(const GatePass& pass, const Memory& memory, const MoveRules& rules,
                                          const ImageReader& image) {
  const auto blocks = std::make_shared<ImageBlocks>(image, memory.image_size);
  const ImageReader read = [&](uint64_t offset, MutableBytes into) { return blocks->Read(offset, into); };
  if (auto refusal = CheckMoved(pass, memory, rules.republish)) return *refusal;
  std::variant<RowLayouts, GateRefusal> rows = LayRows(pass, memory, rules.republish);
  if (GateRefusal* refusal = std::get_if<GateRefusal>(&rows)) return *std::move(refusal);
  RowLayouts layouts = std::get<RowLayouts>(std::move(rows));
  if (auto refusal = LayTables(pass, memory, &layouts)) return *refusal;
  PlacementState state(memory, pass, rules, std::move(layouts));
  std::vector<Mutation> mutations;
  std::vector<PlacedUnit> units(pass.units().size());
  if (auto refusal = PlaceCommons(pass, &state)) return *refusal;
  std::vector<FixedImport> fixed;
  if (auto refusal = PlaceFixedImports(pass, &state, &fixed)) return *refusal;
  if (auto refusal = PlaceUnits(pass, &state, &units, &mutations)) return *refusal;
  if (auto refusal = CheckThreadSections(memory, units)) return *refusal;
  if (auto refusal = MoveEnds(memory, rules, &state)) return *refusal;
  if (auto refusal = MoveIfuncEnd(pass, rules, &state)) return *refusal;
  // Beyond this point no address changes.
  Plan plan;
  memory.tables->Begin();
  std::vector<Mutation> first;  // under all that is written
  const absl::StatusOr<bool> grown = PublishGrowth(memory, state, read, &first);
  mutations.insert(mutations.begin(), std::make_move_iterator(first.begin()), std::make_move_iterator(first.end()));
  if (!grown.ok()) {
    const bool kind = absl::IsUnimplemented(grown.status());
    return GateRefusal{kind ? GateReason::kUnsupportedSection : GateReason::kOutputChanged, std::string(grown.status().message())};
  }
  plan.grown = *grown;
  if (auto refusal = WriteIfuncs(pass, &state, &mutations)) return *refusal;
  if (auto refusal = UpdateRows(memory, state, read, &mutations)) return *refusal;
  if (auto refusal = UpdateNames(pass, memory, &mutations)) return *refusal;
  if (auto refusal = WriteFixedImports(fixed, &state, &mutations)) return *refusal;
  if (auto refusal = UpdateAbsolutes(pass, memory, &mutations)) return *refusal;
  if (auto refusal = UpdateCommons(pass, state, &mutations)) return *refusal;
  for (const PlacedUnit& unit : units) {
    if (auto refusal = WriteUnit(unit, state, memory.tables.get(), &mutations, &plan.relocations)) return *refusal;
  }
  std::vector<Slot> touched;
  if (auto refusal = WriteSites(units, state, memory.tables.get(), &mutations, &touched, &plan.relocations)) return *refusal;
  if (auto refusal = RemoveNames(pass, memory, &mutations)) return *refusal;
  FillNewHoles(memory, state, &mutations);
  memory.tables->Finish(&mutations);
  absl::StatusOr<std::vector<Mutation>> trimmed = TrimMutations(std::move(mutations), read);
  if (!trimmed.ok()) return GateRefusal{GateReason::kOutputChanged, std::string(trimmed.status().message())};
  plan.atoms.changed = CountChanged(memory, units, touched, *trimmed);
  if (memory.tables->image_size() != memory.image_size) {
    plan.patch.image_size = memory.tables->image_size();
    ReachEnd(plan.patch.image_size, &*trimmed);
  }
  if (absl::Status status = memory.tables->StampBuildId(read, &*trimmed); !status.ok()) {
    return GateRefusal{GateReason::kOutputChanged, std::string(status.message())};
  }
  std::sort(trimmed->begin(), trimmed->end(), [](const Mutation& a, const Mutation& b) { return a.offset < b.offset; });

  plan.patch.mutations = *std::move(trimmed);
  plan.patch.before = [blocks](uint64_t offset, MutableBytes into) { return blocks->Known(offset, into); };
  plan.atoms.total = memory.atom_count;
  NoteFixedImports(state, fixed, &units);
  for (const FixedImport& import : fixed) {
    if (import.copy) plan.copies.push_back(import.symbol);
  }
  for (PlacedUnit& unit : units) {
    plan.atoms.moved += unit.atoms.moved;
    plan.atoms.added += unit.atoms.added;
    plan.atoms.removed += unit.atoms.removed;
    unit.memory.sites = SitesOf(memory, {*unit.diff->object, unit.atom_of, unit.memory.atoms, unit.memory.globals},
                                [&](SymbolId id) -> const SymbolMemory& { return state.symbol(id); });
    plan.units.push_back({unit.diff->unit, std::move(unit.memory)});
  }
  plan.atoms.total += plan.atoms.added - plan.atoms.removed;
  plan.users = pass.names().users;
  plan.idle = pass.names().idle;
  plan.imported = pass.names().imported;
  plan.unimported = pass.names().unimported;
  plan.revived = pass.names().revived;
  state.Finish(&plan);
  return plan;
}

void AdoptPlan(Plan plan, Memory* memory) {
  AdoptRows(plan.rows, memory);
  const bool sets = memory->options->gc_sections;
  std::vector<UnitId> written;
  std::vector<std::pair<UnitId, const UnitMemory*>> units;
  for (const auto& [id, unit] : plan.units) units.push_back({id, &unit});
  for (const auto& [id, more] : ThreadPieces(*memory, units)) {
    if (more != 0) memory->sections[id.value].thread_pieces += static_cast<uint64_t>(more);
  }
  for (auto& [id, unit] : plan.units) {
    for (const AtomMemory& atom : unit.atoms) {
      if (!sets || !(atom.flags & kSecAlloc) || !IsCIdentifier(atom.name)) continue;
      std::vector<UnitId>& units = memory->sets[atom.name];
      if (std::find(units.begin(), units.end(), id) == units.end()) units.push_back(id);
    }
    for (const auto* list : {&unit.kept_groups, &unit.lost_groups}) {
      for (SymbolId group : *list) memory->group_users.Add(group, id);
    }
    UnitMemory& before = memory->units[id.value];
    if (!before.gone) --memory->traits[{before.traits, before.static_tls}];
    if (!unit.gone) ++memory->traits[{unit.traits, unit.static_tls}];
    before = std::move(unit);
    RenumberRows(id, memory);
    RenumberTables(id, memory);
    written.push_back(id);
  }
  AdoptTables(plan.rows, memory);
  for (const auto& [symbol, unit] : plan.users) memory->users.Add(symbol, unit);
  for (SymbolId id : plan.unimported) {
    const SymbolMemory& symbol = memory->symbols[id.value];
    if (symbol.idle) std::erase(memory->idle_imports, id);
    else if (symbol.import_group != SymbolMemory::kNoImportGroup) --memory->import_uses[symbol.import_group];
  }
  for (auto& [id, symbol] : plan.symbols) memory->symbols[id.value] = symbol;
  AdoptCopies(plan.copies, memory);
  for (UnitId unit : written) memory->NoteSites(unit);
  for (const NameChanges::Imported& import : plan.imported) {
    if (!import.weak && !import.open && !import.dormant) ++memory->import_uses[memory->symbols[import.symbol.value].import_group];
  }
  for (const auto& [list, idle] : {std::make_pair(&plan.idle, true), std::make_pair(&plan.revived, false)}) {
    for (SymbolId id : *list) {
      SymbolMemory& symbol = memory->symbols[id.value];
      symbol.idle = idle;
      if (idle) {
        --memory->import_uses[symbol.import_group];
        memory->idle_imports.push_back(id);
      } else {
        ++memory->import_uses[symbol.import_group];
        std::erase(memory->idle_imports, id);
      }
    }
  }
  for (auto& [id, space] : plan.spaces) memory->sections[id.value].space = std::move(space);
  for (auto& [index, growth] : plan.merged) {
    MergedMemory& merged = memory->merged[index];
    merged.used = growth.used;
    for (const auto& [digest, offset] : growth.offsets) merged.offsets.Add(digest, offset);
  }
  for (const auto& [id, place] : plan.commons) {
    if (place.section.valid()) {
      memory->commons[id] = place;
    } else {
      memory->commons.erase(id);
    }
  }
  memory->atom_count = plan.atoms.total;
  if (plan.patch.image_size != 0) memory->image_size = plan.patch.image_size;
  if (plan.grown) AdoptGrowth(memory);
  memory->tables->Accept();
}

}  // namespace kitlink
