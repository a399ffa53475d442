#include "core/verify/lookup.h"

#include "absl/strings/str_cat.h"

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

uint32_t GnuHash(absl::string_view name) {
  uint32_t hash = 5381;
  for (char c : name) hash = hash * 33 + static_cast<uint8_t>(c);
  return hash;
}

uint32_t SysvHash(absl::string_view name) {
  uint32_t hash = 0;
  for (char c : name) {
    hash = (hash << 4) + static_cast<uint8_t>(c);
    const uint32_t high = hash & 0xf0000000u;
    hash = (hash ^ (high >> 24)) & ~high;
  }
  return hash;
}

// The size that the section header speaks of where a table has one.
uint64_t SectionSize(const Image& image, absl::string_view name, ByteView table) {
  const ImageSection* section = image.SectionNamed(name);
  return section != nullptr ? section->header.sh_size : table.size();
}

void CheckGnuHash(const Image& image, std::vector<std::string>* problems) {
  const ByteView table = Table(image, DT_GNU_HASH);
  if (table.empty()) return;
  const auto bad = [&](absl::string_view what) { problems->push_back(absl::StrCat(".gnu.hash: ", what)); };
  uint32_t buckets = 0, first = 0, bloom_words = 0, row = 0, link = 0;
  const bool whole = WordAt(table, 0, buckets) && WordAt(table, 1, first) && WordAt(table, 2, bloom_words);
  const uint64_t heads = 4 + uint64_t{bloom_words} * 2, chains = heads + buckets;
  if (!whole || first > image.dynsym().size()) return bad("malformed");
  const uint64_t words = SectionSize(image, ".gnu.hash", table) / 4;
  std::vector<bool> seen(image.dynsym().size());
  for (uint32_t bucket = 0; bucket < buckets; ++bucket) {
    if (!WordAt(table, heads + bucket, row)) return bad("cut short");
    if (row == 0) continue;
    for (link = 0; (link & 1) == 0; ++row) {
      if (row < first || row >= image.dynsym().size()) return bad("a chain leads to no row");
      if (!WordAt(table, chains + (row - first), link) || chains + (row - first) >= words) return bad("cut short");
      const uint32_t hash = GnuHash(image.dynsym()[row].name);
      if ((hash | 1) != (link | 1) || hash % buckets != bucket) return bad("a chain leads to a row of another name");
      if (seen[row]) return bad("two chains lead to one row");
      seen[row] = true;
    }
  }
}

void CheckSysvHash(const Image& image, std::vector<std::string>* problems) {
  const ByteView table = Table(image, DT_HASH);
  if (table.empty()) return;
  const auto bad = [&](absl::string_view what) { problems->push_back(absl::StrCat(".hash: ", what)); };
  uint32_t buckets = 0, rows = 0, row = 0;
  if (!WordAt(table, 0, buckets) || !WordAt(table, 1, rows)) return bad("malformed");
  if (rows != image.dynsym().size()) return bad("counts other rows than there are symbols");
  if (SectionSize(image, ".hash", table) / 4 < 2 + uint64_t{buckets} + rows) return bad("cut short");
  std::vector<bool> seen(rows);
  for (uint32_t bucket = 0; bucket < buckets; ++bucket) {
    if (!WordAt(table, 2 + uint64_t{bucket}, row)) return bad("cut short");
    while (row != 0) {
      if (row >= rows) return bad("a chain leads to no row");
      if (seen[row]) return bad("two chains lead to one row, or one in a circle");
      seen[row] = true;
      const ImageSymbol& symbol = image.dynsym()[row];
      if (symbol.defined() && SysvHash(symbol.name) % buckets != bucket) return bad("a chain leads to a row of another name");
      if (!WordAt(table, 2 + uint64_t{buckets} + row, row)) return bad("cut short");
    }
  }
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
  const uint32_t hash = GnuHash(name);
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
  const uint32_t hash = SysvHash(name);
  uint32_t index = 0;
  if (!WordAt(table, 2 + uint64_t{hash % buckets}, index)) return found;
  for (uint64_t steps = 0; index != 0 && steps <= chains; ++steps) {  // a chain cannot be longer than all
    if (Matches(image, index, name)) found.push_back(index);
    if (!WordAt(table, 2 + uint64_t{buckets} + index, index)) return found;
  }
  return found;
}

std::vector<std::string> HashTableProblems(const Image& image) {
  std::vector<std::string> problems;
  CheckGnuHash(image, &problems);
  CheckSysvHash(image, &problems);
  const ImageSection* versions = image.SectionNamed(".gnu.version");
  if (versions != nullptr && versions->header.sh_size != image.dynsym().size() * 2) {
    problems.push_back(".gnu.version: counts other rows than there are symbols");
  }
  return problems;
}

}  // namespace kitlink::verify
