// One answer of the service: the events of a Link or Relink call on their way to the client.
#ifndef DAEMON_EVENT_STREAM_H_
#define DAEMON_EVENT_STREAM_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "daemon/convert.h"
#include "daemon/session.h"
#include "grpcpp/grpcpp.h"
#include "kitlink/v1/link.grpc.pb.h"

namespace kitlink::daemon {

// Owns itself: made when a call arrives, gone after `done` ran. Send is called exactly once, from any thread.
class EventStream {
 public:
  EventStream() = default;
  virtual ~EventStream() = default;
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;

  // True once the client is gone.
  virtual bool cancelled() const = 0;
  // After Send: the client was there for the answer.
  virtual bool delivered() const = 0;
  // Sends `events`, then ends the call with `status`. Nobody may use the stream afterwards.
  virtual void Send(std::vector<v1::LinkEvent> events, absl::Status status) = 0;

  // For the log and what follows the answer; set before Send.
  std::shared_ptr<Session> session;
  std::string summary;
  // Runs when the answer is on its way, or cannot leave any more.
  std::function<void(EventStream*)> done;
};

// To a client of gRPC's server. The last event and the status travel together.
class GrpcEventStream final : public EventStream, public grpc::ServerWriteReactor<v1::LinkEvent> {
 public:
  bool cancelled() const override { return cancelled_.load(); }
  bool delivered() const override { return !cancelled(); }
  void Send(std::vector<v1::LinkEvent> events, absl::Status status) override {
    events_ = std::move(events);
    status_ = ToGrpc(status);
    Next();
  }

 private:
  void Next() {
    if (cancelled() || next_ == events_.size()) {
      Finish(cancelled() ? grpc::Status::CANCELLED : status_);
      return;
    }
    const v1::LinkEvent& event = events_[next_++];
    if (next_ == events_.size() && status_.ok()) {
      StartWriteAndFinish(&event, grpc::WriteOptions(), status_);
    } else {
      // No buffer hint: gRPC 1.51 does not complete a hinted first write, as it holds back the headers with it.
      StartWrite(&event);
    }
  }
  void OnWriteDone(bool ok) override {
    if (ok) {
      Next();
    } else {
      Finish(grpc::Status::CANCELLED);
    }
  }
  void OnCancel() override { cancelled_.store(true); }
  void OnDone() override {
    if (done) done(this);
    delete this;
  }

  std::atomic<bool> cancelled_{false};
  std::vector<v1::LinkEvent> events_;
  size_t next_ = 0;
  grpc::Status status_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_EVENT_STREAM_H_
