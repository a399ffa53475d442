// kitlink-link: one link in a process of its own, without daemon or gRPC. What ld.kit becomes when no daemon is to be had.

#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "core/base/diagnostics.h"
#include "daemon/output_path.h"
#include "daemon/session_linker.h"

namespace kitlink::daemon {
namespace {

// As the process that was started sees it.
bool OwnView(ClientView* view) {
  char folder[PATH_MAX];
  if (getcwd(folder, sizeof(folder)) == nullptr) return false;
  view->folder = folder;
  view->umask = umask(0);
  umask(view->umask);
  for (const char* name : {"LD_RUN_PATH", "COLLECT_NO_DEMANGLE", "KITLINK_DETECT", "KITLINK_SAVE_REPRO"}) {
    if (const char* value = getenv(name)) view->environment.push_back(std::string(name) + "=" + value);
  }
  return true;
}

int Report(const absl::Status& status, Diagnostics& diagnostics, int exit_status) {
  if (!status.ok() && !diagnostics.has_errors()) diagnostics.Error(std::string(status.message()));
  for (const Diagnostic& diagnostic : diagnostics.Take()) {
    fprintf(stderr, "ld.kit: %s\n", FormatDiagnostic(diagnostic).c_str());
  }
  fflush(stderr);
  return status.ok() ? 0 : exit_status;
}

int Main(int argc, char** argv) {
  Diagnostics diagnostics;
  ClientView view;
  if (!OwnView(&view)) return Report(absl::ErrnoToStatus(errno, "the current folder has no path"), diagnostics, 1);
  std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
  SessionLinkerFactory factory;
  absl::StatusOr<SharedOptions> options = factory.Parse(args, view, diagnostics);
  if (!options.ok()) return Report(options.status(), diagnostics, absl::IsInvalidArgument(options.status()) ? 2 : 1);
  absl::StatusOr<std::string> output = CanonicalOutput(view.folder, (*options)->output);
  if (!output.ok()) return Report(output.status(), diagnostics, 1);
  std::unique_ptr<Linker> linker = factory.Create(*output, nullptr);
  absl::Status status = linker->Link(*options, view, diagnostics).status();
  int exit_status = Report(status, diagnostics, 1);
  // The system frees faster than the destructors of everything a link holds; what a failed one leaves beside the
  // output they have to remove, though.
  if (exit_status == 0) _exit(0);
  return exit_status;
}

}  // namespace
}  // namespace kitlink::daemon

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return kitlink::daemon::Main(argc, argv);
}
