#include "core/session/groups.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"

namespace kitlink {
namespace {

bool Contains(const std::vector<SymbolId>& sorted, SymbolId id) {
  return std::binary_search(sorted.begin(), sorted.end(), id);
}

std::vector<SymbolId> SignaturesOf(const Memory& memory, const ObjectFile& object) {
  std::vector<SymbolId> ids;
  for (const SectionGroup& group : object.groups) {
    if (group.comdat) ids.push_back(memory.names.Find(group.signature));
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

class GroupDecider {
 public:
  GroupDecider(const Memory& memory, const std::vector<std::pair<UnitId, const ObjectFile*>>& units)
      : memory_(memory), units_(units) {
    for (size_t i = 0; i < units.size(); ++i) {
      index_[units[i].first] = i;
      now_.push_back(SignaturesOf(memory, *units[i].second));
    }
  }

  GroupDecision Run() {
    GroupDecision decision;
    decision.groups.resize(units_.size());
    for (size_t i = 0; i < units_.size(); ++i) {
      // What it had, for what it has no longer; what it has, for whom it belongs to.
      for (SymbolId id : memory_.units[units_[i].first.value].kept_groups) Want(id, &decision.wanted);
      for (SymbolId id : now_[i]) {
        Want(id, &decision.wanted);
        UnitGroups& groups = decision.groups[i];
        (Keeper(id) == units_[i].first ? groups.kept : groups.lost).push_back(id);
      }
    }
    return decision;
  }

 private:
  // A group that passes from one unit to another changes both.
  void Want(SymbolId id, std::vector<UnitId>* wanted) const {
    const UnitId before = KeeperBefore(id), now = Keeper(id);
    if (before == now) return;
    for (UnitId unit : {before, now}) {
      if (unit.valid() && !index_.contains(unit)) wanted->push_back(unit);
    }
  }

  bool HasNow(UnitId unit, SymbolId id) const {
    const auto it = index_.find(unit);
    if (it != index_.end()) return Contains(now_[it->second], id);
    const UnitMemory& memory = memory_.units[unit.value];
    return Contains(memory.kept_groups, id) || Contains(memory.lost_groups, id);
  }

  // The first unit that has the group now; invalid when none has.
  UnitId Keeper(SymbolId id) const {
    UnitId first;
    const auto consider = [&](UnitId unit) {
      if (HasNow(unit, id) && (!first.valid() || memory_.Before(unit, first))) first = unit;
    };
    for (UnitId unit : memory_.group_users.Of(id)) consider(unit);
    for (const auto& [unit, object] : units_) consider(unit);
    return first;
  }

  UnitId KeeperBefore(SymbolId id) const {
    for (UnitId unit : memory_.group_users.Of(id)) {
      if (Contains(memory_.units[unit.value].kept_groups, id)) return unit;
    }
    return UnitId();
  }

  const Memory& memory_;
  const std::vector<std::pair<UnitId, const ObjectFile*>>& units_;
  absl::flat_hash_map<UnitId, size_t> index_;
  std::vector<std::vector<SymbolId>> now_;  // beside units_, sorted
};

}  // namespace

GroupDecision DecideGroups(const Memory& memory, const std::vector<std::pair<UnitId, const ObjectFile*>>& units) {
  return GroupDecider(memory, units).Run();
}

}  // namespace kitlink
