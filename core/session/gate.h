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

namespace kitlink {

// Why not.
struct GateRefusal {
  GateReason reason = GateReason::kNone;
  std::string detail;  // names the file, section or symbol
};

// Leave to plan a patch. Only the gate can make one.
class GatePass {
 public:
  GatePass(GatePass&&) = default;
  GatePass& operator=(GatePass&&) = default;
  const std::vector<UnitDiff>& units() const { return units_; }
  // The new objects, for planning: the plan keeps them alive until it is committed.
  std::vector<UnitDiff> TakeUnits() && { return std::move(units_); }

 private:
  friend std::variant<GatePass, GateRefusal> CheckStrictGate(const Memory& memory, std::vector<UnitDiff> units);
  explicit GatePass(std::vector<UnitDiff> units) : units_(std::move(units)) {}
  std::vector<UnitDiff> units_;
};

// The roadmap's rule: nothing that symbol resolution or the image's layout depends on has changed. The set of global
// names, their bindings and kinds, COMMON sizes, undefined names, COMDAT groups, TLS sizes, merged properties, sections
// without room, and (with garbage collection) who refers to whom must be as they were.
std::variant<GatePass, GateRefusal> CheckStrictGate(const Memory& memory, std::vector<UnitDiff> units);

}  // namespace kitlink

#endif  // CORE_SESSION_GATE_H_
