// How far relinks have taken an image from what a link from scratch would make of it: whether it would pay to lay it out anew.
#ifndef CORE_SESSION_FRAGMENTATION_H_
#define CORE_SESSION_FRAGMENTATION_H_

#include <cstdint>
#include <string>

#include "core/session/memory.h"

namespace kitlink {

// Why the image should be laid out anew; empty while it need not be, as it never need after a full link. Either of
//
//   * there is no header left for another segment, and a section that could do with one has little room left: the
//     next change that adds something to it could not be patched;
//   * more than half of the file, and more than kMostIdle bytes, is holes and places that were left. What slots have to
//     spare, because what is in them was larger once, does not count; nor do Memory::idle_at_first bytes, which the full link has
//     left between segments (2 MiB and more, where pages are large).
//
// O(sections + holes).
std::string WhyFragmented(const Memory& memory);

// Bytes of the file that nothing is in, and that are no reserve either. O(sections + holes).
uint64_t IdleBytes(const Memory& memory);

inline constexpr uint64_t kMostIdle = 1 << 20;

}  // namespace kitlink

#endif  // CORE_SESSION_FRAGMENTATION_H_
