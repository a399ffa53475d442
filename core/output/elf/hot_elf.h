// The HotTables of ELF.
#ifndef CORE_OUTPUT_ELF_HOT_ELF_H_
#define CORE_OUTPUT_ELF_HOT_ELF_H_

#include <memory>
#include <string>

#include "core/output/elf/image.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

// Captures what patching the tables of `image` needs. The result keeps nothing of `program` or `image`.
std::unique_ptr<HotTables> CaptureElf(const LinkOptions& options, const Program& program, const ElfImage& image,
                                      const Arch& arch, const std::string& build_id);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_ELF_H_
