#include "core/session/name_changes.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/symbols/linker_symbols.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

// How many users may be looked at to find out whether an archive member is still needed.
constexpr int kMostSteps = 100000;

bool Same(const GlobalMemory& a, const GlobalMemory& b) {
  return a.role == b.role && a.binding == b.binding && a.type == b.type && a.visibility == b.visibility &&
         a.value == b.value && a.alignment == b.alignment && a.lost == b.lost;
}

// A definition that its COMDAT group took along is a reference to the one that counts.
bool Refers(const GlobalMemory& global) { return global.role == GlobalMemory::kUndefined || global.lost; }

bool Strong(const GlobalMemory* global) {
  return global != nullptr && Refers(*global) && global->binding != SymbolBinding::kWeak;
}

bool Is(GlobalMemory::Role role, const GlobalMemory* global) { return global != nullptr && global->role == role; }

// True of a definition that counts: it is not in a COMDAT group that the unit lost.
bool Defined(const GlobalMemory& global) { return global.role == GlobalMemory::kDefined && !global.lost; }

bool Special(const GlobalMemory* global) { return Is(GlobalMemory::kCommon, global) || Is(GlobalMemory::kAbsolute, global); }

// What one changed unit says of one name that it says something else of now.
struct Touch {
  size_t diff = 0;
  const GlobalMemory* was = nullptr;  // nullptr: it did not name it
  GlobalMemory* is = nullptr;
  bool defines = false;  // its definition counts
};

// An archive member that less is asked of than before.
struct MustStay {
  UnitId unit;
  SymbolId symbol;   // which name it is about
  SymbolId without;  // no longer a reason to take the member
};

class NameResolver {
 public:
  NameResolver(const Memory& memory, std::vector<UnitDiff>* diffs) : memory_(memory), diffs_(*diffs) {}

  std::variant<NameChanges, GateRefusal> Run(const std::vector<SymbolId>& reconsider) {
    for (size_t d = 0; d < diffs_.size(); ++d) index_[diffs_[d].unit] = d;
    for (size_t d = 0; d < diffs_.size(); ++d) Compare(d);
    if (versioned_) return GateRefusal{GateReason::kDefinedSetChanged, "a definition with a version is gone"};
    for (SymbolId id : order_) {
      if (Refusal refusal = Decide(id, touched_[id])) return *std::move(refusal);
    }
    std::vector<UnitId> owners;
    for (SymbolId id : reconsider) {
      if (Refusal refusal = Reconsider(id, &owners)) return *std::move(refusal);
    }
    if (!owners.empty()) {
      GateRefusal refusal{GateReason::kSharedLibraryChanged, "what a library knows may have to be exported"};
      refusal.rewrite = std::move(owners);
      return refusal;
    }
    if (Refusal refusal = CheckDropped()) return *std::move(refusal);
    for (const MustStay& member : must_stay_) {
      if (Leaves(member.unit)) continue;
      int steps = kMostSteps;
      absl::flat_hash_set<UnitId> seen;
      if (!StillNeeded(member.unit, member.without, &seen, &steps)) {
        return Refuse(GateReason::kUndefinedSetChanged, member.symbol, ": its archive member may no longer be needed");
      }
    }
    return std::move(changes_);
  }

 private:
  // Collects the entries of two sorted lists that differ; those that do not keep their owner.
  void Compare(size_t d) {
    const std::vector<GlobalMemory>& was = memory_.units[diffs_[d].unit.value].globals;
    std::vector<GlobalMemory>& is = diffs_[d].globals;
    for (size_t w = 0, i = 0; w < was.size() || i < is.size();) {
      const bool old_only = i == is.size() || (w < was.size() && was[w].symbol < is[i].symbol);
      const bool new_only = !old_only && (w == was.size() || is[i].symbol < was[w].symbol);
      if (!old_only && !new_only && Same(was[w], is[i]) && !(diffs_[d].moved && Defined(is[i]) && is[i].symbol.valid())) {
        is[i++].owner = was[w++].owner;
        continue;
      }
      Touch touch;
      touch.diff = d;
      if (!new_only) touch.was = &was[w++];
      if (!old_only) touch.is = &is[i++];
      if (touch.was != nullptr && !touch.was->symbol.valid()) {  // "name@@VERSION"
        versioned_ = true;
        continue;
      }
      touch.defines = touch.is != nullptr && Defined(*touch.is);
      if (touch.is != nullptr) touch.is->owner = false;  // of an earlier round
      const SymbolId id = touch.is != nullptr ? touch.is->symbol : touch.was->symbol;
      auto [it, fresh] = touched_.try_emplace(id);
      if (fresh) order_.push_back(id);
      it->second.push_back(touch);
    }
  }

  GateRefusal Refuse(GateReason reason, SymbolId id, absl::string_view what) const {
    return {reason, absl::StrCat(memory_.names.Name(id), what)};
  }

  // What is known of all other units' say.
  struct Others {
    bool any = false, strong = false, defined = false;
  };
  Others LookAtOthers(SymbolId id, const std::vector<Touch>& touches) const {
    Others others;
    for (UnitId unit : memory_.users.Of(id)) {
      if (std::any_of(touches.begin(), touches.end(), [&](const Touch& t) { return diffs_[t.diff].unit == unit; })) continue;
      const GlobalMemory* global = memory_.units[unit.value].Find(id);
      if (global == nullptr) continue;
      others.any = true;
      others.strong |= Strong(global);
      others.defined |= !Refers(*global);
      if (others.strong && others.defined) break;
    }
    return others;
  }

  Refusal Decide(SymbolId id, std::vector<Touch>& touches) {
    const SymbolMemory& symbol = memory_.symbols[id.value];
    if (absl::StrContains(memory_.names.Name(id), '@')) {
      return Refuse(GateReason::kDefinedSetChanged, id, " has a version");
    }
    bool comes = false, goes = false, common = false;
    for (const Touch& touch : touches) {
      if (Is(GlobalMemory::kAbsolute, touch.was) || Is(GlobalMemory::kAbsolute, touch.is)) {
        return DecideAbsolute(id, symbol, touches);
      }
      common |= Is(GlobalMemory::kCommon, touch.was) || Is(GlobalMemory::kCommon, touch.is) ||
                (touch.defines && memory_.commons.contains(id));
    }
    if (common) return DecideCommon(id, symbol, touches);
    for (const Touch& touch : touches) {
      const bool owned = touch.was != nullptr && touch.was->owner;
      const bool same = touch.was != nullptr && touch.is != nullptr && Same(*touch.was, *touch.is);
      goes |= owned && !(touch.defines && same);
      comes |= touch.defines;
      if (touch.was == nullptr) changes_.users.push_back({id, diffs_[touch.diff].unit});
    }
    if (comes) {
      if (Refusal refusal = FindWinner(id)) return refusal;
      // The one that counted still does.
      if (!goes && symbol.kind == SymbolMemory::kDefined && winner_.unit == symbol.owner) {
        for (Touch& touch : touches) {
          if (touch.is != nullptr) touch.is->owner = diffs_[touch.diff].unit == winner_.unit;
        }
        return DecideReferences(id, symbol, touches);
      }
    } else if (goes && LookAtOthers(id, touches).defined) {
      if (Refusal refusal = FindWinner(id)) return refusal;
      comes = winner_.unit.valid();
    }
    goes |= comes && symbol.kind == SymbolMemory::kDefined;
    const LinkOptions& options = memory_.options;
    if (comes && !options.exclude_libs.empty()) {
      return Refuse(GateReason::kDefinedSetChanged, id, ": whether it is hidden depends on where it is defined");
    }
    if (comes && goes) return DecideMoved(id, symbol, touches);
    if (comes) return DecideAdded(id, symbol, touches);
    if (goes) return DecideRemoved(id, symbol, touches);
    return DecideReferences(id, symbol, touches);
  }

  // The definition that a full link takes of those that there are now: a strong one before a weak one, among equals the
  // first. Refuses where there are two strong ones, and where something else than definitions is among them.
  struct Winner {
    UnitId unit;
    const GlobalMemory* say = nullptr;
  };
  Refusal FindWinner(SymbolId id) {
    winner_ = {};
    int strong = 0;
    for (UnitId unit : UsersOf(id)) {
      const GlobalMemory* say = Now(unit, id);
      if (Special(say)) return Refuse(ReasonFor(*say), id, " is COMMON or absolute");
      if (say == nullptr || !Defined(*say)) continue;
      const bool weak = say->binding == SymbolBinding::kWeak;
      strong += !weak;
      if (winner_.say != nullptr) {
        const bool was_weak = winner_.say->binding == SymbolBinding::kWeak;
        if (weak != was_weak ? weak : !memory_.Before(unit, winner_.unit)) continue;
      }
      winner_ = {unit, say};
    }
    if (strong > 1) return Refuse(GateReason::kDefinedSetChanged, id, " is defined more than once");
    return std::nullopt;
  }

  bool Leaves(UnitId unit) const {
    const auto it = index_.find(unit);
    return it != index_.end() && diffs_[it->second].leaves;
  }

  // Units that have not changed have to be written anew before more can be said.
  Refusal AskFor(SymbolId id, const std::vector<UnitId>& units, absl::string_view what) const {
    GateRefusal refusal = Refuse(GateReason::kDefinedSetChanged, id, what);
    for (UnitId unit : units) {
      if (!index_.contains(unit)) refusal.rewrite.push_back(unit);
    }
    return refusal;
  }

  // A library says something else of a name. Adds the unit that defines it to `owners` if it has to be written anew.
  Refusal Reconsider(SymbolId id, std::vector<UnitId>* owners) {
    const SymbolMemory& symbol = memory_.symbols[id.value];
    const auto touched = touched_.find(id);
    if (symbol.kind != SymbolMemory::kDefined) {
      if (touched != touched_.end()) {
        return Refuse(GateReason::kSharedLibraryChanged, id, " changed in a library and in what refers to it");
      }
      if (symbol.kind == SymbolMemory::kUndefined) changes_.rebound.push_back(id);
      if (symbol.import_group != SymbolMemory::kNoImportGroup && Counted(id)) changes_.unimported.push_back(id);
      changes_.imported.push_back({id, !symbol.strong, false});
      return std::nullopt;
    }
    const auto declared = [&](const NameChanges::Added& added) { return added.symbol == id; };
    if (std::any_of(changes_.redeclared.begin(), changes_.redeclared.end(), declared) || Contains(changes_.removed, id) ||
        Contains(changes_.rebound, id)) {
      return std::nullopt;
    }
    const GlobalMemory* owner = Now(symbol.owner, id);
    if (owner == nullptr || !owner->owner || owner->type == SymbolType::kIfunc || symbol.dead) {
      return Refuse(GateReason::kSharedLibraryChanged, id, " may have to be exported");
    }
    const std::vector<Touch> none;
    const Publicity now = PublicityOf(id, *owner, touched == touched_.end() ? none : touched->second);
    if (now.exported == symbol.exported) return std::nullopt;
    if (!index_.contains(symbol.owner)) {
      owners->push_back(symbol.owner);
      return std::nullopt;
    }
    if (now.preemptible != symbol.traits.imported) changes_.rebound.push_back(id);
    changes_.redeclared.push_back({id, symbol.owner, owner->index, now});
    return std::nullopt;
  }

  static GateReason ReasonFor(const GlobalMemory& global) {
    switch (global.role) {
      case GlobalMemory::kCommon: return GateReason::kCommonChanged;
      case GlobalMemory::kUndefined: return GateReason::kUndefinedSetChanged;
      default: return GateReason::kDefinedSetChanged;
    }
  }

  // Nobody's definition that counts came or went.
  Refusal DecideReferences(SymbolId id, const SymbolMemory& symbol, const std::vector<Touch>& touches) {
    const Others others = LookAtOthers(id, touches);
    bool any = others.any, strong = others.strong, was_strong = false, newly_strong = false, rivals = false;
    for (const Touch& touch : touches) {
      any |= touch.is != nullptr;
      strong |= Strong(touch.is);
      was_strong |= Strong(touch.was) && !Strong(touch.is);
      newly_strong |= Strong(touch.is) && !Strong(touch.was);
      rivals |= touch.is != nullptr && touch.is->role == GlobalMemory::kDefined && diffs_[touch.diff].unit != symbol.owner;
      if (Refusal refusal = CheckVisibility(id, symbol, touch, touches)) return refusal;
    }
    const GateReason reason = GateReason::kUndefinedSetChanged;
    switch (symbol.kind) {
      case SymbolMemory::kNone:
        return DecideNewImport(id, symbol, touches);
      case SymbolMemory::kUndefined:
        if (rivals) return Refuse(reason, id, " is undefined");
        return DecideOpen(id, symbol, any, strong);
      case SymbolMemory::kLinker:
        if (rivals || !any) return Refuse(reason, id, " is no longer named");
        return std::nullopt;
      case SymbolMemory::kShared:
        if (rivals) return Refuse(GateReason::kDefinedSetChanged, id, " is defined here now");
        return DecideImport(id, symbol, any, strong);
      case SymbolMemory::kAbsolute:
      case SymbolMemory::kDefined:
        break;
    }
    // A member is needed only for what is asked of it. A definition that another unit brings, and loses at once, asks for
    // nothing, and keeps others from asking.
    const bool member = symbol.owner.valid() && memory_.units[symbol.owner.value].lazy;
    if (member && (was_strong || rivals)) must_stay_.push_back({symbol.owner, id, rivals ? id : SymbolId()});
    if (member && symbol.lazy && newly_strong) return Refuse(reason, id, " has more than one definition to be found");
    return std::nullopt;
  }

  // A name that only shared libraries know. Which of them, and that it is needed, must not be a question.
  Refusal DecideNewImport(SymbolId id, const SymbolMemory& symbol, const std::vector<Touch>& touches) {
    const GateReason reason = GateReason::kUndefinedSetChanged;
    bool strong = false;
    for (const Touch& touch : touches) {
      if (touch.is == nullptr || touch.is->role != GlobalMemory::kUndefined) return Refuse(reason, id, " is new");
      strong |= Strong(touch.is);
    }
    return Import(id, symbol, strong, {reason, " is new"});
  }

  // Nobody defines a name that is referred to: a library does, or it is left to run time. `otherwise` if neither.
  Refusal Import(SymbolId id, const SymbolMemory& symbol, bool strong, const GateRefusal& otherwise) {
    const GateReason reason = GateReason::kUndefinedSetChanged;
    if (symbol.lazy || IsRoot(id)) return Refuse(otherwise.reason, id, otherwise.detail);
    if (IsLinkerName(memory_.names.Name(id))) return Refuse(reason, id, " is a name that the linker defines");
    const auto offer = memory_.library_offers.find(id);
    if (offer != memory_.library_offers.end()) {
      if (offer->second.type == SymbolType::kTls) return Refuse(reason, id, " is a library's thread variable");
      changes_.imported.push_back({id, !strong, false});
      return std::nullopt;
    }
    // A library that is not needed yet may have it.
    if (symbol.shared || (strong && !MayStayOpen())) return Refuse(otherwise.reason, id, otherwise.detail);
    changes_.imported.push_back({id, !strong, true});
    return std::nullopt;
  }

  // True when a strong reference that nothing satisfies is no error.
  bool MayStayOpen() const {
    const LinkOptions& options = memory_.options;
    return options.kind == OutputKind::kShared && !options.z_defs && options.unresolved == UnresolvedPolicy::kDefault;
  }

  // A name that nobody defines has its references, or is gone.
  Refusal DecideOpen(SymbolId id, const SymbolMemory& symbol, bool any, bool strong) {
    if (!any) {
      changes_.removed.push_back(id);
      return std::nullopt;
    }
    if (strong == symbol.strong) return std::nullopt;
    if (symbol.lazy || symbol.shared || !MayStayOpen()) return Refuse(GateReason::kUndefinedSetChanged, id, " is undefined");
    changes_.imported.push_back({id, !strong, true});
    return std::nullopt;
  }

  // An import may stay though nobody refers to it: the loader finds it where it found it before. Only that its library is
  // needed, and which version of it, must not hang on it.
  Refusal DecideImport(SymbolId id, const SymbolMemory& symbol, bool any, bool strong) {
    if (memory_.options->gc_sections) return DecideCollectedImport(id, symbol, any, strong);
    if (symbol.idle && strong) {
      changes_.revived.push_back(id);
      return std::nullopt;
    }
    if (any && strong == symbol.strong && !symbol.idle) return std::nullopt;
    if (!any && symbol.traits.tls) return Refuse(GateReason::kTlsChanged, id, " is a library's thread variable");
    const bool own_address = symbol.address != 0;  // a copy, or a PLT entry that is the function's address everywhere
    const bool was_strong = symbol.import_group != SymbolMemory::kNoImportGroup;
    if (symbol.idle || own_address || !memory_.library_offers.contains(id)) {
      return Refuse(GateReason::kUndefinedSetChanged, id, " is imported in another way");
    }
    const bool last = was_strong && memory_.import_uses[symbol.import_group] <= ++dropped_[symbol.import_group];
    if (any) {
      changes_.imported.push_back({id, !strong, false});
      if (was_strong) changes_.unimported.push_back(id);
    } else if (was_strong && !last) {
      changes_.idle.push_back(id);
    } else {
      Drop(id);
    }
    return std::nullopt;
  }

  // With garbage collection, an import has a row as long as live code refers to it (DecideLiveness): none is ever idle.
  Refusal DecideCollectedImport(SymbolId id, const SymbolMemory& symbol, bool any, bool strong) {
    if (any && strong == symbol.strong) return std::nullopt;
    if (!any && symbol.traits.tls) return Refuse(GateReason::kTlsChanged, id, " is a library's thread variable");
    if (symbol.address != 0 || !memory_.library_offers.contains(id)) {
      return Refuse(GateReason::kUndefinedSetChanged, id, " is imported in another way");
    }
    CountDropped(id, symbol);
    if (any) changes_.imported.push_back({id, !strong, false});
    else changes_.removed.push_back(id);
    return std::nullopt;
  }

  // With garbage collection, only imports with a row count (Memory::import_uses).
  bool Counted(SymbolId id) const { return !memory_.options->gc_sections || memory_.tables->Imports(id); }

  // An import is none any more. That its library is needed must not hang on it, whether it counts or not.
  void CountDropped(SymbolId id, const SymbolMemory& symbol) {
    if (symbol.import_group != SymbolMemory::kNoImportGroup && !symbol.idle) dropped_[symbol.import_group] += Counted(id);
    if (Counted(id)) changes_.unimported.push_back(id);
  }

  void Drop(SymbolId id) {
    changes_.removed.push_back(id);
    changes_.unimported.push_back(id);
  }

  // A version that nobody asks for strongly goes, with the imports that have become idle. Its library must be needed all
  // the same.
  Refusal CheckDropped() {
    for (const auto& [group, dropped] : dropped_) {
      if (memory_.import_uses[group] > dropped) continue;
      const uint32_t library = memory_.LibraryOfGroup(group);
      uint32_t others = 0;
      // any order: a sum.
      for (const auto& [key, other] : memory_.import_groups) {
        const auto it = dropped_.find(other);
        if (key.first == library) others += memory_.import_uses[other] - (it == dropped_.end() ? 0 : it->second);
      }
      if (others == 0 && memory_.libraries[library].as_needed) {
        return GateRefusal{GateReason::kUndefinedSetChanged, absl::StrCat("the last import of ", memory_.libraries[library].soname, " is gone")};
      }
      std::vector<SymbolId> idle;
      for (const auto* list : std::initializer_list<const std::vector<SymbolId>*>{&memory_.idle_imports, &changes_.idle}) {
        for (SymbolId id : *list) {
          if (memory_.symbols[id.value].import_group == group && !Contains(changes_.revived, id)) idle.push_back(id);
        }
      }
      for (SymbolId id : idle) {
        if (Contains(changes_.unimported, id)) continue;
        std::erase(changes_.idle, id);
        Drop(id);
      }
    }
    return std::nullopt;
  }

  static bool Contains(const std::vector<SymbolId>& list, SymbolId id) {
    return std::find(list.begin(), list.end(), id) != list.end();
  }

  Refusal CheckVisibility(SymbolId id, const SymbolMemory& symbol, const Touch& touch, const std::vector<Touch>& touches) const {
    const auto plain = [&](const GlobalMemory* global) {
      return global == nullptr || global->visibility == Visibility::kDefault;
    };
    if (plain(touch.was) && plain(touch.is)) return std::nullopt;
    // The strictest one counts, and may be somebody else's.
    const bool defined = symbol.kind == SymbolMemory::kDefined && symbol.owner.valid();
    const GlobalMemory* owner = defined ? Now(symbol.owner, id) : nullptr;
    if (owner != nullptr && PublicityOf(id, *owner, touches).visibility == symbol.visibility) return std::nullopt;
    return Refuse(GateReason::kSymbolKindChanged, id, ": a reference with another visibility came or went");
  }

  Refusal DecideAdded(SymbolId id, const SymbolMemory& symbol, std::vector<Touch>& touches) {
    const GateReason reason = GateReason::kDefinedSetChanged;
    if (Refusal refusal = CheckKnownOutside(id)) return refusal;
    switch (symbol.kind) {
      case SymbolMemory::kNone:
        break;
      case SymbolMemory::kUndefined:
        if (symbol.lazy) return Refuse(reason, id, " has more than one definition to be found");
        changes_.rebound.push_back(id);
        break;
      case SymbolMemory::kShared:
        if (Refusal refusal = Unimport(id, symbol)) return refusal;
        break;
      default:
        return Refuse(reason, id, " meant something else");
    }
    const GlobalMemory& definition = *winner_.say;
    if (symbol.kind != SymbolMemory::kNone && (definition.type == SymbolType::kTls || symbol.traits.tls)) {
      return Refuse(GateReason::kTlsChanged, id, " is a thread variable");
    }
    if (!index_.contains(winner_.unit)) return AskFor(id, {winner_.unit}, " is another unit's now");
    UnitDiff& diff = diffs_[index_.at(winner_.unit)];
    const UnitMemory& home = memory_.units[diff.unit.value];
    if (symbol.lazy && home.lazy && !home.gone) return Refuse(reason, id, " is defined by two members");
    if (Refusal refusal = CheckSection(id, diff, definition.index, true)) return refusal;
    SayOf(&diff, id)->owner = true;
    changes_.added.push_back({id, diff.unit, definition.index, PublicityOf(id, definition, touches)});
    return std::nullopt;
  }

  // A library's symbol is defined here now. That the library is needed, and which version of it, must not hang on it.
  Refusal Unimport(SymbolId id, const SymbolMemory& symbol) {
    const GateReason reason = GateReason::kDefinedSetChanged;
    const bool own_address = symbol.address != 0;  // a copy, or a PLT entry that is the function's address everywhere
    if (symbol.lazy || own_address) return Refuse(reason, id, " meant something else");
    if (!memory_.library_offers.contains(id)) return Refuse(reason, id, " meant something else");
    CountDropped(id, symbol);
    changes_.rebound.push_back(id);
    return std::nullopt;
  }

  Refusal CheckSection(SymbolId id, const UnitDiff& diff, uint32_t index, bool merged) const {
    const uint32_t section = diff.object->symbols[index].section;
    const SectionDiff::Fate fate = section < diff.sections.size() ? diff.sections[section].fate : SectionDiff::kIgnored;
    if (fate == SectionDiff::kMatched || fate == SectionDiff::kAdded || fate == SectionDiff::kDead ||
        (merged && fate == SectionDiff::kMerged)) {
      return std::nullopt;
    }
    return Refuse(GateReason::kDefinedSetChanged, id, " is in a section that is left out");
  }

  // Where it is defined must not be a question for anybody but the units.
  Refusal CheckKnownOutside(SymbolId id) const {
    if (IsRoot(id)) return Refuse(GateReason::kDefinedSetChanged, id, " is a name that the options mention");
    if (memory_.pinned.contains(id)) return Refuse(GateReason::kDefinedSetChanged, id, " is a name that a library needs");
    return std::nullopt;
  }

  // How others see a definition, given what all units say of it now.
  Publicity PublicityOf(SymbolId id, const GlobalMemory& global, const std::vector<Touch>& touches) const {
    Definition definition;
    definition.name = memory_.names.Name(id);
    definition.binding = global.binding;
    definition.type = global.type;
    definition.visibility = std::max(global.visibility, VisibilityOf(id, touches));
    definition.known_to_libraries = memory_.symbols[id.value].shared;
    return DecidePublicity(memory_.options, memory_.exports, definition);
  }

  // The strictest that any unit asks for now.
  Visibility VisibilityOf(SymbolId id, const std::vector<Touch>& touches) const {
    Visibility visibility = Visibility::kDefault;
    const auto stricter = [&](const GlobalMemory* say) {
      if (say != nullptr) visibility = std::max(visibility, say->visibility);
    };
    for (const Touch& touch : touches) stricter(touch.is);
    for (UnitId unit : memory_.users.Of(id)) stricter(Now(unit, id));
    return visibility;
  }

  // Another of the changed units defines it now, or the same one in another way.
  Refusal DecideMoved(SymbolId id, const SymbolMemory& symbol, std::vector<Touch>& touches) {
    const GateReason reason = GateReason::kDefinedSetChanged;
    if (symbol.kind != SymbolMemory::kDefined) return Refuse(reason, id, " meant something else");
    const GlobalMemory* was = memory_.units[symbol.owner.value].Find(id);
    if (was == nullptr) return Refuse(reason, id, " is the linker's");
    const GlobalMemory& is = *winner_.say;
    const bool stays = winner_.unit == symbol.owner;
    if (!stays && IsRoot(id)) return Refuse(reason, id, " is known outside of the program");
    if (was->type == SymbolType::kTls || is.type == SymbolType::kTls) return RefuseGlobal(memory_, *was, is);
    // Where the program begins, others know what kind of function it is.
    const bool chosen = (was->type == SymbolType::kIfunc) != (is.type == SymbolType::kIfunc);
    if (chosen && IsRoot(id)) return RefuseGlobal(memory_, *was, is);
    const UnitMemory& home = memory_.units[winner_.unit.value];
    if (!stays && home.lazy && symbol.lazy && !home.gone) return Refuse(reason, id, " is defined by an archive member now");
    if (!index_.contains(winner_.unit) || !index_.contains(symbol.owner)) {
      return AskFor(id, {winner_.unit, symbol.owner}, " is another unit's now");
    }
    UnitDiff& diff = diffs_[index_.at(winner_.unit)];
    if (Refusal refusal = CheckSection(id, diff, is.index, false)) return refusal;
    if (!stays && memory_.units[symbol.owner.value].lazy) must_stay_.push_back({symbol.owner, id, id});
    if (GlobalMemory* before = SayOf(&diffs_[index_.at(symbol.owner)], id)) before->owner = false;
    SayOf(&diff, id)->owner = true;
    const NameChanges::Added now = {id, diff.unit, is.index, PublicityOf(id, is, touches)};
    if (IsRoot(id) && now.publicity.exported != symbol.exported) return RefuseGlobal(memory_, *was, is);
    const bool follow = !stays || chosen || now.publicity.preemptible != symbol.traits.imported;
    if (follow) changes_.rebound.push_back(id);
    changes_.redeclared.push_back(now);
    return std::nullopt;
  }

  static GlobalMemory* SayOf(UnitDiff* diff, SymbolId id) { return const_cast<GlobalMemory*>(FindGlobal(diff->globals, id)); }

  Refusal DecideRemoved(SymbolId id, const SymbolMemory& symbol, const std::vector<Touch>& touches) {
    const GateReason reason = GateReason::kDefinedSetChanged;
    const Others others = LookAtOthers(id, touches);
    bool any = others.any, strong = others.strong;
    for (const Touch& touch : touches) {
      any |= touch.is != nullptr;
      strong |= Strong(touch.is);
      if (touch.is != nullptr && !Refers(*touch.is)) return Refuse(reason, id, " is defined elsewhere now");
    }
    if (others.defined) return Refuse(reason, id, " is defined elsewhere now");
    if (Refusal refusal = CheckKnownOutside(id)) return refusal;
    if (memory_.units[symbol.owner.value].lazy && !Leaves(symbol.owner)) must_stay_.push_back({symbol.owner, id, id});
    if (!any) {
      changes_.removed.push_back(id);
      return std::nullopt;
    }
    // Whoever refers to it means something else from now on.
    if (symbol.traits.tls) return Refuse(GateReason::kTlsChanged, id, " is a thread variable");
    if (VisibilityOf(id, touches) != Visibility::kDefault) return Refuse(reason, id, " is gone, and others name it");
    changes_.rebound.push_back(id);
    return Import(id, symbol, strong, {reason, " is gone, and others name it"});
  }

  // Another value of an absolute symbol is all that can be followed.
  Refusal DecideAbsolute(SymbolId id, const SymbolMemory& symbol, std::vector<Touch>& touches) {
    const Touch& touch = touches[0];
    const bool both = touches.size() == 1 && Is(GlobalMemory::kAbsolute, touch.was) && Is(GlobalMemory::kAbsolute, touch.is);
    const bool inside = !symbol.exported && !symbol.shared && !IsRoot(id);
    if (!both || !inside || symbol.kind != SymbolMemory::kAbsolute || symbol.owner != diffs_[touch.diff].unit ||
        touch.was->binding != touch.is->binding || touch.was->type != touch.is->type || touch.was->visibility != touch.is->visibility) {
      return Refuse(GateReason::kDefinedSetChanged, id, " is absolute");
    }
    changes_.absolutes.push_back({id, touch.is->value});
    return std::nullopt;
  }

  // What all units say of a name that some say is COMMON.
  struct CommonSay {
    uint64_t size = 0, alignment = 1;
    bool common = false, weak = false, other = false, any = false;
    int strong = 0;
  };
  void Hear(UnitId unit, const GlobalMemory* global, CommonSay* say) const {
    if (global == nullptr) return;
    say->any = true;
    say->other |= global->visibility != Visibility::kDefault || global->type == SymbolType::kTls || global->type == SymbolType::kFunction ||
                  global->type == SymbolType::kIfunc || global->role == GlobalMemory::kAbsolute;
    if (Refers(*global)) return;
    say->other |= memory_.units[unit.value].lazy;  // it takes part for what it defines
    if (global->role == GlobalMemory::kCommon) {
      say->common = true;
      say->size = std::max(say->size, global->value);
      say->alignment = std::max(say->alignment, uint64_t{1} << global->alignment);
    } else if (global->binding == SymbolBinding::kWeak) {
      say->weak = true;
    } else {
      ++say->strong;
    }
  }

  // The largest COMMON counts, and a definition before all of them.
  Refusal DecideCommon(SymbolId id, const SymbolMemory& symbol, std::vector<Touch>& touches) {
    const GateReason reason = GateReason::kCommonChanged;
    const LinkOptions& options = memory_.options;
    CommonSay say;
    bool was_elsewhere = false;
    Touch* owner = nullptr;
    for (Touch& touch : touches) {
      const UnitId unit = diffs_[touch.diff].unit;
      if (touch.was == nullptr) changes_.users.push_back({id, unit});
      CommonSay before;
      Hear(unit, touch.was, &before);
      was_elsewhere |= before.other;
      if (touch.is != nullptr && !Refers(*touch.is) && PublicityOf(id, *touch.is, touches).exported) was_elsewhere = true;
      if (touch.defines) owner = &touch;
      Hear(unit, touch.is, &say);
    }
    for (UnitId unit : memory_.users.Of(id)) {
      if (Untouched(unit, touches)) Hear(unit, Now(unit, id), &say);
    }
    const bool known = memory_.commons.contains(id);
    const bool outside = symbol.lazy || symbol.shared || symbol.exported || symbol.traits.tls || IsRoot(id) || was_elsewhere;
    if (outside || say.other || say.weak || say.strong > 1 || options.gc_sections || !options.exclude_libs.empty() || !memory_.common_unit.valid()) {
      return Refuse(reason, id, " is COMMON");
    }
    if (!known && symbol.kind != SymbolMemory::kNone && symbol.kind != SymbolMemory::kDefined) return Refuse(reason, id, " is COMMON");
    if (say.strong == 1 && !known && symbol.kind == SymbolMemory::kDefined && owner == nullptr) return std::nullopt;  // it still counts
    if (say.strong == 1) {
      if (!known || owner == nullptr) return Refuse(reason, id, " is COMMON, and defined");
      const UnitDiff& diff = diffs_[owner->diff];
      const uint32_t section = diff.object->symbols[owner->is->index].section;
      const SectionDiff::Fate fate = section < diff.sections.size() ? diff.sections[section].fate : SectionDiff::kIgnored;
      if (fate != SectionDiff::kMatched && fate != SectionDiff::kAdded) return Refuse(reason, id, " is in a section that is left out");
      owner->is->owner = true;
      changes_.rebound.push_back(id);
      changes_.redeclared.push_back({id, diff.unit, owner->is->index, PublicityOf(id, *owner->is, touches)});
      changes_.uncommon.push_back(id);
      return std::nullopt;
    }
    if (say.common) {
      const auto now = memory_.commons.find(id);
      if (known && symbol.size == say.size && now->second.alignment == say.alignment) return std::nullopt;
      changes_.commons.push_back({id, say.size, say.alignment});
      return std::nullopt;
    }
    if (say.any || !known) return Refuse(reason, id, " is COMMON no longer, and others name it");
    changes_.removed.push_back(id);
    changes_.uncommon.push_back(id);
    return std::nullopt;
  }

  bool Untouched(UnitId unit, const std::vector<Touch>& touches) const {
    return std::none_of(touches.begin(), touches.end(), [&](const Touch& touch) { return diffs_[touch.diff].unit == unit; });
  }

  bool IsRoot(SymbolId id) const { return IsRootName(memory_, id); }

  const GlobalMemory* Now(UnitId unit, SymbolId id) const {
    const auto it = index_.find(unit);
    return it == index_.end() ? memory_.units[unit.value].Find(id) : FindGlobal(diffs_[it->second].globals, id);
  }

  // Those who name a symbol, units that have not done so before included.
  std::vector<UnitId> UsersOf(SymbolId id) const {
    std::vector<UnitId> users = memory_.users.Of(id);
    if (const auto it = touched_.find(id); it != touched_.end()) {
      for (const Touch& touch : it->second) {
        const UnitId unit = diffs_[touch.diff].unit;
        if (touch.was == nullptr && std::find(users.begin(), users.end(), unit) == users.end()) users.push_back(unit);
      }
    }
    return users;
  }

  // True when a full link would still take the unit: a strong reference leads to it from one that takes part anyway.
  // `without` is no longer counted. May say no for want of patience.
  bool StillNeeded(UnitId unit, SymbolId without, absl::flat_hash_set<UnitId>* seen, int* steps) const {
    if (!memory_.units[unit.value].lazy) return true;
    if (!seen->insert(unit).second) return false;
    const auto it = index_.find(unit);
    const std::vector<GlobalMemory>& globals = it == index_.end() ? memory_.units[unit.value].globals : diffs_[it->second].globals;
    for (const GlobalMemory& global : globals) {
      if (global.role == GlobalMemory::kUndefined || global.symbol == without) continue;
      const SymbolMemory& symbol = memory_.symbols[global.symbol.value];
      if (symbol.owner != unit || symbol.lazy || symbol.shared) continue;
      if (IsRoot(global.symbol)) return true;
      const std::vector<UnitId> users = UsersOf(global.symbol);
      if ((*steps -= static_cast<int>(users.size())) < 0) return false;
      // Whoever defines it as well may be found first.
      const bool rivals = std::any_of(users.begin(), users.end(), [&](UnitId user) {
        const GlobalMemory* say = user == unit ? nullptr : Now(user, global.symbol);
        return say != nullptr && say->role != GlobalMemory::kUndefined;
      });
      if (rivals) continue;
      for (UnitId user : users) {
        if (user != unit && Strong(Now(user, global.symbol)) && StillNeeded(user, without, seen, steps)) return true;
      }
    }
    return false;
  }

  const Memory& memory_;
  std::vector<UnitDiff>& diffs_;
  absl::flat_hash_map<UnitId, size_t> index_;
  absl::flat_hash_map<SymbolId, std::vector<Touch>> touched_;
  std::vector<SymbolId> order_;
  bool versioned_ = false;  // some definition with a version in its name differs
  std::vector<MustStay> must_stay_;
  absl::btree_map<uint32_t, uint32_t> dropped_;  // strong imports of a group that are none any more
  Winner winner_;  // of the name that is being decided
  NameChanges changes_;
};

}  // namespace

std::optional<GateRefusal> CheckOffers(const std::vector<std::string>& names, Memory* memory,
                                       absl::FunctionRef<bool(UnitId, absl::string_view)> defines) {
  for (const std::string& name : names) {
    const SymbolId id = memory->Intern(name);
    SymbolMemory& symbol = memory->symbols[id.value];
    bool safe = false;
    switch (symbol.kind) {
      // What a library asks for is taken from an archive, too.
      case SymbolMemory::kNone: safe = !symbol.shared && !IsRootName(*memory, id); break;
      case SymbolMemory::kUndefined: safe = !symbol.shared && !symbol.strong; break;
      case SymbolMemory::kDefined:
      case SymbolMemory::kAbsolute: {
        if (!symbol.owner.valid() || symbol.owner.value >= memory->units.size()) break;
        // A definition of an object that is there anyway comes first; a COMMON one, made by the linker, does not. One that
        // is gone leaves the name to be asked for (DecideParts).
        const UnitMemory& owner = memory->units[symbol.owner.value];
        const GlobalMemory* definition = owner.Find(id);
        safe = definition != nullptr && definition->role != GlobalMemory::kCommon && (!owner.lazy || !defines(symbol.owner, name));
        break;
      }
      case SymbolMemory::kShared:
      case SymbolMemory::kLinker: break;
    }
    if (!safe || absl::StrContains(name, '@')) {
      return GateRefusal{GateReason::kArchiveChanged, absl::StrCat("a member that was not needed defines ", name, " now")};
    }
    symbol.lazy = true;
  }
  return std::nullopt;
}

bool IsRootName(const Memory& memory, SymbolId id) {
  const LinkOptions& options = memory.options;
  const absl::string_view name = memory.names.Name(id);
  const auto is = [&](absl::string_view other) { return other == name; };
  return is(options.entry) || is("_start") || is(options.init) || is(options.fini) ||
         std::any_of(options.undefined.begin(), options.undefined.end(), is);
}

std::variant<NameChanges, GateRefusal> ResolveNames(const Memory& memory, std::vector<UnitDiff>* diffs,
                                                    const std::vector<SymbolId>& reconsider) {
  return NameResolver(memory, diffs).Run(reconsider);
}

}  // namespace kitlink
