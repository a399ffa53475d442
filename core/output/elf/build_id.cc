#include "core/output/elf/build_id.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "core/base/digest.h"
#include "core/output/elf/build_id_tree.h"

namespace kitlink::elf {
namespace {

std::vector<uint8_t> FastBuildId(ByteView image, size_t size, std::vector<uint64_t>* leaves) {
  std::vector<ByteRange> pieces = BuildIdTree::Pieces(image, image.size());
  *leaves = BuildIdTree::HashLeaves(image, pieces);
  return BuildIdOf(BuildIdTree(std::move(pieces), *leaves, {}).root(), size);
}

}  // namespace

std::vector<uint8_t> BuildIdOf(uint64_t root, size_t size) {
  std::vector<uint8_t> out(size);
  for (size_t at = 0; at < size; at += 8) {
    uint64_t words[2] = {root, at};
    const uint64_t word = FnvWords(ByteView(reinterpret_cast<const uint8_t*>(words), sizeof(words)));
    std::memcpy(&out[at], &word, std::min<size_t>(8, size - at));
  }
  return out;
}

std::vector<uint8_t> MakeBuildId(const LinkOptions& options, ByteView image, size_t size, std::vector<uint64_t>* leaves) {
  if (options.build_id == BuildIdStyle::kHex) {
    std::vector<uint8_t> out;
    for (size_t i = 0; i + 1 < options.build_id_hex.size(); i += 2) {
      out.push_back(static_cast<uint8_t>(std::stoul(options.build_id_hex.substr(i, 2), nullptr, 16)));
    }
    return out;
  }
  if (options.incremental || options.build_id == BuildIdStyle::kFast) return FastBuildId(image, size, leaves);
  // A reproducible id of the wanted length. What reads build ids compares them, it does not recompute them.
  const ContentId id = HashContent(image);
  std::vector<uint8_t> out(size);
  std::copy_n(id.bytes.begin(), std::min(size, id.bytes.size()), out.begin());
  return out;
}

}  // namespace kitlink::elf
