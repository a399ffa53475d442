// The Gate step: may this change be patched? It may say no; it may never be wrong.
#ifndef CORE_SESSION_GATE_H_
#define CORE_SESSION_GATE_H_

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/session/diff.h"
#include "core/session/gate_reason.h"
#include "core/session/memory.h"
#include "core/session/name_changes.h"

namespace kitlink {

// Leave to plan a patch. Only the gate can make one.
class GatePass {
 public:
  GatePass(GatePass&&) = default;
  GatePass& operator=(GatePass&&) = default;
  const std::vector<UnitDiff>& units() const { return units_; }
  const NameChanges& names() const { return names_; }
  // The new objects, for planning: the plan keeps them alive until it is committed.
  std::vector<UnitDiff> TakeUnits() && { return std::move(units_); }

 private:
  friend std::variant<GatePass, GateRefusal> CheckStrictGate(const Memory& memory, std::vector<UnitDiff> units);
  friend std::variant<GatePass, GateRefusal> CheckExactGate(const Memory& memory, std::vector<UnitDiff>* units,
                                                            const std::vector<SymbolId>& reconsider);
  GatePass(std::vector<UnitDiff> units, NameChanges names) : units_(std::move(units)), names_(std::move(names)) {}
  std::vector<UnitDiff> units_;
  NameChanges names_;
};

// The roadmap's rule: nothing that symbol resolution or the image's layout depends on has changed. The set of global
// names, their bindings and kinds, COMMON sizes, undefined names, COMDAT groups, TLS sizes, merged properties, sections
// without room, and (with garbage collection) who refers to whom must be as they were.
std::variant<GatePass, GateRefusal> CheckStrictGate(const Memory& memory, std::vector<UnitDiff> units);

// Like it, but names and COMDAT groups may come and go where resolving just those anew (ResolveNames, DecideGroups)
// leaves all others what they were; and so may units, where nothing that is merged over all of them hangs on one; and with
// garbage collection, what is kept may (DecideLiveness). The pass takes `units`; a refusal leaves them, so that they can be
// asked about together with others. `reconsider`: as for ResolveNames.
std::variant<GatePass, GateRefusal> CheckExactGate(const Memory& memory, std::vector<UnitDiff>* units,
                                                   const std::vector<SymbolId>& reconsider = {});

}  // namespace kitlink

#endif  // CORE_SESSION_GATE_H_
