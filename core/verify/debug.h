// Compares debug information and other sections that are not loaded.
#ifndef CORE_VERIFY_DEBUG_H_
#define CORE_VERIFY_DEBUG_H_

#include "core/verify/walk.h"

namespace kitlink::verify {

// After the walk over what is loaded: matches the units of each debug section, in any order, follows their
// references, and requires that whatever else lies in .debug_info is a padding unit.
void CompareDebug(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_DEBUG_H_
