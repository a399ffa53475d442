// ld.kit: a drop-in ld. Hands the link to the daemon; whatever keeps that from working, the link happens all the same,
// in a process of its own.

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/answers.h"
#include "client/daemon_starter.h"
#include "client/grpc_connection.h"
#include "client/link_request.h"
#include "kitlink/v1/link.pb.h"
#include "proto/rendezvous/rendezvous.h"
#include "proto/rendezvous/version.h"

namespace kitlink::client {
namespace {

constexpr int kAttempts = 5;
constexpr useconds_t kBetweenAttemptsUs = 5000;

enum ExitStatus : int { kLinked = 0, kLinkError = 1, kUsage = 2, kNoDaemon = 3 };

void Print(int fd, std::string_view text) {
  while (!text.empty()) {
    ssize_t count = write(fd, text.data(), text.size());
    if (count < 0 && errno != EINTR) return;
    if (count > 0) text.remove_prefix(static_cast<size_t>(count));
  }
}

void PrintError(std::string_view text) { Print(STDERR_FILENO, "ld.kit: error: " + std::string(text) + "\n"); }

// Answers what build systems ask any ld. True when that was all.
bool AnswerQuestions(const Arguments& arguments) {
  bool version = false;
  for (std::string_view arg : arguments) {
    if (arg == "--help" || arg == "-help") {
      // Configure scripts look for the line with the targets.
      Print(STDOUT_FILENO,
            "Usage: ld.kit [options of GNU ld] FILE...\n"
            "       [--incremental={on,off}] [--move={auto,reapply,thunk,got}] [--gate={exact,strict}]\n"
            "       [--publish={auto,inplace,exchange}] [--session-key=KEY]\n"
            "       [--session-salt=TEXT]\n"
            "Links in the daemon kitlinkd, which it starts when needed; see KITLINK_DAEMON={auto,off,require}.\n"
            "ld.kit: supported targets: elf64-x86-64\n"
            "ld.kit: supported emulations: elf_x86_64\n");
      return true;
    }
    bool only = arg == "--version" || arg == "-version";
    if (only || ((arg == "-v" || arg == "-V") && !version)) {
      Print(STDOUT_FILENO, std::string("kitlink ") + kVersion + " (compatible with GNU ld)\n");
      version = true;
    }
    // -v goes on to link when there is something to link.
    if (only) return true;
  }
  return version && arguments.size() == 1;
}

// What came of asking the daemon.
struct Attempt {
  enum Kind { kAnswered, kReplace, kNoDaemon } kind = kNoDaemon;
  int exit_status = kLinked;
  std::string why;  // not answered: the reason
};

// One Link call. Diagnostics are printed only with a result: without one the link is done again elsewhere.
Attempt AskDaemon(GrpcConnection& connection, std::string_view request) {
  Attempt attempt;
  std::string text;
  bool has_result = false;
  v1::Refusal refusal;
  CallStatus status = connection.Call("/kitlink.v1.Linker/Link", request, [&](std::string_view message) {
    v1::LinkEvent event;
    if (!event.ParseFromArray(message.data(), static_cast<int>(message.size()))) return false;
    switch (event.event_case()) {
      case v1::LinkEvent::kDiagnostic:
        text += FormatDiagnostic("ld.kit", event.diagnostic());
        return true;
      case v1::LinkEvent::kResult:
        attempt.exit_status = event.result().exit_status();
        has_result = true;
        return false;
      case v1::LinkEvent::kRefusal:
        refusal = event.refusal();
        return false;
      case v1::LinkEvent::EVENT_NOT_SET:
        return true;  // something newer
    }
    return true;
  });
  if (has_result) {
    Print(STDERR_FILENO, text);
    attempt.kind = Attempt::kAnswered;
    return attempt;
  }
  attempt.why = refusal.text().empty() ? status.message : refusal.text();
  // A daemon that ends drops what it had not begun.
  const bool dropped = status.answered && (status.code == Code::kCancelled || status.code == Code::kUnavailable);
  if (status.nobody || dropped) attempt.kind = Attempt::kReplace;
  switch (refusal.reason()) {
    case v1::Refusal::OTHER_VERSION:
    case v1::Refusal::PROGRAM_REPLACED:
      ReplaceDaemon(&connection, refusal.text());
      attempt.kind = Attempt::kReplace;
      break;
    case v1::Refusal::SHUTTING_DOWN:
      attempt.kind = Attempt::kReplace;
      break;
    default:
      break;
  }
  return attempt;
}

Attempt LinkInDaemon(const Arguments& arguments) {
  Attempt attempt;
  Rendezvous rendezvous;
  v1::LinkRequest request;
  if (NamesOwnProcess(arguments)) {
    attempt.why = "an argument names a file of this process, which no other can open";
    return attempt;
  }
  if (!FindRendezvous(RendezvousEnvironment::FromProcess(), &rendezvous, &attempt.why)) return attempt;
  if (!FillRequest(arguments, &request, &attempt.why)) return attempt;
  std::string bytes = request.SerializeAsString();
  // Another attempt is for a daemon that had to be replaced, or that was ending: it may be met again before its sockets are gone.
  for (int i = 0; i < kAttempts; ++i) {
    if (i > 1) usleep(kBetweenAttemptsUs);
    auto connection = std::make_unique<GrpcConnection>();
    if (!ConnectOrStart(rendezvous, connection.get(), &attempt.why)) return attempt;
    attempt = AskDaemon(*connection, bytes);
    // Left open for the process's end to close: what the daemon does about it must not hold up our last steps.
    if (attempt.kind == Attempt::kAnswered) static_cast<void>(connection.release());
    if (attempt.kind != Attempt::kReplace) return attempt;
  }
  attempt.kind = Attempt::kNoDaemon;
  return attempt;
}

// Becomes the linker that needs no daemon.
int LinkWithoutDaemon(char** argv) {
  std::string folder = ProgramFolder();
  for (const char* place : {"/../libexec/kitlink/kitlink-link", "/kitlink-link"}) {
    std::string program = folder + place;
    execv(program.c_str(), argv);
    if (errno != ENOENT && errno != ENOTDIR) {
      PrintError(program + ": " + strerror(errno));
      return kLinkError;
    }
  }
  PrintError("kitlink-link, which links without a daemon, is not installed beside " + folder);
  return kLinkError;
}

int Main(int argc, char** argv) {
  Arguments arguments(argv + (argc > 0 ? 1 : 0), argv + argc);
  if (AnswerQuestions(arguments)) return kLinked;
  DaemonPolicy policy;
  if (!ReadDaemonPolicy(&policy)) {
    PrintError("KITLINK_DAEMON is none of auto, off, require");
    return kUsage;
  }
  if (policy == DaemonPolicy::kOff) return LinkWithoutDaemon(argv);
  Attempt attempt = LinkInDaemon(arguments);
  if (attempt.kind == Attempt::kAnswered) return attempt.exit_status;
  if (policy == DaemonPolicy::kRequire) {
    PrintError("no daemon links this: " + attempt.why);
    return kNoDaemon;
  }
  return LinkWithoutDaemon(argv);
}

}  // namespace
}  // namespace kitlink::client

int main(int argc, char** argv) {
  // Nothing is buffered, and destructors would only cost time.
  _exit(kitlink::client::Main(argc, argv));
}
