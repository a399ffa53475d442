// Compares where things lie once the walk has found them, and what the loader does to them.
#ifndef CORE_VERIFY_RELOCATIONS_H_
#define CORE_VERIFY_RELOCATIONS_H_

#include "core/verify/walk.h"

namespace kitlink::verify {

// No two atoms at one place, islands outside of atoms, the extent of ordered sections.
void CompareLayout(Walk& walk);

// Every dynamic relocation belongs to a word that has one in the cold link, or to a GOT; none is missing;
// copies are the same; resolvers are functions.
void CompareRelocations(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_RELOCATIONS_H_
