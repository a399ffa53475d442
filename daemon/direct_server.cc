#include "daemon/direct_server.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
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
constexpr int kMostWaits = 4;  // for the pieces of a long request
// What is read of one connection before others, and its own calls, are seen to.
constexpr size_t kMostAtOnce = 1 << 20;
// A client that asks again and again and takes no answers is not served any more before it does.
constexpr size_t kMostUnsent = 16 << 20;

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
  bool Answer(int32_t stream, const std::vector<std::string>& messages, const absl::Status& status);
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
    if (!answering_ && Settled()) HangUp();
  }

 private:
  // All there is to be read now, or as much as is read at once. False at the end.
  bool Read(bool patient) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // All answers are out.
  bool Settled() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return unsent_.empty() && !wire_->amid_answer(); }
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
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;  // what it says makes no sense: nothing more is read
};

class DirectServer::Call final : public DirectCall {
 public:
  Call(std::shared_ptr<Connection> connection, GrpcWire::Call call)
      : DirectCall(std::move(call.method), std::move(call.request)), connection_(std::move(connection)), stream_(call.stream) {}

  bool cancelled() const override { return connection_->gone(); }
  bool Answer(const std::vector<std::string>& messages, const absl::Status& status) override {
    return connection_->Answer(stream_, messages, status);
  }

 private:
  const std::shared_ptr<Connection> connection_;
  const int32_t stream_;
};

bool DirectServer::Connection::Read(bool patient) {
  std::array<char, 64 << 10> buffer;
  int waits = patient ? kMostWaits : 0;
  for (size_t total = 0; !broken_ && total < kMostAtOnce;) {
    const ssize_t count = recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (count > 0) {
      total += static_cast<size_t>(count);
      broken_ = !wire_->Receive({buffer.data(), static_cast<size_t>(count)});
      // A whole request, as a rule; looking for more would cost a system call.
      if (static_cast<size_t>(count) < buffer.size() && wire_->has_call()) return true;
      continue;
    }
    if (count == 0) return false;
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    // A request that is longer than the client's first window goes on when the client has heard of ours.
    if (waits-- == 0 || (total != 0 && !wire_->amid_request()) || !Flush()) return true;
    pollfd wait{fd_, POLLIN, 0};
    if (poll(&wait, 1, kAboutToAskMs) <= 0) return true;
  }
  return !broken_;
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
    const bool open = Flush() && more && !(closing_ && Settled());
    answering_ = wire_->has_call() && unsent_.size() < kMostUnsent;
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
      call = std::make_shared<Call>(shared_from_this(), wire_->Take());
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

bool DirectServer::Connection::Answer(int32_t stream, const std::vector<std::string>& messages, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  const bool said = wire_->Answer(stream, messages, status);
  const bool open = Flush() && said && !broken_;
  answering_ = false;
  if (!open || (closing_ && Settled())) HangUp();
  if (!open || !wire_->has_call() || unsent_.size() >= kMostUnsent) {
    Rest();  // also after hanging up: epoll tells of it
  } else {
    server_->pool_->Post([self = shared_from_this()] { self->Work(Place::kPool); });
  }
  return open;
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
    : handler_(std::move(handler)), pool_(pool), epoll_(epoll_create1(EPOLL_CLOEXEC)), empty_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = empty_;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, empty_, &event);
}

DirectServer::~DirectServer() {
  close(empty_);
  close(epoll_);
}

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
  std::shared_ptr<Connection> last;  // goes without the lock
  absl::MutexLock lock(&mutex_);
  if (const auto found = connections_.find(fd); found != connections_.end()) {
    last = std::move(found->second);
    connections_.erase(found);
  }
  if (closed_ && connections_.empty()) eventfd_write(empty_, 1);
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
