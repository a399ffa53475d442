#include "core/symbols/name_table.h"

#include <algorithm>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "core/base/parallel.h"

// Its functions are inlined: no library is linked.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace kitlink {
namespace {

// Of the names, not of the process: Abseil's own hash has a seed.
struct NameHash {
  size_t operator()(absl::string_view name) const { return XXH3_64bits(name.data(), name.size()); }
};

uint32_t ShardOf(uint64_t hash, uint32_t shards) { return static_cast<uint32_t>(hash >> 48) & (shards - 1); }

}  // namespace

struct NameTable::Shard {
  absl::flat_hash_map<absl::string_view, uint32_t, NameHash> index;
  std::vector<absl::string_view> names;
  std::vector<std::unique_ptr<char[]>> blocks;
  size_t block_size = 0;
  size_t used = 0;
  uint64_t bytes = 0;

  absl::string_view Copy(absl::string_view name) {
    if (blocks.empty() || block_size - used < name.size()) {
      block_size = std::max<size_t>(name.size(), 64 << 10);
      blocks.push_back(std::make_unique<char[]>(block_size));
      used = 0;
      bytes += block_size;
    }
    char* at = blocks.back().get() + used;
    if (!name.empty()) std::memcpy(at, name.data(), name.size());
    used += name.size();
    return absl::string_view(at, name.size());
  }

  // The place of `name` among those of this shard.
  uint32_t Intern(absl::string_view name, uint64_t hash) {
    auto it = index.find(name, hash);
    if (it == index.end()) {
      absl::string_view copy = Copy(name);
      it = index.emplace(copy, static_cast<uint32_t>(names.size())).first;
      names.push_back(copy);
    }
    return it->second;
  }
};

NameTable::NameTable() : shards_(std::make_unique<std::array<Shard, kShards>>()) {}
NameTable::~NameTable() = default;
NameTable::NameTable(NameTable&&) noexcept = default;
NameTable& NameTable::operator=(NameTable&&) noexcept = default;

SymbolId NameTable::Intern(absl::string_view name) {
  const uint64_t hash = NameHash()(name);
  const uint32_t number = ShardOf(hash, kShards);
  return SymbolId(((*shards_)[number].Intern(name, hash) << kShardBits) | number);
}

// First names are sorted into parts, each of some shards, by many threads that each look at some of the lists; then each
// part is interned by one thread, in the order of the lists.
std::vector<NameTable::Ids> NameTable::InternLists(const std::vector<Names>& lists) {
  constexpr size_t kParts = 16, kListsOfChunk = 16;
  struct Wanted {
    uint64_t hash;
    uint32_t list, place;
  };
  std::vector<std::array<std::vector<Wanted>, kParts>> chunks((lists.size() + kListsOfChunk - 1) / kListsOfChunk);
  std::vector<Ids> ids(lists.size());
  ParallelFor(chunks.size(), [&](size_t c) {
    for (size_t l = c * kListsOfChunk; l < std::min(lists.size(), (c + 1) * kListsOfChunk); ++l) {
      ids[l].resize(lists[l].size());
      for (size_t n = 0; n < lists[l].size(); ++n) {
        const uint64_t hash = NameHash()(lists[l][n]);
        chunks[c][ShardOf(hash, kShards) % kParts].push_back({hash, static_cast<uint32_t>(l), static_cast<uint32_t>(n)});
      }
    }
  });
  ParallelFor(kParts, [&](size_t part) {
    for (const auto& chunk : chunks) {
      for (const Wanted& wanted : chunk[part]) {
        const uint32_t number = ShardOf(wanted.hash, kShards);
        const uint32_t place = (*shards_)[number].Intern(lists[wanted.list][wanted.place], wanted.hash);
        ids[wanted.list][wanted.place] = SymbolId((place << kShardBits) | number);
      }
    }
  });
  return ids;
}

SymbolId NameTable::Find(absl::string_view name) const {
  const uint64_t hash = NameHash()(name);
  const uint32_t number = ShardOf(hash, kShards);
  const Shard& shard = (*shards_)[number];
  auto it = shard.index.find(name, hash);
  if (it == shard.index.end()) return SymbolId();
  return SymbolId((it->second << kShardBits) | number);
}

uint32_t NameTable::capacity() const {
  size_t most = 0;
  for (const Shard& shard : *shards_) most = std::max(most, shard.names.size());
  return static_cast<uint32_t>(most << kShardBits);
}

absl::string_view NameTable::Name(SymbolId id) const {
  const std::vector<absl::string_view>& names = (*shards_)[id.value & (kShards - 1)].names;
  const uint32_t place = id.value >> kShardBits;
  return place < names.size() ? names[place] : absl::string_view();
}

uint64_t NameTable::bytes() const {
  uint64_t total = 0;
  for (const Shard& shard : *shards_) {
    total += shard.bytes + shard.names.capacity() * sizeof(absl::string_view) +
             shard.index.capacity() * (sizeof(absl::string_view) + sizeof(uint32_t) + 9);
  }
  return total;
}

}  // namespace kitlink
