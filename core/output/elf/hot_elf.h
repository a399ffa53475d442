// The HotTables of ELF.
#ifndef CORE_OUTPUT_ELF_HOT_ELF_H_
#define CORE_OUTPUT_ELF_HOT_ELF_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/output/elf/image.h"
#include "absl/status/statusor.h"
#include "core/base/codec.h"
#include "core/output/hot_tables.h"
#include "core/output/image_sink.h"

namespace kitlink::elf {

// Captures what patching the tables of `image` needs, as `read` gives them. The result keeps nothing of `program`
// or `image`. Whatever `read` fails with.
absl::StatusOr<std::unique_ptr<HotTables>> CaptureElf(const LinkOptions& options, const Program& program, const ElfImage& image,
                                      const Arch& arch, const std::string& build_id,
                                      const std::vector<uint64_t>& build_id_leaves, const ImageReader& read);

// See core/output/saved_tables.h. REQUIRES: `tables` came from here.
void SaveElf(const HotTables& tables, Encoder* encoder);
absl::StatusOr<std::unique_ptr<HotTables>> LoadElf(const LinkOptions& options, const Arch& arch, Decoder* decoder);
std::string ElfTablesSchema();

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_ELF_H_
