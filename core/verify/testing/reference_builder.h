// Makes a Reference out of a program that another linker linked, so that the comparison can be tested without
// ours.
#ifndef CORE_VERIFY_TESTING_REFERENCE_BUILDER_H_
#define CORE_VERIFY_TESTING_REFERENCE_BUILDER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/output/reference.h"

namespace kitlink::verify {

// `image` was linked by lld with --emit-relocs (which keeps relocations as the compiler wrote them, whatever
// was relaxed) and `map` is its -Map output, one line an input section.
absl::StatusOr<Reference> ReferenceFromLld(std::vector<uint8_t> image, absl::string_view map);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_TESTING_REFERENCE_BUILDER_H_
