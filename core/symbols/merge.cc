#include "core/symbols/merge.h"

#include <algorithm>
#include <cstring>

#include "absl/container/flat_hash_set.h"
#include "core/base/digest.h"
#include "core/base/parallel.h"

namespace kitlink {
namespace {

constexpr uint32_t kShards = 32;

struct PieceRef {
  uint64_t hash;
  const uint8_t* data;
  uint32_t size;
  uint32_t index;  // in the shard's list of distinct pieces, once known
};

struct SameBytes {
  bool operator()(const PieceRef& a, const PieceRef& b) const {
    return a.hash == b.hash && a.size == b.size && std::memcmp(a.data, b.data, a.size) == 0;
  }
};
struct HashOf {
  size_t operator()(const PieceRef& p) const { return p.hash; }
};

// The pieces of every source, in order, with their hashes.
std::vector<std::vector<PieceRef>> HashPieces(absl::Span<MergeSource> sources) {
  std::vector<std::vector<PieceRef>> all(sources.size());
  ParallelFor(sources.size(), 16, [&](size_t i) {
    const InputSection& section = *sources[i].section;
    const std::vector<uint32_t>& starts = sources[i].input->starts;
    all[i].reserve(starts.size());
    for (size_t k = 0; k < starts.size(); ++k) {
      const uint64_t end = k + 1 < starts.size() ? starts[k + 1] : section.bytes.size();
      const ByteView piece = section.bytes.subspan(starts[k], end - starts[k]);
      all[i].push_back({FnvWords(piece) * 0x9e3779b97f4a7c15ull, piece.data(), static_cast<uint32_t>(piece.size()), 0});
    }
  });
  return all;
}

uint32_t ShardOf(uint64_t hash) { return static_cast<uint32_t>(hash >> 59) & (kShards - 1); }

// The pieces of each shard, by chunks of sources and in order within them: one walk over all pieces instead of one a
// shard.
constexpr size_t kChunk = 64;
using Buckets = std::vector<std::vector<PieceRef*>>;  // [chunk * kShards + shard]

Buckets Distribute(std::vector<std::vector<PieceRef>>& refs) {
  const size_t chunks = (refs.size() + kChunk - 1) / kChunk;
  Buckets buckets(chunks * kShards);
  ParallelFor(chunks, [&](size_t c) {
    const size_t end = std::min(refs.size(), (c + 1) * kChunk);
    size_t pieces = 0;
    for (size_t i = c * kChunk; i < end; ++i) pieces += refs[i].size();
    for (size_t s = 0; s < kShards; ++s) buckets[c * kShards + s].reserve(pieces / kShards + pieces / 128 + 4);
    for (size_t i = c * kChunk; i < end; ++i) {
      for (PieceRef& ref : refs[i]) buckets[c * kShards + ShardOf(ref.hash)].push_back(&ref);
    }
  });
  return buckets;
}

}  // namespace

uint64_t MergedInput::Map(uint64_t offset) const {
  if (starts.empty()) return offset;
  auto it = std::upper_bound(starts.begin(), starts.end(), offset);
  const size_t k = it == starts.begin() ? 0 : static_cast<size_t>(it - starts.begin()) - 1;
  return targets[k] + (offset - starts[k]);
}

bool SplitPieces(const InputSection& section, std::vector<uint32_t>* starts) {
  const ByteView bytes = section.bytes;
  const uint64_t entry = section.entry_size;
  if (entry == 0 || bytes.empty() || bytes.size() % entry != 0 || bytes.size() > 0xffffffffu) return false;
  if ((section.flags & kSecStrings) == 0) {
    for (uint64_t at = 0; at < bytes.size(); at += entry) starts->push_back(static_cast<uint32_t>(at));
    return true;
  }
  uint64_t start = 0;
  while (start < bytes.size()) {
    uint64_t end = start;
    if (entry == 1) {
      const void* nul = std::memchr(&bytes[start], 0, bytes.size() - start);
      if (nul == nullptr) return false;
      end = static_cast<uint64_t>(static_cast<const uint8_t*>(nul) - bytes.data());
    } else {
      auto zero = [&](uint64_t at) {
        return std::all_of(&bytes[at], &bytes[at] + entry, [](uint8_t b) { return b == 0; });
      };
      while (end < bytes.size() && !zero(end)) end += entry;
      if (end == bytes.size()) return false;
    }
    starts->push_back(static_cast<uint32_t>(start));
    start = end + entry;
  }
  return true;
}

void MergePieces(absl::Span<MergeSource> sources, MergedSection* merged) {
  std::vector<std::vector<PieceRef>> refs = HashPieces(sources);
  const Buckets buckets = Distribute(refs);
  std::vector<std::vector<PieceRef>> distinct(kShards);
  ParallelFor(kShards, [&](size_t shard) {
    absl::flat_hash_set<PieceRef, HashOf, SameBytes> seen;
    for (size_t b = shard; b < buckets.size(); b += kShards) {
      for (PieceRef* piece : buckets[b]) {
        PieceRef& ref = *piece;
        ref.index = static_cast<uint32_t>(distinct[shard].size());
        auto [it, fresh] = seen.insert(ref);
        if (fresh) {
          distinct[shard].push_back(ref);
        } else {
          ref.index = it->index;
        }
      }
    }
  });
  std::vector<uint32_t> first(kShards + 1, 0);
  for (uint32_t s = 0; s < kShards; ++s) first[s + 1] = first[s] + static_cast<uint32_t>(distinct[s].size());
  merged->pieces.reserve(first[kShards]);
  uint64_t offset = 0;
  for (const std::vector<PieceRef>& list : distinct) {
    for (const PieceRef& ref : list) {
      offset = AlignUp(offset, merged->alignment);
      merged->pieces.push_back({ref.data, ref.size, static_cast<uint32_t>(offset)});
      offset += ref.size;
    }
  }
  merged->size = offset;
  ParallelFor(sources.size(), 16, [&](size_t i) {
    std::vector<uint32_t>& targets = sources[i].input->targets;
    targets.reserve(refs[i].size());
    for (const PieceRef& ref : refs[i]) {
      targets.push_back(merged->pieces[first[ShardOf(ref.hash)] + ref.index].offset);
    }
  });
}

}  // namespace kitlink
