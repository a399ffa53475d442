// The commands of kitlinkc. Each returns the exit status: 0 done, 1 it failed (or verify found a difference),
// 2 usage, 3 no daemon and KITLINK_DAEMON=require.
#ifndef CLIENT_COMMANDS_H_
#define CLIENT_COMMANDS_H_

#include <string>
#include <vector>

#include "client/daemon_starter.h"
#include "client/grpc_connection.h"
#include "kitlink/v1/link.pb.h"

namespace kitlink::client {

struct Command {
  std::vector<std::string> outputs;  // as given
  std::vector<std::string> changed;  // "PATH" or "PATH=CONTENT_ID"
  bool json = false;
  DaemonPolicy policy = DaemonPolicy::kAuto;
};

int Relink(const Command& command);
int Watch(const Command& command);
int Status(const Command& command);
int Explain(const Command& command);
int Verify(const Command& command);
int Close(const Command& command);
int Stop(const Command& command);
int Version(const Command& command);

// "key:KEY" or a path, made absolute as the daemon does: links in its folder resolved.
v1::SessionName NameSession(const std::string& output);

// One relink of `name` over `connection`; prints what came of it. The exit status.
int RelinkOnce(GrpcConnection& connection, const v1::RelinkRequest& request, bool json);

// Prints "kitlinkc: error: TEXT".
void PrintError(const std::string& text);

// Connects to the daemon that is there; when there is none, prints so unless `quiet`, and sets `status` to what the
// command exits with.
bool Reach(const Command& command, Purpose purpose, GrpcConnection* connection, int* status, bool quiet = false);

// A call with one answer. False, with the reason printed, when it failed.
bool CallOnce(GrpcConnection& connection, const char* method, const google::protobuf::MessageLite& request,
              google::protobuf::MessageLite* response);

}  // namespace kitlink::client

#endif  // CLIENT_COMMANDS_H_
