// Reaching the daemon, starting one where there is none.
#ifndef CLIENT_DAEMON_STARTER_H_
#define CLIENT_DAEMON_STARTER_H_

#include <string>

#include "client/grpc_connection.h"
#include "proto/rendezvous/rendezvous.h"

namespace kitlink::client {

// The folder that holds the running program, symbolic links resolved; empty when it cannot be found out.
std::string ProgramFolder();

// What `KITLINK_DAEMON` asks for.
enum class DaemonPolicy { kAuto, kOff, kRequire };
// False when the variable holds something else.
bool ReadDaemonPolicy(DaemonPolicy* policy);

// What a connection is for.
enum class Purpose {
  kLink,      // Link, Relink, Shutdown: by Rendezvous::direct, unless only the other is to be had
  kAnything,  // by Rendezvous::socket
};

// Connects to the user's daemon. Nobody there is kNobody; a folder that is not to be trusted is kRefused.
GrpcConnection::OpenResult Connect(const Rendezvous& rendezvous, Purpose purpose, GrpcConnection* connection,
                                   std::string* error);

// Connects in order to link, and starts a daemon when nobody is there: under a lock, so that of many clients one starts it and the
// others find it; detached, so that nothing of this process lives on in it; and without polling, as the daemon says
// when it can be reached. False with `error` when that fails within about ten seconds.
bool ConnectOrStart(const Rendezvous& rendezvous, GrpcConnection* connection, std::string* error);

// Asks the daemon at the other end to end after what it is doing, and waits for that.
void ReplaceDaemon(GrpcConnection* connection, const std::string& reason);

}  // namespace kitlink::client

#endif  // CLIENT_DAEMON_STARTER_H_
