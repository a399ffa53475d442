// From what a plan would write to what differs from the image.
#ifndef CORE_SESSION_TRIM_H_
#define CORE_SESSION_TRIM_H_

#include <vector>

#include "absl/status/statusor.h"
#include "core/output/image_sink.h"

namespace kitlink {

// The parts of `mutations` that differ from the image, sorted and disjoint. Where several overlap, the last wins.
// Differences less than a cache line apart become one. Whatever `read` fails with.
absl::StatusOr<std::vector<Mutation>> TrimMutations(std::vector<Mutation> mutations, const ImageReader& read);

}  // namespace kitlink

#endif  // CORE_SESSION_TRIM_H_
