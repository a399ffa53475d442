#include "core/session/groups.h"

#include <algorithm>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"

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

  std::variant<std::vector<UnitGroups>, GateRefusal> Run() {
    std::vector<UnitGroups> groups(units_.size());
    for (size_t i = 0; i < units_.size(); ++i) {
      const UnitMemory& was = memory_.units[units_[i].first.value];
      for (SymbolId id : was.kept_groups) {
        if (Contains(now_[i], id)) continue;
        if (Keeper(id).valid()) return Passes(i, id);
      }
      for (SymbolId id : now_[i]) {
        if (Contains(was.kept_groups, id)) {
          if (Keeper(id) != units_[i].first) return Passes(i, id);
          groups[i].kept.push_back(id);
        } else if (Contains(was.lost_groups, id)) {
          groups[i].lost.push_back(id);  // if its keeper has lost it, that one refuses
        } else {
          const std::optional<UnitId> before = KeeperBefore(id);
          const UnitId keeper = Keeper(id);
          if (before && *before != keeper) return Passes(i, id);
          (keeper == units_[i].first ? groups[i].kept : groups[i].lost).push_back(id);
        }
      }
    }
    return groups;
  }

 private:
  GateRefusal Passes(size_t i, SymbolId id) const {
    return {GateReason::kComdatSetChanged,
            absl::StrCat(units_[i].second->DisplayName(), ": group ", memory_.names.Name(id), " is another unit's now")};
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
      if (HasNow(unit, id) && (!first.valid() || unit < first)) first = unit;
    };
    for (UnitId unit : memory_.group_users.Of(id)) consider(unit);
    for (const auto& [unit, object] : units_) consider(unit);
    return first;
  }

  std::optional<UnitId> KeeperBefore(SymbolId id) const {
    for (UnitId unit : memory_.group_users.Of(id)) {
      if (Contains(memory_.units[unit.value].kept_groups, id)) return unit;
    }
    return std::nullopt;
  }

  const Memory& memory_;
  const std::vector<std::pair<UnitId, const ObjectFile*>>& units_;
  absl::flat_hash_map<UnitId, size_t> index_;
  std::vector<std::vector<SymbolId>> now_;  // beside units_, sorted
};

}  // namespace

std::variant<std::vector<UnitGroups>, GateRefusal> DecideGroups(
    const Memory& memory, const std::vector<std::pair<UnitId, const ObjectFile*>>& units) {
  return GroupDecider(memory, units).Run();
}

}  // namespace kitlink
