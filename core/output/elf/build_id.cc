#include "core/output/elf/build_id.h"

#include <algorithm>
#include <string>

#include "core/base/digest.h"
#include "core/base/parallel.h"

namespace kitlink::elf {
namespace {

constexpr size_t kLeaf = 64 << 10;

// `size` bytes from one 64-bit state, by hashing it with a counter.
std::vector<uint8_t> Expand(uint64_t state, size_t size) {
  std::vector<uint8_t> out(size);
  for (size_t at = 0; at < size; at += 8) {
    uint64_t words[2] = {state, at};
    const uint64_t word = FnvWords(ByteView(reinterpret_cast<const uint8_t*>(words), sizeof(words)));
    std::memcpy(&out[at], &word, std::min<size_t>(8, size - at));
  }
  return out;
}

}  // namespace

std::vector<uint8_t> FastBuildId(ByteView image, size_t size) {
  std::vector<uint64_t> leaves((image.size() + kLeaf - 1) / kLeaf);
  ParallelFor(leaves.size(), 16, [&](size_t i) { leaves[i] = FnvWords(image.subspan(i * kLeaf, kLeaf)); });
  const uint64_t root = FnvWords(ByteView(reinterpret_cast<const uint8_t*>(leaves.data()), leaves.size() * 8));
  return Expand(root, size);
}

std::vector<uint8_t> NextBuildId(ByteView previous, uint64_t patch_digest) {
  return Expand(FnvWords(previous, patch_digest), previous.size());
}

std::vector<uint8_t> MakeBuildId(const LinkOptions& options, ByteView image, size_t size) {
  if (options.build_id == BuildIdStyle::kHex) {
    std::vector<uint8_t> out;
    for (size_t i = 0; i + 1 < options.build_id_hex.size(); i += 2) {
      out.push_back(static_cast<uint8_t>(std::stoul(options.build_id_hex.substr(i, 2), nullptr, 16)));
    }
    return out;
  }
  if (options.incremental || options.build_id == BuildIdStyle::kFast) return FastBuildId(image, size);
  // A reproducible id of the wanted length. What reads build ids compares them, it does not recompute them.
  const ContentId id = HashContent(image);
  std::vector<uint8_t> out(size);
  std::copy_n(id.bytes.begin(), std::min(size, id.bytes.size()), out.begin());
  return out;
}

}  // namespace kitlink::elf
