#include "core/base/chunks.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace kitlink {
namespace {

// A number without a pattern for each byte (splitmix64 of it).
constexpr std::array<uint64_t, 256> MakeGear() {
  std::array<uint64_t, 256> gear{};
  for (uint64_t i = 0; i < gear.size(); ++i) {
    uint64_t word = (i + 1) * 0x9e3779b97f4a7c15ull;
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ull;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebull;
    gear[i] = word ^ (word >> 31);
  }
  return gear;
}

constexpr std::array<uint64_t, 256> kGear = MakeGear();

// The upper bits depend on the last 64 bytes. One place in 2^13 has all of these clear.
constexpr uint64_t kCutMask = ~uint64_t{0} << 51;

size_t LengthOfFirst(ByteView bytes) {
  if (bytes.size() <= kLeastChunk) return bytes.size();
  const size_t most = std::min(bytes.size(), kMostChunk);
  uint64_t hash = 0;
  for (size_t at = kLeastChunk - 64; at < most; ++at) {
    hash = (hash << 1) + kGear[bytes[at]];
    if (at + 1 >= kLeastChunk && (hash & kCutMask) == 0) return at + 1;
  }
  return most;
}

}  // namespace

std::vector<ByteView> CutByContent(ByteView bytes) {
  std::vector<ByteView> chunks;
  while (!bytes.empty()) {
    chunks.push_back(bytes.subspan(0, LengthOfFirst(bytes)));
    bytes.remove_prefix(chunks.back().size());
  }
  return chunks;
}

}  // namespace kitlink
