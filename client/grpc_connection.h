// The thin transport: gRPC's wire format over HTTP/2 on a Unix socket, with as few system calls as it takes.
//
// A stock gRPC client needs 16 ms to start, this one a few dozen microseconds. It works on serialized messages, knows
// nothing of the service, and is blocking: one call at a time on one connection.
// Wire format: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
#ifndef CLIENT_GRPC_CONNECTION_H_
#define CLIENT_GRPC_CONNECTION_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace kitlink::client {

// gRPC's status codes that the clients tell apart.
enum class Code : int { kOk = 0, kCancelled = 1, kUnknown = 2, kInvalidArgument = 3, kNotFound = 5, kUnavailable = 14 };

struct CallStatus {
  // False when the connection broke or made no sense: the peer is dead or no gRPC server, `message` says how.
  bool answered = false;
  // Not answered because the peer was gone before it had read anything, or all, of the request: it has not begun the call.
  bool nobody = false;
  Code code = Code::kUnknown;  // the server's status; other numbers than those named above occur
  std::string message;

  bool ok() const { return answered && code == Code::kOk; }
};

// Not thread safe.
class GrpcConnection {
 public:
  GrpcConnection();
  ~GrpcConnection();
  GrpcConnection(GrpcConnection&&) noexcept;
  GrpcConnection& operator=(GrpcConnection&&) noexcept;

  enum class OpenResult {
    kOk,
    kNobody,   // no socket, or nobody listens on it: a daemon may be started
    kRefused,  // somebody else listens there, or the system says no: starting a daemon would not help
  };
  // Connects to the Unix socket at `path`, whose other end must be of user `uid`.
  OpenResult Open(const std::string& path, uid_t uid, std::string* error);

  // Calls `method` ("/package.Service/Method") and hands each message of the answer to `on_message` (a unary method
  // answers with one). `on_message` may return false to stop listening; the call then counts as OK.
  CallStatus Call(std::string_view method, std::string_view request,
                  const std::function<bool(std::string_view)>& on_message);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Decodes the percent-encoding of a grpc-message header; what is not validly encoded stays as it is.
std::string DecodePercent(std::string_view text);

}  // namespace kitlink::client

#endif  // CLIENT_GRPC_CONNECTION_H_
