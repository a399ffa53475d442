// Build ids: a fast one for incremental links, standard digests otherwise.
#ifndef CORE_OUTPUT_ELF_BUILD_ID_H_
#define CORE_OUTPUT_ELF_BUILD_ID_H_

#include <cstdint>
#include <vector>

#include "core/base/bytes.h"
#include "core/input/options.h"

namespace kitlink::elf {

// The fast id, of `size` bytes, of an image whose BuildIdTree has this root.
std::vector<uint8_t> BuildIdOf(uint64_t root, size_t size);

// The id that `options` ask for, of an image whose id bytes are still zero: `size` bytes. For a fast one, `leaves` gets
// what BuildIdTree::HashLeaves gives for the image.
std::vector<uint8_t> MakeBuildId(const LinkOptions& options, ByteView image, size_t size, std::vector<uint64_t>* leaves);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_BUILD_ID_H_
