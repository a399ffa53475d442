// kitlinkd: the daemon that links.

#include <cstdio>
#include <string>

#include "absl/synchronization/mutex.h"
#include "daemon/daemon.h"
#include "daemon/session_linker.h"
#include "daemon/shadow_link.h"
#include "proto/rendezvous/version.h"

int main(int argc, char** argv) {
#ifdef NDEBUG
  // Debian's Abseil looks for lock cycles on every lock, which triples its price.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  if (argc == 2 && std::string(argv[1]) == "--shadow-link") return kitlink::daemon::ShadowLinkMain(0);
  kitlink::daemon::DaemonOptions options;
  options.version = kitlink::kVersion;
  int status = 0;
  if (!kitlink::daemon::ParseDaemonArguments(argc, argv, &options, &status)) return status;
  kitlink::daemon::SessionLinkerFactory factory(options.state_folder);
  std::string error;
  kitlink::daemon::ExitStatus result = kitlink::daemon::RunDaemon(options, factory, &error);
  if (!error.empty()) fprintf(stderr, "kitlinkd: error: %s\n", error.c_str());
  return static_cast<int>(result);
}
