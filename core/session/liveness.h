// What garbage collection keeps after a change, decided around the change alone.
#ifndef CORE_SESSION_LIVENESS_H_
#define CORE_SESSION_LIVENESS_H_

#include <optional>
#include <vector>

#include "core/session/diff.h"
#include "core/session/gate_reason.h"
#include "core/session/memory.h"
#include "core/session/name_changes.h"

namespace kitlink {

// Decides for links with --gc-sections which sections of `diffs` are in the image, as MarkLive does in a full link, and
// says so in their fates and in `names`: which definitions came into the image or left it, which imports did. REQUIRES:
// `names` is what ResolveNames says of `diffs`.
//
// What live sections of the changed units refer to anew comes in, with all that it leads to. What they no longer refer to
// is looked at: a way back from it to something that stays is searched for, and if there is none, all that the search has
// seen goes. Where that concerns sections of other units, or their debug information, the refusal lists them
// (GateRefusal::rewrite), and nothing has changed. Refuses what is no plain coming and going, and when the search takes too
// long. Costs O(the changed units and what comes and goes), and the search.
std::optional<GateRefusal> DecideLiveness(const Memory& memory, std::vector<UnitDiff>* diffs, NameChanges* names);

}  // namespace kitlink

#endif  // CORE_SESSION_LIVENESS_H_
