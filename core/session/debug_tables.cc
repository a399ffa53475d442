#include "core/session/debug_tables.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "core/dwarf/padding.h"
#include "core/layout/assign.h"
#include "core/layout/slack.h"

namespace kitlink {
namespace {

using Row = RowLayout::Row;
using Refusal = std::optional<GateRefusal>;

// What tables are lengthened by.
uint64_t StepOf(const SectionMemory& home) { return home.name == ".debug_aranges" ? 16 : home.name == ".debug_addr" ? 8 : 4; }

// Debug sections of 32-bit DWARF end below 4 GiB; tables go by where they are.
uint32_t PlaceOf(uint64_t offset) { return static_cast<uint32_t>(offset); }

bool IsTable(const Memory& memory, const AtomMemory& atom) {
  return atom.state == AtomMemory::kPlaced && atom.capacity != 0 && memory.sections[atom.section.value].padded;
}

class TablePlanner {
 public:
  TablePlanner(const GatePass& pass, const Memory& memory) : pass_(pass), memory_(memory) {
    for (const UnitDiff& diff : pass.units()) changed_[diff.unit] = &diff;
  }

  Refusal Run(RowLayouts* layouts) {
    absl::btree_set<SectionId> differ;
    for (const UnitDiff& diff : pass_.units()) Look(diff, &differ);
    for (SectionId section : differ) {
      if (Refusal refusal = Lay(section, &(*layouts)[section])) return refusal;
    }
    return std::nullopt;
  }

 private:
  const AtomMemory& Atom(UnitId unit, uint32_t atom) const { return memory_.units[unit.value].atoms[atom]; }

  SectionId HomeOf(const InputSection& input) const {
    if ((input.flags & kSecAlloc) || input.size == 0) return SectionId();
    const absl::string_view name = OutputSectionName(memory_.options, input);
    for (uint32_t s = 0; s < memory_.sections.size(); ++s) {
      if (memory_.sections[s].padded && memory_.sections[s].name == name) return SectionId(s);
    }
    return SectionId();
  }

  // True when a table can be where it was, lengthened or not. One that can be lengthened never fills its room: whether it can
  // is not remembered, but for that.
  bool Stays(const SectionMemory& home, const AtomMemory& was, const InputSection& is) const {
    if (was.size == was.capacity) return is.size == was.size;
    return Lengthens(home, is) && is.size < was.capacity && (was.capacity - is.size) % StepOf(home) == 0;
  }

  // True of what is one table.
  static bool Lengthens(const SectionMemory& home, const InputSection& is) {
    return is.bytes.size() >= LeastTable(home.name) && uint64_t{Load<uint32_t>(is.bytes.data())} + 4 == is.bytes.size();
  }

  void Look(const UnitDiff& diff, absl::btree_set<SectionId>* differ) const {
    const std::vector<AtomMemory>& atoms = memory_.units[diff.unit.value].atoms;
    for (uint32_t removed : diff.removed) {
      if (IsTable(memory_, atoms[removed])) differ->insert(atoms[removed].section);
    }
    for (uint32_t s = 0; s < diff.sections.size(); ++s) {
      const SectionDiff& section = diff.sections[s];
      const InputSection& input = diff.object->sections[s];
      if (section.fate == SectionDiff::kAdded) {
        if (const SectionId home = HomeOf(input); home.valid()) differ->insert(home);
      } else if (section.fate == SectionDiff::kMatched && memory_.sections[atoms[section.old].section.value].padded) {
        const SectionId home = atoms[section.old].section;
        if (!Stays(memory_.sections[home.value], atoms[section.old], input)) differ->insert(home);
      }
    }
  }

  Refusal Refuse(const SectionMemory& home, absl::string_view what) const {
    return GateRefusal{GateReason::kUnsupportedSection, absl::StrCat(home.name, what)};
  }

  // A table in its place, or on its way to one.
  struct Table {
    Row row;
    bool lengthens = false;
  };

  Refusal Lay(SectionId id, RowLayout* layout) {
    const SectionMemory& home = memory_.sections[id.value];
    std::vector<Table> tables, fresh;
    absl::flat_hash_map<std::pair<UnitId, uint32_t>, uint32_t> now;  // (unit, atom) -> section of the new object
    for (const UnitDiff& diff : pass_.units()) Gather(diff, id, &now, &fresh);
    for (const RowMemory& known : home.row_list) {
      if (known.atom >= memory_.units[known.unit.value].atoms.size()) return Refuse(home, ": a unit is damaged");
      const AtomMemory& atom = Atom(known.unit, known.atom);
      Table table;
      table.row = {0, known.unit, known.atom, false, atom.offset, atom.size, atom.offset};
      table.lengthens = atom.capacity != atom.size;
      if (const auto it = changed_.find(known.unit); it != changed_.end()) {
        const auto is = now.find({known.unit, known.atom});
        if (is == now.end()) continue;
        const InputSection& input = it->second->object->sections[is->second];
        table.row = {0, known.unit, is->second, true, atom.offset, input.size, 0};
        table.lengthens = Lengthens(home, input);
      }
      tables.push_back(table);
    }
    if (Refusal refusal = CloseFront(home, &tables, &fresh)) return refusal;
    for (Table& table : fresh) {
      const Table& last = tables.back();
      const uint64_t needed = last.row.size + (last.lengthens ? AlignUp(std::max<uint64_t>(last.row.size / 4, 128), 16) : 0);
      const InputSection& input = changed_.at(table.row.unit)->object->sections[table.row.index];
      table.row.offset = AlignUp(last.row.offset + needed, std::max<uint64_t>(input.alignment, 1));
      if (!InBounds(table.row.offset, input.size, home.size)) {
        return GateRefusal{GateReason::kSlackExhausted, absl::StrCat(home.name, ": no room left")};
      }
      tables.push_back(table);
    }
    return Finish(home, tables, layout);
  }

  // No table may be lengthened to cover the room of the first: the next takes its place, which its unit has to know of.
  Refusal CloseFront(const SectionMemory& home, std::vector<Table>* tables, std::vector<Table>* fresh) const {
    if (tables->empty()) {
      if (fresh->empty()) return Refuse(home, ": the last table went");
      std::swap(*tables, *fresh);
      fresh->assign(tables->begin() + 1, tables->end());
      tables->resize(1);
    }
    Row& first = tables->front().row;
    if (first.offset != 0 && !first.changed) {
      GateRefusal refusal(GateReason::kUnsupportedSection, absl::StrCat(home.name, ": the first table went"));
      refusal.rewrite.push_back(first.unit);
      return refusal;
    }
    first.offset = 0;
    if (first.size > home.size) return GateRefusal{GateReason::kSlackExhausted, absl::StrCat(home.name, ": no room left")};
    return std::nullopt;
  }

  // The tables of a changed unit: those that stay, and those that are new or do not fit where they were.
  void Gather(const UnitDiff& diff, SectionId id, absl::flat_hash_map<std::pair<UnitId, uint32_t>, uint32_t>* stay,
              std::vector<Table>* fresh) const {
    const SectionMemory& home = memory_.sections[id.value];
    const std::vector<AtomMemory>& atoms = memory_.units[diff.unit.value].atoms;
    for (uint32_t s = 0; s < diff.sections.size(); ++s) {
      const SectionDiff& section = diff.sections[s];
      const InputSection& input = diff.object->sections[s];
      const bool matched = section.fate == SectionDiff::kMatched && atoms[section.old].section == id;
      if (matched && Stays(home, atoms[section.old], input)) {
        (*stay)[{diff.unit, section.old}] = s;
        continue;
      }
      if (!matched && (section.fate != SectionDiff::kAdded || HomeOf(input) != id)) continue;
      Table table;
      table.row = {0, diff.unit, s, true, 0, input.size, 0};
      table.lengthens = Lengthens(home, input);
      fresh->push_back(table);
    }
  }

  // Each table up to the next.
  Refusal Finish(const SectionMemory& home, const std::vector<Table>& tables, RowLayout* layout) const {
    layout->used = home.size;
    for (size_t t = 0; t < tables.size(); ++t) {
      const uint64_t end = t + 1 < tables.size() ? tables[t + 1].row.offset : home.size;
      Row row = tables[t].row;
      if (end > home.size || !InBounds(row.offset, row.size, end)) return Refuse(home, ": tables overlap");
      const uint64_t capacity = end - row.offset;
      if (capacity != row.size && (!tables[t].lengthens || (capacity - row.size) % StepOf(home) != 0)) {
        return Refuse(home, " holds a table that cannot be lengthened");
      }
      if (row.changed) layout->places[{row.unit, row.index}] = {row.offset, capacity};
      row.size = capacity;
      layout->rows.push_back(row);
    }
    return std::nullopt;
  }

  const GatePass& pass_;
  const Memory& memory_;
  absl::flat_hash_map<UnitId, const UnitDiff*> changed_;
};

}  // namespace

std::optional<GateRefusal> LayTables(const GatePass& pass, const Memory& memory, RowLayouts* layouts) {
  return TablePlanner(pass, memory).Run(layouts);
}

absl::Status WriteTables(const Memory& memory, const RowLayouts& layouts, const ImageReader& read,
                         std::vector<Mutation>* mutations) {
  for (const auto& [id, layout] : layouts) {
    const SectionMemory& home = memory.sections[id.value];
    if (!home.padded) continue;
    for (const Row& row : layout.rows) {
      if (row.changed) continue;
      const uint64_t before = memory.units[row.unit.value].atoms[row.index].capacity;
      if (before == row.size) continue;
      Mutation mutation;
      mutation.offset = home.offset + row.offset;
      mutation.phase = PatchPhase::kTables;
      mutation.bytes.resize(std::max(before, row.size));
      if (absl::Status status = read(mutation.offset, absl::MakeSpan(mutation.bytes).first(before)); !status.ok()) return status;
      if (row.size < before) {
        mutation.bytes.resize(row.size);
        Store<uint32_t>(mutation.bytes.data(), static_cast<uint32_t>(row.size - 4));
        // Only what lengthened it is cut off.
        if (home.name == ".debug_aranges") std::fill(mutation.bytes.end() - 16, mutation.bytes.end(), uint8_t{0});
      } else if (!dwarf::PadInPlace(home.name, absl::MakeSpan(mutation.bytes), before)) {
        return absl::FailedPreconditionError(absl::StrCat(home.name, " is not what was written"));
      }
      mutations->push_back(std::move(mutation));
    }
  }
  return absl::OkStatus();
}

void ListTables(Memory* memory) {
  for (uint32_t u = 0; u < memory->units.size(); ++u) {
    const std::vector<AtomMemory>& atoms = memory->units[u].atoms;
    for (uint32_t a = 0; a < atoms.size(); ++a) {
      if (!IsTable(*memory, atoms[a])) continue;
      memory->sections[atoms[a].section.value].row_list.push_back({PlaceOf(atoms[a].offset), UnitId(u), a});
    }
  }
  for (SectionMemory& home : memory->sections) {
    if (!home.padded) continue;
    std::sort(home.row_list.begin(), home.row_list.end(),
              [](const RowMemory& a, const RowMemory& b) { return a.priority < b.priority; });
  }
}

void RenumberTables(UnitId unit, Memory* memory) {
  const std::vector<AtomMemory>& atoms = memory->units[unit.value].atoms;
  for (uint32_t a = 0; a < atoms.size(); ++a) {
    if (!IsTable(*memory, atoms[a])) continue;
    std::vector<RowMemory>& list = memory->sections[atoms[a].section.value].row_list;
    const auto it = std::lower_bound(list.begin(), list.end(), PlaceOf(atoms[a].offset),
                                     [](const RowMemory& row, uint32_t place) { return row.priority < place; });
    if (it != list.end() && it->unit == unit && it->priority == PlaceOf(atoms[a].offset)) it->atom = a;
  }
}

void AdoptTables(const RowLayouts& layouts, Memory* memory) {
  for (const auto& [id, layout] : layouts) {
    SectionMemory& home = memory->sections[id.value];
    if (!home.padded) continue;
    home.row_list.clear();
    for (const Row& row : layout.rows) {
      std::vector<AtomMemory>& atoms = memory->units[row.unit.value].atoms;
      uint32_t atom = row.index;
      for (uint32_t a = 0; row.changed && a < atoms.size(); ++a) {
        if (atoms[a].section == id && atoms[a].offset == row.offset && IsTable(*memory, atoms[a])) atom = a;
      }
      home.row_list.push_back({PlaceOf(row.offset), row.unit, atom});
      atoms[atom].capacity = row.size;
    }
  }
}

}  // namespace kitlink
