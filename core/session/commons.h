// COMMON symbols, whose room the linker makes: as much as the largest of all who declare one asks for.
#ifndef CORE_SESSION_COMMONS_H_
#define CORE_SESSION_COMMONS_H_

#include <optional>
#include <vector>

#include "core/output/hot_tables.h"
#include "core/session/gate.h"
#include "core/session/plan.h"
#include "core/session/unit_placement.h"

namespace kitlink {

// Gives the COMMON symbols of `pass` that are new, or ask for more than they have, room in .bss, and takes away that of
// symbols that are COMMON no longer. Refuses when there is no room, and where those who refer to one that moves are not
// among the units of `state`'s rules; the refusal says which.
std::optional<GateRefusal> PlaceCommons(const GatePass& pass, PlacementState* state);

// Tells the tables what became of them.
std::optional<GateRefusal> UpdateCommons(const GatePass& pass, const PlacementState& state, std::vector<Mutation>* mutations);

}  // namespace kitlink

#endif  // CORE_SESSION_COMMONS_H_
