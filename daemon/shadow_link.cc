#include "daemon/shadow_link.h"

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "core/base/parallel.h"
#include "core/session/cold_link.h"
#include "core/verify/verify.h"
#include "daemon/file_source.h"
#include "daemon/repro.h"
#include "daemon/session_linker.h"

namespace kitlink::daemon {
namespace {

constexpr rlim_t kMostSeconds = 600;

using Stamp = std::tuple<dev_t, ino_t, off_t, time_t, long, time_t, long>;

std::optional<Stamp> StampOf(const struct stat& info) {
  return Stamp(info.st_dev, info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec, info.st_ctim.tv_sec,
               info.st_ctim.tv_nsec);
}

// True when the status of `path` has not changed since the output was published; a relink refreshes that time.
bool OlderThan(const std::string& path, const struct stat& output) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return false;
  return std::make_pair(info.st_ctim.tv_sec, info.st_ctim.tv_nsec) < std::make_pair(output.st_mtim.tv_sec, output.st_mtim.tv_nsec);
}

// Room for anybody else, at once: the process runs when nobody else wants to, and not for ever.
void StepBack() {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  setpriority(PRIO_PROCESS, 0, 19);
  sched_param none{};
  sched_setscheduler(0, SCHED_IDLE, &none);
  constexpr int kProcess = 1, kIdleClass = 3 << 13;  // linux/ioprio.h
  syscall(SYS_ioprio_set, kProcess, 0, kIdleClass);
  const rlimit seconds = {kMostSeconds, kMostSeconds};
  setrlimit(RLIMIT_CPU, &seconds);
}

}  // namespace

ShadowExit RunShadowLink(const ShadowJob& job, FILE* out) {
  const auto give_up = [&](absl::string_view why) {
    fprintf(out, "%.*s\n", static_cast<int>(why.size()), why.data());
    return ShadowExit::kCannotTell;
  };
  struct stat output, after;
  if (stat(job.output.c_str(), &output) != 0) return give_up("the output is gone");
  ClientView client;
  client.folder = job.folder;
  client.environment = job.environment;
  Diagnostics diagnostics;
  SessionLinkerFactory factory;
  const absl::StatusOr<SharedOptions> options = factory.Parse(job.arguments, client, diagnostics);
  if (!options.ok()) return give_up(options.status().message());
  MappedFileSource files(job.folder);
  absl::StatusOr<Reference> reference = absl::InternalError("not linked");
  WithThreadLimit(1, [&] { reference = LinkReference(**options, files, diagnostics); });
  if (!reference.ok()) return give_up(absl::StrCat("a link from scratch fails: ", reference.status().message()));
  const std::vector<std::string> inputs = files.Opened();
  const absl::StatusOr<std::shared_ptr<InputBytes>> image = MappedFileSource("/").Open(job.output);
  if (!image.ok()) return give_up(image.status().message());
  absl::StatusOr<verify::VerifyReport> report = absl::InternalError("not compared");
  WithThreadLimit(1, [&] { report = verify::CompareImages(*reference, (*image)->bytes()); });
  if (!report.ok()) return give_up(report.status().message());
  // Only now is it known that what was compared belonged together.
  for (const std::string& input : inputs) {
    if (!OlderThan(input, output)) return give_up(absl::StrCat(input, " is newer than the output"));
  }
  if ((*image)->torn() || stat(job.output.c_str(), &after) != 0 || StampOf(after) != StampOf(output)) {
    return give_up("the output has changed meanwhile");
  }
  if (report->equivalent()) return ShadowExit::kEquivalent;
  std::string differences;
  for (const verify::Difference& difference : report->differences) absl::StrAppend(&differences, difference.what, "\n");
  fputs(differences.c_str(), out);
  if (!job.repro.empty()) {
    Repro repro;
    repro.folder = job.folder, repro.output = job.output;
    repro.arguments = job.arguments, repro.environment = job.environment;
    repro.inputs = inputs;
    repro.remarks = differences;
    const absl::Status saved = SaveRepro(repro, job.repro);
    fprintf(out, "%s\n", saved.ok() ? absl::StrCat("kept in ", job.repro).c_str() : std::string(saved.message()).c_str());
  }
  return ShadowExit::kDifferent;
}

int ShadowLinkMain(int in) {
  StepBack();
  std::string text;
  char part[65536];
  for (;;) {
    const ssize_t size = read(in, part, sizeof(part));
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    text.append(part, static_cast<size_t>(size));
  }
  const std::optional<ShadowJob> job = ShadowJob::Parse(text);
  const ShadowExit exit = job ? RunShadowLink(*job, stdout) : ShadowExit::kCannotTell;
  fflush(stdout);
  _exit(static_cast<int>(exit));
}

}  // namespace kitlink::daemon
