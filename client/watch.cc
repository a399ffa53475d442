// kitlinkc watch: links again whenever an input changes.

#include <sys/inotify.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "client/commands.h"
#include "client/grpc_connection.h"

namespace kitlink::client {
namespace {

// Compilers finish one object after another: wait until this long after the last change.
constexpr int kQuietMs = 20;

struct Output {
  v1::SessionName name;
  std::set<std::string> inputs;
};

// Which folders are watched, and which outputs a file in them belongs to. Folders rather than files, because
// compilers replace files.
class Watcher {
 public:
  Watcher() : fd_(inotify_init1(IN_CLOEXEC)) {}
  ~Watcher() { close(fd_); }

  bool ok() const { return fd_ >= 0; }

  bool Add(const std::string& input) {
    std::string folder = input.substr(0, input.rfind('/') + 1);
    if (!folders_.insert(folder).second) return true;
    int watch = inotify_add_watch(fd_, folder.c_str(), IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR);
    if (watch < 0) return false;
    names_[watch] = folder;
    return true;
  }

  // Waits for changes, then until nothing changes any more. Paths that changed; `everything` when some were lost.
  std::set<std::string> Wait(bool* everything) {
    std::set<std::string> changed;
    *everything = false;
    pollfd wait{fd_, POLLIN, 0};
    for (int timeout = -1; poll(&wait, 1, timeout) > 0; timeout = kQuietMs) {
      alignas(inotify_event) char buffer[64 << 10];
      ssize_t length = read(fd_, buffer, sizeof(buffer));
      for (ssize_t at = 0; at < length;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
        if ((event->mask & IN_Q_OVERFLOW) != 0) *everything = true;
        auto folder = names_.find(event->wd);
        if (folder != names_.end() && event->len != 0) changed.insert(folder->second + event->name);
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      }
    }
    return changed;
  }

 private:
  const int fd_;
  std::set<std::string> folders_;
  std::map<int, std::string> names_;
};

// Asks the daemon for the inputs of `output` and watches them.
bool Learn(const Command& command, Output& output, Watcher& watcher, int* status) {
  GrpcConnection connection;
  if (!Reach(command, Purpose::kAnything, &connection, status)) return false;
  v1::StatusRequest request;
  *request.mutable_session() = output.name;
  request.set_with_inputs(true);
  v1::StatusResponse response;
  *status = 1;
  if (!CallOnce(connection, "Status", request, &response) || response.sessions_size() != 1) return false;
  output.inputs.clear();
  for (const std::string& input : response.sessions(0).inputs()) {
    if (!watcher.Add(input)) PrintError(input + ": cannot be watched: " + strerror(errno));
    output.inputs.insert(input);
  }
  return true;
}

bool Concerned(const Output& output, const std::set<std::string>& changed) {
  for (const std::string& path : changed) {
    if (output.inputs.count(path) != 0) return true;
  }
  return false;
}

}  // namespace

int Watch(const Command& command) {
  Watcher watcher;
  if (!watcher.ok()) {
    PrintError(std::string("inotify: ") + strerror(errno));
    return 1;
  }
  std::vector<Output> outputs;
  for (const std::string& name : command.outputs) {
    Output& output = outputs.emplace_back();
    output.name = NameSession(name);
    int status;
    if (!Learn(command, output, watcher, &status)) return status;
  }
  if (!command.json) fprintf(stderr, "kitlinkc: watching; ^C ends it\n");
  for (;;) {
    bool everything = false;
    std::set<std::string> changed = watcher.Wait(&everything);
    for (Output& output : outputs) {
      if (!everything && !Concerned(output, changed)) continue;
      int status;
      GrpcConnection connection;
      if (!Reach(command, Purpose::kLink, &connection, &status)) return status;
      v1::RelinkRequest request;
      *request.mutable_session() = output.name;
      // A link error is printed and the watch goes on; a session that is gone ends it, below.
      RelinkOnce(connection, request, command.json);
      if (!Learn(command, output, watcher, &status)) return status;
    }
  }
}

}  // namespace kitlink::client
