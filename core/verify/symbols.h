// Compares .symtab as a multiset of (name, type, binding, visibility, size, target).
#ifndef CORE_VERIFY_SYMBOLS_H_
#define CORE_VERIFY_SYMBOLS_H_

#include "core/verify/walk.h"

namespace kitlink::verify {

// After the walk. Section and file symbols are filler and not compared.
void CompareSymbols(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_SYMBOLS_H_
