// The .dynamic section: what the loader needs to know, as tags and values (gABI, "Dynamic Section").
#ifndef CORE_OUTPUT_ELF_DYNAMIC_SECTION_H_
#define CORE_OUTPUT_ELF_DYNAMIC_SECTION_H_

#include <vector>

#include "core/output/elf/image.h"

namespace kitlink::elf {

// The entries, DT_NULL included. Before placement the values mean nothing, but the number of entries is right.
std::vector<Elf64_Dyn> DynamicEntries(const LinkOptions& options, const Program& program, const ElfImage& image,
                                      const Arch& arch);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_DYNAMIC_SECTION_H_
