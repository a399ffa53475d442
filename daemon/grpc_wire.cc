#include "daemon/grpc_wire.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kitlink::daemon {
namespace {

constexpr int32_t kLargestWindow = 0x7fffffff;
constexpr uint32_t kMaxCalls = 100;  // at once on one connection
constexpr size_t kLongestText = 4096;  // of a status; headers have to be short
constexpr size_t kPrefix = 5;  // a gRPC message's: compressed flag, length in network order

nghttp2_nv Header(absl::string_view name, absl::string_view value) {
  return {reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
          reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

// As grpc-message has it.
std::string EncodePercent(absl::string_view text) {
  std::string encoded;
  for (char c : text) {
    if (c >= ' ' && c <= '~' && c != '%') {
      encoded += c;
    } else {
      absl::StrAppendFormat(&encoded, "%%%02X", static_cast<unsigned char>(c));
    }
  }
  return encoded;
}

std::string Prefixed(absl::string_view message) {
  std::string framed(kPrefix, '\0');
  for (size_t i = 0; i < 4; ++i) framed[1 + i] = static_cast<char>(message.size() >> (24 - 8 * i));
  return framed.append(message.data(), message.size());
}

// The one message of a request, out of what came on its stream.
absl::Status TakeMessage(std::string* body) {
  if (body->size() < kPrefix) return absl::InternalError("a call without a message");
  const uint8_t* p = reinterpret_cast<const uint8_t*>(body->data());
  if (p[0] != 0) return absl::UnimplementedError("compressed messages are not understood");
  const size_t length = size_t{p[1]} << 24 | size_t{p[2]} << 16 | size_t{p[3]} << 8 | p[4];
  if (length != body->size() - kPrefix) return absl::InternalError("a call with a message that is cut short, or with several");
  body->erase(0, kPrefix);
  return absl::OkStatus();
}

}  // namespace

struct GrpcWire::Callbacks {
  static GrpcWire* Of(void* self) { return static_cast<GrpcWire*>(self); }

  static int OnBegin(nghttp2_session*, const nghttp2_frame* frame, void* self) {
    const bool request = frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (request) Of(self)->partial_ += Of(self)->streams_.try_emplace(frame->hd.stream_id).second;
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_length,
                      const uint8_t* value, size_t value_length, uint8_t, void* self) {
    Stream* stream = Of(self)->Find(frame->hd.stream_id);
    if (stream != nullptr && absl::string_view(reinterpret_cast<const char*>(name), name_length) == ":path") {
      stream->method.assign(reinterpret_cast<const char*>(value), value_length);
    }
    return 0;
  }

  static int OnData(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t length, void* self) {
    Stream* stream = Of(self)->Find(id);
    if (stream == nullptr) return 0;
    if (length > Of(self)->most_waiting_ - Of(self)->waiting_) return NGHTTP2_ERR_CALLBACK_FAILURE;
    Of(self)->waiting_ += length;
    stream->request.append(reinterpret_cast<const char*>(data), length);
    return 0;
  }

  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* self) {
    const bool carries = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    if (carries && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) Of(self)->Complete(frame->hd.stream_id);
    return 0;
  }

  // Answered, or given up: then nobody need begin it.
  static int OnClose(nghttp2_session*, int32_t id, uint32_t, void* self) {
    GrpcWire& wire = *Of(self);
    const auto found = wire.streams_.find(id);
    if (found == wire.streams_.end()) return 0;
    wire.waiting_ -= found->second.request.size();
    wire.partial_ -= !found->second.complete;
    wire.answering_ -= found->second.answered;
    wire.streams_.erase(found);
    const auto call = std::find_if(wire.calls_.begin(), wire.calls_.end(), [&](const Call& c) { return c.stream == id; });
    if (call != wire.calls_.end()) {
      wire.waiting_ -= call->request.size();
      wire.calls_.erase(call);
    }
    return 0;
  }

  // Some more of the answer; after its end come the trailers.
  static ssize_t ReadAnswer(nghttp2_session* session, int32_t id, uint8_t* buffer, size_t length, uint32_t* flags,
                            nghttp2_data_source* source, void*) {
    Stream* stream = static_cast<Stream*>(source->ptr);
    const size_t count = std::min(length, stream->answer.size() - stream->sent);
    std::memcpy(buffer, stream->answer.data() + stream->sent, count);
    stream->sent += count;
    if (stream->sent == stream->answer.size()) {
      *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
      const nghttp2_nv trailers[] = {Header("grpc-status", stream->code), Header("grpc-message", stream->message)};
      if (nghttp2_submit_trailer(session, id, trailers, stream->message.empty() ? 1 : 2) != 0) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
      }
    }
    return static_cast<ssize_t>(count);
  }
};

GrpcWire::GrpcWire(size_t most_waiting) : most_waiting_(most_waiting) {}

GrpcWire::~GrpcWire() { nghttp2_session_del(session_); }

GrpcWire::Stream* GrpcWire::Find(int32_t id) {
  auto found = streams_.find(id);
  return found == streams_.end() ? nullptr : &found->second;
}

std::unique_ptr<GrpcWire> GrpcWire::Make(size_t most_waiting) {
  std::unique_ptr<GrpcWire> wire(new GrpcWire(most_waiting));
  nghttp2_session_callbacks* callbacks = nullptr;
  if (nghttp2_session_callbacks_new(&callbacks) != 0) return nullptr;
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, Callbacks::OnBegin);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, Callbacks::OnHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, Callbacks::OnData);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, Callbacks::OnFrame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, Callbacks::OnClose);
  const int made = nghttp2_session_server_new(&wire->session_, callbacks, wire.get());
  nghttp2_session_callbacks_del(callbacks);
  if (made != 0) return nullptr;
  // Windows so large that no request waits for an update.
  const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kLargestWindow},
                                             {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, kMaxCalls}};
  const bool begun = nghttp2_submit_settings(wire->session_, NGHTTP2_FLAG_NONE, settings, 2) == 0 &&
                     nghttp2_session_set_local_window_size(wire->session_, NGHTTP2_FLAG_NONE, 0, kLargestWindow) == 0;
  return begun ? std::move(wire) : nullptr;
}

bool GrpcWire::Receive(absl::string_view bytes) {
  const ssize_t used = nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  return used >= 0 && static_cast<size_t>(used) == bytes.size();
}

void GrpcWire::Complete(int32_t id) {
  Stream* stream = Find(id);
  if (stream == nullptr || stream->complete) return;
  stream->complete = true;
  --partial_;
  std::string request = std::exchange(stream->request, std::string());
  waiting_ -= request.size();
  if (absl::Status status = TakeMessage(&request); status.ok()) {
    waiting_ += request.size();
    calls_.push_back({id, std::move(stream->method), std::move(request)});
  } else {
    Answer(id, {}, status);
  }
}

GrpcWire::Call GrpcWire::Take() {
  Call call = std::move(calls_.front());
  calls_.pop_front();
  waiting_ -= call.request.size();
  return call;
}

bool GrpcWire::Answer(int32_t id, const std::vector<std::string>& messages, const absl::Status& status) {
  Stream* stream = Find(id);
  if (stream == nullptr || stream->answered) return true;
  stream->answered = true;
  ++answering_;
  stream->code = absl::StrCat(static_cast<int>(status.code()));
  stream->message = EncodePercent(status.message().substr(0, kLongestText));
  for (const std::string& message : messages) stream->answer += Prefixed(message);
  const nghttp2_nv headers[] = {Header(":status", "200"), Header("content-type", "application/grpc"),
                                Header("grpc-status", stream->code), Header("grpc-message", stream->message)};
  nghttp2_data_provider provider;
  provider.source.ptr = stream;
  provider.read_callback = Callbacks::ReadAnswer;
  // Without messages the status is all there is, and comes with the headers.
  const bool bare = stream->answer.empty();
  const size_t count = !bare ? 2 : stream->message.empty() ? 3 : 4;
  return nghttp2_submit_response(session_, id, headers, count, bare ? nullptr : &provider) == 0;
}

bool GrpcWire::Send(std::string* out) {
  for (;;) {
    const uint8_t* data = nullptr;
    const ssize_t length = nghttp2_session_mem_send(session_, &data);
    if (length < 0) return false;
    if (length == 0) break;
    out->append(reinterpret_cast<const char*>(data), static_cast<size_t>(length));
  }
  return nghttp2_session_want_read(session_) != 0 || nghttp2_session_want_write(session_) != 0;
}

}  // namespace kitlink::daemon
