// Compares what the dynamic loader and the kernel read besides the bytes: headers, dynamic section, symbol
// lookup.
#ifndef CORE_VERIFY_DYNAMIC_H_
#define CORE_VERIFY_DYNAMIC_H_

#include "core/verify/walk.h"

namespace kitlink::verify {

// After the walk. Exports are looked up the way ld.so does it, through every hash table there is.
void CompareDynamic(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_DYNAMIC_H_
