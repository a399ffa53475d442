#include "daemon/direct_server.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "daemon/grpc_wire.h"

namespace kitlink::daemon {
namespace {

// Who has just connected is about to ask: so long a thread waits for that before the connection comes to rest.
constexpr int kAboutToAskMs = 10;

}  // namespace

// A connection is in one of three states: a thread works on it (Work), a call is with its handler, or it rests, watched by
// epoll once. Whoever leaves one state puts it into the next, so that nobody else looks at it meanwhile, but for Answer and
// Close.
class DirectServer::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(DirectServer* server, int fd, std::unique_ptr<GrpcWire> wire) : server_(server), fd_(fd), wire_(std::move(wire)) {}
  ~Connection() { close(fd_); }

  enum class Place {
    kNew,   // a thread of the pool, right after the client connected
    kPool,  // a thread of the pool
    kLoop,  // a thread that must not wait, nor run a handler
  };
  // Takes what has come, sends what there is to send, and begins the next call.
  void Work(Place place);
  void Answer(int32_t stream, const std::vector<std::string>& messages, const absl::Status& status);
  bool gone() const {
    pollfd wait{fd_, POLLRDHUP, 0};
    return poll(&wait, 1, 0) != 0;
  }
  // Nothing more is heard or said.
  void HangUp() { shutdown(fd_, SHUT_RDWR); }
  // Close, for one that may have a call.
  void HangUpWhenIdle() {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    if (!answering_ && unsent_.empty()) HangUp();
  }

 private:
  // All there is to be read now. False at the end.
  bool Read(bool patient) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // As much as the client takes. False when it takes nothing any more.
  bool Flush() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Begin(Place place);
  void Rest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  DirectServer* const server_;
  const int fd_;
  absl::Mutex mutex_;
  const std::unique_ptr<GrpcWire> wire_ ABSL_PT_GUARDED_BY(mutex_);
  std::string unsent_ ABSL_GUARDED_BY(mutex_);
  bool watched_ ABSL_GUARDED_BY(mutex_) = false;    // epoll knows it
  bool answering_ ABSL_GUARDED_BY(mutex_) = false;  // a call is with its handler
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
};

class DirectServer::Call final : public DirectCall {
 public:
  Call(std::shared_ptr<Connection> connection, GrpcWire::Call call)
      : DirectCall(std::move(call.method), std::move(call.request)), connection_(std::move(connection)), stream_(call.stream) {}

  bool cancelled() const override { return connection_->gone(); }
  void Answer(const std::vector<std::string>& messages, const absl::Status& status) override {
    connection_->Answer(stream_, messages, status);
  }

 private:
  const std::shared_ptr<Connection> connection_;
  const int32_t stream_;
};

bool DirectServer::Connection::Read(bool patient) {
  std::array<char, 64 << 10> buffer;
  for (;;) {
    const ssize_t count = recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count > 0) {
      patient = false;
      if (!wire_->Receive({buffer.data(), static_cast<size_t>(count)})) return false;
      // A whole request, as a rule; looking for more would cost a system call.
      if (static_cast<size_t>(count) < buffer.size() && !wire_->calls().empty()) return true;
      continue;
    }
    if (count == 0) return false;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    pollfd wait{fd_, POLLIN, 0};
    if (!std::exchange(patient, false) || poll(&wait, 1, kAboutToAskMs) <= 0) return true;
  }
}

bool DirectServer::Connection::Flush() {
  const bool open = wire_->Send(&unsent_);
  size_t done = 0;
  while (done < unsent_.size()) {
    const ssize_t count = send(fd_, unsent_.data() + done, unsent_.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) return false;
    done += static_cast<size_t>(count);
  }
  unsent_.erase(0, done);
  return open || !unsent_.empty();
}

void DirectServer::Connection::Work(Place place) {
  {
    absl::MutexLock lock(&mutex_);
    // The request of a client that hung up meanwhile is a call all the same: its handler sees to that.
    const bool more = Read(place == Place::kNew);
    const bool open = Flush() && more && !(closing_ && unsent_.empty());
    answering_ = !wire_->calls().empty();
    if (!answering_ && open) {
      Rest();
      return;
    }
    if (!answering_) HangUp();
  }
  Begin(place);
}

// REQUIRES: this thread works on the connection.
void DirectServer::Connection::Begin(Place place) {
  std::shared_ptr<Call> call;
  {
    absl::MutexLock lock(&mutex_);
    if (answering_) {
      call = std::make_shared<Call>(shared_from_this(), std::move(wire_->calls().front()));
      wire_->calls().pop_front();
    }
  }
  if (call == nullptr) {
    server_->Forget(fd_);
  } else if (place == Place::kLoop) {
    server_->pool_->Post([server = server_, call] { server->handler_(call); });
  } else {
    server_->handler_(std::move(call));
  }
}

void DirectServer::Connection::Answer(int32_t stream, const std::vector<std::string>& messages, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  wire_->Answer(stream, messages, status);
  const bool open = Flush();
  answering_ = false;
  if (!open || (closing_ && unsent_.empty())) HangUp();
  if (wire_->calls().empty()) {
    Rest();  // also after hanging up: epoll tells of it
  } else {
    server_->pool_->Post([self = shared_from_this()] { self->Work(Place::kPool); });
  }
}

void DirectServer::Connection::Rest() {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT | (unsent_.empty() ? 0u : uint32_t{EPOLLOUT});
  event.data.fd = fd_;
  const int operation = std::exchange(watched_, true) ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (epoll_ctl(server_->epoll_, operation, fd_, &event) == 0) return;
  // Memory is short, and nobody would look at it again.
  HangUp();
  server_->pool_->Post([self = shared_from_this()] { self->server_->Forget(self->fd_); });
}

DirectServer::DirectServer(Handler handler, WorkerPool* pool)
    : handler_(std::move(handler)), pool_(pool), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

DirectServer::~DirectServer() { close(epoll_); }

void DirectServer::Serve(int fd) {
  std::unique_ptr<GrpcWire> wire = GrpcWire::Make();
  if (wire == nullptr) {
    close(fd);
    return;
  }
  auto connection = std::make_shared<Connection>(this, fd, std::move(wire));
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return;
    connections_[fd] = connection;
  }
  using Place = Connection::Place;
  if (!pool_->PostIfFree([connection] { connection->Work(Place::kNew); })) connection->Work(Place::kLoop);
}

void DirectServer::Poll() {
  using Place = Connection::Place;
  std::array<epoll_event, 16> events;
  const int count = epoll_wait(epoll_, events.data(), events.size(), 0);
  for (int i = 0; i < count; ++i) {
    std::shared_ptr<Connection> connection;
    {
      absl::MutexLock lock(&mutex_);
      auto found = connections_.find(events[i].data.fd);
      if (found == connections_.end()) continue;
      connection = found->second;
    }
    // Who hangs up has nothing more to ask, as a rule: no thread needs to wake up for that.
    const bool ended = (events[i].events & EPOLLRDHUP) != 0;
    if (ended || !pool_->PostIfFree([connection] { connection->Work(Place::kPool); })) connection->Work(Place::kLoop);
  }
}

void DirectServer::Forget(int fd) {
  absl::MutexLock lock(&mutex_);
  connections_.erase(fd);
}

bool DirectServer::empty() const {
  absl::MutexLock lock(&mutex_);
  return connections_.empty();
}

void DirectServer::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  for (const auto& [fd, connection] : connections_) connection->HangUpWhenIdle();
}

}  // namespace kitlink::daemon
