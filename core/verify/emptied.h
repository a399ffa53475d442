// Tables of debug information that a cold link has no use for: they may stay when nothing is in them.
#ifndef CORE_VERIFY_EMPTIED_H_
#define CORE_VERIFY_EMPTIED_H_

#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace kitlink::verify {

// True when a section of this name, which is not loaded, may hold lists, and `content` is well formed and holds none with
// an address, from its first byte to its last.
bool HoldsNoLists(absl::string_view name, ByteView content);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_EMPTIED_H_
