#include "core/verify/lookup.h"

namespace kitlink::verify {
namespace {

bool Matches(const Image& image, uint32_t index, absl::string_view name) {
  return index < image.dynsym().size() && image.dynsym()[index].defined() &&
         image.dynsym()[index].name == name;
}

ByteView Table(const Image& image, int64_t tag) {
  std::optional<uint64_t> address = image.DynamicValue(tag);
  return address ? image.FileBytesFrom(*address) : ByteView();
}

// Word `index` of a table of 32-bit words; false when outside.
bool WordAt(ByteView table, uint64_t index, uint32_t& out) {
  if (index > table.size() / 4 || !InBounds(index * 4, 4, table.size())) return false;
  out = Load<uint32_t>(table.data() + index * 4);
  return true;
}

}  // namespace

std::vector<uint32_t> LookUpGnu(const Image& image, absl::string_view name) {
  std::vector<uint32_t> found;
  const ByteView table = Table(image, DT_GNU_HASH);
  uint32_t buckets = 0, first = 0, bloom_words = 0, shift = 0;
  if (!WordAt(table, 0, buckets) || !WordAt(table, 1, first) || !WordAt(table, 2, bloom_words) ||
      !WordAt(table, 3, shift) || buckets == 0 || bloom_words == 0 ||
      (bloom_words & (bloom_words - 1)) != 0) {
    return found;
  }
  uint32_t hash = 5381;
  for (char c : name) hash = hash * 33 + static_cast<uint8_t>(c);
  const uint64_t bloom_at = 16 + uint64_t{(hash / 64) & (bloom_words - 1)} * 8;
  if (!InBounds(bloom_at, 8, table.size())) return found;
  const uint64_t bloom = Load<uint64_t>(table.data() + bloom_at);
  if (((bloom >> (hash % 64)) & (bloom >> ((hash >> (shift & 31)) % 64)) & 1) == 0) return found;
  const uint64_t bucket_words = 4 + uint64_t{bloom_words} * 2;
  uint32_t index = 0, value = 0;
  if (!WordAt(table, bucket_words + hash % buckets, index) || index < first) return found;
  if (index == 0) return found;
  for (;; ++index) {
    if (!WordAt(table, bucket_words + buckets + (index - first), value)) return found;
    if ((value | 1) == (hash | 1) && Matches(image, index, name)) found.push_back(index);
    if ((value & 1) != 0) return found;
  }
}

std::vector<uint32_t> LookUpSysv(const Image& image, absl::string_view name) {
  std::vector<uint32_t> found;
  const ByteView table = Table(image, DT_HASH);
  uint32_t buckets = 0, chains = 0;
  if (!WordAt(table, 0, buckets) || !WordAt(table, 1, chains) || buckets == 0) return found;
  uint32_t hash = 0;
  for (char c : name) {
    hash = (hash << 4) + static_cast<uint8_t>(c);
    const uint32_t high = hash & 0xf0000000u;
    hash = (hash ^ (high >> 24)) & ~high;
  }
  uint32_t index = 0;
  if (!WordAt(table, 2 + uint64_t{hash % buckets}, index)) return found;
  for (uint64_t steps = 0; index != 0 && steps <= chains; ++steps) {  // a chain cannot be longer than all
    if (Matches(image, index, name)) found.push_back(index);
    if (!WordAt(table, 2 + uint64_t{buckets} + index, index)) return found;
  }
  return found;
}

}  // namespace kitlink::verify
