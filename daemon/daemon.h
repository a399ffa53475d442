// The daemon's life: taking its place, serving, ending.
#ifndef DAEMON_DAEMON_H_
#define DAEMON_DAEMON_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "daemon/linker.h"
#include "daemon/shadow_scheduler.h"
#include "proto/rendezvous/rendezvous.h"

namespace kitlink::daemon {

struct DaemonOptions {
  Rendezvous rendezvous;
  std::string version;
  std::string state_folder;      // for the log; empty: no log
  absl::Duration idle_exit = absl::Hours(3);
  uint64_t memory_limit = 0;     // bytes that all sessions may hold together; 0: half of the machine's
  ShadowOptions shadow;          // when patched outputs are compared with links from scratch
  bool prepare = true;           // plan what an input's change asks for before somebody does
  int ready_fd = -1;             // gets one byte when clients can connect, and is closed either way
};

// What a daemon's main() says on standard error or exits with.
enum class ExitStatus : int {
  kOk = 0,           // served, then was idle or asked to end
  kCannotStart = 1,  // no socket, no folder
  kUsage = 2,
  kAlreadyThere = 4,  // another daemon serves this socket
};

// Serves until idle, asked to end, or told so by SIGTERM or SIGINT, which let running links finish. `factory` must
// outlive the call. REQUIRES: no other thread was started yet (signals are blocked for all of them). `error` says
// why it did not start.
ExitStatus RunDaemon(const DaemonOptions& options, LinkerFactory& factory, std::string* error);

// Fills in what the environment (KITLINK_SOCKET, KITLINK_STATE_DIR, KITLINK_IDLE_SECONDS, KITLINK_MEMORY_MB, KITLINK_PREPARE) and the
// command line (--ready-fd=N --idle-seconds=N --memory-mb=N --version --help) say. False: exit with `status` at once.
bool ParseDaemonArguments(int argc, char** argv, DaemonOptions* options, int* status);

}  // namespace kitlink::daemon

#endif  // DAEMON_DAEMON_H_
