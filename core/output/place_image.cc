#include <utility>

#include "core/output/elf/elf_planned.h"
#include "core/output/planned_image.h"

namespace kitlink {

absl::StatusOr<std::unique_ptr<PlannedImage>> PlaceImage(const LinkOptions& options, const Arch& arch, Demands demands,
                                                         Program* program) {
  // ELF is the one format so far; options.emulation will choose.
  return elf::PlanElf(options, arch, std::move(demands), program);
}

}  // namespace kitlink
