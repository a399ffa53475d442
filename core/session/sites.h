// Which fields of which units lead to a global name: captured while the objects are at hand, so that the name can get
// another address when they no longer are.
#ifndef CORE_SESSION_SITES_H_
#define CORE_SESSION_SITES_H_

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "core/input/model.h"
#include "core/session/memory.h"

namespace kitlink {

// An object and what is remembered of it.
struct UnitView {
  const ObjectFile& object;
  absl::Span<const uint32_t> atom_of;  // beside the object's sections: index in `atoms`, kNoAtomMemory for none
  const std::vector<AtomMemory>& atoms;
  const std::vector<GlobalMemory>& globals;
};

// The fields of a unit that depend on the address of a name that it does not define itself. `symbol` tells what is known
// of a name. Not among them: what goes through a cell, which is written in its place; thread variables; imports.
SiteList SitesOf(const Memory& memory, const UnitView& unit, absl::FunctionRef<const SymbolMemory&(SymbolId)> symbol);

// Those of `symbols` that not everybody who refers to them, but for `known`, can follow by sites: thread variables, and
// what unwind tables name. The units that do so must be read again.
std::vector<SymbolId> WithoutSites(const Memory& memory, const std::vector<SymbolId>& symbols,
                                   const absl::flat_hash_set<UnitId>& known);

}  // namespace kitlink

#endif  // CORE_SESSION_SITES_H_
