// The bytes of a placed unit: the second half of planning.
#ifndef CORE_SESSION_UNIT_WRITER_H_
#define CORE_SESSION_UNIT_WRITER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/session/gate.h"
#include "core/session/unit_placement.h"

namespace kitlink {

// Appends mutations for every byte of the unit's slots (relocations applied, holes filled), its islands and its rows in
// the format's tables. `relocations` counts those applied. Refuses what needs a cell that does not exist, and what
// looks like a link error.
std::optional<GateRefusal> WriteUnit(const PlacedUnit& placed, const PlacementState& state, HotTables* tables,
                                     std::vector<Mutation>* mutations, uint64_t* relocations);

// Fills a slot that nobody uses any more, or the free rest of a section: traps, zeros, or legal debug information.
void ClearSlot(const Memory& memory, const Slot& slot, std::vector<Mutation>* mutations);

}  // namespace kitlink

#endif  // CORE_SESSION_UNIT_WRITER_H_
