// Compares what the kernel, the loader and readers of section headers see before anything else: the ELF
// header, the segments, the section headers and the notes.
#ifndef CORE_VERIFY_HEADERS_H_
#define CORE_VERIFY_HEADERS_H_

#include "core/verify/walk.h"

namespace kitlink::verify {

// To be called after the walk. Reports each difference to `walk`.
void CompareHeaders(Walk& walk);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_HEADERS_H_
