// The Plan step: what to write where, decided without touching anything.
#ifndef CORE_SESSION_PLAN_H_
#define CORE_SESSION_PLAN_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_set.h"
#include "core/output/image_sink.h"
#include "core/session/gate.h"
#include "core/session/link_report.h"
#include "core/session/memory.h"
#include "core/session/rows.h"

namespace kitlink {

using SymbolSet = absl::flat_hash_set<SymbolId>;

// How entries that are no longer where they were published may be dealt with.
struct MoveRules {
  MovePolicy policy = MovePolicy::kAuto;
  // These may get other addresses: whoever names them is among the units of the pass, or has sites of them.
  SymbolSet republish;
  // Refuse, and ask for republishing, where the policy would rather have referrers follow than islands.
  bool ask = false;
};

// New pieces of one merged section.
struct MergedGrowth {
  uint64_t used = 0;
  absl::flat_hash_map<PieceDigest, uint32_t> offsets;
};

// A patch, and what the session knows once it is committed.
struct Plan {
  ImagePatch patch;
  AtomCounts atoms;
  uint64_t relocations = 0;
  std::vector<std::pair<UnitId, UnitMemory>> units;
  std::vector<std::pair<SymbolId, SymbolMemory>> symbols;
  std::vector<std::pair<SymbolId, UnitId>> users;  // as in NameChanges
  std::vector<SymbolId> idle, revived;             // as in NameChanges
  std::vector<NameChanges::Imported> imported;     // as in NameChanges
  std::vector<SymbolId> unimported;                // as in NameChanges
  std::vector<SymbolId> copies;                    // imports that are copied from now on
  absl::btree_map<SectionId, Space> spaces;
  RowLayouts rows;
  absl::flat_hash_map<SymbolId, CommonMemory> commons;  // of an invalid section: no longer
  bool grown = false;  // it publishes announced growth
  absl::btree_map<uint32_t, MergedGrowth> merged;  // by index in Memory::merged
};

// Plans the rewriting of the units that passed the gate: slots for what grew or is new, islands where functions left,
// every byte of the units' atoms with relocations applied, and the tables that follow. Only what differs from the image that `read` gives
// ends up in the patch. Starts a plan of memory.tables and leaves everything else as it is. Refuses when there is no room
// or no way; where republishing more symbols would be a way, the refusal says which.
std::variant<Plan, GateRefusal> PlanPatch(const GatePass& pass, const Memory& memory, const MoveRules& rules,
                                          const ImageReader& read);

// The session's memory after `plan` was committed.
void AdoptPlan(Plan plan, Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_PLAN_H_
