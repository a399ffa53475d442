// .debug_aranges, compared by meaning: which unit says that it covers which addresses.
//
// Source: DWARF 5, 6.1.2. A set may repeat its last range: that is how sets are lengthened to fill a slot.
#ifndef CORE_VERIFY_ARANGES_H_
#define CORE_VERIFY_ARANGES_H_

#include "core/verify/walk.h"

namespace kitlink::verify {

// REQUIRES: .debug_info and all code were compared.
void CompareAranges(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_ARANGES_H_
