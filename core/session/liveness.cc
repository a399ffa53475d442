#include "core/session/liveness.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "core/session/live_graph.h"
#include "core/symbols/linker_symbols.h"
#include "core/symbols/live.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

// How many references may be looked at to find out what has lost its last one.
constexpr int kMostSteps = 200000;

class LivenessDecider {
 public:
  LivenessDecider(const Memory& memory, std::vector<UnitDiff>* diffs, NameChanges* names)
      : memory_(memory), diffs_(*diffs), names_(*names), graph_(memory, *diffs, *names) {}

  Refusal Run() {
    if (Refusal refusal = CheckSets()) return refusal;
    FindLive();
    FollowNew();
    SuspectLost();
    if (!CollectLost()) return Refuse("it takes too long to find out what is still referred to");
    if (Refusal refusal = CheckCollectedSets()) return refusal;
    if (Refusal refusal = CheckBystanders()) return refusal;
    if (Refusal refusal = CheckUndefined()) return refusal;
    SetFates();
    if (Refusal refusal = SortNames()) return refusal;
    return SortImports();
  }

 private:
  GateRefusal Refuse(absl::string_view what) const { return {GateReason::kLivenessChanged, std::string(what)}; }

  static bool InImage(const AtomMemory& atom) { return atom.state == AtomMemory::kPlaced || atom.state == AtomMemory::kMerged; }

  bool WasLive(const LiveNode& node) const {
    if (!node.unit.valid()) return !memory_.symbols[node.index].dead;
    const std::vector<AtomMemory>& atoms = memory_.units[node.unit.value].atoms;
    uint32_t atom = node.index;
    if (const int d = graph_.Changed(node.unit); d >= 0) atom = diffs_[d].sections[node.index].old;
    return atom != kNoAtomMemory && InImage(atoms[atom]);
  }

  bool IsLive(const LiveNode& node) const {
    const auto it = changed_.find(node);
    return it != changed_.end() ? it->second : WasLive(node);
  }

  void MakeLive(const LiveNode& node) {
    if (IsLive(node)) return;
    changed_[node] = true;
    work_.push_back(node);
  }

  // The linker defines __start_NAME when some file has such a section, whether it is kept or not.
  Refusal CheckSets() const {
    absl::btree_set<std::string> touched;
    for (size_t d = 0; d < diffs_.size(); ++d) {
      const UnitDiff& diff = diffs_[d];
      for (uint32_t s = 0; s < diff.sections.size(); ++s) {
        if (diff.sections[s].old == kNoAtomMemory && diff.Collectable(s)) touched.emplace(diff.object->sections[s].name);
      }
      const std::vector<AtomMemory>& atoms = memory_.units[diff.unit.value].atoms;
      for (uint32_t a = 0; a < atoms.size(); ++a) {
        if ((atoms[a].flags & kSecAlloc) && graph_.SectionOf(d, a) == References::kOwn) touched.insert(atoms[a].name);
      }
    }
    for (const std::string& name : touched) {
      if (!IsCIdentifier(name)) continue;
      if (graph_.SetExists(name) == SetExisted(name)) continue;
      return GateRefusal{GateReason::kExactSectionChanged, absl::StrCat("__start_", name, " comes or goes")};
    }
    return std::nullopt;
  }

  bool SetExisted(const std::string& name) const {
    return SetHas(name, [](const AtomMemory& atom) { return atom.state != AtomMemory::kDiscarded; });
  }

  // True when some section of this name was such a one.
  bool SetHas(const std::string& name, absl::FunctionRef<bool(const AtomMemory&)> such) const {
    const auto it = memory_.sets.find(name);
    if (it == memory_.sets.end()) return false;
    return std::any_of(it->second.begin(), it->second.end(), [&](UnitId unit) {
      const std::vector<AtomMemory>& atoms = memory_.units[unit.value].atoms;
      return std::any_of(atoms.begin(), atoms.end(), [&](const AtomMemory& atom) {
        return atom.name == name && (atom.flags & kSecAlloc) && such(atom);
      });
    });
  }

  // With -z start-stop-gc it does so only as long as one is kept.
  Refusal CheckCollectedSets() const {
    if (!SetsAreCollected(memory_.options)) return std::nullopt;
    absl::btree_set<std::string> touched;
    for (const auto& [node, live] : changed_) {
      if (node.unit.valid() && live != WasLive(node)) touched.emplace(graph_.NameOf(node));
    }
    for (size_t d = 0; d < diffs_.size(); ++d) {
      const std::vector<AtomMemory>& atoms = memory_.units[diffs_[d].unit.value].atoms;
      for (uint32_t a = 0; a < atoms.size(); ++a) {
        if (InImage(atoms[a]) && graph_.SectionOf(d, a) == References::kOwn) touched.insert(atoms[a].name);
      }
    }
    for (const std::string& name : touched) {
      if (!IsCIdentifier(name)) continue;
      std::vector<LiveNode> members;
      graph_.ResolveSet(name, &members);
      const bool live = std::any_of(members.begin(), members.end(), [&](const LiveNode& node) { return IsLive(node); });
      if (live == SetHas(name, &InImage)) continue;
      return GateRefusal{GateReason::kExactSectionChanged, absl::StrCat("__start_", name, " comes or goes")};
    }
    return std::nullopt;
  }

  // What the changed units have in the image at first sight: all that was, and roots.
  void FindLive() {
    for (const UnitDiff& diff : diffs_) {
      for (uint32_t s = 0; s < diff.sections.size(); ++s) {
        const LiveNode node{diff.unit, s};
        if (!diff.Collectable(s)) continue;
        if (WasLive(node)) work_.push_back(node);
        else if (graph_.IsRoot(node)) MakeLive(node);
      }
    }
    // Definitions that are in another section now, and new members of sets: others may wait for them.
    for (size_t d = 0; d < diffs_.size(); ++d) {
      const UnitDiff& diff = diffs_[d];
      for (const GlobalMemory& global : diff.globals) {
        LiveNode home;
        if (!global.owner || !graph_.Home(global.symbol, &home) || SameHome(d, global.symbol, home) || IsLive(home)) continue;
        if (LiveUser(graph_.AskWhoRefersTo(global.symbol))) MakeLive(home);
      }
      for (uint32_t s = 0; s < diff.sections.size(); ++s) {
        const LiveNode node{diff.unit, s};
        if (diff.sections[s].old != kNoAtomMemory || !diff.Collectable(s) || !IsCIdentifier(diff.object->sections[s].name)) continue;
        if (LiveUser(graph_.AskWhoRefersTo(node))) MakeLive(node);
      }
    }
  }

  // True when a definition of a changed unit is where it was.
  bool SameHome(size_t d, SymbolId symbol, const LiveNode& home) const {
    const uint32_t atom = memory_.units[diffs_[d].unit.value].references.HomeOf(symbol);
    return atom != References::kOwn && home.unit == diffs_[d].unit && graph_.SectionOf(d, atom) == home.index;
  }

  // True when something that is live so far refers to it.
  bool LiveUser(LiveGraph::Asking asking) {
    std::vector<LiveNode> nodes;
    while (graph_.Next(&asking, &nodes)) {
      steps_ -= static_cast<int>(nodes.size()) + 1;
      if (std::any_of(nodes.begin(), nodes.end(), [&](const LiveNode& user) { return IsLive(user); })) return true;
      nodes.clear();
    }
    return false;
  }

  void FollowNew() {
    std::vector<LiveNode> targets;
    while (!work_.empty()) {
      const LiveNode node = work_.back();
      work_.pop_back();
      targets.clear();
      for (uint32_t target : graph_.TargetsOf(node)) graph_.Resolve(node.unit, target, &targets);
      for (const LiveNode& target : targets) MakeLive(target);
    }
  }

  void Suspect(const LiveNode& node) {
    if (IsLive(node) && suspected_.insert(node).second) suspects_.push_back(node);
  }

  // The section of a changed unit that was this atom; false when it is gone.
  bool Now(size_t diff, uint32_t atom, LiveNode* node) const {
    *node = {diffs_[diff].unit, graph_.SectionOf(diff, atom)};
    return node->index != References::kOwn;
  }

  // What was referred to by a live atom of a changed unit and is not any more.
  void SuspectLost() {
    for (size_t d = 0; d < diffs_.size(); ++d) {
      const UnitMemory& was = memory_.units[diffs_[d].unit.value];
      for (uint32_t a = 0; a < was.atoms.size(); ++a) {
        if (!InImage(was.atoms[a])) continue;
        LiveNode now;
        if (!Now(d, a, &now)) {
          SuspectTargets(d, was.references.Of(a), {});
          continue;
        }
        SuspectTargets(d, was.references.Of(a), graph_.TargetsOf(now));
        if (IsCollectionRoot(was.atoms[a].name, was.atoms[a].flags, was.atoms[a].kind) && !graph_.IsRoot(now)) Suspect(now);
      }
      // What had a definition that is elsewhere now, or that is not exported any more.
      for (const auto& [symbol, atom] : was.references.definitions()) {
        LiveNode home, before;
        const bool same = graph_.Home(symbol, &home) && SameHome(d, symbol, home);
        const bool hidden = memory_.symbols[symbol.value].exported && !graph_.IsRootSymbol(symbol);
        if ((!same || hidden) && Now(d, atom, &before)) Suspect(before);
      }
    }
  }

  // `before` names atoms, `after` sections.
  void SuspectTargets(size_t d, absl::Span<const uint32_t> before, absl::Span<const uint32_t> after) {
    for (uint32_t target : before) {
      uint32_t now = target;
      if (target & References::kOwn) {
        const uint32_t section = graph_.SectionOf(d, target & ~References::kOwn);
        if (section == References::kOwn) continue;
        now = References::kOwn | section;
      }
      if (std::binary_search(after.begin(), after.end(), now)) continue;
      std::vector<LiveNode> nodes;
      graph_.Resolve(diffs_[d].unit, now, &nodes);
      for (const LiveNode& node : nodes) Suspect(node);
      if (!(now & References::kOwn)) lost_names_.insert(SymbolId(now));
    }
  }

  // Everything suspected to which no way leads from a root, and what only that referred to. False when it took too long.
  bool CollectLost() {
    while (!suspects_.empty()) {
      const LiveNode node = suspects_.back();
      suspects_.pop_back();
      if (!IsLive(node) || known_.contains(node)) continue;
      absl::btree_set<LiveNode> seen;
      if (Held(node, &seen)) continue;
      if (steps_ < 0) return false;
      for (const LiveNode& dead : seen) changed_[dead] = false;
      std::vector<LiveNode> targets;
      for (const LiveNode& dead : seen) {
        for (uint32_t target : graph_.TargetsOf(dead)) {
          graph_.Resolve(dead.unit, target, &targets);
          if (!(target & References::kOwn)) lost_names_.insert(SymbolId(target));
        }
      }
      for (const LiveNode& target : targets) {
        suspected_.erase(target);
        Suspect(target);
      }
    }
    return steps_ >= 0;
  }

  // True when a way leads to `node` from something that stays; then `known_` has it. Else `seen` is all from which a way
  // leads to it.
  bool Held(const LiveNode& node, absl::btree_set<LiveNode>* seen) {
    struct Frame {
      LiveNode node;
      LiveGraph::Asking asking;
      std::vector<LiveNode> users;
    };
    std::vector<Frame> way;
    const auto enter = [&](const LiveNode& next) {
      seen->insert(next);
      way.push_back({next, graph_.AskWhoRefersTo(next), {}});
      steps_ -= 1 + static_cast<int>(way.back().asking.portions.size() / 16);
      return known_.contains(next) || graph_.IsRoot(next);
    };
    bool held = enter(node);
    while (!held && !way.empty() && steps_ >= 0) {
      Frame& frame = way.back();
      if (frame.users.empty()) {
        if (!graph_.Next(&frame.asking, &frame.users)) way.pop_back();
        else steps_ -= 1 + static_cast<int>(frame.users.size());
        continue;
      }
      const LiveNode user = frame.users.back();
      frame.users.pop_back();
      if (IsLive(user) && !seen->contains(user)) held = enter(user);
    }
    if (held) {
      for (const Frame& frame : way) known_.insert(frame.node);
    }
    return held;
  }

  // Units that have to be written anew: they lose or get sections, or their debug information tells of such.
  Refusal CheckBystanders() {
    absl::btree_set<UnitId> wanted;
    std::string detail;
    for (const auto& [node, live] : changed_) {
      if (live == WasLive(node)) continue;
      if (!node.unit.valid()) {
        return Refuse(absl::StrCat(memory_.names.Name(SymbolId(node.index)), " is COMMON, and is or was not needed"));
      }
      if (graph_.Changed(node.unit) < 0 && wanted.insert(node.unit).second) {
        detail = absl::StrCat("a section ", memory_.units[node.unit.value].atoms[node.index].name, live ? " is needed now" : " is not needed any more");
      }
      if (graph_.Changed(node.unit) >= 0) continue;
      for (const auto& [symbol, atom] : memory_.units[node.unit.value].references.definitions()) {
        if (atom == node.index) WantTellers(symbol, &wanted, &detail);
      }
    }
    for (const UnitDiff& diff : diffs_) {
      for (const GlobalMemory& global : diff.globals) {
        LiveNode home;
        const SymbolMemory& was = memory_.symbols[global.symbol.value];
        if (!global.owner || was.kind != SymbolMemory::kDefined || !graph_.Home(global.symbol, &home)) continue;
        if (was.dead == IsLive(home)) WantTellers(global.symbol, &wanted, &detail);
      }
    }
    if (wanted.empty()) return std::nullopt;
    GateRefusal refusal = Refuse(detail);
    refusal.rewrite.assign(wanted.begin(), wanted.end());
    return refusal;
  }

  // The units whose debug information names `symbol`.
  void WantTellers(SymbolId symbol, absl::btree_set<UnitId>* wanted, std::string* detail) const {
    for (UnitId unit : memory_.users.Of(symbol)) {
      if (graph_.Changed(unit) >= 0) continue;
      const GlobalMemory* global = memory_.units[unit.value].Find(symbol);
      if (global == nullptr || !global->unloaded) continue;
      wanted->insert(unit);
      *detail = absl::StrCat("debug information tells of ", memory_.names.Name(symbol));
    }
  }

  // Code that was not in the image may refer to names that nobody defines; what is in it may not.
  Refusal CheckUndefined() const {
    const LinkOptions& options = memory_.options;
    if (options.unresolved == UnresolvedPolicy::kIgnore) return std::nullopt;
    const bool open = options.kind == OutputKind::kShared && !options.z_defs && options.unresolved != UnresolvedPolicy::kError;
    for (const UnitDiff& diff : diffs_) {
      for (uint32_t s = 0; s < diff.sections.size(); ++s) {
        const LiveNode node{diff.unit, s};
        if (!diff.Collectable(s) || !IsLive(node)) continue;
        const absl::Span<const uint32_t> before =
            WasLive(node) ? memory_.units[diff.unit.value].references.Of(diff.sections[s].old) : absl::Span<const uint32_t>();
        for (uint32_t target : diff.references.Of(s)) {
          if ((target & References::kOwn) || std::binary_search(before.begin(), before.end(), target)) continue;
          const SymbolMemory& symbol = memory_.symbols[target];
          LiveNode home;
          if (symbol.kind != SymbolMemory::kUndefined || !symbol.strong || graph_.Home(SymbolId(target), &home)) continue;
          if (open && symbol.visibility == Visibility::kDefault) continue;
          return GateRefusal{GateReason::kLinkError, absl::StrCat(memory_.names.Name(SymbolId(target)), " is undefined")};
        }
      }
    }
    return std::nullopt;
  }

  void SetFates() {
    for (UnitDiff& diff : diffs_) {
      const UnitMemory& was = memory_.units[diff.unit.value];
      absl::flat_hash_set<uint32_t> matched;
      for (const SectionDiff& section : diff.sections) {
        if (section.old != kNoAtomMemory) matched.insert(section.old);
      }
      std::erase_if(diff.removed, [&](uint32_t atom) { return matched.contains(atom); });
      for (uint32_t s = 0; s < diff.sections.size(); ++s) {
        if (!diff.Collectable(s)) continue;
        SectionDiff& section = diff.sections[s];
        const bool placed = section.old != kNoAtomMemory && was.atoms[section.old].state == AtomMemory::kPlaced;
        if (IsLive({diff.unit, s})) {
          section.fate = placed                                            ? SectionDiff::kMatched
                         : (diff.object->sections[s].flags & kSecMerge) ? SectionDiff::kMerged
                                                                          : SectionDiff::kAdded;
        } else {
          section.fate = SectionDiff::kDead;
          if (placed) diff.removed.push_back(section.old);
        }
      }
      std::sort(diff.removed.begin(), diff.removed.end());
      for (GlobalMemory& global : diff.globals) global.copied = false;
      NoteCopies(
          memory_, *diff.object, [&](uint32_t index) { return GlobalId(memory_, *diff.object, index); },
          [&](uint32_t s) { return diff.sections[s].fate != SectionDiff::kDead; }, &diff.globals);
    }
  }

  // How others see a definition of a changed unit.
  Publicity PublicityOf(const GlobalMemory& global) const {
    if (const auto it = publicities_.find(global.symbol); it != publicities_.end()) return it->second;
    const SymbolMemory& was = memory_.symbols[global.symbol.value];
    Publicity publicity;
    publicity.visibility = was.kind == SymbolMemory::kNone ? global.visibility : was.visibility;
    publicity.exported = was.exported;
    publicity.preemptible = was.traits.imported;
    return publicity;
  }

  // Definitions that are in the image now and were not, and the other way round.
  Refusal SortNames() {
    absl::flat_hash_map<SymbolId, NameChanges::Added> dead_now;
    names_.woken.clear();
    names_.dormant.clear();
    for (const auto* list : {&names_.added, &names_.redeclared}) {
      for (const NameChanges::Added& added : *list) publicities_.emplace(added.symbol, added.publicity);
    }
    for (const UnitDiff& diff : diffs_) {
      for (const GlobalMemory& global : diff.globals) {
        if (!global.owner) continue;
        const uint32_t section = diff.object->symbols[global.index].section;
        if (section >= diff.sections.size()) continue;
        const SymbolMemory& was = memory_.symbols[global.symbol.value];
        const bool dead = diff.sections[section].fate == SectionDiff::kDead;
        const bool defined = was.kind == SymbolMemory::kDefined;
        const NameChanges::Added entry{global.symbol, diff.unit, global.index, PublicityOf(global)};
        if (dead) {
          dead_now.insert({global.symbol, entry});
          if (!defined || !was.dead || was.owner != diff.unit || publicities_.contains(global.symbol)) names_.dormant.push_back(entry);
        } else if (defined && was.dead) {
          names_.woken.push_back(entry);
        }
      }
    }
    const auto settled = [&](const NameChanges::Added& added) {
      return dead_now.contains(added.symbol) || (memory_.symbols[added.symbol.value].kind == SymbolMemory::kDefined &&
                                                 memory_.symbols[added.symbol.value].dead);
    };
    std::erase_if(names_.added, settled);
    std::erase_if(names_.redeclared, settled);
    return std::nullopt;
  }

  // True of names that the loader looks up, if live code refers to them.
  static bool IsImport(const SymbolMemory& symbol) {
    return symbol.kind == SymbolMemory::kShared || (symbol.kind == SymbolMemory::kUndefined && symbol.traits.imported);
  }

  // Imports are what live code refers to; all others are names in the symbol table.
  Refusal SortImports() {
    absl::flat_hash_set<SymbolId> decided(names_.removed.begin(), names_.removed.end());
    for (NameChanges::Imported& import : names_.imported) {
      decided.insert(import.symbol);
      const bool row = !import.open || memory_.output.shared;
      import.dormant = row && !LiveUser(graph_.AskWhoRefersTo(import.symbol));
    }
    for (const auto* list : {&names_.added, &names_.redeclared, &names_.dormant}) {
      for (const NameChanges::Added& defined : *list) decided.insert(defined.symbol);
    }
    for (SymbolId id : GainedImports(decided)) {
      const SymbolMemory& symbol = memory_.symbols[id.value];
      const bool open = symbol.kind == SymbolMemory::kUndefined;
      if (!open && !memory_.library_offers.contains(id)) {
        return GateRefusal{GateReason::kImportSetChanged, absl::StrCat(memory_.names.Name(id), " was not imported so far")};
      }
      names_.imported.push_back({id, !symbol.strong, open});
    }
    for (SymbolId id : lost_names_) {
      if (Refusal refusal = decided.contains(id) ? std::nullopt : LoseImport(id)) return refusal;
    }
    return std::nullopt;
  }

  // What live code refers to and the loader does not look up yet, but for names that mean something else now.
  absl::btree_set<SymbolId> GainedImports(const absl::flat_hash_set<SymbolId>& decided) const {
    absl::btree_set<SymbolId> gained;
    for (const UnitDiff& diff : diffs_) {
      for (uint32_t s = 0; s < diff.sections.size(); ++s) {
        if (!diff.Collectable(s) || !IsLive({diff.unit, s})) continue;
        for (uint32_t target : diff.references.Of(s)) {
          if (target & References::kOwn) continue;
          const SymbolId id(target);
          const SymbolMemory& symbol = memory_.symbols[target];
          if (!IsImport(symbol) || symbol.address != 0 || decided.contains(id)) continue;  // with one: a copy, or its own PLT entry
          if (!memory_.tables->Imports(id)) gained.insert(id);
        }
      }
    }
    return gained;
  }

  // A name that some code does not refer to any more.
  Refusal LoseImport(SymbolId id) {
    const SymbolMemory& symbol = memory_.symbols[id.value];
    if (!IsImport(symbol) || !memory_.tables->Imports(id) || LiveUser(graph_.AskWhoRefersTo(id))) return std::nullopt;
    const bool open = symbol.kind == SymbolMemory::kUndefined;
    if (symbol.address != 0 || symbol.traits.tls || !(open || memory_.library_offers.contains(id))) {
      return GateRefusal{GateReason::kUndefinedSetChanged, absl::StrCat(memory_.names.Name(id), " need not be imported any more")};
    }
    names_.imported.push_back({id, !symbol.strong, open, true});
    if (symbol.strong && !open) names_.unimported.push_back(id);
    return std::nullopt;
  }

  const Memory& memory_;
  std::vector<UnitDiff>& diffs_;
  NameChanges& names_;
  LiveGraph graph_;
  absl::flat_hash_map<SymbolId, Publicity> publicities_;  // of what came or is declared anew
  absl::btree_map<LiveNode, bool> changed_;      // what may differ from what was
  std::vector<LiveNode> work_, suspects_;
  absl::flat_hash_set<LiveNode> suspected_;
  absl::flat_hash_set<LiveNode> known_;  // a way leads to them from a root
  absl::btree_set<SymbolId> lost_names_;  // that something referred to which does not any more
  int steps_ = kMostSteps;
};

}  // namespace

std::optional<GateRefusal> DecideLiveness(const Memory& memory, std::vector<UnitDiff>* diffs, NameChanges* names) {
  if (!memory.options->gc_sections) return std::nullopt;
  return LivenessDecider(memory, diffs, names).Run();
}

}  // namespace kitlink
