#include "daemon/convert.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {

v1::Outcome ToProto(Outcome outcome) {
  switch (outcome) {
    case Outcome::kFull:
      return v1::FULL;
    case Outcome::kPatched:
      return v1::PATCHED;
    case Outcome::kFellBackFull:
      return v1::FELL_BACK_FULL;
  }
  return v1::OUTCOME_UNSPECIFIED;
}

v1::LinkResult ToProto(const LinkReport& report, absl::Time finished) {
  v1::LinkResult result;
  result.set_output(report.output);
  result.set_outcome(ToProto(report.outcome));
  result.set_reason_number(static_cast<uint32_t>(report.reason));
  result.set_reason(Describe(report.reason).name);
  result.set_reason_detail(report.reason_detail);
  v1::AtomCounts* atoms = result.mutable_atoms();
  atoms->set_total(report.atoms.total);
  atoms->set_changed(report.atoms.changed);
  atoms->set_moved(report.atoms.moved);
  atoms->set_added(report.atoms.added);
  atoms->set_removed(report.atoms.removed);
  for (const ByteRange& range : report.patched_ranges) {
    v1::ByteRange* out = result.add_patched_ranges();
    out->set_offset(range.offset);
    out->set_length(range.length);
  }
  result.set_bytes_written(report.bytes_written);
  result.set_generation(report.generation);
  result.set_build_id(report.build_id);
  v1::Counters* counters = result.mutable_counters();
  counters->set_full_resolves(report.counters.full_resolves);
  counters->set_inputs_read(report.counters.inputs_read);
  counters->set_bytes_read(report.counters.bytes_read);
  counters->set_symbols_resolved(report.counters.symbols_resolved);
  counters->set_relocations_applied(report.counters.relocations_applied);
  v1::Timings* timings = result.mutable_timings();
  timings->set_total(report.timings_us.total);
  timings->set_detect(report.timings_us.detect);
  timings->set_read(report.timings_us.read);
  timings->set_diff(report.timings_us.diff);
  timings->set_gate(report.timings_us.gate);
  timings->set_plan(report.timings_us.plan);
  timings->set_commit(report.timings_us.commit);
  timings->set_prepared(report.timings_us.prepared);
  result.set_finished_unix_ms(absl::ToUnixMillis(finished));
  return result;
}

v1::Diagnostic ToProto(const Diagnostic& diagnostic) {
  v1::Diagnostic message;
  switch (diagnostic.severity) {
    case Severity::kNote:
      message.set_severity(v1::Diagnostic::NOTE);
      break;
    case Severity::kWarning:
      message.set_severity(v1::Diagnostic::WARNING);
      break;
    case Severity::kError:
      message.set_severity(v1::Diagnostic::ERROR);
      break;
  }
  message.set_text(diagnostic.text);
  return message;
}

v1::SessionInfo ToProto(const SessionSnapshot& snapshot) {
  v1::SessionInfo info;
  info.set_output(snapshot.output);
  info.set_session_key(snapshot.key);
  info.set_generation(snapshot.status.generation);
  info.set_units(snapshot.status.units);
  info.set_atoms(snapshot.status.atoms);
  info.set_symbols(snapshot.status.symbols);
  info.set_bytes_held(snapshot.status.bytes_held);
  info.set_input_bytes(snapshot.status.input_bytes);
  info.set_hot(snapshot.status.hot);
  info.set_busy(snapshot.busy);
  info.set_queued(snapshot.queued);
  info.set_shadow(snapshot.shadow);
  info.set_fragmented(snapshot.status.fragmented);
  info.set_renewal(snapshot.status.renewal);
  return info;
}

v1::VerifyResponse ToProto(const verify::VerifyReport& report) {
  v1::VerifyResponse response;
  response.set_equivalent(report.equivalent());
  for (const verify::Difference& difference : report.differences) response.add_differences(difference.what);
  response.set_atoms_compared(report.atoms_compared);
  response.set_sites_compared(report.sites_compared);
  response.set_debug_bytes_compared(report.debug_bytes_compared);
  return response;
}

v1::LinkResult FailedResult(absl::string_view output, bool usage) {
  v1::LinkResult result;
  result.set_exit_status(usage ? 2 : 1);
  result.set_output(output.data(), output.size());
  return result;
}

grpc::Status ToGrpc(const absl::Status& status) {
  // The two enumerations have the same numbers.
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::StatusOr<SessionName> FromProto(const v1::SessionName& name) {
  SessionName result{name.output(), name.session_key()};
  if (result.key.empty() && (result.output.empty() || result.output[0] != '/')) {
    return absl::InvalidArgumentError("the session is not named: an absolute output path or a session key is needed");
  }
  return result;
}

absl::StatusOr<std::optional<std::vector<ChangedInput>>> ChangedFromProto(const v1::RelinkRequest& request) {
  if (!request.has_changed()) return std::optional<std::vector<ChangedInput>>();
  std::vector<ChangedInput> changed;
  for (const v1::ChangedInput& input : request.changed().inputs()) {
    ChangedInput entry;
    entry.path = input.path();
    if (!input.content_id().empty()) {
      if (input.content_id().size() != entry.content.bytes.size()) {
        return absl::InvalidArgumentError(absl::StrCat(input.path(), ": a content id has 32 bytes"));
      }
      std::copy(input.content_id().begin(), input.content_id().end(), entry.content.bytes.begin());
    }
    changed.push_back(std::move(entry));
  }
  return std::optional<std::vector<ChangedInput>>(std::move(changed));
}

}  // namespace kitlink::daemon
