// Which unit keeps a COMDAT group, when units change.
#ifndef CORE_SESSION_GROUPS_H_
#define CORE_SESSION_GROUPS_H_

#include <utility>
#include <vector>

#include "core/base/ids.h"
#include "core/input/model.h"
#include "core/session/memory.h"

namespace kitlink {

// The COMDAT signatures of a unit as it is now, sorted.
struct UnitGroups {
  std::vector<SymbolId> kept, lost;
};

// Who keeps what, or the units that have to be read before that can be done: bystanders that a group passes from or to.
struct GroupDecision {
  std::vector<UnitGroups> groups;  // beside the units
  std::vector<UnitId> wanted;      // not empty: `groups` means nothing
};

// Decides each group of the changed units as a full link would: the first unit in order of precedence keeps it. The names
// of all signatures must be known to `memory`.
GroupDecision DecideGroups(const Memory& memory, const std::vector<std::pair<UnitId, const ObjectFile*>>& units);

}  // namespace kitlink

#endif  // CORE_SESSION_GROUPS_H_
