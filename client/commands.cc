#include "client/commands.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "client/answers.h"
#include "proto/rendezvous/rendezvous.h"
#include "proto/rendezvous/version.h"

namespace kitlink::client {
namespace {

// How long a daemon that ends may take to write what its sessions remember.
constexpr int kStopSeconds = 10;

void Put(const std::string& text) {
  fwrite(text.data(), 1, text.size(), stdout);
  fflush(stdout);
}

std::string Method(const char* name) { return std::string("/kitlink.v1.Linker/") + name; }

// 32 bytes from 64 hexadecimal digits.
bool ParseContentId(std::string_view hex, std::string* bytes) {
  if (hex.size() != 64) return false;
  for (size_t i = 0; i < hex.size(); i += 2) {
    int value = 0;
    for (char c : hex.substr(i, 2)) {
      int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) return false;
      value = value * 16 + digit;
    }
    *bytes += static_cast<char>(value);
  }
  return true;
}

std::string Absolute(const std::string& path) {
  char folder[PATH_MAX];
  if (path.empty() || path[0] == '/' || getcwd(folder, sizeof(folder)) == nullptr) return path;
  return std::string(folder) + "/" + path;
}

}  // namespace

void PrintError(const std::string& text) { fprintf(stderr, "kitlinkc: error: %s\n", text.c_str()); }

v1::SessionName NameSession(const std::string& output) {
  v1::SessionName name;
  if (output.rfind("key:", 0) == 0) {
    name.set_session_key(output.substr(4));
    return name;
  }
  std::string path = Absolute(output);
  size_t slash = path.rfind('/');
  char folder[PATH_MAX];
  if (slash != std::string::npos && realpath(path.substr(0, slash + 1).c_str(), folder) != nullptr) {
    std::string parent = folder;
    path = (parent == "/" ? "" : parent) + path.substr(slash);
  }
  name.set_output(path);
  return name;
}

bool Reach(const Command& command, Purpose purpose, GrpcConnection* connection, int* status, bool quiet) {
  Rendezvous rendezvous;
  std::string error;
  *status = command.policy == DaemonPolicy::kRequire ? 3 : 1;
  if (!FindRendezvous(RendezvousEnvironment::FromProcess(), &rendezvous, &error)) {
    PrintError(error);
    return false;
  }
  switch (Connect(rendezvous, purpose, connection, &error)) {
    case GrpcConnection::OpenResult::kOk:
      return true;
    case GrpcConnection::OpenResult::kNobody:
      if (!quiet || command.policy == DaemonPolicy::kRequire) {
        PrintError("no daemon is running, so nothing was linked yet: link once with ld.kit");
      } else {
        *status = 0;
      }
      return false;
    case GrpcConnection::OpenResult::kRefused:
      PrintError(error);
      return false;
  }
  return false;
}

bool CallOnce(GrpcConnection& connection, const char* method, const google::protobuf::MessageLite& request,
              google::protobuf::MessageLite* response) {
  bool parsed = false;
  CallStatus status = connection.Call(Method(method), request.SerializeAsString(), [&](std::string_view message) {
    parsed = response->ParseFromArray(message.data(), static_cast<int>(message.size()));
    return true;
  });
  if (status.ok() && parsed) return true;
  PrintError(status.message.empty() ? "the daemon's answer makes no sense" : status.message);
  return false;
}

int RelinkOnce(GrpcConnection& connection, const v1::RelinkRequest& request, bool json) {
  int exit_status = 1;
  bool told = false;
  CallStatus status = connection.Call(Method("Relink"), request.SerializeAsString(), [&](std::string_view message) {
    v1::LinkEvent event;
    if (!event.ParseFromArray(message.data(), static_cast<int>(message.size()))) return false;
    if (event.has_diagnostic()) {
      fputs(FormatDiagnostic("kitlinkc", event.diagnostic()).c_str(), stderr);
    } else if (event.has_result()) {
      exit_status = event.result().exit_status();
      if (exit_status == 0) Put(json ? ResultJson(event.result()) : ResultText(event.result()));
    } else if (event.has_refusal()) {
      PrintError(event.refusal().text());
    }
    told = true;
    return !event.has_result();
  });
  if (!status.ok()) PrintError(status.message);
  if (status.ok() && !told) PrintError("the daemon's answer makes no sense");
  return exit_status;
}

int Relink(const Command& command) {
  v1::RelinkRequest request;
  *request.mutable_session() = NameSession(command.outputs[0]);
  for (const std::string& changed : command.changed) {
    v1::ChangedInput* input = request.mutable_changed()->add_inputs();
    size_t equals = changed.rfind('=');
    // A name may contain "=": what follows has to look like an id to be one.
    std::string id;
    if (equals != std::string::npos && ParseContentId(std::string_view(changed).substr(equals + 1), &id)) {
      input->set_content_id(id);
      input->set_path(Absolute(changed.substr(0, equals)));
    } else if (equals != std::string::npos && access(changed.c_str(), F_OK) != 0) {
      PrintError(changed.substr(equals + 1) + " is no content id: 64 hexadecimal digits (b2sum -l 256)");
      return 2;
    } else {
      input->set_path(Absolute(changed));
    }
  }
  GrpcConnection connection;
  int status;
  if (!Reach(command, Purpose::kLink, &connection, &status)) return status;
  return RelinkOnce(connection, request, command.json);
}

int Status(const Command& command) {
  GrpcConnection connection;
  int status;
  if (!Reach(command, Purpose::kAnything, &connection, &status, /*quiet=*/true)) {
    if (status == 0 && !command.json) Put("no daemon is running\n");
    return status;
  }
  v1::StatusResponse response;
  if (!CallOnce(connection, "Status", v1::StatusRequest(), &response)) return 1;
  if (!command.json) {
    Put(StatusText(response));
    return 0;
  }
  for (const v1::SessionInfo& session : response.sessions()) {
    Put(SessionJson(session, response.anonymous_bytes()));
  }
  return 0;
}

int Explain(const Command& command) {
  GrpcConnection connection;
  int status;
  if (!Reach(command, Purpose::kAnything, &connection, &status)) return status;
  v1::ExplainRequest request;
  *request.mutable_session() = NameSession(command.outputs[0]);
  v1::ExplainResponse response;
  if (!CallOnce(connection, "Explain", request, &response)) return 1;
  if (!command.json) {
    Put(ExplainText(response));
    return 0;
  }
  for (const v1::LinkResult& link : response.links()) Put(ResultJson(link));
  return 0;
}

int Verify(const Command& command) {
  GrpcConnection connection;
  int status;
  if (!Reach(command, Purpose::kAnything, &connection, &status)) return status;
  v1::VerifyRequest request;
  *request.mutable_session() = NameSession(command.outputs[0]);
  v1::VerifyResponse response;
  if (!CallOnce(connection, "Verify", request, &response)) return 1;
  for (const v1::Diagnostic& diagnostic : response.diagnostics()) {
    fputs(FormatDiagnostic("kitlinkc", diagnostic).c_str(), stderr);
  }
  Put(command.json ? VerifyJson(response) : VerifyText(response));
  return response.equivalent() ? 0 : 1;
}

int Close(const Command& command) {
  GrpcConnection connection;
  int status;
  if (!Reach(command, Purpose::kAnything, &connection, &status, /*quiet=*/true)) return status;
  v1::CloseSessionRequest request;
  *request.mutable_session() = NameSession(command.outputs[0]);
  v1::CloseSessionResponse response;
  return CallOnce(connection, "CloseSession", request, &response) ? 0 : 1;
}

int Stop(const Command& command) {
  GrpcConnection connection;
  int status;
  if (!Reach(command, Purpose::kAnything, &connection, &status, /*quiet=*/true)) {
    if (status == 0) Put("no daemon is running\n");
    return status;
  }
  v1::VersionResponse daemon;
  const bool known = CallOnce(connection, "Version", v1::VersionRequest(), &daemon);
  const int process = known ? static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(daemon.pid()), 0)) : -1;
  ReplaceDaemon(&connection, "kitlinkc stop");
  if (process < 0) return 0;
  // It may have to write what its sessions remember.
  pollfd ended = {process, POLLIN, 0};
  poll(&ended, 1, kStopSeconds * 1000);
  close(process);
  return 0;
}

int Version(const Command& command) {
  GrpcConnection connection;
  int status;
  v1::VersionResponse daemon;
  bool reached = Reach(command, Purpose::kAnything, &connection, &status, /*quiet=*/true) &&
                 CallOnce(connection, "Version", v1::VersionRequest(), &daemon);
  if (command.json) {
    Put(std::string("{\"client\":") + JsonString(kVersion) + ",\"daemon\":" +
        (reached ? JsonString(daemon.version()) : "null") + ",\"pid\":" + std::to_string(daemon.pid()) + "}\n");
  } else {
    Put(std::string("kitlinkc ") + kVersion + "\n");
    if (reached) Put("kitlinkd " + daemon.version() + " (process " + std::to_string(daemon.pid()) + ")\n");
  }
  return reached ? 0 : status;
}

}  // namespace kitlink::client
