// The PlannedImage of ELF.
#ifndef CORE_OUTPUT_ELF_ELF_PLANNED_H_
#define CORE_OUTPUT_ELF_ELF_PLANNED_H_

#include <memory>

#include "core/output/planned_image.h"

namespace kitlink::elf {

std::unique_ptr<PlannedImage> PlanElf(const LinkOptions& options, const Arch& arch, Demands demands, Program* program);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_ELF_PLANNED_H_
