#include "core/session/fragmentation.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

// A 32nd of a section, which is less than a third of what it starts with, and less than is free of a growth after what had
// asked for it was taken. Sections so large that their reserve is cut short need no more than that.
constexpr uint64_t kLittle = 32, kEnough = 1 << 20;

uint64_t Holes(const Space& space) {
  uint64_t bytes = 0;
  for (const Room& hole : space.holes()) bytes += hole.size;
  return bytes;
}

// As GrowSection sees it.
bool WantsSegments(const SectionMemory& section) {
  return section.alloc() && !section.exact && !section.relro && !(section.flags & kSecTls) && !section.growth_of.valid();
}

// What is left of the room of a section and of all that continues it. Nothing when that is enough.
std::string Cramped(const Memory& memory, SectionId id) {
  uint64_t size = 0, left = 0;
  for (uint32_t s = 0; s < memory.sections.size(); ++s) {
    const SectionMemory& section = memory.sections[s];
    if (SectionId(s) != id && section.growth_of != id) continue;
    size += section.size;
    left += section.space.tail().size + Holes(section.space);
  }
  if (left >= std::min(size / kLittle, kEnough)) return "";
  return absl::StrCat(memory.sections[id.value].name, " has ", left, " of ", size, " bytes left, and there is no segment for more");
}

}  // namespace

uint64_t IdleBytes(const Memory& memory) {
  uint64_t used = 0, holes = 0;
  for (const SectionMemory& section : memory.sections) {
    if (section.nobits || (section.announced && section.growth_of.valid())) continue;
    used += section.size;
    holes += Holes(section.space);
  }
  return holes + (memory.image_size - std::min(memory.image_size, used));
}

std::string WhyFragmented(const Memory& memory) {
  if (memory.tables->OutOfSegments()) {
    for (uint32_t s = 0; s < memory.sections.size(); ++s) {
      if (!WantsSegments(memory.sections[s])) continue;
      if (std::string why = Cramped(memory, SectionId(s)); !why.empty()) return why;
    }
  }
  const uint64_t all = IdleBytes(memory), idle = all - std::min(all, memory.idle_at_first);
  if (idle <= kMostIdle || idle <= memory.image_size / 2) return "";
  return absl::StrCat(idle, " of ", memory.image_size, " bytes of the file are holes, or places that were left");
}

}  // namespace kitlink
