// .gnu.hash and .hash: how the dynamic loader finds a definition by its name.
//
// Sources: gABI chapter 5, "Hash Table". The layout of .gnu.hash has no specification; it is the loader's (dl-lookup.c).
#ifndef CORE_OUTPUT_ELF_HASH_TABLES_H_
#define CORE_OUTPUT_ELF_HASH_TABLES_H_

#include <cstdint>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/base/fields.h"

namespace kitlink::elf {

// The symbol hash of .gnu.hash.
uint32_t GnuHash(absl::string_view name);
// The hash function of the gABI, for .hash and version names.
uint32_t SysvHash(absl::string_view name);

// Made for some number of definitions; stays what it is when definitions come and go.
struct HashShape {
  uint32_t buckets = 1;      // of either table
  uint32_t bloom_words = 1;  // of .gnu.hash: a power of two

  KITLINK_FIELDS(buckets, bloom_words)
};
HashShape HashShapeFor(size_t definitions);

// .gnu.hash of the definitions in the rows from `first` on, with room for `spare` more behind the chains. `hashes`:
// theirs, in the order of the rows. Those of one bucket stand side by side; which bucket stands where is free: the loader
// goes from a bucket to its first row and on to a link that is odd.
std::vector<uint8_t> EncodeGnuHash(const HashShape& shape, uint32_t first, absl::Span<const uint32_t> hashes, uint32_t spare);

// .hash of the same rows. Those before `first`, imports, are counted and not hashed: the loader never binds to one.
std::vector<uint8_t> EncodeSysvHash(const HashShape& shape, uint32_t first, absl::Span<const uint32_t> hashes, uint32_t spare);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HASH_TABLES_H_
