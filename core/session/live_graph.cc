#include "core/session/live_graph.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/symbols/linker_symbols.h"
#include "core/symbols/live.h"

namespace kitlink {

LiveGraph::LiveGraph(const Memory& memory, const std::vector<UnitDiff>& diffs, const NameChanges& names)
    : memory_(memory), diffs_(diffs) {
  for (size_t d = 0; d < diffs.size(); ++d) index_[diffs[d].unit] = d;
  sections_.resize(diffs.size());
  definitions_.resize(diffs.size());
  for (size_t d = 0; d < diffs.size(); ++d) {
    const UnitDiff& diff = diffs[d];
    for (uint32_t s = 0; s < diff.sections.size(); ++s) {
      if (diff.sections[s].old != kNoAtomMemory && diff.Collectable(s)) sections_[d][diff.sections[s].old] = s;
    }
    for (const GlobalMemory& global : diff.globals) {
      if (!global.owner) continue;
      const uint32_t section = diff.object->symbols[global.index].section;
      if (section < diff.sections.size()) definitions_[d][global.symbol] = section;
    }
  }
  for (const auto* list : {&names.added, &names.redeclared}) {
    for (const NameChanges::Added& added : *list) {
      owners_[added.symbol] = added.unit;
      exported_[added.symbol] = added.publicity.exported;
    }
  }
  gone_.insert(names.removed.begin(), names.removed.end());
  for (const NameChanges::Imported& imported : names.imported) gone_.insert(imported.symbol);
  for (const auto& [symbol, unit] : names.users) new_users_[symbol].push_back(unit);
}

int LiveGraph::Changed(UnitId unit) const {
  const auto it = index_.find(unit);
  return it == index_.end() ? -1 : static_cast<int>(it->second);
}

uint32_t LiveGraph::SectionOf(size_t diff, uint32_t atom) const {
  const auto it = sections_[diff].find(atom);
  return it == sections_[diff].end() ? References::kOwn : it->second;
}

bool LiveGraph::IsRootSymbol(SymbolId symbol) const {
  const auto now = exported_.find(symbol);
  const bool exported = now != exported_.end() ? now->second : memory_.symbols[symbol.value].exported;
  if (exported && !gone_.contains(symbol)) return true;
  const LinkOptions& options = memory_.options;
  const absl::string_view name = memory_.names.Name(symbol);
  return name == (options.entry.empty() ? absl::string_view("_start") : absl::string_view(options.entry)) ||
         name == options.init || name == options.fini ||
         std::find(options.undefined.begin(), options.undefined.end(), name) != options.undefined.end();
}

bool LiveGraph::IsRoot(const LiveNode& node) {
  if (!node.unit.valid()) return IsRootSymbol(SymbolId(node.index));
  const int d = Changed(node.unit);
  if (d >= 0) {
    const InputSection& section = diffs_[d].object->sections[node.index];
    if (IsCollectionRoot(section.name, section.flags, section.kind)) return true;
  } else {
    const AtomMemory& atom = memory_.units[node.unit.value].atoms[node.index];
    if (IsCollectionRoot(atom.name, atom.flags, atom.kind)) return true;
  }
  const Inverse& inverse = InverseOf(node.unit);
  const auto it = inverse.definitions.find(node.index);
  return it != inverse.definitions.end() &&
         std::any_of(it->second.begin(), it->second.end(), [&](SymbolId id) { return IsRootSymbol(id); });
}

bool LiveGraph::Home(SymbolId symbol, LiveNode* home) const {
  const auto owner = owners_.find(symbol);
  UnitId unit;
  if (owner != owners_.end()) {
    unit = owner->second;
  } else {
    const SymbolMemory& known = memory_.symbols[symbol.value];
    if (known.kind != SymbolMemory::kDefined || gone_.contains(symbol)) return false;
    unit = known.owner;
  }
  if (!unit.valid() || unit.value >= memory_.units.size()) return false;
  if (const int d = Changed(unit); d >= 0) {
    const auto it = definitions_[d].find(symbol);
    if (it != definitions_[d].end()) {
      *home = {unit, it->second};
      return Collectable(*home);
    }
  } else if (const uint32_t atom = memory_.units[unit.value].references.HomeOf(symbol); atom != References::kOwn) {
    *home = {unit, atom};
    return Collectable(*home);
  }
  *home = {UnitId(), symbol.value};  // COMMON
  return true;
}

bool LiveGraph::Collectable(const LiveNode& node) const {
  if (!node.unit.valid()) return true;
  if (const int d = Changed(node.unit); d >= 0) return diffs_[d].Collectable(node.index);
  const AtomMemory& atom = memory_.units[node.unit.value].atoms[node.index];
  return (atom.flags & kSecAlloc) && atom.state != AtomMemory::kFrames && atom.state != AtomMemory::kDiscarded;
}

void LiveGraph::Resolve(UnitId unit, uint32_t target, std::vector<LiveNode>* nodes) const {
  LiveNode node{unit, target & ~References::kOwn};
  if (target & References::kOwn) {
    if (Collectable(node)) nodes->push_back(node);
    return;
  }
  const SymbolId symbol(target);
  if (Home(symbol, &node)) nodes->push_back(node);
  if (memory_.symbols[target].kind != SymbolMemory::kLinker || memory_.options->z_start_stop_gc) return;
  absl::string_view name = memory_.names.Name(symbol);
  if (absl::ConsumePrefix(&name, "__start_") || absl::ConsumePrefix(&name, "__stop_")) ResolveSet(name, nodes);
}

bool LiveGraph::SetExists(absl::string_view name) const {
  std::vector<LiveNode> members;
  ResolveSet(name, &members);
  return !members.empty();
}

void LiveGraph::ResolveSet(absl::string_view name, std::vector<LiveNode>* nodes) const {
  for (const UnitDiff& diff : diffs_) {
    for (uint32_t s = 0; s < diff.sections.size(); ++s) {
      if (diff.object->sections[s].name == name && diff.Collectable(s)) nodes->push_back({diff.unit, s});
    }
  }
  const auto it = memory_.sets.find(name);
  if (it == memory_.sets.end()) return;
  for (UnitId unit : it->second) {
    if (Changed(unit) >= 0) continue;
    const std::vector<AtomMemory>& atoms = memory_.units[unit.value].atoms;
    for (uint32_t a = 0; a < atoms.size(); ++a) {
      if (atoms[a].name == name && Collectable({unit, a})) nodes->push_back({unit, a});
    }
  }
}

absl::Span<const uint32_t> LiveGraph::TargetsOf(const LiveNode& node) const {
  if (!node.unit.valid()) return {};
  if (const int d = Changed(node.unit); d >= 0) return diffs_[d].references.Of(node.index);
  return memory_.units[node.unit.value].references.Of(node.index);
}

absl::string_view LiveGraph::NameOf(const LiveNode& node) const {
  if (const int d = Changed(node.unit); d >= 0) return diffs_[d].object->sections[node.index].name;
  return memory_.units[node.unit.value].atoms[node.index].name;
}

const References& LiveGraph::ReferencesOf(UnitId unit) const {
  const int d = Changed(unit);
  return d >= 0 ? diffs_[d].references : memory_.units[unit.value].references;
}

const LiveGraph::Inverse& LiveGraph::InverseOf(UnitId unit) {
  const auto [it, fresh] = inverses_.try_emplace(unit);
  if (!fresh) return it->second;
  Inverse& inverse = it->second;
  const int d = Changed(unit);
  const References& references = ReferencesOf(unit);
  for (uint32_t from = 0; from < references.size(); ++from) {
    for (uint32_t target : references.Of(from)) inverse.users[target].push_back(from);
  }
  if (d >= 0) {
    // any order: what is found by way of these names hangs on all of them.
    for (const auto& [symbol, section] : definitions_[d]) inverse.definitions[section].push_back(symbol);
  } else {
    for (const auto& [symbol, atom] : references.definitions()) inverse.definitions[atom].push_back(symbol);
  }
  return inverse;
}

void LiveGraph::AskUsers(SymbolId symbol, Asking* asking) const {
  for (UnitId unit : memory_.users.Of(symbol)) asking->portions.push_back({unit, symbol.value});
  const auto it = new_users_.find(symbol);
  if (it == new_users_.end()) return;
  for (UnitId unit : it->second) asking->portions.push_back({unit, symbol.value});
}

LiveGraph::Asking LiveGraph::AskWhoRefersTo(SymbolId symbol) const {
  Asking asking;
  AskUsers(symbol, &asking);
  return asking;
}

LiveGraph::Asking LiveGraph::AskWhoRefersTo(const LiveNode& node) {
  Asking asking;
  if (!node.unit.valid()) {
    AskUsers(SymbolId(node.index), &asking);
    return asking;
  }
  asking.portions.push_back({node.unit, References::kOwn | node.index});
  const Inverse& inverse = InverseOf(node.unit);
  if (const auto it = inverse.definitions.find(node.index); it != inverse.definitions.end()) {
    for (SymbolId symbol : it->second) AskUsers(symbol, &asking);
  }
  const absl::string_view name = NameOf(node);
  if (!memory_.options->z_start_stop_gc && IsCIdentifier(name)) {
    for (absl::string_view prefix : {"__start_", "__stop_"}) {
      const SymbolId bound = memory_.names.Find(absl::StrCat(prefix, name));
      if (bound.valid() && memory_.symbols[bound.value].kind == SymbolMemory::kLinker) AskUsers(bound, &asking);
    }
  }
  return asking;
}

bool LiveGraph::Next(Asking* asking, std::vector<LiveNode>* nodes) {
  if (asking->next == asking->portions.size()) return false;
  const auto [unit, target] = asking->portions[asking->next++];
  // Most units are asked once, of a name that many have.
  if (!inverses_.contains(unit) && asked_.insert(unit).second) {
    const References& references = ReferencesOf(unit);
    for (uint32_t from = 0; from < references.size(); ++from) {
      const absl::Span<const uint32_t> targets = references.Of(from);
      if (std::binary_search(targets.begin(), targets.end(), target)) nodes->push_back({unit, from});
    }
    return true;
  }
  const Inverse& inverse = InverseOf(unit);
  if (const auto it = inverse.users.find(target); it != inverse.users.end()) {
    for (uint32_t from : it->second) nodes->push_back({unit, from});
  }
  return true;
}

}  // namespace kitlink
