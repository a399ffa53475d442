// The files of the disk for test programs: mapped, without the daemon's care for files that change meanwhile.
#ifndef CORE_SESSION_TESTING_DISK_FILES_H_
#define CORE_SESSION_TESTING_DISK_FILES_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/file_source.h"

namespace kitlink::testing {

// Paths are relative to the process's folder. What was opened lives on when the DiskFiles does not. A file
// that is truncated while its bytes are read kills the process. NotFound when there is none, InvalidArgument
// when it is not a regular file, Internal when it cannot be mapped; each names the path.
class DiskFiles : public FileSource {
 public:
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override;
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override;
};

}  // namespace kitlink::testing

#endif  // CORE_SESSION_TESTING_DISK_FILES_H_
