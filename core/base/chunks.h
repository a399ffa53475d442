// Cuts bytes where their content says so: a change in the middle makes another chunk of what it touches and leaves the rest
// what it was, even when everything behind it moves.
#ifndef CORE_BASE_CHUNKS_H_
#define CORE_BASE_CHUNKS_H_

#include <vector>

#include "core/base/bytes.h"

namespace kitlink {

inline constexpr size_t kLeastChunk = 2 << 10, kMostChunk = 32 << 10;

// The chunks of `bytes`, in order: about 8 KiB each, none longer than kMostChunk, none but the last shorter than
// kLeastChunk. A function of the bytes alone. Views of `bytes`.
std::vector<ByteView> CutByContent(ByteView bytes);

}  // namespace kitlink

#endif  // CORE_BASE_CHUNKS_H_
