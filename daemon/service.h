// kitlink.v1.Linker as the daemon serves it.
#ifndef DAEMON_SERVICE_H_
#define DAEMON_SERVICE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/lifecycle.h"
#include "daemon/linker.h"
#include "daemon/log.h"
#include "daemon/request_check.h"
#include "daemon/session_registry.h"
#include "daemon/shadow_scheduler.h"
#include "daemon/worker_pool.h"
#include "grpcpp/grpcpp.h"
#include "kitlink/v1/link.grpc.pb.h"

namespace kitlink::daemon {

class EventStream;

// Thread safe, as gRPC requires. gRPC's own threads never link: they hand the request to the pool and return.
//
// The answer to a link goes out before its session settles; a request that arrives meanwhile waits in the session's
// queue.
class LinkerService final : public v1::Linker::CallbackService {
 public:
  struct Parts {
    LinkerFactory* factory;
    SessionRegistry* sessions;
    WorkerPool* pool;
    Lifecycle* lifecycle;
    Log* log;
    std::string version;
    ShadowScheduler* shadow = nullptr;  // none: nothing is compared while idle
  };
  // What `parts` points to must outlive the service.
  explicit LinkerService(Parts parts) : parts_(std::move(parts)) {}

  grpc::ServerWriteReactor<v1::LinkEvent>* Link(grpc::CallbackServerContext* context,
                                                const v1::LinkRequest* request) override;
  grpc::ServerWriteReactor<v1::LinkEvent>* Relink(grpc::CallbackServerContext* context,
                                                  const v1::RelinkRequest* request) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context, const v1::StatusRequest* request,
                                   v1::StatusResponse* response) override;
  grpc::ServerUnaryReactor* Explain(grpc::CallbackServerContext* context, const v1::ExplainRequest* request,
                                    v1::ExplainResponse* response) override;
  grpc::ServerUnaryReactor* Verify(grpc::CallbackServerContext* context, const v1::VerifyRequest* request,
                                   v1::VerifyResponse* response) override;
  grpc::ServerUnaryReactor* CloseSession(grpc::CallbackServerContext* context,
                                         const v1::CloseSessionRequest* request,
                                         v1::CloseSessionResponse* response) override;
  grpc::ServerUnaryReactor* Version(grpc::CallbackServerContext* context, const v1::VersionRequest* request,
                                    v1::VersionResponse* response) override;
  grpc::ServerUnaryReactor* Shutdown(grpc::CallbackServerContext* context, const v1::ShutdownRequest* request,
                                     v1::ShutdownResponse* response) override;

  // The calls of those who come in without gRPC's server, on a thread of the pool, which may link itself. `request` must live
  // as long as `stream`.
  void RunLink(EventStream* stream, const v1::LinkRequest& request);
  void RunRelink(EventStream* stream, const v1::RelinkRequest& request);
  // `drained` is called when everything that runs has ended.
  void RunShutdown(const v1::ShutdownRequest& request, std::function<void()> drained);

 private:
  // Counts a link that is about to begin. False, and the stream is gone, when the daemon is ending.
  bool Admit(EventStream* stream);
  // The steps of Link and Relink, on a thread of the pool.
  void BeginLink(EventStream* stream, const v1::LinkRequest& request);
  void LinkInTurn(EventStream* stream, Session::Turn& turn, const std::string& output, const SharedOptions& options,
                  const ClientView& client, Diagnostics& diagnostics);
  void BeginRelink(EventStream* stream, const v1::RelinkRequest& request);
  void RelinkInTurn(EventStream* stream, Session::Turn& turn, const v1::RelinkRequest& request);
  // Sends what a link came to, and has its session settle once that is on its way.
  void Answer(EventStream* stream, Session::Turn& turn, absl::string_view output,
              const absl::StatusOr<LinkReport>& report, Diagnostics& diagnostics);
  // After the answer: the log line, the memory limit.
  void Finish(EventStream* stream);
  void FillVersion(v1::VersionResponse* response) const;

  const Parts parts_;
  const ProgramWatch program_;
  const absl::Time started_ = absl::Now();
};

}  // namespace kitlink::daemon

#endif  // DAEMON_SERVICE_H_
