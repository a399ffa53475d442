#include "core/session/rows.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "core/layout/assign.h"
#include "core/session/unit_placement.h"
#include "core/symbols/linker_symbols.h"

namespace kitlink {
namespace {

using Row = RowLayout::Row;
using Refusal = std::optional<GateRefusal>;

constexpr uint32_t kPermissions = kSecAlloc | kSecWrite | kSecExec | kSecTls;
constexpr uint32_t kNotFound = 0xffffffffu;

uint32_t PriorityIn(const SectionMemory& home, absl::string_view name) {
  return home.by_priority ? InitPriority(name) : 0;
}

using RowKey = std::pair<uint32_t, UnitRank>;

RowKey KeyOf(const Memory& memory, uint32_t priority, UnitId unit) { return {priority, memory.RankOf(unit)}; }

// What the changed units have in one section: before and now.
struct Touched {
  std::vector<std::pair<uint32_t, const AtomMemory*>> was;  // index in UnitMemory::atoms
  std::vector<Row> is;
  std::vector<uint32_t> old;  // beside `is`: index in UnitMemory::atoms of what the piece was
  bool differs = false;
};

class RowPlanner {
 public:
  RowPlanner(const GatePass& pass, const Memory& memory, const absl::flat_hash_set<SymbolId>& republished)
      : pass_(pass), memory_(memory), republished_(republished) {}

  std::variant<RowLayouts, GateRefusal> Run() {
    absl::btree_map<SectionId, std::vector<Row>> fresh;
    for (const UnitDiff& diff : pass_.units()) {
      changed_[diff.unit] = &diff;
      for (auto& [section, touched] : Look(diff)) {
        Compare(&touched);
        touched.differs |= diff.moved;
        std::vector<Row>& rows = fresh[section];
        rows.insert(rows.end(), touched.is.begin(), touched.is.end());
        if (touched.differs) differs_.insert(section);
      }
    }
    RowLayouts layouts;
    for (SectionId section : differs_) {
      if (Refusal refusal = Lay(section, std::move(fresh[section]), &layouts[section])) return *std::move(refusal);
    }
    if (!rewrite_.empty() || !republish_.empty()) {
      GateRefusal refusal(GateReason::kExactSectionChanged, "rows that others refer to are to move");
      refusal.rewrite = std::move(rewrite_);
      refusal.republish = std::move(republish_);
      return refusal;
    }
    return layouts;
  }

 private:
  absl::btree_map<SectionId, Touched> Look(const UnitDiff& diff) const {
    absl::btree_map<SectionId, Touched> found;
    const std::vector<AtomMemory>& atoms = memory_.units[diff.unit.value].atoms;
    for (uint32_t a = 0; a < atoms.size(); ++a) {
      if (IsRow(memory_, atoms[a])) found[atoms[a].section].was.push_back({a, &atoms[a]});
    }
    for (uint32_t s = 0; s < diff.sections.size(); ++s) {
      const SectionDiff& section = diff.sections[s];
      const InputSection& input = diff.object->sections[s];
      SectionId home;
      if (section.fate == SectionDiff::kMatched) {
        home = atoms[section.old].section;
      } else if (section.fate == SectionDiff::kAdded) {
        home = FindHome(memory_, input);
      }
      if (!home.valid() || !memory_.sections[home.value].rows) continue;
      Row row;
      row.priority = PriorityIn(memory_.sections[home.value], input.name);
      row.unit = diff.unit;
      row.index = s;
      row.changed = true;
      row.size = input.size;
      Touched& touched = found[home];
      touched.is.push_back(row);
      touched.old.push_back(section.fate == SectionDiff::kMatched ? section.old : kNotFound);
    }
    return found;
  }

  // A unit's rows are the same when the same pieces come in the same order and take the same room.
  void Compare(Touched* touched) const {
    touched->differs = touched->was.size() != touched->is.size();
    for (size_t i = 0; i < touched->is.size() && !touched->differs; ++i) {
      const auto& [atom, was] = touched->was[i];
      const Row& is = touched->is[i];
      const InputSection& input = Section(is);
      touched->differs = touched->old[i] != atom || was->size != is.size || was->alignment != input.alignment;
    }
  }

  const InputSection& Section(const Row& row) const { return changed_.at(row.unit)->object->sections[row.index]; }
  const AtomMemory& Atom(const Row& row) const { return memory_.units[row.unit.value].atoms[row.index]; }

  Refusal Refuse(const SectionMemory& home, absl::string_view what) const {
    return GateRefusal{GateReason::kExactSectionChanged, absl::StrCat(home.name, what)};
  }

  Refusal Lay(SectionId id, std::vector<Row> fresh, RowLayout* layout) {
    const SectionMemory& home = memory_.sections[id.value];
    std::stable_sort(fresh.begin(), fresh.end(), [&](const Row& a, const Row& b) { return Key(a) < Key(b); });
    std::vector<Row> kept;
    for (const RowMemory& row : home.row_list) {
      if (changed_.contains(row.unit)) continue;
      if (row.atom >= memory_.units[row.unit.value].atoms.size()) return Refuse(home, ": a unit is damaged");
      const AtomMemory& atom = memory_.units[row.unit.value].atoms[row.atom];
      kept.push_back({row.priority, row.unit, row.atom, false, 0, atom.size, atom.offset});
    }
    layout->rows.resize(fresh.size() + kept.size());
    std::merge(kept.begin(), kept.end(), fresh.begin(), fresh.end(), layout->rows.begin(),
               [&](const Row& a, const Row& b) { return Key(a) < Key(b); });
    if (Refusal refusal = CheckKind(home, layout->rows)) return refusal;
    for (Row& row : layout->rows) {
      const uint64_t alignment = std::max<uint64_t>(row.changed ? Section(row).alignment : Atom(row).alignment, 1);
      if (home.address % alignment != 0) return Refuse(home, absl::StrCat(" is not aligned to ", alignment));
      row.offset = AlignUp(layout->used, alignment);
      layout->used = row.offset + row.size;
      if (row.changed) {
        layout->places[{row.unit, row.index}] = {row.offset, row.size};
      } else if (row.offset != row.from && !Atom(row).movable) {
        rewrite_.push_back(row.unit);
      }
    }
    if (layout->used == 0) return Refuse(home, " would be empty");
    if (layout->used > home.size) return Refuse(home, ": no room left");
    return FindEnd(home, layout);
  }

  RowKey Key(const Row& row) const { return KeyOf(memory_, row.priority, row.unit); }

  // What may be done to the section is what may be done to some row of it.
  Refusal CheckKind(const SectionMemory& home, const std::vector<Row>& rows) const {
    uint32_t flags = 0;
    bool kind = false;
    for (const Row& row : rows) {
      flags |= row.changed ? Section(row).flags : Atom(row).flags;
      const SectionKind is = row.changed ? Section(row).kind : Atom(row).kind;
      if (is == SectionKind::kNobits || is == SectionKind::kNote) return Refuse(home, " holds rows of another kind");
      kind |= GoesByPriority(is) || !home.by_priority;
    }
    if (!kind || ((flags ^ home.flags) & kPermissions) != 0) return Refuse(home, " would be of another kind");
    return std::nullopt;
  }

  Refusal FindEnd(const SectionMemory& home, RowLayout* layout) {
    if (layout->used == home.used) return std::nullopt;
    const std::string name = SectionEndName(home.name);
    const SymbolId id = name.empty() ? SymbolId() : memory_.names.Find(name);
    if (!id.valid() || memory_.symbols[id.value].kind != SymbolMemory::kLinker) return std::nullopt;
    layout->end = id;
    if (!republished_.contains(id)) republish_.push_back(id);
    return std::nullopt;
  }

  const GatePass& pass_;
  const Memory& memory_;
  const absl::flat_hash_set<SymbolId>& republished_;
  absl::flat_hash_map<UnitId, const UnitDiff*> changed_;
  absl::btree_set<SectionId> differs_;
  std::vector<UnitId> rewrite_;
  std::vector<SymbolId> republish_;
};

// The rows of unchanged units that go elsewhere, joined where they go together.
std::vector<WordMove> MovesOf(const SectionMemory& home, const RowLayout& layout) {
  std::vector<WordMove> moves;
  for (const Row& row : layout.rows) {
    if (row.changed || row.size == 0) continue;
    const uint64_t from = home.address + row.from, to = home.address + row.offset;
    if (!moves.empty() && moves.back().from.end == from && moves.back().to + (from - moves.back().from.begin) == to) {
      moves.back().from.end += row.size;
    } else {
      moves.push_back({{from, from + row.size}, to});
    }
  }
  return moves;
}

}  // namespace

std::variant<RowLayouts, GateRefusal> LayRows(const GatePass& pass, const Memory& memory,
                                              const absl::flat_hash_set<SymbolId>& republished) {
  return RowPlanner(pass, memory, republished).Run();
}

absl::Status WriteRows(const Memory& memory, const RowLayouts& layouts, const ImageReader& read,
                       std::vector<Mutation>* mutations) {
  for (const auto& [id, layout] : layouts) {
    const SectionMemory& home = memory.sections[id.value];
    if (!home.rows) continue;
    const std::vector<WordMove> moves = MovesOf(home, layout);
    std::vector<uint8_t> was(home.used);
    if (absl::Status status = read(home.offset, absl::MakeSpan(was)); !status.ok()) return status;
    Mutation mutation;
    mutation.offset = home.offset;
    mutation.phase = PatchPhase::kTables;
    mutation.bytes.resize(std::max(home.used, layout.used));
    for (const WordMove& move : moves) {
      std::memcpy(&mutation.bytes[move.to - home.address], &was[move.from.begin - home.address], move.from.end - move.from.begin);
    }
    mutations->push_back(std::move(mutation));
    memory.tables->MoveWords({home.address, home.address + home.size}, moves);
    if (layout.used != home.used) memory.tables->ResizeRows(id.value, layout.used, mutations);
  }
  return absl::OkStatus();
}

bool IsRow(const Memory& memory, const AtomMemory& atom) {
  return atom.state == AtomMemory::kPlaced && memory.sections[atom.section.value].rows;
}

void ListRows(Memory* memory) {
  for (uint32_t u = 0; u < memory->units.size(); ++u) {
    const std::vector<AtomMemory>& atoms = memory->units[u].atoms;
    for (uint32_t a = 0; a < atoms.size(); ++a) {
      if (!IsRow(*memory, atoms[a])) continue;
      SectionMemory& home = memory->sections[atoms[a].section.value];
      home.row_list.push_back({PriorityIn(home, atoms[a].name), UnitId(u), a});
    }
  }
  for (SectionMemory& home : memory->sections) {
    std::stable_sort(home.row_list.begin(), home.row_list.end(), [&](const RowMemory& a, const RowMemory& b) {
      return KeyOf(*memory, a.priority, a.unit) < KeyOf(*memory, b.priority, b.unit);
    });
  }
}

void AdoptRows(const RowLayouts& layouts, Memory* memory) {
  for (auto& [id, layout] : layouts) {
    SectionMemory& home = memory->sections[id.value];
    if (!home.rows) continue;
    home.used = layout.used;
    home.row_list.clear();
    for (const Row& row : layout.rows) {
      home.row_list.push_back({row.priority, row.unit, row.index});  // RenumberRows corrects those of changed units
      if (!row.changed) memory->units[row.unit.value].atoms[row.index].offset = row.offset;
    }
  }
}

void RenumberRows(UnitId unit, Memory* memory) {
  absl::flat_hash_map<std::pair<SectionId, uint32_t>, uint32_t> seen;  // rows of (section, priority)
  const std::vector<AtomMemory>& atoms = memory->units[unit.value].atoms;
  for (uint32_t a = 0; a < atoms.size(); ++a) {
    if (!IsRow(*memory, atoms[a])) continue;
    SectionMemory& home = memory->sections[atoms[a].section.value];
    const uint32_t priority = PriorityIn(home, atoms[a].name);
    const auto first = std::lower_bound(
        home.row_list.begin(), home.row_list.end(), KeyOf(*memory, priority, unit),
        [&](const RowMemory& row, const RowKey& key) { return KeyOf(*memory, row.priority, row.unit) < key; });
    first[seen[{atoms[a].section, priority}]++].atom = a;
  }
}

std::vector<bool> MovableSections(const ObjectFile& object, const Arch& arch) {
  std::vector<bool> movable(object.sections.size(), true);
  for (const InputSymbol& symbol : object.symbols) {
    if (symbol.section < movable.size() && symbol.type != SymbolType::kSection) movable[symbol.section] = false;
  }
  for (uint32_t s = 0; s < object.sections.size(); ++s) {
    for (const Reloc& reloc : object.sections[s].relocs) {
      const RelocForm form = arch.Info(reloc.type).form;
      if (form != RelocForm::kAbsolute && form != RelocForm::kNone) movable[s] = false;
      if (reloc.symbol >= object.symbols.size()) continue;  // the file is being rewritten under us
      const uint32_t in = object.symbols[reloc.symbol].section;
      if (in < movable.size()) movable[in] = false;
    }
  }
  return movable;
}

}  // namespace kitlink
