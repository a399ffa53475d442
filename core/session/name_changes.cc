#include "core/session/name_changes.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
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
         a.size == b.size && a.alignment == b.alignment && a.lost == b.lost;
}

// A definition that its COMDAT group took along is a reference to the one that counts.
bool Refers(const GlobalMemory& global) { return global.role == GlobalMemory::kUndefined || global.lost; }

bool Strong(const GlobalMemory* global) {
  return global != nullptr && Refers(*global) && global->binding != SymbolBinding::kWeak;
}

bool Special(const GlobalMemory* global) {
  return global != nullptr && (global->role == GlobalMemory::kCommon || global->role == GlobalMemory::kAbsolute);
}

// What one changed unit says of one name that it says something else of now.
struct Touch {
  size_t diff = 0;
  const GlobalMemory* was = nullptr;  // nullptr: it did not name it
  GlobalMemory* is = nullptr;
  bool defines = false;  // its definition counts: it is not in a COMDAT group that the unit lost
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

  std::variant<NameChanges, GateRefusal> Run() {
    for (size_t d = 0; d < diffs_.size(); ++d) index_[diffs_[d].unit] = d;
    for (size_t d = 0; d < diffs_.size(); ++d) Compare(d);
    if (versioned_) return GateRefusal{GateReason::kDefinedSetChanged, "a definition with a version is gone"};
    for (SymbolId id : order_) {
      if (Refusal refusal = Decide(id, touched_[id])) return *std::move(refusal);
    }
    if (!wanted_.empty()) {
      GateRefusal refusal(GateReason::kDefinedSetChanged, "another definition counts from now on");
      refusal.rewrite.assign(wanted_.begin(), wanted_.end());
      return refusal;
    }
    if (Refusal refusal = CheckDropped()) return *std::move(refusal);
    for (const MustStay& member : must_stay_) {
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
      if (!old_only && !new_only && Same(was[w], is[i])) {
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
      touch.defines = touch.is != nullptr && touch.is->role == GlobalMemory::kDefined && !touch.is->lost;
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
    bool comes = false, goes = false;
    for (const Touch& touch : touches) {
      const bool owned = touch.was != nullptr && touch.was->owner;
      if (Special(touch.was) || Special(touch.is)) {
        return Refuse(Special(touch.is) ? ReasonFor(*touch.is) : ReasonFor(*touch.was), id, " is COMMON or absolute");
      }
      goes |= owned;
      comes |= touch.defines;
      if (touch.was == nullptr) changes_.users.push_back({id, diffs_[touch.diff].unit});
    }
    const LinkOptions& options = memory_.options;
    if (comes && !options.exclude_libs.empty()) {
      return Refuse(GateReason::kDefinedSetChanged, id, ": whether it is hidden depends on where it is defined");
    }
    if (comes || goes) {
      std::vector<Rival> rivals = RivalsFor(id, touches);
      const bool outside = std::any_of(rivals.begin(), rivals.end(), [](const Rival& rival) { return rival.touch == nullptr; });
      if (rivals.size() > 1 || (outside && goes)) return DecideRivals(id, symbol, touches, std::move(rivals));
    }
    if (comes && goes) return DecideMoved(id, symbol, touches);
    if (comes) return DecideAdded(id, symbol, touches);
    if (goes) return DecideRemoved(id, symbol, touches);
    return DecideReferences(id, symbol, touches);
  }

  // A unit that defines a name now, and may have to give way to another.
  struct Rival {
    UnitId unit;
    const GlobalMemory* say = nullptr;
    Touch* touch = nullptr;  // nullptr: it says what it said
  };
  std::vector<Rival> RivalsFor(SymbolId id, std::vector<Touch>& touches) const {
    std::vector<Rival> rivals;
    absl::flat_hash_set<UnitId> touched;
    for (Touch& touch : touches) {
      touched.insert(diffs_[touch.diff].unit);
      if (touch.defines) rivals.push_back({diffs_[touch.diff].unit, touch.is, &touch});
    }
    for (UnitId unit : memory_.users.Of(id)) {
      const GlobalMemory* say = touched.contains(unit) ? nullptr : memory_.units[unit.value].Find(id);
      if (say != nullptr && !Refers(*say)) rivals.push_back({unit, say, nullptr});
    }
    return rivals;
  }

  // Weak definitions give way to a strong one, and else to the first. Which one that is now may be another than before; both
  // units are written anew then, with all who refer to it.
  Refusal DecideRivals(SymbolId id, const SymbolMemory& symbol, const std::vector<Touch>& touches, std::vector<Rival> rivals) {
    const GateReason reason = GateReason::kDefinedSetChanged;
    if (symbol.kind != SymbolMemory::kDefined || symbol.shared) return Refuse(reason, id, " is defined more than once");
    if (Refusal refusal = CheckKnownOutside(id)) return refusal;
    const auto plain = [](const GlobalMemory& say) {
      return say.role == GlobalMemory::kDefined && say.type != SymbolType::kIfunc && say.type != SymbolType::kTls &&
             say.binding != SymbolBinding::kUnique;
    };
    for (const Rival& rival : rivals) {
      const bool member = memory_.units[rival.unit.value].lazy;
      if (!plain(*rival.say) || member) return Refuse(reason, id, " is defined more than once");
    }
    if (symbol.traits.ifunc || symbol.traits.tls || memory_.units[symbol.owner.value].lazy) {
      return Refuse(reason, id, " is defined more than once");
    }
    const auto strong = [](const Rival& rival) { return rival.say->binding != SymbolBinding::kWeak; };
    if (std::count_if(rivals.begin(), rivals.end(), strong) > 1) return Refuse(reason, id, " is defined more than once");
    const auto key = [&](const Rival& rival) { return std::make_pair(!strong(rival), memory_.RankOf(rival.unit)); };
    const Rival& first = *std::min_element(rivals.begin(), rivals.end(), [&](const Rival& a, const Rival& b) { return key(a) < key(b); });
    const bool stays = first.unit == symbol.owner;
    if (stays && first.touch == nullptr) return DecideReferences(id, symbol, touches);
    // The unit that it is taken from, and the one that it goes to.
    GlobalMemory* now = Say(first.unit, id);
    if (now == nullptr) wanted_.insert(first.unit);
    if (!index_.contains(symbol.owner)) wanted_.insert(symbol.owner);
    if (!wanted_.empty()) return std::nullopt;
    if (GlobalMemory* before = Say(symbol.owner, id)) before->owner = false;
    now->owner = true;
    const NameChanges::Added entry = {id, first.unit, now->index, PublicityOf(id, *now, touches)};
    if (!stays || entry.publicity.preemptible != symbol.traits.imported) changes_.rebound.push_back(id);
    changes_.redeclared.push_back(entry);
    const UnitDiff& diff = diffs_[index_.at(first.unit)];
    return CheckSection(id, diff, *now, false);
  }

  // What a changed unit says of a name now; nullptr when it says nothing, or is not among them.
  GlobalMemory* Say(UnitId unit, SymbolId id) {
    const auto it = index_.find(unit);
    if (it == index_.end()) return nullptr;
    std::vector<GlobalMemory>& globals = diffs_[it->second].globals;
    const GlobalMemory* found = FindGlobal(globals, id);
    return found == nullptr ? nullptr : &globals[static_cast<size_t>(found - globals.data())];
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
      rivals |= touch.is != nullptr && touch.is->role == GlobalMemory::kDefined;
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
    // With its last reference, the PLT entry that is an IFUNC's address goes, and perhaps the table of those.
    const bool dropped = std::any_of(touches.begin(), touches.end(), [](const Touch& touch) { return touch.is == nullptr; });
    if (symbol.traits.ifunc && dropped) return Refuse(GateReason::kSymbolKindChanged, id, " is an IFUNC");
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
    if (symbol.address != 0 || !memory_.library_offers.contains(id)) {
      return Refuse(GateReason::kUndefinedSetChanged, id, " is imported in another way");
    }
    const bool row = memory_.tables->Imports(id);
    if (symbol.import_group != SymbolMemory::kNoImportGroup) {
      dropped_[symbol.import_group] += row;  // that its library is needed must not hang on it, in any case
      if (row) changes_.unimported.push_back(id);
    }
    if (any) changes_.imported.push_back({id, !strong, false});
    else changes_.removed.push_back(id);
    return std::nullopt;
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
      for (const auto& [key, other] : memory_.import_groups) {
        const auto it = dropped_.find(other);
        if (key.first == library) others += memory_.import_uses[other] - (it == dropped_.end() ? 0 : it->second);
      }
      if (others == 0) {
        return GateRefusal{GateReason::kUndefinedSetChanged, absl::StrCat("the last import of ", memory_.sonames[library], " is gone")};
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
    Touch* owner = nullptr;
    if (Refusal refusal = FindOwner(id, touches, &owner)) return refusal;
    const GlobalMemory& definition = *owner->is;
    if (definition.type == SymbolType::kIfunc) return Refuse(GateReason::kSymbolKindChanged, id, " is an IFUNC");
    if (symbol.kind != SymbolMemory::kNone && (definition.type == SymbolType::kTls || symbol.traits.tls)) {
      return Refuse(GateReason::kTlsChanged, id, " is a thread variable");
    }
    const UnitDiff& diff = diffs_[owner->diff];
    if (symbol.lazy && memory_.units[diff.unit.value].lazy) return Refuse(reason, id, " is defined by two members");
    if (Refusal refusal = CheckSection(id, diff, *owner->is, true)) return refusal;
    owner->is->owner = true;
    changes_.added.push_back({id, diff.unit, definition.index, PublicityOf(id, definition, touches)});
    return std::nullopt;
  }

  // A library's symbol is defined here now. That the library is needed, and which version of it, must not hang on it.
  Refusal Unimport(SymbolId id, const SymbolMemory& symbol) {
    const GateReason reason = GateReason::kDefinedSetChanged;
    const bool own_address = symbol.address != 0;  // a copy, or a PLT entry that is the function's address everywhere
    if (symbol.lazy || own_address) return Refuse(reason, id, " meant something else");
    if (!memory_.library_offers.contains(id)) return Refuse(reason, id, " meant something else");
    const bool counted = !memory_.options->gc_sections || memory_.tables->Imports(id);
    if (symbol.import_group != SymbolMemory::kNoImportGroup && !symbol.idle) dropped_[symbol.import_group] += counted;
    if (counted) changes_.unimported.push_back(id);
    changes_.rebound.push_back(id);
    return std::nullopt;
  }

  // The one unit that defines a name now.
  Refusal FindOwner(SymbolId id, std::vector<Touch>& touches, Touch** owner) const {
    for (Touch& touch : touches) {
      if (!touch.defines) continue;
      if (*owner != nullptr) return Refuse(GateReason::kDefinedSetChanged, id, " is defined more than once");
      *owner = &touch;
    }
    return std::nullopt;
  }

  Refusal CheckSection(SymbolId id, const UnitDiff& diff, const GlobalMemory& definition, bool merged) const {
    const uint32_t section = diff.object->symbols[definition.index].section;
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
    const GlobalMemory* was = nullptr;
    Touch* owner = nullptr;
    for (const Touch& touch : touches) {
      if (touch.was != nullptr && touch.was->owner) was = touch.was;
    }
    if (Refusal refusal = FindOwner(id, touches, &owner)) return refusal;
    const GlobalMemory& is = *owner->is;
    const bool stays = owner->was == was;
    if (!stays && IsRoot(id)) return Refuse(reason, id, " is known outside of the program");
    if (LookAtOthers(id, touches).defined) return Refuse(reason, id, " is defined more than once");
    const auto special = [](SymbolType type) { return type == SymbolType::kIfunc || type == SymbolType::kTls; };
    if (special(was->type) || special(is.type)) {
      if (stays || was->type != is.type || special(is.type)) return RefuseGlobal(memory_, *was, is);
    }
    const UnitDiff& diff = diffs_[owner->diff];
    if (!stays && memory_.units[diff.unit.value].lazy) return Refuse(reason, id, " is defined by an archive member now");
    if (Refusal refusal = CheckSection(id, diff, *owner->is, false)) return refusal;
    if (!stays && memory_.units[symbol.owner.value].lazy) must_stay_.push_back({symbol.owner, id, id});
    owner->is->owner = true;
    const NameChanges::Added now = {id, diff.unit, is.index, PublicityOf(id, is, touches)};
    if (IsRoot(id) && now.publicity.exported != symbol.exported) return RefuseGlobal(memory_, *was, is);
    const bool follow = !stays || now.publicity.preemptible != symbol.traits.imported;
    if (follow) changes_.rebound.push_back(id);
    changes_.redeclared.push_back(now);
    return std::nullopt;
  }

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
    if (symbol.traits.ifunc) return Refuse(GateReason::kSymbolKindChanged, id, " is an IFUNC");
    if (memory_.units[symbol.owner.value].lazy) must_stay_.push_back({symbol.owner, id, id});
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

  bool IsRoot(SymbolId id) const { return IsRootName(memory_, id); }

  const GlobalMemory* Now(UnitId unit, SymbolId id) const {
    const auto it = index_.find(unit);
    return it == index_.end() ? memory_.units[unit.value].Find(id) : FindGlobal(diffs_[it->second].globals, id);
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
      const std::vector<UnitId> users = memory_.users.Of(global.symbol);
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
  absl::btree_set<UnitId> wanted_;  // units that have to be among the changed ones
  absl::btree_map<uint32_t, uint32_t> dropped_;  // strong imports of a group that are none any more
  NameChanges changes_;
};

}  // namespace

std::optional<GateRefusal> CheckOffers(const std::vector<std::string>& names, Memory* memory) {
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
        // A definition of an object that is there anyway comes first; a COMMON one, made by the linker, does not.
        const UnitMemory& owner = memory->units[symbol.owner.value];
        const GlobalMemory* definition = owner.Find(id);
        safe = !owner.lazy && definition != nullptr && definition->role != GlobalMemory::kCommon;
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

std::variant<NameChanges, GateRefusal> ResolveNames(const Memory& memory, std::vector<UnitDiff>* diffs) {
  return NameResolver(memory, diffs).Run();
}

}  // namespace kitlink
