// What a sink records of a published output file, for another process to take it up.
#ifndef DAEMON_OUTPUT_RECORDED_H_
#define DAEMON_OUTPUT_RECORDED_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/fields.h"
#include "daemon/output/file_identity.h"

namespace kitlink::daemon {

KITLINK_FIELDS_OF(FileIdentity, device, inode, size, mtime_ns, ctime_ns)

struct Recorded {
  FileIdentity identity;
  std::string boot;  // in which it was published: times and devices mean nothing in another

  KITLINK_FIELDS(identity, boot)
};

std::string WriteRecord(const FileIdentity& identity);
// FailedPrecondition when it is no record.
absl::StatusOr<Recorded> ReadRecord(absl::string_view record);
// Whether the record is of this boot.
bool IsOfThisBoot(const Recorded& recorded);
// Whether `path` is the file that was recorded, unchanged.
bool IsRecorded(const std::string& path, absl::string_view record);

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_RECORDED_H_
