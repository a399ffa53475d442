// Compressed section contents.
#ifndef CORE_INPUT_DECOMPRESS_H_
#define CORE_INPUT_DECOMPRESS_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"

namespace kitlink {

enum class Compression : uint8_t { kZlib, kZstd };

// Inflates `packed` into a new buffer of exactly `size` bytes.
// InvalidArgument when the data is damaged or yields another size; ResourceExhausted when `size` is larger than such
// data can plausibly stand for, or than memory.
absl::StatusOr<std::unique_ptr<uint8_t[]>> Decompress(Compression method, ByteView packed, uint64_t size);

}  // namespace kitlink

#endif  // CORE_INPUT_DECOMPRESS_H_
