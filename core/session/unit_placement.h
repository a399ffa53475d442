// Where the sections of a changed unit go: the first half of planning.
#ifndef CORE_SESSION_UNIT_PLACEMENT_H_
#define CORE_SESSION_UNIT_PLACEMENT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/output/hot_tables.h"
#include "core/session/diff.h"
#include "core/session/gate.h"
#include "core/session/plan.h"
#include "core/session/rows.h"

namespace kitlink {

// A stretch of a section: a slot that was left, or one that is taken.
struct Slot {
  SectionId section;
  uint64_t offset = 0;
  uint64_t capacity = 0;
};

// Where the pieces of a mergeable section of the unit are.
struct PieceMap {
  std::vector<uint32_t> starts;
  std::vector<uint64_t> addresses;  // beside `starts`
  uint64_t Address(uint64_t offset) const;
};

// One changed unit with every address decided.
struct PlacedUnit {
  const UnitDiff* diff = nullptr;
  UnitMemory memory;                  // as it will be
  std::vector<SectionPlace> sections;  // beside the object's sections
  std::vector<Slot> slots;            // beside `sections`, for placed ones
  std::vector<uint32_t> atom_of;      // beside `sections`: index in memory.atoms, kNoAtomMemory for none
  std::vector<PieceMap> pieces;       // beside `sections`, for merged ones
  std::vector<Slot> vacated;          // slots to clear: nothing of the unit is in them now
  AtomCounts atoms;
};

// A name that the linker gives the end of something, and where that is from now on.
struct LinkerEnd {
  SymbolId symbol;
  uint64_t address = 0;
  SectionId section;
};

// Shared by the units of one plan: room and symbols as they are so far.
class PlacementState {
 public:
  // Names that came and went are known from the beginning: the new ones without an address. So are rows.
  PlacementState(const Memory& memory, const GatePass& pass, const MoveRules& rules, RowLayouts rows);

  const Memory& memory() const { return memory_; }
  Space& space(SectionId id);
  const SymbolMemory& symbol(SymbolId id) const;
  // True of a symbol whose published address binds nobody: it is new, or all who refer to it are written anew.
  bool free(SymbolId id) const {
    const SymbolMemory& was = memory_.symbols[id.value];
    return was.kind == SymbolMemory::kNone || was.dead || rules_.republish.contains(id);
  }
  const MoveRules& rules() const { return rules_; }
  const RowLayouts& rows() const { return rows_; }
  // True of a section whose rows are laid out anew.
  bool LaidOut(SectionId id) const { return rows_.contains(id); }
  // Room in a section, or in what it has grown by; nothing when there is none.
  std::optional<Slot> TakeRoom(SectionId id, uint64_t capacity, uint64_t alignment);
  // The room of COMMON symbols that the plan gave some, or took it from (then the section is invalid).
  const absl::flat_hash_map<SymbolId, CommonMemory>& commons() const { return commons_; }
  void SetCommon(SymbolId id, const CommonMemory& place) { commons_[id] = place; }
  // Ends that move; those of rows are known from the beginning.
  const std::vector<LinkerEnd>& ends() const { return ends_; }
  void MoveEnd(const LinkerEnd& end);
  // The slot of a section of a changed unit that is a row there.
  std::optional<Slot> RowSlot(UnitId unit, uint32_t section) const;
  void SetSymbol(SymbolId id, const SymbolMemory& symbol) { symbols_[id.value] = symbol; }
  // The address of a piece in a merged section, appended when it is new; nothing when there is no room.
  std::optional<uint64_t> Piece(uint32_t merged, const PieceDigest& digest, ByteView bytes, std::vector<Mutation>* mutations);
  // Moves what was decided into `plan`.
  void Finish(Plan* plan);
  const absl::btree_map<SectionId, Space>& spaces() const { return spaces_; }

 private:
  const Memory& memory_;
  const MoveRules& rules_;
  RowLayouts rows_;
  std::vector<LinkerEnd> ends_;
  absl::flat_hash_map<SymbolId, CommonMemory> commons_;
  absl::btree_map<SectionId, Space> spaces_;
  absl::flat_hash_map<uint32_t, SymbolMemory> symbols_;
  absl::btree_map<uint32_t, MergedGrowth> merged_;
};

// Loaders keep addresses modulo this; more only where the cold link asked for it.
inline constexpr uint64_t kSmallestPage = 4096;

// The bytes of a slot for `size` bytes in a section.
uint64_t CapacityIn(const SectionMemory& home, uint64_t size);

// The section that a new one is appended to; invalid when there is none such.
SectionId FindHome(const Memory& memory, const InputSection& section);

// Decides where every section of `diff` goes. Functions that outgrow their slot, or whose published entries would no
// longer be where they were, move and leave islands; private data moves freely, because all that refers to it is
// rewritten with it; so does what is free to move. Public data stays or the patch is refused. Appends the mutations of new merged pieces.
std::optional<GateRefusal> PlaceUnit(const UnitDiff& diff, PlacementState* state, PlacedUnit* placed,
                                     std::vector<Mutation>* mutations);

}  // namespace kitlink

#endif  // CORE_SESSION_UNIT_PLACEMENT_H_
