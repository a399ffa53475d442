// The files of this machine as one client sees them.
#ifndef DAEMON_FILE_SOURCE_H_
#define DAEMON_FILE_SOURCE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "core/base/file_source.h"

namespace kitlink::daemon {

// Maps files, or reads them when they are small (two system calls less than a mapping, and no page faults). Relative
// paths are resolved against the client's folder, never the daemon's. Thread safe, except for SetFolder.
//
// Errors: NotFound when there is no such file, InvalidArgument for what is not a regular file, PermissionDenied,
// ResourceExhausted and Internal as the system says; the message starts with the path as given.
class MappedFileSource : public FileSource {
 public:
  // Assemblers rewrite objects in place, and what was checked once must stay what it was, so files up to 4 MiB (objects,
  // mostly) are read: that costs about what the page faults of a mapping would.
  static constexpr uint64_t kReadLimit = 4 << 20;

  // `folder` is absolute. Files of up to `read_limit` bytes are read, larger ones mapped.
  explicit MappedFileSource(std::string folder, uint64_t read_limit = kReadLimit);

  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override;
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override;

  // REQUIRES: no Open or Stat is running.
  void SetFolder(std::string folder);
  const std::string& folder() const { return folder_; }

  // The absolute paths of the files that Open succeeded for, sorted.
  std::vector<std::string> Opened() const;
  // Takes that set away, which leaves it empty; costs nothing.
  absl::flat_hash_set<std::string> TakeOpened();
  // Puts a set that was taken back, beside what was opened since; costs what the smaller of the two holds.
  void RestoreOpened(absl::flat_hash_set<std::string> paths);

 private:
  std::string Absolute(absl::string_view path) const;

  std::string folder_;
  const uint64_t read_limit_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_set<std::string> opened_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kitlink::daemon

#endif  // DAEMON_FILE_SOURCE_H_
