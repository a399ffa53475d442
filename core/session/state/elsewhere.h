// State that was written for another folder, or for files with other stamps: what has to be compared and renamed before it
// can be used here.
#ifndef CORE_SESSION_STATE_ELSEWHERE_H_
#define CORE_SESSION_STATE_ELSEWHERE_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "core/base/file_source.h"
#include "core/session/memory.h"

namespace kitlink {

// Hashes inputs whose content is not known yet, as far as they still are what was linked. O(their bytes), for the time
// after a reply, which ends early when `stop` becomes true. How many are known now that were not.
size_t IdentifyInputs(FileSource& files, absl::FunctionRef<bool()> stop, Memory* memory);

// Makes `memory`, of a link in folder `from`, one of a link in folder `to` (absolute, without a slash at the end): names
// below the one become names below the other. Inputs that have the same bytes as those that were linked are taken to be
// them; all others will be found to have changed. O(inputs' bytes). FailedPrecondition when the image says where inputs
// lay.
absl::Status MoveMemory(const std::string& from, const std::string& to, FileSource& files, Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_STATE_ELSEWHERE_H_
