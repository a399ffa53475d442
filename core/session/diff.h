// The Diff step: a changed unit as it was and as it is, atom by atom.
#ifndef CORE_SESSION_DIFF_H_
#define CORE_SESSION_DIFF_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/base/ids.h"
#include "core/input/model.h"
#include "core/session/groups.h"
#include "core/session/memory.h"

namespace kitlink {

inline constexpr uint32_t kNoAtomMemory = 0xffffffffu;

// What a section of the new object is to the session.
struct SectionDiff {
  enum Fate : uint8_t {
    kIgnored,    // nothing to link
    kMatched,    // the unit had it: `old`
    kAdded,
    kMerged,     // strings and constants: looked up, appended
    kFrames,     // .eh_frame
    kDiscarded,  // belongs to a COMDAT group that another unit won
    kDead,       // garbage collection drops it
  } fate = kIgnored;
  uint32_t old = kNoAtomMemory;  // index in UnitMemory::atoms
};

struct UnitDiff {
  UnitId unit;
  std::unique_ptr<ObjectFile> object;  // as it is now
  std::vector<SectionDiff> sections;   // beside object->sections
  std::vector<uint32_t> removed;       // placed atoms that are gone: indices in UnitMemory::atoms
  std::vector<GlobalMemory> globals;   // of the new object
  std::vector<SymbolId> groups;        // COMDAT signatures of the new object, sorted
  UnitGroups kept_and_lost;            // which of them the unit keeps
  bool leaves = false;                 // takes no part any more: the object is empty
  bool moved = false;                  // stands elsewhere in the order of the link
  References references;               // by section, without definitions; only with --gc-sections

  // True of a loaded section that is in the image, or would be but for garbage collection.
  bool Collectable(uint32_t section) const;
};

// Matches the sections of `object` with what the session remembers of `unit`: by name, and among equal names by order.
// `groups` says which COMDAT groups the unit keeps now; nullptr: as it was, strictly. If not, sections that compilers
// number are matched by the rest of their names, too.
UnitDiff DiffUnit(const Memory& memory, UnitId unit, std::unique_ptr<ObjectFile> object, const UnitGroups* groups = nullptr);

using ChangedObjects = std::vector<std::pair<UnitId, std::unique_ptr<ObjectFile>>>;

// Diffs all changed units, taking COMDAT groups to be kept and lost by whom they were.
std::vector<UnitDiff> DiffStrictly(ChangedObjects units, const Memory& memory);

// Diffs all changed units; `groups`, beside them, says who keeps what now.
std::vector<UnitDiff> DiffExactly(ChangedObjects units, const std::vector<UnitGroups>& groups, const Memory& memory);

// Gives the names of an object that are new an id, which is all that changes in `memory`, and looks up all of them.
void InternNames(UnitId unit, ObjectFile* object, Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_DIFF_H_
