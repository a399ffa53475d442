// Outputs that are not regular files: /dev/null, a pipe, a terminal.
#ifndef DAEMON_OUTPUT_SPECIAL_OUTPUT_H_
#define DAEMON_OUTPUT_SPECIAL_OUTPUT_H_

#include <string>

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "daemon/output/file_ops.h"

namespace kitlink::daemon {

// True when `path`, symbolic links followed, exists and is neither a regular file nor a folder.
bool IsSpecialFile(FileOps& ops, const std::string& path);

// Writes `bytes` in order into the special file `path`, which stays what it is. A pipe that nobody opens for
// reading, or whose reader stops reading, is waited for a bounded time (seconds), then an error; a reader
// that goes away is an error and raises no SIGPIPE.
absl::Status WriteSpecialFile(FileOps& ops, const std::string& path, ByteView bytes);

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_SPECIAL_OUTPUT_H_
