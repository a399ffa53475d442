// Build ids: a fast one for incremental links, standard digests otherwise.
#ifndef CORE_OUTPUT_ELF_BUILD_ID_H_
#define CORE_OUTPUT_ELF_BUILD_ID_H_

#include <cstdint>
#include <vector>

#include "core/base/bytes.h"
#include "core/input/options.h"

namespace kitlink::elf {

// The digest of an image whose build id bytes are still zero. `size` bytes. FNV-1a over leaves of 64 KiB, combined
// over the list of leaves: as fast as memory, and the same for any number of threads.
std::vector<uint8_t> FastBuildId(ByteView image, size_t size);

// The id of an image after a patch: derived from the one before and from what was written, so that its cost is that of
// the patch.
std::vector<uint8_t> NextBuildId(ByteView previous, uint64_t patch_digest);

// The id that `options` ask for.
std::vector<uint8_t> MakeBuildId(const LinkOptions& options, ByteView image, size_t size);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_BUILD_ID_H_
