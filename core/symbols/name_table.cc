#include "core/symbols/name_table.h"

#include <algorithm>
#include <cstring>

#include "absl/hash/hash.h"

namespace kitlink {

struct NameTable::Shard {
  mutable std::mutex mutex;
  absl::flat_hash_map<absl::string_view, uint32_t> index;
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
};

NameTable::NameTable() : shards_(std::make_unique<std::array<Shard, kShards>>()) {}
NameTable::~NameTable() = default;
NameTable::NameTable(NameTable&&) noexcept = default;
NameTable& NameTable::operator=(NameTable&&) noexcept = default;

SymbolId NameTable::Intern(absl::string_view name) {
  const size_t hash = absl::Hash<absl::string_view>()(name);
  const uint32_t number = (hash >> 48) & (kShards - 1);
  Shard& shard = (*shards_)[number];
  std::lock_guard<std::mutex> lock(shard.mutex);
  auto it = shard.index.find(name, hash);
  if (it == shard.index.end()) {
    absl::string_view copy = shard.Copy(name);
    it = shard.index.emplace(copy, static_cast<uint32_t>(shard.names.size())).first;
    shard.names.push_back(copy);
  }
  return SymbolId((it->second << kShardBits) | number);
}

SymbolId NameTable::Find(absl::string_view name) const {
  const size_t hash = absl::Hash<absl::string_view>()(name);
  const uint32_t number = (hash >> 48) & (kShards - 1);
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
