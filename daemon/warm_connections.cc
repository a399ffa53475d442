#include "daemon/warm_connections.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/rendezvous/rendezvous.h"

namespace kitlink::daemon {
namespace {

// The server may have given it up, for lack of memory say.
bool Closed(int end) {
  pollfd wait{end, POLLRDHUP, 0};
  return poll(&wait, 1, 0) != 0;
}

// A pair of which the server has one end: the other, -1 when there is no descriptor for it.
int MakePair(const std::function<void(int fd)>& serve) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
  // The client's end blocks.
  if (fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0) {
    close(ends[0]);
    close(ends[1]);
    return -1;
  }
  serve(ends[1]);
  return ends[0];
}

}  // namespace

WarmConnections::~WarmConnections() {
  for (int end : ends_) close(end);
}

bool WarmConnections::Give(int client) {
  failed_ = false;
  int end = -1;
  while (end < 0 && !ends_.empty()) {
    end = ends_.back();
    ends_.pop_back();
    if (!Closed(end)) break;
    close(end);
    end = -1;
  }
  if (end < 0) end = MakePair(serve_);
  if (end < 0) return false;
  const bool sent = SendConnection(client, end);
  close(end);
  return sent;
}

void WarmConnections::Refill() {
  if (!lacks()) return;
  const int end = MakePair(serve_);
  failed_ = end < 0;
  if (!failed_) ends_.push_back(end);
}

}  // namespace kitlink::daemon
