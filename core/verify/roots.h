// Where a walk starts, and what it does about atoms that no root leads to.
#ifndef CORE_VERIFY_ROOTS_H_
#define CORE_VERIFY_ROOTS_H_

#include "core/verify/walk.h"

namespace kitlink::verify {

// Entry point, DT_INIT and DT_FINI, exports, global names, and rows of ordered tables; runs the walk from
// them.
void WalkFromRoots(Walk& walk);

// Places what nothing refers to: by local symbol, next to its neighbour, or by content. Reports what is found
// nowhere.
void WalkTheRest(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_ROOTS_H_
