// Connections that are set up before anybody asks for one: making gRPC serve a new one takes longer than many a relink.
#ifndef DAEMON_WARM_CONNECTIONS_H_
#define DAEMON_WARM_CONNECTIONS_H_

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace kitlink::daemon {

// Socket pairs: a server has one end, the other waits for a client to send it to. Not thread safe.
class WarmConnections {
 public:
  // `serve` makes the server serve a connected, non-blocking socket, and owns it from then on.
  explicit WarmConnections(std::function<void(int fd)> serve) : serve_(std::move(serve)) {}
  // Closes those that nobody took.
  ~WarmConnections();
  WarmConnections(const WarmConnections&) = delete;
  WarmConnections& operator=(const WarmConnections&) = delete;

  // Sends one to whoever is at the other end of `client`, made now if none waits. False when that cannot be done.
  bool Give(int client);
  // Makes one if it lacks any.
  void Refill();
  // True when fewer than enough wait, and making one has not failed since the last was given.
  bool lacks() const { return ends_.size() < kEnough && !failed_; }

 private:
  // A build ends with one link; parallel ones are rarely more than a pair.
  static constexpr size_t kEnough = 2;

  const std::function<void(int fd)> serve_;
  std::vector<int> ends_;
  bool failed_ = false;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_WARM_CONNECTIONS_H_
