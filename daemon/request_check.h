// Whether this daemon may link for a client: same release, same files by the same names.
#ifndef DAEMON_REQUEST_CHECK_H_
#define DAEMON_REQUEST_CHECK_H_

#include <sys/types.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "kitlink/v1/link.pb.h"

namespace kitlink::daemon {

// Notices that the program file this process runs was replaced: by an installation, or a build. Thread safe.
class ProgramWatch {
 public:
  // Remembers the program file of this process.
  ProgramWatch();
  // Watches `path` instead.
  explicit ProgramWatch(std::string path);
  // True when the path now leads to another file. A file that is gone cannot be started either, so it says false.
  bool Replaced() const;

 private:
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// The refusal that `request` gets from a daemon of release `version`, if any.
std::optional<v1::Refusal> CheckRequest(const v1::LinkRequest& request, absl::string_view version,
                                        const ProgramWatch& program);

}  // namespace kitlink::daemon

#endif  // DAEMON_REQUEST_CHECK_H_
