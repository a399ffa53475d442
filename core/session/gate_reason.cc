#include "core/session/gate_reason.h"

namespace kitlink {
namespace {

constexpr GateReasonInfo kReasons[] = {
#define KITLINK_GATE_REASON(number, id, name, text) {GateReason::id, name, text},
#include "core/session/gate_reasons.def"
#undef KITLINK_GATE_REASON
};

}  // namespace

const GateReasonInfo& Describe(GateReason reason) {
  for (const GateReasonInfo& info : kReasons) {
    if (info.reason == reason) return info;
  }
  return kReasons[0];
}

absl::Span<const GateReasonInfo> AllGateReasons() { return kReasons; }

}  // namespace kitlink
