// Fields of units that have not changed, written anew because what they lead to has moved.
#ifndef CORE_SESSION_SITE_WRITER_H_
#define CORE_SESSION_SITE_WRITER_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "core/output/hot_tables.h"
#include "core/session/gate.h"
#include "core/session/unit_placement.h"

namespace kitlink {

// Appends mutations for the fields that lead to what `units` define, in units that are not among them: all fields of names
// whose published address or size is another, and those of debug information where the body is; and for the linker's own
// names that are republished. O(names that the units define + sites of those that moved). `touched` gets the slots that were written to, each once; `relocations` counts the
// fields.
std::optional<GateRefusal> WriteSites(absl::Span<const PlacedUnit> units, const PlacementState& state, HotTables* tables,
                                      std::vector<Mutation>* mutations, std::vector<Slot>* touched,
                                      uint64_t* relocations);

}  // namespace kitlink

#endif  // CORE_SESSION_SITE_WRITER_H_
