// Debug sections whose readers take them to be packed (.debug_aranges, .debug_addr, .debug_str_offsets): the tables of the
// units lie side by side, each lengthened up to the next, the last one up to the end of the section.
//
// A table that comes takes the room that the last one does not need. Where one goes, the one before it is lengthened.
#ifndef CORE_SESSION_DEBUG_TABLES_H_
#define CORE_SESSION_DEBUG_TABLES_H_

#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "core/session/gate.h"
#include "core/session/memory.h"
#include "core/session/rows.h"

namespace kitlink {

// Adds to `layouts` such sections that tables of changed units come to or go from, or where one does not fit any more.
// Refuses when there is no room, or a table is not of the form that can be lengthened. O(tables of the section).
std::optional<GateRefusal> LayTables(const GatePass& pass, const Memory& memory, RowLayouts* layouts);

// Lengthens and shortens the tables of unchanged units, which `read` reads from the image. Those of changed ones are written
// with their units.
absl::Status WriteTables(const Memory& memory, const RowLayouts& layouts, const ImageReader& read,
                         std::vector<Mutation>* mutations);

// Lists the tables of all units, after a full link.
void ListTables(Memory* memory);

// A unit was written anew, and its tables stayed where they were: their numbers among its atoms may be others.
void RenumberTables(UnitId unit, Memory* memory);

// The tables are as `layouts` says. Call it when the changed units' memory is what it will be.
void AdoptTables(const RowLayouts& layouts, Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_DEBUG_TABLES_H_
