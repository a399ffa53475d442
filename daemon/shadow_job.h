// What is handed to a process that links again (shadow_link.h).
#ifndef DAEMON_SHADOW_JOB_H_
#define DAEMON_SHADOW_JOB_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace kitlink::daemon {

// What to link again and what to compare it with.
struct ShadowJob {
  std::string folder;                    // where the client stood
  std::string output;                    // absolute path
  std::vector<std::string> environment;  // as in ClientView
  std::vector<std::string> arguments;    // response files expanded
  std::string repro;                     // a folder to be made when the output differs; empty: none

  std::string Serialize() const;
  static std::optional<ShadowJob> Parse(absl::string_view text);
};

// How such a process ends. What it prints are differences, or why it cannot tell.
enum class ShadowExit : int {
  kEquivalent = 0,
  kDifferent = 1,
  kCannotTell = 2,  // inputs are gone or newer than the output, the output was changed, the link fails
};

}  // namespace kitlink::daemon

#endif  // DAEMON_SHADOW_JOB_H_
