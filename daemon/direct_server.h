// Connections of our own clients, whose calls are answered on the thread that reads them.
//
// A link that changes little takes less time than gRPC's server needs to accept a connection and to hand a call from thread
// to thread. Here a new connection goes to a thread of the pool, which is awake by the time the request arrives, links, and
// writes the answer itself. The words are gRPC's (grpc_wire.h), so that clients need no other language for it.
#ifndef DAEMON_DIRECT_SERVER_H_
#define DAEMON_DIRECT_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "daemon/worker_pool.h"

namespace kitlink::daemon {

// One call. Thread safe.
class DirectCall {
 public:
  virtual ~DirectCall() = default;
  const std::string& method() const { return method_; }    // "/package.Service/Method"
  const std::string& request() const { return request_; }  // the serialized message

  // True once the client is gone.
  virtual bool cancelled() const = 0;
  // Ends the call with `messages` and `status`; once. Does not block: what the client does not take yet follows by itself. False
  // when the client is gone.
  virtual bool Answer(const std::vector<std::string>& messages, const absl::Status& status) = 0;

 protected:
  DirectCall(std::string method, std::string request) : method_(std::move(method)), request_(std::move(request)) {}

 private:
  const std::string method_, request_;
};

// Thread safe, but for Poll, which is one thread's.
class DirectServer {
 public:
  // Called for each call, one at a time of each connection, on a thread of the pool. It may answer later, from any thread.
  using Handler = std::function<void(std::shared_ptr<DirectCall> call)>;

  // `pool` must outlive the last call, the server must outlive the pool's threads.
  DirectServer(Handler handler, WorkerPool* pool);
  ~DirectServer();
  DirectServer(const DirectServer&) = delete;
  DirectServer& operator=(const DirectServer&) = delete;

  // Serves a connected, non-blocking socket, and owns it.
  void Serve(int fd);
  // To wait for: readable when Poll has something to do.
  int fd() const { return epoll_; }
  // Sees to the connections at rest from which something has come.
  void Poll();
  // Hangs up wherever no call is running, and after those that are; Poll has to go on until `empty` to see the last answers
  // out. What was not begun its client asks somebody else.
  void Close();
  // No connections are left. Once closed, `fd` is readable when that becomes true.
  bool empty() const;

 private:
  class Connection;
  class Call;
  friend class Connection;

  void Forget(int fd);

  const Handler handler_;
  WorkerPool* const pool_;
  const int epoll_;
  const int empty_;  // an eventfd that `epoll_` watches
  mutable absl::Mutex mutex_;
  std::map<int, std::shared_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);  // by descriptor
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_DIRECT_SERVER_H_
