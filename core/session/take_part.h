// Which members of archives take part, when references to what they define come and go.
#ifndef CORE_SESSION_TAKE_PART_H_
#define CORE_SESSION_TAKE_PART_H_

#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/base/ids.h"
#include "core/input/model.h"
#include "core/session/gate_reason.h"
#include "core/session/memory.h"

namespace kitlink {

// Names that a full link would take a member for, or, when there are none, units that it would not take any more. Both
// empty: the units that take part are those that a full link would take.
struct PartDecision {
  std::vector<SymbolId> wanted;
  std::vector<UnitId> dropped;
};

// Looks at what the changed units ask for, did ask for, and define, and decides of the members concerned as PullObjects
// does. A member takes part when a chain of strong references leads to it from a unit that takes part anyway, or from the
// options; that is all there is to it as long as no needed name is defined by several members. Where one is, and where a
// shared library may ask, it refuses, but for members that are needed for another reason. `leaving` are those of `units`
// that take no part any more: their objects are empty. Names must be known to `memory`. Costs O(names of the changed
// units, and those who name them), and for each member that less is asked of, a search for who needs it.
std::variant<PartDecision, GateRefusal> DecideParts(const Memory& memory,
                                                    const std::vector<std::pair<UnitId, const ObjectFile*>>& units,
                                                    const absl::flat_hash_set<UnitId>& leaving);

}  // namespace kitlink

#endif  // CORE_SESSION_TAKE_PART_H_
