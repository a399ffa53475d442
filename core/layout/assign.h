// First half of the Place step, the same for every format: atoms to output sections, and slots within them.
#ifndef CORE_LAYOUT_ASSIGN_H_
#define CORE_LAYOUT_ASSIGN_H_

#include <functional>

#include "core/input/options.h"
#include "core/layout/placement.h"
#include "core/symbols/program.h"

namespace kitlink {

// The output section that an input section goes to: ".text" for ".text.main", its own name when no rule fits.
absl::string_view OutputSectionName(const LinkOptions& options, const InputSection& section);

// What holes in a section that is not loaded may be like.
struct HoleShape {
  int64_t least = -1;   // the smallest that can be filled, in bytes; -1 when none can
  bool long_ones = false;  // long ones cost no more than short ones, neither to fill nor to read over
};

// What the format and the program say of the room in sections.
struct RoomRules {
  std::function<HoleShape(absl::string_view section)> holes;
  bool threads = false;  // a thread's block may be larger than its variables
};

// True for sections whose pieces stand in order of the number in their names, and of the link among equal ones.
bool GoesByPriority(SectionKind kind);

// That number: of .init_array.00100, say, 100, which .ctors.65435 is the same as.
uint32_t InitPriority(absl::string_view name);

// Makes output sections for all live atoms and merged sections, in order of first appearance, and lays the atoms out
// in them: in order of units, init rows by priority. Addresses are not set. Merges strings on the way
// (Program::merged, merged_inputs).
Placement AssignSections(const LinkOptions& options, const RoomRules& room, Program* program);

}  // namespace kitlink

#endif  // CORE_LAYOUT_ASSIGN_H_
