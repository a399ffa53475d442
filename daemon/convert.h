// Between the core's values and the protocol's messages.
#ifndef DAEMON_CONVERT_H_
#define DAEMON_CONVERT_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "core/base/diagnostics.h"
#include "core/session/link_report.h"
#include "core/session/link_session.h"
#include "core/verify/verify.h"
#include "daemon/session.h"
#include "daemon/session_registry.h"
#include "grpcpp/support/status.h"
#include "kitlink/v1/link.pb.h"

namespace kitlink::daemon {

v1::Outcome ToProto(Outcome outcome);
v1::LinkResult ToProto(const LinkReport& report, absl::Time finished);
v1::Diagnostic ToProto(const Diagnostic& diagnostic);
v1::SessionInfo ToProto(const SessionSnapshot& snapshot);
v1::VerifyResponse ToProto(const verify::VerifyReport& report);

// The result of a link that failed with `status`: a link error, or (`usage`) arguments that make no sense.
v1::LinkResult FailedResult(absl::string_view output, bool usage);

grpc::Status ToGrpc(const absl::Status& status);

// InvalidArgument when neither an absolute output nor a key is given.
absl::StatusOr<SessionName> FromProto(const v1::SessionName& name);

// InvalidArgument for a content id that is not 32 bytes.
absl::StatusOr<std::optional<std::vector<ChangedInput>>> ChangedFromProto(const v1::RelinkRequest& request);

}  // namespace kitlink::daemon

#endif  // DAEMON_CONVERT_H_
