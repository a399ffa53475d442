// A client of gRPC's wire format that is only what a test makes of it: it takes nothing that it is not given, says nothing by
// itself, and can begin any number of calls at once.
#ifndef DAEMON_TESTING_WIRE_CLIENT_H_
#define DAEMON_TESTING_WIRE_CLIENT_H_

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace kitlink::daemon {

class WireClient {
 public:
  // `window`: bytes of answers that the server may send before it is told that they were heard.
  explicit WireClient(uint32_t window = 65535) {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
        callbacks, [](nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t length, void* self) {
          static_cast<WireClient*>(self)->heard_[id].append(reinterpret_cast<const char*>(data), length);
          return 0;
        });
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, [](nghttp2_session*, int32_t id, uint32_t, void* self) {
      static_cast<WireClient*>(self)->closed_.push_back(id);
      return 0;
    });
    nghttp2_session_client_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry setting{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window};
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, &setting, 1);
    nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, static_cast<int32_t>(window));
  }
  ~WireClient() { nghttp2_session_del(session_); }
  WireClient(const WireClient&) = delete;
  WireClient& operator=(const WireClient&) = delete;

  // Begins a call of `method`, "/package.Service/Method"; its number. `whole`: the request ends, else more may come.
  int32_t Begin(absl::string_view method, const std::string& request, bool whole = true) {
    nghttp2_nv headers[] = {Header(":method", "POST"), Header(":scheme", "http"), Header(":authority", "test"),
                            Header(":path", method), Header("content-type", "application/grpc")};
    Request& said = requests_.emplace_back();
    said.body = std::string(kPrefix, '\0') + request;
    for (size_t i = 0; i < 4; ++i) said.body[1 + i] = static_cast<char>(request.size() >> (24 - 8 * i));
    said.whole = whole;
    nghttp2_data_provider provider;
    provider.source.ptr = &said;
    provider.read_callback = [](nghttp2_session*, int32_t, uint8_t* buffer, size_t length, uint32_t* flags,
                                nghttp2_data_source* source, void*) -> ssize_t {
      Request& from = *static_cast<Request*>(source->ptr);
      const size_t count = std::min(length, from.body.size() - from.said);
      if (count == 0 && !from.whole) return NGHTTP2_ERR_DEFERRED;
      std::memcpy(buffer, from.body.data() + from.said, count);
      from.said += count;
      if (from.said == from.body.size() && from.whole) *flags |= NGHTTP2_DATA_FLAG_EOF;
      return static_cast<ssize_t>(count);
    };
    return nghttp2_submit_request(session_, nullptr, headers, std::size(headers), &provider, nullptr);
  }
  void GiveUp(int32_t id) { nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL); }


  // What there is to say now.
  std::string Say() {
    std::string said;
    const uint8_t* data = nullptr;
    for (ssize_t length; (length = nghttp2_session_mem_send(session_, &data)) > 0;) {
      said.append(reinterpret_cast<const char*>(data), static_cast<size_t>(length));
    }
    return said;
  }
  bool Hear(absl::string_view bytes) {
    return nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) ==
           static_cast<ssize_t>(bytes.size());
  }

  // What came on a stream, without the prefix of its only message.
  std::string Heard(int32_t id) const {
    const auto found = heard_.find(id);
    return found == heard_.end() || found->second.size() < kPrefix ? "" : found->second.substr(kPrefix);
  }
  const std::vector<int32_t>& closed() const { return closed_; }

 private:
  static constexpr size_t kPrefix = 5;  // of a message

  struct Request {
    std::string body;
    size_t said = 0;
    bool whole = true;
  };
  static nghttp2_nv Header(absl::string_view name, absl::string_view value) {
    auto bytes = [](absl::string_view text) { return reinterpret_cast<uint8_t*>(const_cast<char*>(text.data())); };
    return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
  }

  nghttp2_session* session_ = nullptr;
  std::deque<Request> requests_;
  std::map<int32_t, std::string> heard_;
  std::vector<int32_t> closed_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_TESTING_WIRE_CLIENT_H_
