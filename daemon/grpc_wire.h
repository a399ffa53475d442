// The server's side of gRPC's wire format on one connection: bytes in, calls out; answers in, bytes out. No sockets here.
//
// gRPC's own server takes a quarter of a millisecond to serve a new connection and hands a call from thread to thread; this
// is for those who cannot wait that long (daemon/direct_server.h). It knows nothing of the service.
// Wire format: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
#ifndef DAEMON_GRPC_WIRE_H_
#define DAEMON_GRPC_WIRE_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

struct nghttp2_session;

namespace kitlink::daemon {

// Not thread safe.
class GrpcWire {
 public:
  // A request that has arrived whole.
  struct Call {
    int32_t stream = -1;
    std::string method;   // "/package.Service/Method"
    std::string request;  // the serialized message
  };
  // What the requests of one connection may have at most, all that wait together; more ends the connection.
  static constexpr size_t kMostWaiting = size_t{1} << 30;

  // Null when memory is short.
  static std::unique_ptr<GrpcWire> Make(size_t most_waiting = kMostWaiting);
  ~GrpcWire();
  GrpcWire(const GrpcWire&) = delete;
  GrpcWire& operator=(const GrpcWire&) = delete;

  // Takes what the client sent. False when that is no HTTP/2: calls that came before may still be answered, but nothing more is
  // to be received.
  bool Receive(absl::string_view bytes);
  // The calls whose requests are complete, in that order. What makes no sense as a call is answered here, what its client has
  // given up is not among them.
  bool has_call() const { return !calls_.empty(); }
  // REQUIRES: there is one.
  Call Take();
  // Ends a call with `messages` and `status`. Nothing happens when the client has given the call up. False when that cannot be
  // said, and the connection is of no use any more.
  bool Answer(int32_t stream, const std::vector<std::string>& messages, const absl::Status& status);
  // Appends to `out` what can be sent now. False when the connection is of no use any more.
  bool Send(std::string* out);
  // Part of a request has come.
  bool amid_request() const { return partial_ != 0; }
  // An answer is not out: it has to wait for the client's window.
  bool amid_answer() const { return answering_ != 0; }

 private:
  // A call on its way: the request as it comes, then the answer as it goes.
  struct Stream {
    std::string method, request;
    std::string answer;
    size_t sent = 0;            // bytes of `answer` that nghttp2 has
    std::string code, message;  // grpc-status, grpc-message
    bool complete = false, answered = false;
  };
  struct Callbacks;

  explicit GrpcWire(size_t most_waiting);
  void Complete(int32_t id);

  Stream* Find(int32_t id);

  const size_t most_waiting_;
  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Stream> streams_;  // open ones, by HTTP/2's number
  std::deque<Call> calls_;
  size_t waiting_ = 0;    // bytes of requests that nobody has taken
  size_t partial_ = 0;    // streams whose request is not complete
  size_t answering_ = 0;  // streams whose answer is not out
};

}  // namespace kitlink::daemon

#endif  // DAEMON_GRPC_WIRE_H_
