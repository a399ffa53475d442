// Code that the linker itself writes for x86-64: PLT entries, islands, filling. psABI 5.2, "Procedure Linkage
// Table".
#ifndef CORE_ARCH_X86_64_PLT_H_
#define CORE_ARCH_X86_64_PLT_H_

#include <cstdint>

#include "core/base/bytes.h"

namespace kitlink::arch {

inline constexpr uint32_t kPltEntrySize = 16;  // the header's too
inline constexpr uint32_t kPltPushOffset = 6;  // of the push within a lazily bound entry

// Each writes kPltEntrySize bytes, or nothing where `at` is shorter.
void WritePltHeader(MutableBytes at, uint64_t plt, uint64_t got_plt);
void WritePltEntry(MutableBytes at, uint64_t entry, uint64_t cell, uint32_t index, uint64_t plt);
void WritePltGotEntry(MutableBytes at, uint64_t entry, uint64_t cell);

uint32_t IslandSize(bool landing_pad);
// False, and nothing written, when `to` is out of a jump's reach or `at` too short.
bool WriteIsland(MutableBytes at, uint64_t from, uint64_t to, bool landing_pad);

void FillTraps(MutableBytes at);
void FillNops(MutableBytes at);

}  // namespace kitlink::arch

#endif  // CORE_ARCH_X86_64_PLT_H_
