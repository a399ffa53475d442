#include "core/output/elf/hash_tables.h"

#include <algorithm>

#include "core/base/bytes.h"

namespace kitlink::elf {
namespace {

constexpr uint32_t kBloomShift = 26;

void Append32(std::vector<uint8_t>* out, uint32_t value) {
  out->resize(out->size() + 4);
  Store(&(*out)[out->size() - 4], value);
}

void AppendAll(std::vector<uint8_t>* out, absl::Span<const uint32_t> values) {
  for (uint32_t value : values) Append32(out, value);
}

}  // namespace

uint32_t GnuHash(absl::string_view name) {
  uint32_t hash = 5381;
  for (unsigned char c : name) hash = hash * 33 + c;
  return hash;
}

uint32_t SysvHash(absl::string_view name) {
  uint32_t hash = 0;
  for (unsigned char c : name) {
    hash = (hash << 4) + c;
    const uint32_t top = hash & 0xf0000000u;
    hash ^= top >> 24;
    hash &= ~top;
  }
  return hash;
}

HashShape HashShapeFor(size_t definitions) {
  HashShape shape;
  shape.buckets = static_cast<uint32_t>(std::max<size_t>(definitions / 4, 1)) | 1;
  while (uint64_t{shape.bloom_words} * 8 < definitions) shape.bloom_words *= 2;
  return shape;
}

std::vector<uint8_t> EncodeGnuHash(const HashShape& shape, uint32_t first, absl::Span<const uint32_t> hashes, uint32_t spare) {
  std::vector<uint64_t> bloom(shape.bloom_words, 0);
  std::vector<uint32_t> heads(shape.buckets, 0), chains(hashes.size() + spare, 0);
  for (size_t i = 0; i < hashes.size(); ++i) {
    const uint32_t hash = hashes[i], bucket = hash % shape.buckets;
    bloom[(hash / 64) % shape.bloom_words] |= (uint64_t{1} << (hash % 64)) | (uint64_t{1} << ((hash >> kBloomShift) % 64));
    if (heads[bucket] == 0) heads[bucket] = first + static_cast<uint32_t>(i);
    const bool last = i + 1 == hashes.size() || hashes[i + 1] % shape.buckets != bucket;
    chains[i] = last ? hash | 1 : hash & ~1u;
  }
  std::vector<uint8_t> out;
  AppendAll(&out, {shape.buckets, first, shape.bloom_words, kBloomShift});
  for (uint64_t word : bloom) AppendAll(&out, {static_cast<uint32_t>(word), static_cast<uint32_t>(word >> 32)});
  AppendAll(&out, heads);
  AppendAll(&out, chains);
  return out;
}

std::vector<uint8_t> EncodeSysvHash(const HashShape& shape, uint32_t first, absl::Span<const uint32_t> hashes, uint32_t spare) {
  std::vector<uint32_t> heads(shape.buckets, 0), chains(first + hashes.size() + spare, 0);
  for (uint32_t i = 0; i < hashes.size(); ++i) {
    const uint32_t bucket = hashes[i] % shape.buckets;
    chains[first + i] = heads[bucket];
    heads[bucket] = first + i;
  }
  std::vector<uint8_t> out;
  AppendAll(&out, {shape.buckets, first + static_cast<uint32_t>(hashes.size())});
  AppendAll(&out, heads);
  AppendAll(&out, chains);
  return out;
}

}  // namespace kitlink::elf
