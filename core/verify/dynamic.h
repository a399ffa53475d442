// Compares what the dynamic loader and the kernel read besides the bytes: headers, dynamic section, symbol
// lookup.
#ifndef CORE_VERIFY_DYNAMIC_H_
#define CORE_VERIFY_DYNAMIC_H_

#include <set>
#include <string>

#include "core/verify/walk.h"

namespace kitlink::verify {

// Names of imports that a cold link has not, and that may be there all the same: nothing refers to them but cells that
// nothing refers to, and the loader finds them in the libraries, at the versions, that a cold link asks for, too. A relink
// leaves them behind when the last reference goes.
std::set<std::string> IdleImports(const Walk& walk);

// After the walk. Exports are looked up the way ld.so does it, through every hash table there is.
void CompareDynamic(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_DYNAMIC_H_
