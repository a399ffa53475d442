// Room beyond the reserves of a hot image.
#ifndef CORE_SESSION_GROWTH_H_
#define CORE_SESSION_GROWTH_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "core/output/hot_tables.h"
#include "core/session/memory.h"
#include "core/session/unit_placement.h"

namespace kitlink {

// Gives a section that is used up more room: at least twice `bytes`, as a section of its own (SectionMemory::growth_of) in a
// new segment, or, when it is not loaded, by announcing its move to the end of the file. It is not in the image before a
// plan uses it. False when there is no way.
bool GrowSection(SectionId id, uint64_t bytes, Memory* memory);

// Gives the format's tables that the last plan found used up more room, by announcing that they move: to the end of the
// file, and those that are loaded into a new segment. False when there is no way, or no need.
bool GrowTables(Memory* memory);

// The linker's names for ends that move because the plan that `state` belongs to uses new segments.
std::vector<LinkerEnd> GrowthEnds(const Memory& memory, const PlacementState& state);

// Adds the mutations that bring announced growth into the image, where the plan uses some: headers, what fills executable
// room, contents that move. All others come after these. True when there is any. Errors of `read`.
absl::StatusOr<bool> PublishGrowth(const Memory& memory, const PlacementState& state, const ImageReader& read,
                           std::vector<Mutation>* mutations);

// Announced growth is in the image now.
void AdoptGrowth(Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_GROWTH_H_
