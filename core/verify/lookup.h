// Symbol lookup through an image's hash tables, as ld.so does it.
#ifndef CORE_VERIFY_LOOKUP_H_
#define CORE_VERIFY_LOOKUP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/verify/image.h"

namespace kitlink::verify {

// Indices into dynsym of every definition of `name` that a lookup through DT_GNU_HASH can reach, in order.
// Malformed tables find nothing.
std::vector<uint32_t> LookUpGnu(const Image& image, absl::string_view name);
// The same through DT_HASH.
std::vector<uint32_t> LookUpSysv(const Image& image, absl::string_view name);

// What is wrong with the tables for lookups of any name, one that is not there too: chains that do not end where their
// bucket does, or lead to rows of other names, and section headers that do not speak of what is in use.
std::vector<std::string> HashTableProblems(const Image& image);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_LOOKUP_H_
