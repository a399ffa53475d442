// Sections in which order means something: constructors, sets, sections with names of their own. Their pieces, called
// rows, lie side by side in the order of a full link, with room behind the last one.
//
// When rows come, go or change in size, those behind them move. A row that nobody refers to and that holds nothing but
// absolute words moves as it is, with its dynamic relocations, without its unit being read; the units of all others have to
// be written anew. Costs O(rows of the section).
#ifndef CORE_SESSION_ROWS_H_
#define CORE_SESSION_ROWS_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/output/hot_tables.h"
#include "core/session/gate.h"
#include "core/session/memory.h"

namespace kitlink {

// A section of rows, laid out anew.
struct RowLayout {
  struct Row {
    uint32_t priority = 0;
    UnitId unit;
    uint32_t index = 0;  // in UnitMemory::atoms; of a changed unit: of the section in its object
    bool changed = false;  // its unit is
    uint64_t offset = 0, size = 0;
    uint64_t from = 0;  // where it was; of an unchanged unit
  };
  std::vector<Row> rows;  // in order
  absl::flat_hash_map<std::pair<UnitId, uint32_t>, std::pair<uint64_t, uint64_t>> places;  // of changed units' sections: offset, size
  uint64_t used = 0;
  SymbolId end;  // the linker's name for the end, when somebody asks for it and it moves
};

using RowLayouts = absl::btree_map<SectionId, RowLayout>;

// Lays out the sections whose rows in the changed units are others than before, in number, order, size or alignment.
// Refuses when there is no room, and when a full link would make another kind of section; where units only have to be
// written anew, or symbols to be republished, the refusal says which. `republished` are those that will be.
std::variant<RowLayouts, GateRefusal> LayRows(const GatePass& pass, const Memory& memory,
                                              const absl::flat_hash_set<SymbolId>& republished);

// Adds the mutations that move rows of unchanged units, and what tells the new extent of each section: bytes, dynamic
// relocations, sizes. Call it before the changed units are written. Errors of `read`.
absl::Status WriteRows(const Memory& memory, const RowLayouts& layouts, const ImageReader& read,
                       std::vector<Mutation>* mutations);

// The new rows are where they were planned to be. RenumberRows has to follow, once `memory` has the changed units' atoms.
void AdoptRows(const RowLayouts& layouts, Memory* memory);

// Finds the rows of a unit that has changed among its new atoms.
void RenumberRows(UnitId unit, Memory* memory);

// Lists the rows of all units, after a full link.
void ListRows(Memory* memory);

// Which sections of `object` would mean the same at another address, if their bytes and dynamic relocations went there:
// nothing refers into them, and they hold nothing but absolute fields.
std::vector<bool> MovableSections(const ObjectFile& object, const Arch& arch);

// True of atoms that are rows.
bool IsRow(const Memory& memory, const AtomMemory& atom);

}  // namespace kitlink

#endif  // CORE_SESSION_ROWS_H_
