#include "daemon/direct_service.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "daemon/event_stream.h"

namespace kitlink::daemon {
namespace {

// To a client of DirectServer: everything at once. Has the request for as long as it lives.
template <typename Request>
class DirectEventStream final : public EventStream {
 public:
  explicit DirectEventStream(std::shared_ptr<DirectCall> call) : call_(std::move(call)) {}

  Request request;

  bool cancelled() const override { return gone_ || call_->cancelled(); }
  bool delivered() const override { return !gone_; }
  void Send(std::vector<v1::LinkEvent> events, absl::Status status) override {
    std::vector<std::string> messages;
    for (const v1::LinkEvent& event : events) messages.push_back(event.SerializeAsString());
    gone_ = !call_->Answer(messages, status);
    if (done) done(this);
    delete this;
  }

 private:
  const std::shared_ptr<DirectCall> call_;
  bool gone_ = false;  // before it had the answer
};

bool Parse(DirectCall& call, google::protobuf::Message* request) {
  if (request->ParseFromString(call.request())) return true;
  call.Answer({}, absl::InternalError("the request cannot be parsed"));
  return false;
}

template <typename Request>
void RunStream(LinkerService& service, std::shared_ptr<DirectCall> call,
               void (LinkerService::*run)(EventStream*, const Request&)) {
  auto stream = std::make_unique<DirectEventStream<Request>>(call);
  if (!Parse(*call, &stream->request)) return;
  DirectEventStream<Request>* const running = stream.release();  // its own from here on
  (service.*run)(running, running->request);
}

void Shutdown(LinkerService& service, std::shared_ptr<DirectCall> call) {
  v1::ShutdownRequest request;
  if (!Parse(*call, &request)) return;
  service.RunShutdown(request, [call] { call->Answer({v1::ShutdownResponse().SerializeAsString()}, absl::OkStatus()); });
}

}  // namespace

DirectServer::Handler DirectHandler(LinkerService* service) {
  return [service](std::shared_ptr<DirectCall> call) {
    if (call->method() == "/kitlink.v1.Linker/Link") {
      RunStream(*service, std::move(call), &LinkerService::RunLink);
    } else if (call->method() == "/kitlink.v1.Linker/Relink") {
      RunStream(*service, std::move(call), &LinkerService::RunRelink);
    } else if (call->method() == "/kitlink.v1.Linker/Shutdown") {
      Shutdown(*service, std::move(call));
    } else {
      call->Answer({}, absl::UnimplementedError(absl::StrCat(call->method(), " is not served here, but at kitlinkd.sock")));
    }
  };
}

}  // namespace kitlink::daemon
