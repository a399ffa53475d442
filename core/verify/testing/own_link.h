// Links with our own linker, as its cold link describes itself.
#ifndef CORE_VERIFY_TESTING_OWN_LINK_H_
#define CORE_VERIFY_TESTING_OWN_LINK_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/output/reference.h"
#include "core/verify/testing/programs.h"

namespace kitlink::verify {

// What the compiler driver would pass to a linker.
std::vector<std::string> DriverArguments(Objects& objects);

// A cold link with these arguments and one more. Every diagnostic is a failure of the test.
absl::StatusOr<Reference> LinkOwn(const std::vector<std::string>& arguments, absl::string_view more);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_TESTING_OWN_LINK_H_
