#include "client/grpc_connection.h"

#include <nghttp2/nghttp2.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "proto/rendezvous/rendezvous.h"

namespace kitlink::client {
namespace {

// A server acknowledges our SETTINGS as soon as it has read them, however busy its links keep it. One that does not for
// this long is stopped or stuck; after that first word there is no time-out. (Its own SETTINGS say nothing: they may have
// been on their way before ours.)
constexpr timeval kFirstWord = {5, 0};
constexpr int32_t kLargestWindow = 0x7fffffff;
constexpr size_t kPrefix = 5;  // a gRPC message's: compressed flag, length in network order

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

void LimitWaits(int socket) {
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &kFirstWord, sizeof(kFirstWord));
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &kFirstWord, sizeof(kFirstWord));
}

nghttp2_nv Header(std::string_view name, std::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(),
          NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE};
}

}  // namespace

std::string DecodePercent(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && HexDigit(text[i + 1]) >= 0 && HexDigit(text[i + 2]) >= 0) {
      decoded += static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

struct GrpcConnection::Impl {
  int fd = -1;
  nghttp2_session* session = nullptr;
  bool heard = false;  // something from the server that says that it has read something of ours

  // The call in progress.
  int32_t stream = -1;
  std::string_view head, body;  // what of the request is still to be sent
  char prefix[kPrefix];
  std::string incoming;  // bytes of the answer that do not make a whole message yet
  const std::function<bool(std::string_view)>* on_message = nullptr;
  CallStatus status;
  bool sent = false;  // all of the request
  bool has_status = false, closed = false, stopped = false, broken = false;

  ~Impl() {
    if (session != nullptr) nghttp2_session_del(session);
    if (fd >= 0) close(fd);
  }

  OpenResult Dial(const std::string& path, uid_t uid, std::string* error);
  bool MakeSession();
  bool Flush();
  bool Receive();
  void Deliver();
  bool Fail(std::string what) {
    status.answered = false;
    status.message = std::move(what);
    broken = true;
    return false;
  }
  bool Broken(const char* why) {
    status.nobody = !heard || !sent;
    return Fail(std::string("the connection broke: ") + why);
  }

  static ssize_t ReadRequest(nghttp2_session*, int32_t, uint8_t* buffer, size_t length, uint32_t* flags,
                             nghttp2_data_source* source, void*);
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* self);
  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
                      const uint8_t* value, size_t value_length, uint8_t, void* self);
  static int OnData(nghttp2_session*, uint8_t, int32_t stream, const uint8_t* data, size_t length, void* self);
  static int OnClose(nghttp2_session*, int32_t stream, uint32_t error, void* self);
};

ssize_t GrpcConnection::Impl::ReadRequest(nghttp2_session*, int32_t, uint8_t* buffer, size_t length, uint32_t* flags,
                                          nghttp2_data_source* source, void*) {
  Impl* impl = static_cast<Impl*>(source->ptr);
  size_t done = 0;
  for (std::string_view* part : {&impl->head, &impl->body}) {
    size_t count = std::min(length - done, part->size());
    memcpy(buffer + done, part->data(), count);
    part->remove_prefix(count);
    done += count;
  }
  if (impl->head.empty() && impl->body.empty()) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return static_cast<ssize_t>(done);
}

int GrpcConnection::Impl::OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
  const bool acknowledged = frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
  if (acknowledged || frame->hd.stream_id != 0) static_cast<Impl*>(self)->heard = true;
  return 0;
}

int GrpcConnection::Impl::OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name,
                                   size_t name_length, const uint8_t* value, size_t value_length, uint8_t,
                                   void* self) {
  Impl* impl = static_cast<Impl*>(self);
  if (frame->hd.stream_id != impl->stream) return 0;
  std::string_view key(reinterpret_cast<const char*>(name), name_length);
  std::string_view text(reinterpret_cast<const char*>(value), value_length);
  if (key == "grpc-status") {
    impl->status.code = static_cast<Code>(atoi(std::string(text).c_str()));
    impl->has_status = true;
  } else if (key == "grpc-message") {
    impl->status.message = DecodePercent(text);
  }
  return 0;
}

int GrpcConnection::Impl::OnData(nghttp2_session*, uint8_t, int32_t stream, const uint8_t* data, size_t length,
                                 void* self) {
  Impl* impl = static_cast<Impl*>(self);
  if (stream != impl->stream || impl->stopped) return 0;
  impl->incoming.append(reinterpret_cast<const char*>(data), length);
  impl->Deliver();
  return 0;
}

int GrpcConnection::Impl::OnClose(nghttp2_session*, int32_t stream, uint32_t error, void* self) {
  Impl* impl = static_cast<Impl*>(self);
  if (stream != impl->stream) return 0;
  impl->closed = true;
  if (!impl->has_status) impl->Fail("the call was reset (HTTP/2 error " + std::to_string(error) + ")");
  return 0;
}

void GrpcConnection::Impl::Deliver() {
  std::string_view rest = incoming;
  while (!stopped && rest.size() >= kPrefix) {
    const uint8_t* p = reinterpret_cast<const uint8_t*>(rest.data());
    size_t length = size_t{p[1]} << 24 | size_t{p[2]} << 16 | size_t{p[3]} << 8 | p[4];
    if (p[0] != 0) {
      Fail("a compressed message, which was not asked for");
      return;
    }
    if (rest.size() - kPrefix < length) break;
    stopped = !(*on_message)(rest.substr(kPrefix, length));
    rest.remove_prefix(kPrefix + length);
  }
  incoming.erase(0, incoming.size() - rest.size());
}

bool GrpcConnection::Impl::MakeSession() {
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) return false;
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, OnFrame);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
  int error = nghttp2_session_client_new(&session, callbacks, this);
  nghttp2_session_callbacks_del(callbacks);
  if (error != 0) return false;
  // Windows so large that no answer ever waits for an update.
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kLargestWindow},
                                             {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 1 << 20},
                                             {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
  return nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 3) == 0 &&
         nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, kLargestWindow) == 0;
}

// Everything that may be sent now, in one system call (more only when the socket's buffer is full).
bool GrpcConnection::Impl::Flush() {
  std::string out;
  for (;;) {
    const uint8_t* data = nullptr;
    ssize_t length = nghttp2_session_mem_send(session, &data);
    if (length < 0) return Fail(nghttp2_strerror(static_cast<int>(length)));
    if (length == 0) break;
    out.append(reinterpret_cast<const char*>(data), static_cast<size_t>(length));
  }
  for (size_t done = 0; done < out.size();) {
    ssize_t count = send(fd, out.data() + done, out.size() - done, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return Fail("no answer");
    if (count < 0) return Broken(strerror(errno));
    done += static_cast<size_t>(count);
  }
  return true;
}

bool GrpcConnection::Impl::Receive() {
  uint8_t buffer[64 << 10];
  ssize_t count;
  do {
    count = recv(fd, buffer, sizeof(buffer), 0);
  } while (count < 0 && (errno == EINTR || (heard && errno == EAGAIN)));
  if (count < 0 && errno == EAGAIN) return Fail("no answer");
  if (count <= 0) return Broken(count < 0 ? strerror(errno) : "it was closed");
  ssize_t used = nghttp2_session_mem_recv(session, buffer, static_cast<size_t>(count));
  if (used < 0) return Fail(nghttp2_strerror(static_cast<int>(used)));
  return !broken;
}

GrpcConnection::GrpcConnection() = default;
GrpcConnection::~GrpcConnection() = default;
GrpcConnection::GrpcConnection(GrpcConnection&&) noexcept = default;
GrpcConnection& GrpcConnection::operator=(GrpcConnection&&) noexcept = default;

GrpcConnection::OpenResult GrpcConnection::Impl::Dial(const std::string& path, uid_t uid, std::string* error) {
  SocketAddress address(path);
  fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    *error = strerror(errno);
    return OpenResult::kRefused;
  }
  if (!address.valid()) {
    *error = path + ": " + strerror(errno);
    return OpenResult::kNobody;
  }
  // The first one also bounds the wait for a place in a stopped daemon's queue.
  LimitWaits(fd);
  if (connect(fd, address.address(), address.length()) != 0) {
    *error = path + ": " + strerror(errno);
    return errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR ? OpenResult::kNobody : OpenResult::kRefused;
  }
  uid_t peer = 0;
  if (!PeerUser(fd, &peer) || peer != uid) {
    *error = path + ": another user listens there";
    return OpenResult::kRefused;
  }
  return OpenResult::kOk;
}

GrpcConnection::OpenResult GrpcConnection::Open(const std::string& path, uid_t uid, std::string* error) {
  impl_ = std::make_unique<Impl>();
  if (const OpenResult dialed = impl_->Dial(path, uid, error); dialed != OpenResult::kOk) return dialed;
  if (impl_->MakeSession()) return OpenResult::kOk;
  *error = "out of memory";
  return OpenResult::kRefused;
}

CallStatus GrpcConnection::Call(std::string_view method, std::string_view request,
                                const std::function<bool(std::string_view)>& on_message) {
  Impl& impl = *impl_;
  if (impl.broken) return impl.status;
  const uint32_t length = static_cast<uint32_t>(request.size());
  for (size_t i = 0; i < 4; ++i) impl.prefix[1 + i] = static_cast<char>(length >> (24 - 8 * i));
  impl.prefix[0] = 0;
  impl.head = std::string_view(impl.prefix, kPrefix);
  impl.body = request;
  impl.incoming.clear();
  impl.on_message = &on_message;
  impl.status = CallStatus();
  impl.sent = impl.has_status = impl.closed = impl.stopped = false;
  const nghttp2_nv headers[] = {Header(":method", "POST"),
                                Header(":scheme", "http"),
                                Header(":path", method),
                                Header(":authority", "localhost"),
                                Header("te", "trailers"),
                                Header("content-type", "application/grpc"),
                                Header("user-agent", "kitlink")};
  nghttp2_data_provider provider;
  provider.source.ptr = &impl;
  provider.read_callback = Impl::ReadRequest;
  impl.stream = nghttp2_submit_request(impl.session, nullptr, headers, std::size(headers), &provider, nullptr);
  if (impl.stream < 0) {
    impl.Fail(nghttp2_strerror(impl.stream));
    return impl.status;
  }
  // Once the request is out, nothing is sent any more: acknowledging settings would only wake the server up, and
  // waiting for nobody. (Answers never wait for a window, and the daemon sends no pings.)
  while (!impl.closed && !impl.stopped) {
    if (!impl.sent) {
      if (!impl.Flush()) return impl.status;
      impl.sent = impl.head.empty() && impl.body.empty();
    }
    if (!impl.Receive()) return impl.status;
  }
  impl.status.answered = true;
  if (impl.stopped) impl.status.code = Code::kOk;
  return impl.status;
}

}  // namespace kitlink::client
