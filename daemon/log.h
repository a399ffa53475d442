// The daemon's log: one readable line an event, in a file that rotates.
#ifndef DAEMON_LOG_H_
#define DAEMON_LOG_H_

#include <memory>
#include <string>

#include "absl/strings/string_view.h"

namespace kitlink::daemon {

// Thread safe.
class Log {
 public:
  virtual ~Log() = default;
  virtual void Info(absl::string_view line) = 0;
  virtual void Warning(absl::string_view line) = 0;
};

// Writes to `folder`/kitlinkd.log, at most three files of 1 MiB. Makes the folder. When that cannot be written to, the
// log goes nowhere: a daemon that cannot log still links.
std::unique_ptr<Log> OpenLog(const std::string& folder);

// A log that goes nowhere.
std::unique_ptr<Log> NoLog();

// $KITLINK_STATE_DIR, else $XDG_STATE_HOME/kitlink, else ~/.local/state/kitlink; empty when there is no home either.
std::string StateFolder();

}  // namespace kitlink::daemon

#endif  // DAEMON_LOG_H_
