#include "core/session/take_part.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

// How many users may be looked at to find out whether a member is still needed.
constexpr int kMostSteps = 100000;

bool Defines(const GlobalMemory* say) { return say != nullptr && say->role != GlobalMemory::kUndefined; }

// Only what is undefined is looked for: a definition that lost its COMDAT group is one all the same here.
bool Wants(const GlobalMemory* say) {
  return say != nullptr && say->role == GlobalMemory::kUndefined && say->binding != SymbolBinding::kWeak;
}

class PartDecider {
 public:
  PartDecider(const Memory& memory, const std::vector<std::pair<UnitId, const ObjectFile*>>& units,
              const absl::flat_hash_set<UnitId>& leaving)
      : memory_(memory), units_(units), leaving_(leaving) {
    for (size_t i = 0; i < units.size(); ++i) {
      index_[units[i].first] = i;
      const ObjectFile& object = *units[i].second;
      now_.push_back(GlobalsOf(object, [&](uint32_t index) {
        const absl::string_view name = object.symbols[index].name, offered = OfferedName(name);
        return offered.size() == name.size() ? GlobalId(memory, object, index) : memory.names.Find(offered);
      }));
      for (const GlobalMemory& global : now_.back()) {
        if (global.symbol.valid() && Was(units[i].first, global.symbol) == nullptr) new_users_[global.symbol].push_back(units[i].first);
      }
    }
  }

  std::variant<PartDecision, GateRefusal> Run() {
    for (size_t i = 0; i < units_.size(); ++i) Compare(i);
    PartDecision decision;
    for (SymbolId id : asked_) {
      if (Ask(id)) decision.wanted.push_back(id);
      if (problem_) return *problem_;
    }
    if (decision.wanted.empty()) {
      for (UnitId unit : doubted_) Doubt(unit, &decision.dropped);
      for (const auto& [unit, object] : units_) CheckNew(unit);
    }
    if (problem_) return *problem_;
    if (memory_.members_contested && (!decision.wanted.empty() || !decision.dropped.empty())) {
      return GateRefusal{GateReason::kUndefinedSetChanged, "a needed name is defined by several archive members"};
    }
    return decision;
  }

 private:
  const GlobalMemory* Was(UnitId unit, SymbolId id) const { return memory_.units[unit.value].Find(id); }
  const GlobalMemory* Now(UnitId unit, SymbolId id) const {
    const auto it = index_.find(unit);
    return it == index_.end() ? Was(unit, id) : FindGlobal(now_[it->second], id);
  }
  std::vector<UnitId> UsersOf(SymbolId id) const {
    std::vector<UnitId> users = memory_.users.Of(id);
    if (const auto it = new_users_.find(id); it != new_users_.end()) {
      for (UnitId unit : it->second) {
        if (std::find(users.begin(), users.end(), unit) == users.end()) users.push_back(unit);
      }
    }
    return users;
  }

  void Compare(size_t i) {
    const UnitId unit = units_[i].first;
    for (const GlobalMemory& was : memory_.units[unit.value].globals) {
      if (!was.symbol.valid()) continue;
      const GlobalMemory* is = FindGlobal(now_[i], was.symbol);
      if (Defines(&was) && !Defines(is)) {
        asked_.insert(was.symbol);  // others may go on asking for it
        if (memory_.units[unit.value].lazy && !leaving_.contains(unit)) doubted_.insert(unit);
      }
      if (Wants(&was) && !Wants(is)) DoubtDefiners(was.symbol, unit);
    }
    for (const GlobalMemory& is : now_[i]) {
      if (!is.symbol.valid()) continue;
      const GlobalMemory* was = Was(unit, is.symbol);
      if (Wants(&is) && !Wants(was)) asked_.insert(is.symbol);
      if (Defines(&is) && !Defines(was)) DoubtDefiners(is.symbol, unit);
    }
  }

  // Members that define `id` may have been taken for its sake.
  void DoubtDefiners(SymbolId id, UnitId but) {
    for (UnitId user : UsersOf(id)) {
      if (user != but && memory_.units[user.value].lazy && !leaving_.contains(user) && Defines(Now(user, id))) doubted_.insert(user);
    }
  }

  void Refuse(SymbolId id, absl::string_view what) {
    if (!problem_) problem_ = GateRefusal{GateReason::kUndefinedSetChanged, absl::StrCat(memory_.names.Name(id), what)};
  }

  // True when a member has to be taken for `id`.
  bool Ask(SymbolId id) {
    bool wanted = false, plain = false, rivals = false;
    int lazy = 0;
    for (UnitId user : UsersOf(id)) {
      const GlobalMemory* say = Now(user, id);
      wanted |= Wants(say);
      if (!Defines(say)) continue;
      const bool member = memory_.units[user.value].lazy;
      lazy += member;
      plain |= !member;
      rivals |= member && OthersOffer(id, user);
    }
    if (!wanted || plain) return false;
    const auto offer = memory_.offers.find(id);
    if (lazy > 1 || rivals) {
      Refuse(id, " has more than one definition to be found");
      return false;
    }
    if (lazy == 1 || offer == memory_.offers.end()) return false;
    const SymbolMemory& symbol = memory_.symbols[id.value];
    if (offer->second.several) {
      Refuse(id, " is offered by several members");
    } else if (symbol.shared || symbol.kind == SymbolMemory::kShared || symbol.kind == SymbolMemory::kLinker) {
      Refuse(id, " is offered by a member, and known to libraries or the linker");
    }
    return true;
  }

  // True when a full link might find `id` in another member than `unit`, which defines it. What a member offers that has
  // just been taken is what it defines.
  bool OthersOffer(SymbolId id, UnitId unit) const {
    const auto offer = memory_.offers.find(id);
    if (offer == memory_.offers.end()) return false;
    const UnitMemory& memory = memory_.units[unit.value];
    return offer->second.several || !memory.gone || memory.file != offer->second.file || memory.rank.member != offer->second.member;
  }

  enum class Need { kYes, kNo, kUnknown };

  // Whether the options ask for a name.
  Need RootNeed(SymbolId id) const {
    const LinkOptions& options = memory_.options;
    const absl::string_view name = memory_.names.Name(id);
    if (std::any_of(options.undefined.begin(), options.undefined.end(), [&](const auto& u) { return u == name; })) return Need::kYes;
    const absl::string_view entry = options.entry.empty() ? absl::string_view("_start") : absl::string_view(options.entry);
    if (name == entry) return options.kind != OutputKind::kShared ? Need::kYes : Need::kUnknown;
    return options.defsym.empty() ? Need::kNo : Need::kUnknown;
  }

  // What the unit says of names after the change.
  const std::vector<GlobalMemory>& Says(UnitId unit) const {
    const auto it = index_.find(unit);
    return it == index_.end() ? memory_.units[unit.value].globals : now_[it->second];
  }

  // Whether a chain of strong references leads to the unit over names that it, and each on the way, is the only one to
  // have: the strong definitions, as a rule. That settles most members without a look at what is in many of them, such as
  // inline functions and instances of templates.
  bool Anchored(UnitId unit) const {
    std::vector<UnitId> reached = {unit};
    absl::flat_hash_set<UnitId> seen = {unit};
    int steps = kMostSteps;
    for (size_t i = 0; i < reached.size(); ++i) {
      if (leaving_.contains(reached[i])) continue;
      if (!memory_.units[reached[i].value].lazy) return true;
      for (const GlobalMemory& global : Says(reached[i])) {
        if (!Defines(&global) || global.binding == SymbolBinding::kWeak || !global.symbol.valid()) continue;
        // A library that has the name, too, may come first.
        if (memory_.symbols[global.symbol.value].shared || OthersOffer(global.symbol, reached[i])) continue;
        const std::vector<UnitId> users = UsersOf(global.symbol);
        if ((steps -= static_cast<int>(users.size()) + 1) < 0) return false;
        const bool rivals = std::any_of(users.begin(), users.end(), [&](UnitId user) {
          return user != reached[i] && Defines(Now(user, global.symbol));
        });
        if (rivals) continue;
        if (RootNeed(global.symbol) == Need::kYes) return true;
        for (UnitId user : users) {
          if (Wants(Now(user, global.symbol)) && seen.insert(user).second) reached.push_back(user);
        }
      }
    }
    return false;
  }

  // Whether a chain of strong references leads to the unit. `seen` are those that lead to it: when none is needed, all
  // of them are not.
  Need Needed(UnitId unit, absl::btree_set<UnitId>* seen, int* steps) const {
    if (leaving_.contains(unit)) return Need::kNo;
    if (!memory_.units[unit.value].lazy) return Need::kYes;
    if (!seen->insert(unit).second) return Need::kNo;
    Need need = Need::kNo;
    for (const GlobalMemory& global : Says(unit)) {
      if (!Defines(&global)) continue;
      if (!global.symbol.valid()) {  // "name@@VERSION"
        need = Need::kUnknown;
        continue;
      }
      switch (NeededFor(global.symbol, unit, seen, steps)) {
        case Need::kYes: return Need::kYes;
        case Need::kUnknown: need = Need::kUnknown; break;
        case Need::kNo: break;
      }
    }
    return need;
  }

  Need NeededFor(SymbolId id, UnitId unit, absl::btree_set<UnitId>* seen, int* steps) const {
    const std::vector<UnitId> users = UsersOf(id);
    if ((*steps -= static_cast<int>(users.size())) < 0) return Need::kUnknown;
    bool contested = OthersOffer(id, unit);
    for (UnitId user : users) {
      if (user == unit || !Defines(Now(user, id))) continue;
      if (!memory_.units[user.value].lazy) return Need::kNo;  // it is there anyway, so nobody looks further
      contested = true;
    }
    const SymbolMemory& symbol = memory_.symbols[id.value];
    Need need = RootNeed(id);
    for (UnitId user : users) {
      if (need == Need::kYes) break;
      if (user == unit || !Wants(Now(user, id))) continue;
      const Need chain = Needed(user, seen, steps);
      if (chain != Need::kNo) need = chain;
    }
    // A library that has the name may come first, and one that asks for it may be the reason.
    if (symbol.shared) return Need::kUnknown;
    return contested && need != Need::kNo ? Need::kUnknown : need;
  }

  void Doubt(UnitId unit, std::vector<UnitId>* dropped) {
    if (std::find(dropped->begin(), dropped->end(), unit) != dropped->end() || Anchored(unit)) return;
    absl::btree_set<UnitId> seen;
    int steps = kMostSteps;
    switch (Needed(unit, &seen, &steps)) {
      case Need::kYes: return;
      case Need::kNo: dropped->insert(dropped->end(), seen.begin(), seen.end()); return;
      case Need::kUnknown: break;
    }
    if (!problem_) problem_ = GateRefusal{GateReason::kUndefinedSetChanged, absl::StrCat(NameOf(unit), " may no longer be needed")};
  }

  // A member that was taken for the sake of one that goes after all.
  void CheckNew(UnitId unit) {
    const UnitMemory& memory = memory_.units[unit.value];
    if (!memory.gone || !memory.lazy || leaving_.contains(unit) || Anchored(unit)) return;
    absl::btree_set<UnitId> seen;
    int steps = kMostSteps;
    if (Needed(unit, &seen, &steps) == Need::kYes || problem_) return;
    problem_ = GateRefusal{GateReason::kUndefinedSetChanged, absl::StrCat(NameOf(unit), " may not be needed")};
  }

  std::string NameOf(UnitId unit) const { return memory_.units[unit.value].member; }

  const Memory& memory_;
  const std::vector<std::pair<UnitId, const ObjectFile*>>& units_;
  const absl::flat_hash_set<UnitId>& leaving_;
  absl::flat_hash_map<UnitId, size_t> index_;
  std::vector<std::vector<GlobalMemory>> now_;  // beside units_
  absl::flat_hash_map<SymbolId, std::vector<UnitId>> new_users_;
  absl::btree_set<SymbolId> asked_;   // somebody may look for them now
  absl::btree_set<UnitId> doubted_;   // members that less is asked of
  std::optional<GateRefusal> problem_;
};

}  // namespace

std::variant<PartDecision, GateRefusal> DecideParts(const Memory& memory,
                                                    const std::vector<std::pair<UnitId, const ObjectFile*>>& units,
                                                    const absl::flat_hash_set<UnitId>& leaving) {
  return PartDecider(memory, units, leaving).Run();
}

}  // namespace kitlink
