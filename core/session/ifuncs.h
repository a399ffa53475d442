// IFUNCs that are defined in the image: a full link gives one a PLT entry, which is its address, when something in the image
// needs it, and has its resolver run at start-up.
#ifndef CORE_SESSION_IFUNCS_H_
#define CORE_SESSION_IFUNCS_H_

#include <optional>
#include <vector>

#include "core/session/gate.h"
#include "core/session/plan.h"
#include "core/session/unit_placement.h"

namespace kitlink {

// Finds out which IFUNCs that changed units define or refer to, now or before, need a PLT entry: NameChanges::ifuncs. Asks
// for units that have not changed where that hangs on them; refuses where there are too many. Call it once it is decided
// what names mean and which sections are in the image. O(relocations of the units and those who name the IFUNCs).
std::optional<GateRefusal> SettleIfuncs(const Memory& memory, const std::vector<UnitDiff>& diffs, NameChanges* names);

// Definitions that stay, and whose entry comes or goes: it is their address.
std::vector<SymbolId> IfuncsWithOtherAddress(const GatePass& pass, const Memory& memory);

// A static program applies the rows of its IFUNCs by itself, up to a name of the linker's, which moves with their number.
std::optional<GateRefusal> MoveIfuncEnd(const GatePass& pass, const MoveRules& rules, PlacementState* state);

// Entries go and come, and are addresses from then on. Call it before names get their rows.
std::optional<GateRefusal> WriteIfuncs(const GatePass& pass, PlacementState* state, std::vector<Mutation>* mutations);

}  // namespace kitlink

#endif  // CORE_SESSION_IFUNCS_H_
