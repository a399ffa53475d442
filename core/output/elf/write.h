// The Write step for ELF: fills the image that PlaceElf planned.
#ifndef CORE_OUTPUT_ELF_WRITE_H_
#define CORE_OUTPUT_ELF_WRITE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/diagnostics.h"
#include "core/output/elf/image.h"
#include "core/output/reference.h"

namespace kitlink::elf {

struct WriteResult {
  std::string build_id;  // hexadecimal, empty without one
  std::vector<uint64_t> build_id_leaves;  // of an incremental link's (BuildIdTree)
  uint64_t relocations = 0;
};

// Writes the whole image into `file`, image.file_size zero bytes. Reports fields that cannot hold their value.
absl::StatusOr<WriteResult> WriteElf(const LinkOptions& options, const Program& program, const ElfImage& image,
                                     const Arch& arch, MutableBytes file, Diagnostics& diagnostics);

// Describes the image's atoms and relocated fields, for verification.
void DescribeElf(const Program& program, const ElfImage& image, const Arch& arch, Reference* reference);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_WRITE_H_
