#include "core/session/diff.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "core/layout/assign.h"
#include "core/symbols/normalize.h"

namespace kitlink {
namespace {

bool Contains(const std::vector<SymbolId>& sorted, SymbolId id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

// Sections that the cold link leaves out whatever they hold.
bool LeftOut(const LinkOptions& options, const InputSection& section) {
  return section.kind == SectionKind::kNone || (section.flags & kSecExclude) || Excluded(options, section) ||
         (options.incremental && NeedsWholeProgram(section));
}

// The names that the unit's last version had, in the order of its symbols.
std::vector<SymbolId> NamesInOrder(const Memory& memory, UnitId unit) {
  if (unit.value >= memory.units.size()) return {};
  const std::vector<GlobalMemory>& globals = memory.units[unit.value].globals;
  std::vector<SymbolId> names(globals.size());
  uint32_t first = 0xffffffffu;
  for (const GlobalMemory& global : globals) first = std::min(first, global.index);
  for (const GlobalMemory& global : globals) {
    if (global.index - first < names.size()) names[global.index - first] = global.symbol;
  }
  return names;
}

// The ids of the object's global names; those that the session does not know are invalid. Most names follow one another as
// they did in the unit's last version: comparing them touches memory that lies together, looking them up does not.
std::vector<SymbolId> FindNames(const Memory& memory, UnitId unit, const ObjectFile& object) {
  constexpr size_t kNear = 16;  // so many may go at once
  const std::vector<SymbolId> before = NamesInOrder(memory, unit);
  std::vector<SymbolId> ids(object.symbols.size() - std::min<size_t>(object.first_global, object.symbols.size()));
  size_t at = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    const absl::string_view name = object.symbols[object.first_global + i].name;
    if (at < before.size() && before[at].valid() && memory.names.Name(before[at]) == name) {
      ids[i] = before[at++];
      continue;
    }
    ids[i] = memory.names.Find(name);
    if (!ids[i].valid()) continue;
    for (size_t k = at; k < std::min(before.size(), at + kNear); ++k) {
      if (before[k] != ids[i]) continue;
      at = k + 1;
      break;
    }
  }
  return ids;
}

// A section's name without the number by which compilers tell static variables, clones and tables of one name apart:
// ".bss.calls.1", ".text.work.constprop.0", ".rodata.CSWTCH.12", ".data.rel.ro..L__unnamed_2". Empty when there is none.
absl::string_view Stem(absl::string_view name) {
  size_t end = name.size();
  while (end != 0 && absl::ascii_isdigit(static_cast<unsigned char>(name[end - 1]))) --end;
  const absl::string_view stem = name.substr(0, end);
  const bool counted = end != name.size() && (absl::EndsWith(stem, ".") || absl::EndsWith(stem, "__unnamed_"));
  return counted ? stem : absl::string_view();
}

// Compilers count through a whole file: one static variable more, and all that come after it have other names. Those that
// names left without a partner are matched with what had the same stem and looks alike, or else has the same stem and room, in
// order.
class StemMatch {
 public:
  StemMatch(const Memory& memory, const UnitMemory& old, UnitDiff* diff) : memory_(memory), old_(old), diff_(*diff) {}

  void Run() {
    std::vector<uint32_t> removed;
    for (uint32_t a : diff_.removed) {
      const AtomMemory& atom = old_.atoms[a];
      if (const absl::string_view stem = Stem(atom.name); !stem.empty() && Loose(memory_.sections[atom.section.value])) {
        alike_[{stem, atom.size, atom.alignment}].push_back(a);
        others_[stem].push_back(a);
      } else {
        removed.push_back(a);
      }
    }
    if (others_.empty()) return;
    taken_.assign(old_.atoms.size(), false);
    for (bool same : {true, false}) {
      for (uint32_t s = 0; s < diff_.sections.size(); ++s) Match(s, same);
    }
    // any order: sorted below.
    for (const auto& [stem, list] : others_) {
      std::copy_if(list.begin(), list.end(), std::back_inserter(removed), [&](uint32_t a) { return !taken_[a]; });
    }
    std::sort(removed.begin(), removed.end());
    diff_.removed = std::move(removed);
  }

 private:
  // Where order means nothing and slots have room.
  static bool Loose(const SectionMemory& home) { return !home.exact && !home.rows && !home.padded; }

  void Match(uint32_t s, bool same) {
    const InputSection& section = diff_.object->sections[s];
    if (diff_.sections[s].fate != SectionDiff::kAdded || section.group >= 0) return;
    const absl::string_view stem = Stem(section.name);
    if (stem.empty()) return;
    const auto alike = alike_.find(std::make_tuple(stem, section.size, section.alignment));
    const auto others = others_.find(stem);
    if (others == others_.end() || (same && alike == alike_.end())) return;
    for (uint32_t a : same ? alike->second : others->second) {
      const AtomMemory& atom = old_.atoms[a];
      if (taken_[a] || atom.flags != section.flags || atom.kind != section.kind) continue;
      const bool tls = (section.flags & kSecTls) != 0;
      if (!same && (tls || section.size > atom.capacity || section.alignment > atom.alignment)) continue;
      if (memory_.sections[atom.section.value].name != OutputSectionName(memory_.options, section)) continue;
      taken_[a] = true;
      diff_.sections[s] = {SectionDiff::kMatched, a};
      return;
    }
  }

  const Memory& memory_;
  const UnitMemory& old_;
  UnitDiff& diff_;
  absl::flat_hash_map<std::tuple<absl::string_view, uint64_t, uint32_t>, std::vector<uint32_t>> alike_;
  absl::flat_hash_map<absl::string_view, std::vector<uint32_t>> others_;
  std::vector<bool> taken_;  // by atom
};

}  // namespace

bool UnitDiff::Collectable(uint32_t section) const {
  const SectionDiff::Fate fate = sections[section].fate;
  return (object->sections[section].flags & kSecAlloc) && fate != SectionDiff::kIgnored &&
         fate != SectionDiff::kFrames && fate != SectionDiff::kDiscarded;
}

UnitDiff DiffUnit(const Memory& memory, UnitId unit, std::unique_ptr<ObjectFile> object, const UnitGroups* groups) {
  const UnitMemory& old = memory.units[unit.value];
  UnitDiff diff;
  diff.unit = unit;
  diff.kept_and_lost = groups != nullptr ? *groups : UnitGroups{old.kept_groups, old.lost_groups};
  NormalizeObject(object.get());
  if (object->ids.empty()) object->ids = FindNames(memory, unit, *object);
  const auto symbol_of = [&](uint32_t index) { return object->ids[index - object->first_global]; };
  diff.globals = GlobalsOf(*object, symbol_of);
  for (const SectionGroup& group : object->groups) {
    if (group.comdat) diff.groups.push_back(memory.names.Find(group.signature));
  }
  std::sort(diff.groups.begin(), diff.groups.end());

  // In reverse, so that pop_back gives the first. Names may repeat, and only one of a name be in a group that lost.
  absl::flat_hash_map<std::pair<absl::string_view, bool>, std::vector<uint32_t>> by_name;
  for (uint32_t a = static_cast<uint32_t>(old.atoms.size()); a-- > 0;) {
    by_name[{old.atoms[a].name, old.atoms[a].state == AtomMemory::kDiscarded}].push_back(a);
  }

  diff.sections.resize(object->sections.size());
  for (uint32_t s = 0; s < object->sections.size(); ++s) {
    const InputSection& section = object->sections[s];
    SectionDiff& out = diff.sections[s];
    if (LeftOut(memory.options, section)) continue;
    const bool lost = section.group >= 0 && object->groups[section.group].comdat &&
                      Contains(diff.kept_and_lost.lost, memory.names.Find(object->groups[section.group].signature));
    if (auto it = by_name.find(std::make_pair(section.name, lost)); it != by_name.end() && !it->second.empty()) {
      out.old = it->second.back();
      it->second.pop_back();
    }
    if (lost) {
      out.fate = SectionDiff::kDiscarded;
      continue;
    }
    if (out.old == kNoAtomMemory) {
      out.fate = section.kind == SectionKind::kEhFrame ? SectionDiff::kFrames
                 : (section.flags & kSecMerge)         ? SectionDiff::kMerged
                                                       : SectionDiff::kAdded;
      continue;
    }
    switch (old.atoms[out.old].state) {
      case AtomMemory::kPlaced: out.fate = SectionDiff::kMatched; break;
      case AtomMemory::kMerged: out.fate = SectionDiff::kMerged; break;
      case AtomMemory::kFrames: out.fate = SectionDiff::kFrames; break;
      case AtomMemory::kDead: out.fate = SectionDiff::kDead; break;
      case AtomMemory::kDiscarded: out.fate = SectionDiff::kDiscarded; break;
    }
  }
  for (GlobalMemory& global : diff.globals) {
    const uint32_t section = object->symbols[global.index].section;
    global.lost = global.role == GlobalMemory::kDefined && section < diff.sections.size() &&
                  diff.sections[section].fate == SectionDiff::kDiscarded;
  }
  NoteCopies(memory, *object, symbol_of, [&](uint32_t s) { return diff.sections[s].fate != SectionDiff::kDead; }, &diff.globals);
  if (memory.options->gc_sections) {
    diff.references = ReferencesOf(*object, FramesOf(*object), symbol_of);
    NoteUnloaded(*object, &diff.globals);
  }
  // any order: sorted below.
  for (const auto& [name, left] : by_name) {
    for (uint32_t a : left) {
      if (old.atoms[a].state == AtomMemory::kPlaced) diff.removed.push_back(a);
    }
  }
  std::sort(diff.removed.begin(), diff.removed.end());
  diff.object = std::move(object);
  if (groups != nullptr) StemMatch(memory, old, &diff).Run();
  return diff;
}

std::vector<UnitDiff> DiffStrictly(ChangedObjects units, const Memory& memory) {
  std::vector<UnitDiff> diffs;
  for (auto& [unit, object] : units) diffs.push_back(DiffUnit(memory, unit, std::move(object)));
  return diffs;
}

void InternNames(UnitId unit, ObjectFile* object, Memory* memory) {
  object->ids = FindNames(*memory, unit, *object);
  for (size_t i = 0; i < object->ids.size(); ++i) {
    if (!object->ids[i].valid()) object->ids[i] = memory->Intern(object->symbols[object->first_global + i].name);
  }
  for (const SectionGroup& group : object->groups) memory->Intern(group.signature);
}

std::vector<UnitDiff> DiffExactly(ChangedObjects units, const std::vector<UnitGroups>& groups, const Memory& memory) {
  std::vector<UnitDiff> diffs;
  for (size_t i = 0; i < units.size(); ++i) {
    diffs.push_back(DiffUnit(memory, units[i].first, std::move(units[i].second), &groups[i]));
  }
  return diffs;
}

}  // namespace kitlink
