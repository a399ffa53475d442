#include "daemon/service.h"

#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "daemon/convert.h"
#include "daemon/event_stream.h"
#include "daemon/output_path.h"
#include "daemon/process_memory.h"

namespace kitlink::daemon {
namespace {

absl::Status NoSession(const SessionName& name) {
  return absl::NotFoundError(
      absl::StrCat("no session has linked ", name.key.empty() ? name.output : absl::StrCat("key ", name.key)));
}

v1::LinkEvent RefusalEvent(v1::Refusal refusal) {
  v1::LinkEvent event;
  *event.mutable_refusal() = std::move(refusal);
  return event;
}

v1::LinkEvent ShuttingDown() {
  v1::Refusal refusal;
  refusal.set_reason(v1::Refusal::SHUTTING_DOWN);
  refusal.set_text("the daemon is about to exit");
  return RefusalEvent(std::move(refusal));
}

std::vector<v1::LinkEvent> EventsOf(Diagnostics& diagnostics, v1::LinkResult result) {
  std::vector<v1::LinkEvent> events;
  for (const Diagnostic& diagnostic : diagnostics.Take()) {
    *events.emplace_back().mutable_diagnostic() = ToProto(diagnostic);
  }
  *events.emplace_back().mutable_result() = std::move(result);
  return events;
}

// A failure that no diagnostic tells yet becomes one: whoever reads the answer looks at the diagnostics.
void TellFailure(const absl::Status& status, Diagnostics& diagnostics) {
  if (!diagnostics.has_errors()) diagnostics.Error(std::string(status.message()));
}

bool OtherOutputFolder(const v1::LinkRequest& request, const std::string& output) {
  if (!request.has_output_directory_identity()) return false;
  struct stat info;
  std::string folder = output.substr(0, output.rfind('/') + 1);
  return stat(folder.c_str(), &info) != 0 || info.st_dev != request.output_directory_identity().device() ||
         info.st_ino != request.output_directory_identity().inode();
}

ClientView ViewOf(const v1::LinkRequest& request) {
  ClientView client;
  client.folder = request.working_directory();
  client.umask = request.umask() & 0777;
  client.environment.assign(request.environment().begin(), request.environment().end());
  return client;
}

std::string Summary(const LinkReport& report) {
  std::string reason = report.reason == GateReason::kNone ? "" : absl::StrCat(" (", Describe(report.reason).name, ")");
  return absl::StrFormat("%s: %s%s in %d us, %d of %d atoms, %d bytes, generation %d", report.output,
                         v1::Outcome_Name(ToProto(report.outcome)), reason, report.timings_us.total,
                         report.atoms.changed + report.atoms.moved + report.atoms.added, report.atoms.total,
                         report.bytes_written, report.generation);
}

grpc::ServerUnaryReactor* Reply(grpc::CallbackServerContext* context, grpc::Status status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(std::move(status));
  return reactor;
}

}  // namespace

bool LinkerService::Admit(EventStream* stream) {
  if (!parts_.lifecycle->Begin()) {
    stream->Send({ShuttingDown()}, absl::OkStatus());
    return false;
  }
  if (parts_.shadow != nullptr) parts_.shadow->Interrupt();
  stream->done = [this](EventStream* done) { Finish(done); };
  return true;
}

grpc::ServerWriteReactor<v1::LinkEvent>* LinkerService::Link(grpc::CallbackServerContext*,
                                                             const v1::LinkRequest* request) {
  auto* stream = new GrpcEventStream;
  // gRPC keeps the request until the stream is done.
  if (Admit(stream)) parts_.pool->Post([this, stream, request] { BeginLink(stream, *request); });
  return stream;
}

void LinkerService::RunLink(EventStream* stream, const v1::LinkRequest& request) {
  if (Admit(stream)) BeginLink(stream, request);
}

void LinkerService::BeginLink(EventStream* stream, const v1::LinkRequest& request) {
  if (request.working_directory().empty() || request.working_directory()[0] != '/') {
    stream->Send({}, absl::InvalidArgumentError("working_directory is not absolute"));
    return;
  }
  if (std::optional<v1::Refusal> refusal = CheckRequest(request, parts_.version, program_)) {
    stream->summary = absl::StrCat("refused: ", refusal->text());
    stream->Send({RefusalEvent(*std::move(refusal))}, absl::OkStatus());
    return;
  }
  auto client = std::make_shared<ClientView>(ViewOf(request));
  auto diagnostics = std::make_shared<Diagnostics>();
  std::vector<std::string> args(request.argv().begin(), request.argv().end());
  absl::StatusOr<SharedOptions> options = parts_.factory->Parse(args, *client, *diagnostics);
  absl::StatusOr<std::string> output =
      options.ok() ? CanonicalOutput(client->folder, (*options)->output) : absl::StatusOr<std::string>(options.status());
  if (!output.ok()) {
    TellFailure(output.status(), *diagnostics);
    bool usage = !options.ok() && absl::IsInvalidArgument(options.status());
    stream->summary = absl::StrCat(client->folder, ": not begun: ", output.status().message());
    stream->Send(EventsOf(*diagnostics, FailedResult(options.ok() ? (*options)->output : "", usage)), absl::OkStatus());
    return;
  }
  if (OtherOutputFolder(request, *output)) {
    v1::Refusal refusal;
    refusal.set_reason(v1::Refusal::OTHER_FILES);
    refusal.set_text(absl::StrCat("the folder of ", *output, " is another one to the daemon"));
    stream->summary = refusal.text();
    stream->Send({RefusalEvent(std::move(refusal))}, absl::OkStatus());
    return;
  }
  std::shared_ptr<Session> session = parts_.sessions->FindOrCreate({*output, (*options)->session_key});
  stream->session = session;
  session->Run([this, stream, client, diagnostics, shared = *options, path = *std::move(output)](Session::Turn& turn) {
    LinkInTurn(stream, turn, path, shared, *client, *diagnostics);
  });
}

void LinkerService::LinkInTurn(EventStream* stream, Session::Turn& turn, const std::string& output,
                               const SharedOptions& options, const ClientView& client, Diagnostics& diagnostics) {
  if (stream->cancelled()) {
    stream->summary = absl::StrCat(output, ": not begun, the client is gone");
    stream->Send({}, absl::CancelledError());
    return;
  }
  absl::StatusOr<LinkReport> report = turn.LinkerFor(output).Link(options, client, diagnostics);
  Answer(stream, turn, output, report, diagnostics);
}

grpc::ServerWriteReactor<v1::LinkEvent>* LinkerService::Relink(grpc::CallbackServerContext*,
                                                               const v1::RelinkRequest* request) {
  auto* stream = new GrpcEventStream;
  if (Admit(stream)) parts_.pool->Post([this, stream, request] { BeginRelink(stream, *request); });
  return stream;
}

void LinkerService::RunRelink(EventStream* stream, const v1::RelinkRequest& request) {
  if (Admit(stream)) BeginRelink(stream, request);
}

void LinkerService::BeginRelink(EventStream* stream, const v1::RelinkRequest& request) {
  absl::StatusOr<SessionName> name = FromProto(request.session());
  std::shared_ptr<Session> session = name.ok() ? parts_.sessions->Find(*name) : nullptr;
  if (session == nullptr) {
    stream->Send({}, name.ok() ? NoSession(*name) : name.status());
    return;
  }
  stream->session = session;
  session->Run([this, stream, &request](Session::Turn& turn) { RelinkInTurn(stream, turn, request); });
}

void LinkerService::RelinkInTurn(EventStream* stream, Session::Turn& turn, const v1::RelinkRequest& request) {
  if (stream->cancelled()) {
    stream->Send({}, absl::CancelledError());
    return;
  }
  // It may have been closed while this request waited.
  if (turn.linker() == nullptr) {
    stream->Send({}, NoSession({request.session().output(), request.session().session_key()}));
    return;
  }
  absl::StatusOr<std::optional<std::vector<ChangedInput>>> changed = ChangedFromProto(request);
  if (!changed.ok()) {
    stream->Send({}, changed.status());
    return;
  }
  Diagnostics diagnostics;
  absl::StatusOr<LinkReport> report = turn.linker()->Relink(*std::move(changed), diagnostics);
  // What a client says of an input and is not so is the request's fault, not a link error.
  if (absl::IsInvalidArgument(report.status())) {
    stream->summary = absl::StrCat("relink refused: ", report.status().message());
    stream->Send({}, report.status());
    return;
  }
  Answer(stream, turn, stream->session->Snapshot().output, report, diagnostics);
}

void LinkerService::Answer(EventStream* stream, Session::Turn& turn, absl::string_view output,
                           const absl::StatusOr<LinkReport>& report, Diagnostics& diagnostics) {
  v1::LinkResult result;
  if (report.ok()) {
    turn.Record(*report);
    if (parts_.shadow != nullptr) parts_.shadow->Linked(stream->session, *report);
    result = ToProto(*report, absl::Now());
    stream->summary = Summary(*report);
  } else {
    TellFailure(report.status(), diagnostics);
    result = FailedResult(output, /*usage=*/false);
    stream->summary = absl::StrCat(output, ": failed: ", report.status().message());
  }
  stream->Send(EventsOf(diagnostics, std::move(result)), absl::OkStatus());
}

void LinkerService::Finish(EventStream* stream) {
  std::shared_ptr<Session> session = std::move(stream->session);
  std::string summary = std::move(stream->summary);
  if (!stream->delivered()) absl::StrAppend(&summary, " (the client went away)");
  if (session != nullptr) session->SettleSoon();
  // Off gRPC's thread, which the next request may be waiting for. The lifecycle counts this as part of the link, so
  // that nothing here outlives the service.
  parts_.pool->Post([this, session, summary] {
    if (!summary.empty()) parts_.log->Info(summary);
    for (const std::string& closed : parts_.sessions->Trim(session.get())) {
      parts_.log->Info(absl::StrCat(closed, ": session closed, the memory limit is reached"));
    }
    parts_.lifecycle->End();
  });
}

grpc::ServerUnaryReactor* LinkerService::Status(grpc::CallbackServerContext* context,
                                                const v1::StatusRequest* request, v1::StatusResponse* response) {
  parts_.lifecycle->Touch();
  FillVersion(response->mutable_daemon());
  response->set_links_running(parts_.lifecycle->running());
  response->set_uptime_ms(static_cast<uint64_t>(absl::ToInt64Milliseconds(absl::Now() - started_)));
  response->set_anonymous_bytes(AnonymousBytes());
  if (!request->has_session()) {
    for (const std::shared_ptr<Session>& session : parts_.sessions->List()) {
      *response->add_sessions() = ToProto(session->Snapshot());
    }
    return Reply(context, grpc::Status::OK);
  }
  absl::StatusOr<SessionName> name = FromProto(request->session());
  if (!name.ok()) return Reply(context, ToGrpc(name.status()));
  std::shared_ptr<Session> session = parts_.sessions->Find(*name);
  if (session == nullptr) return Reply(context, ToGrpc(NoSession(*name)));
  v1::SessionInfo* info = response->add_sessions();
  *info = ToProto(session->Snapshot());
  if (!request->with_inputs()) return Reply(context, grpc::Status::OK);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  session->Post([reactor, info](Session::Turn& turn) {
    if (turn.linker() != nullptr) {
      for (std::string& input : turn.linker()->Inputs()) info->add_inputs(std::move(input));
    }
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* LinkerService::Explain(grpc::CallbackServerContext* context,
                                                 const v1::ExplainRequest* request, v1::ExplainResponse* response) {
  parts_.lifecycle->Touch();
  absl::StatusOr<SessionName> name = FromProto(request->session());
  if (!name.ok()) return Reply(context, ToGrpc(name.status()));
  std::shared_ptr<Session> session = parts_.sessions->Find(*name);
  if (session == nullptr) return Reply(context, ToGrpc(NoSession(*name)));
  for (const RecordedLink& link : session->History()) *response->add_links() = ToProto(link.report, link.finished);
  return Reply(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* LinkerService::Verify(grpc::CallbackServerContext* context,
                                                const v1::VerifyRequest* request, v1::VerifyResponse* response) {
  absl::StatusOr<SessionName> name = FromProto(request->session());
  if (!name.ok()) return Reply(context, ToGrpc(name.status()));
  std::shared_ptr<Session> session = parts_.sessions->Find(*name);
  if (session == nullptr) return Reply(context, ToGrpc(NoSession(*name)));
  if (!parts_.lifecycle->Begin()) {
    return Reply(context, grpc::Status(grpc::StatusCode::UNAVAILABLE, "the daemon is about to exit"));
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  std::string output = session->Snapshot().output;
  session->Post([this, reactor, response, output, asked = *name](Session::Turn& turn) {
    absl::Status status = NoSession(asked);
    if (turn.linker() != nullptr) {
      Diagnostics diagnostics;
      absl::StatusOr<verify::VerifyReport> report = turn.linker()->Verify(diagnostics);
      status = report.status();
      if (report.ok()) *response = ToProto(*report);
      response->set_output(output);
      for (const Diagnostic& diagnostic : diagnostics.Take()) *response->add_diagnostics() = ToProto(diagnostic);
      parts_.log->Info(absl::StrCat(output, ": verified: ",
                                    !report.ok()             ? absl::string_view(status.message())
                                    : report->equivalent()   ? absl::string_view("equivalent")
                                                             : absl::string_view("DIFFERENT from a cold link")));
    }
    reactor->Finish(ToGrpc(status));
    parts_.lifecycle->End();
  });
  return reactor;
}

grpc::ServerUnaryReactor* LinkerService::CloseSession(grpc::CallbackServerContext* context,
                                                      const v1::CloseSessionRequest* request,
                                                      v1::CloseSessionResponse* response) {
  parts_.lifecycle->Touch();
  absl::StatusOr<SessionName> name = FromProto(request->session());
  if (!name.ok()) return Reply(context, ToGrpc(name.status()));
  std::shared_ptr<Session> session = parts_.sessions->Find(*name);
  if (session == nullptr) return Reply(context, grpc::Status::OK);
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  session->Post([reactor, response](Session::Turn& turn) {
    response->set_closed(turn.linker() != nullptr);
    turn.Close();
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* LinkerService::Version(grpc::CallbackServerContext* context, const v1::VersionRequest*,
                                                 v1::VersionResponse* response) {
  FillVersion(response);
  return Reply(context, grpc::Status::OK);
}

grpc::ServerUnaryReactor* LinkerService::Shutdown(grpc::CallbackServerContext* context,
                                                  const v1::ShutdownRequest* request, v1::ShutdownResponse*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  RunShutdown(*request, [reactor] { reactor->Finish(grpc::Status::OK); });
  return reactor;
}

void LinkerService::RunShutdown(const v1::ShutdownRequest& request, std::function<void()> drained) {
  parts_.log->Info(absl::StrCat("asked to shut down: ", request.reason().empty() ? "no reason given" : request.reason()));
  parts_.lifecycle->Drain(std::move(drained));
}

void LinkerService::FillVersion(v1::VersionResponse* response) const {
  response->set_version(parts_.version);
  response->set_pid(getpid());
}

}  // namespace kitlink::daemon
