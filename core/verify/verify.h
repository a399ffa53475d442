// Is the image on disk as good as a link from scratch? The comparison that every test and `kitlinkc verify`
// uses.
//
// Shares no code with patching and reads nothing of a session: it takes two images and what the cold link
// says of its own relocated fields, and finds the rest out by walking (docs/design.md, "Equivalence").
#ifndef CORE_VERIFY_VERIFY_H_
#define CORE_VERIFY_VERIFY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/bytes.h"
#include "core/output/reference.h"

namespace kitlink::verify {

struct Difference {
  std::string what;  // one line: "main.o:.text.f+0x12: calls g here, h in a cold link"
};

struct VerifyReport {
  std::vector<Difference> differences;  // empty: equivalent. At most 100 are kept.
  uint64_t atoms_compared = 0;
  uint64_t sites_compared = 0;
  uint64_t debug_bytes_compared = 0;
  bool equivalent() const { return differences.empty(); }
};

// Compares `image` with the cold link described by `reference`. InvalidArgument when the reference itself
// makes no sense; anything wrong with `image`, malformed included, is a difference.
absl::StatusOr<VerifyReport> CompareImages(const Reference& reference, ByteView image);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_VERIFY_H_
