// Imports that get an address in the image: where code or data cannot be told at run time where a library's symbol is, a
// variable has a copy here, and a function's PLT entry is its address, for all libraries as well.
#ifndef CORE_SESSION_FIXED_IMPORTS_H_
#define CORE_SESSION_FIXED_IMPORTS_H_

#include <optional>
#include <vector>

#include "core/output/hot_tables.h"
#include "core/session/gate.h"
#include "core/session/plan.h"
#include "core/session/unit_placement.h"

namespace kitlink {

// Finds the imports that the units of `pass` want at a fixed address for the first time, and gives variables room. Refuses
// where there is none, where a full link would bind more names than one, and where units that have not changed describe
// the symbol in their debug information; the refusal says which. O(relocations of the units).
std::optional<GateRefusal> PlaceFixedImports(const GatePass& pass, PlacementState* state, std::vector<FixedImport>* fixed);

// Tells the tables; functions have an address from then on. Call it once imports have rows, and before units are written.
std::optional<GateRefusal> WriteFixedImports(const std::vector<FixedImport>& fixed, PlacementState* state,
                                             std::vector<Mutation>* mutations);

// Notes in the units that are to be remembered who needs the addresses.
void NoteFixedImports(const PlacementState& state, const std::vector<FixedImport>& fixed, std::vector<PlacedUnit>* units);

// Libraries are to keep what is copied as it is.
void AdoptCopies(const std::vector<SymbolId>& copies, Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_FIXED_IMPORTS_H_
