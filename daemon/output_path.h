// The one name of an output.
#ifndef DAEMON_OUTPUT_PATH_H_
#define DAEMON_OUTPUT_PATH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kitlink::daemon {

// `output` as given by a client that stands in `folder`: absolute, without symbolic links in the folder's path, so
// that one file has one name. The last component is kept, as a link replaces it. NotFound when there is no folder.
absl::StatusOr<std::string> CanonicalOutput(absl::string_view folder, absl::string_view output);

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_PATH_H_
