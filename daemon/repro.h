// What somebody else needs to do a link again: its inputs, its arguments, the output before and after.
#ifndef DAEMON_REPRO_H_
#define DAEMON_REPRO_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace kitlink::daemon {

struct Repro {
  std::string folder;                    // where the link ran
  std::string output;                    // absolute path; kept as it is now
  std::string before;                    // a file with what it was before the link; empty: not known
  std::vector<std::string> arguments;    // response files expanded
  std::vector<std::string> environment;  // as in ClientView
  std::vector<std::string> inputs;       // absolute paths of all files that were read
  std::string remarks;                   // for people
};

// Makes `folder`, which must not exist:
//
//   inputs/ABSOLUTE/PATH...   copies of the inputs
//   arguments                 one a line, quoted as in a response file; paths are those below inputs/
//   before, after             the output
//   folder, remarks           where the link ran; what is known
//   replay                    a script: links the inputs with LINKER (default ld.kit), from scratch or after other steps
absl::Status SaveRepro(const Repro& repro, const std::string& folder);

// A name for the next step of a series below `folder`, which is made when it does not exist: "FOLDER/0001-NAME", ...
absl::StatusOr<std::string> NextReproFolder(const std::string& folder, const std::string& output);

}  // namespace kitlink::daemon

#endif  // DAEMON_REPRO_H_
