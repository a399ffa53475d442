// kitlink.v1.Linker for the connections of DirectServer: the calls that builds wait for (Link, Relink), and Shutdown, which a
// client sends that was refused. All others are for gRPC's server.
#ifndef DAEMON_DIRECT_SERVICE_H_
#define DAEMON_DIRECT_SERVICE_H_

#include "daemon/direct_server.h"
#include "daemon/service.h"

namespace kitlink::daemon {

// `service` must outlive the server.
DirectServer::Handler DirectHandler(LinkerService* service);

}  // namespace kitlink::daemon

#endif  // DAEMON_DIRECT_SERVICE_H_
