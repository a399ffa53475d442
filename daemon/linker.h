// What the service needs of a linker, kept small so that its tests can put slow, failing and dying ones behind it.
// The real one is daemon/session_linker.h.
#ifndef DAEMON_LINKER_H_
#define DAEMON_LINKER_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/base/diagnostics.h"
#include "core/input/options.h"
#include "core/session/link_report.h"
#include "core/session/link_session.h"
#include "core/verify/verify.h"
#include "daemon/shadow_job.h"

namespace kitlink::daemon {

// Where the client stands: its paths, files and environment are meant from here.
struct ClientView {
  std::string folder;  // absolute
  mode_t umask = 022;
  std::vector<std::string> environment;  // "NAME=VALUE", only those that matter to a link
};

// The linker of one output. Not thread safe: its session calls one function at a time.
class Linker {
 public:
  virtual ~Linker() = default;

  // As LinkSession::Link, with the output at the absolute path that this linker was made for, or moved to.
  virtual absl::StatusOr<LinkReport> Link(const SharedOptions& options, const ClientView& client,
                                          Diagnostics& diagnostics) = 0;
  // As LinkSession::Relink, standing where the last link stood.
  virtual absl::StatusOr<LinkReport> Relink(std::optional<std::vector<ChangedInput>> changed,
                                            Diagnostics& diagnostics) = 0;
  // Compares the output with a link from scratch. FailedPrecondition when nothing was linked yet.
  virtual absl::StatusOr<verify::VerifyReport> Verify(Diagnostics& diagnostics) = 0;
  // Goes on with what was linked last at another absolute path. False when it cannot, and is of no use any more then.
  virtual bool MoveTo(absl::string_view output) {
    static_cast<void>(output);
    return false;
  }
  // How to link again what was linked last, to compare it with. None when the output is no longer what was published.
  virtual std::optional<ShadowJob> Shadow() { return std::nullopt; }
  // As LinkSession::Distrust.
  virtual void Distrust(const std::string& detail) { static_cast<void>(detail); }
  // As LinkSession::Confirm.
  virtual void Confirm(uint64_t generation) { static_cast<void>(generation); }
  // As LinkSession::Prepare, standing where the last link stood.
  virtual bool Prepare() { return false; }
  // Work that can wait until the answer is on its way. Called after every successful link, before the next one.
  virtual void Settle() = 0;
  // Writes what a later process needs to go on. Called when nobody has wanted anything for a while.
  virtual void Keep() {}
  // Before Settle and Keep: what StopSettling said before counts no more.
  virtual void BeginSettling() {}
  // Makes a running Settle or Keep return soon, because somebody waits. From any thread while it runs.
  virtual void StopSettling() {}
  virtual SessionStatus Status() const = 0;
  // Absolute paths of the files that the last link opened, sorted.
  virtual std::vector<std::string> Inputs() const = 0;
};

// Thread safe.
class LinkerFactory {
 public:
  virtual ~LinkerFactory() = default;
  // The options that `args` and the client's environment ask for. InvalidArgument for arguments that make no sense.
  virtual absl::StatusOr<SharedOptions> Parse(absl::Span<const std::string> args, const ClientView& client,
                                              Diagnostics& diagnostics) = 0;
  // The linker calls `touched` when an input may have changed since it last looked, from BellRang; not again until it has looked.
  virtual std::unique_ptr<Linker> Create(absl::string_view output, std::function<void()> touched) = 0;
  // A descriptor that is readable when BellRang is to be called; negative when there is none.
  virtual int bell() const { return -1; }
  virtual void BellRang() {}
  // Writes what waits to be written: the daemon ends, and another may begin.
  virtual void Flush() {}
};

}  // namespace kitlink::daemon

#endif  // DAEMON_LINKER_H_
