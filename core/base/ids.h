// Typed indices into the tables of a link. An id is only meaningful in the session that made it; nothing
// persisted contains one (see docs/design.md, "Content identity").
#ifndef CORE_BASE_IDS_H_
#define CORE_BASE_IDS_H_

#include <cstdint>
#include <functional>
#include <utility>

namespace kitlink {

template <typename Tag>
struct Id {
  static constexpr uint32_t kNone = 0xffffffffu;
  uint32_t value = kNone;

  constexpr Id() = default;
  constexpr explicit Id(uint32_t v) : value(v) {}
  constexpr bool valid() const { return value != kNone; }
  friend constexpr bool operator==(Id a, Id b) { return a.value == b.value; }
  friend constexpr bool operator!=(Id a, Id b) { return a.value != b.value; }
  friend constexpr bool operator<(Id a, Id b) { return a.value < b.value; }
  template <typename H>
  friend H AbslHashValue(H h, Id id) {
    return H::combine(std::move(h), id.value);
  }
};

using UnitId = Id<struct UnitTag>;        // one relocatable object: a file, or a member of an archive
using LibraryId = Id<struct LibraryTag>;  // one shared library
using SymbolId = Id<struct SymbolTag>;    // one global name
using AtomId = Id<struct AtomTag>;        // one input section or synthetic piece
using SectionId = Id<struct SectionTag>;  // one output section (its bucket of space included)

}  // namespace kitlink

#endif  // CORE_BASE_IDS_H_
