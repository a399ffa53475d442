// Why a relink was not patched. Each reason is declared once, in gate_reasons.def; a test fails for a reason that
// no case under testdata/gate provokes, and docs/gate-reasons.md describes them.
#ifndef CORE_SESSION_GATE_REASON_H_
#define CORE_SESSION_GATE_REASON_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "core/base/ids.h"

namespace kitlink {

enum class GateReason : uint16_t {
#define KITLINK_GATE_REASON(number, id, name, text) id = number,
#include "core/session/gate_reasons.def"
#undef KITLINK_GATE_REASON
};

struct GateReasonInfo {
  GateReason reason;
  const char* name;  // "undefined-set-changed": stable, scripts match on it
  const char* text;  // one line for people
};

// Why not.
struct GateRefusal {
  GateRefusal() = default;
  GateRefusal(GateReason why, std::string what) : reason(why), detail(std::move(what)) {}

  // Another refusal that republishing would lift, too.
  void Join(const GateRefusal& other) {
    republish.insert(republish.end(), other.republish.begin(), other.republish.end());
    rewrite.insert(rewrite.end(), other.rewrite.begin(), other.rewrite.end());
    preference &= other.preference;
  }

  GateReason reason = GateReason::kNone;
  std::string detail;  // names the file, section or symbol
  // Not empty: what stands in the way is only that others refer to these symbols. If those who do follow, the symbols may
  // get other addresses.
  std::vector<SymbolId> republish;
  std::vector<UnitId> rewrite;  // or that these units stay as they are: with them among the changed ones there is a way
  // Valid: this section has no room for so many bytes, and might get some.
  SectionId grow;
  uint64_t grow_bytes = 0;
  bool preference = false;  // there is another way, only not as good
};

const GateReasonInfo& Describe(GateReason reason);
absl::Span<const GateReasonInfo> AllGateReasons();

}  // namespace kitlink

#endif  // CORE_SESSION_GATE_REASON_H_
