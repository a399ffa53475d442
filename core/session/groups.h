// Which unit keeps a COMDAT group, when units change.
#ifndef CORE_SESSION_GROUPS_H_
#define CORE_SESSION_GROUPS_H_

#include <utility>
#include <variant>
#include <vector>

#include "core/base/ids.h"
#include "core/input/model.h"
#include "core/session/gate_reason.h"
#include "core/session/memory.h"

namespace kitlink {

// The COMDAT signatures of a unit as it is now, sorted.
struct UnitGroups {
  std::vector<SymbolId> kept, lost;
};

// Decides each group of the changed units as a full link would: the first unit in order of precedence keeps it. Refuses
// when a group would pass from one unit to another: what a bystander lost would have to be read. The names of all
// signatures must be known to `memory`. The result is beside `units`.
std::variant<std::vector<UnitGroups>, GateRefusal> DecideGroups(
    const Memory& memory, const std::vector<std::pair<UnitId, const ObjectFile*>>& units);

}  // namespace kitlink

#endif  // CORE_SESSION_GROUPS_H_
