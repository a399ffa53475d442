// Imports that nothing asks for at run time.
#ifndef CORE_SESSION_IMPORT_NEEDS_H_
#define CORE_SESSION_IMPORT_NEEDS_H_

#include <optional>
#include <vector>

#include "core/session/diff.h"
#include "core/session/gate_reason.h"
#include "core/session/memory.h"
#include "core/session/name_changes.h"

namespace kitlink {

// A full link makes rows for the loader by what references need, and some need nothing: calls of __tls_get_addr that go
// with a relaxed access to a thread variable, fields of no width. Of the names in `names` that are imported from now on,
// those that the changed units refer to in such ways alone are made dormant with --gc-sections, and refused without. What
// sections are in the image must be decided (DecideLiveness). Costs O(relocations of the changed units), and nothing when
// no import is new.
std::optional<GateRefusal> SettleImportNeeds(const Memory& memory, const std::vector<UnitDiff>& diffs, NameChanges* names);

}  // namespace kitlink

#endif  // CORE_SESSION_IMPORT_NEEDS_H_
