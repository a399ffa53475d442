// Units that come and go: the inputs that a relink finds new on the command line, and members of archives.
#ifndef CORE_SESSION_ROSTER_H_
#define CORE_SESSION_ROSTER_H_

#include <optional>
#include <utility>
#include <vector>

#include "core/base/file_source.h"
#include "core/base/ids.h"
#include "core/session/detect.h"
#include "core/session/input_list.h"
#include "core/session/memory.h"

namespace kitlink {

// What deciding about units changes in the session's memory before it is known whether the relink will be: ranks of units
// that have moved, and files that are new. Put back by the destructor unless it is kept.
class RosterChange {
 public:
  explicit RosterChange(Memory* memory) : memory_(memory) {}
  ~RosterChange();
  RosterChange(const RosterChange&) = delete;
  RosterChange& operator=(const RosterChange&) = delete;

  void SetRank(UnitId unit, UnitRank rank);
  // The index of a file that can be read from now on, but is not found by its path yet.
  uint32_t AddFile(FileMemory file);
  void Keep();

 private:
  Memory* const memory_;
  std::vector<std::pair<UnitId, UnitRank>> ranks_;  // as they were
  std::vector<uint32_t> files_;
};

// Reads the inputs that came and takes note of those that went or moved, and of what archives offer now. Units that come
// get ids, but take no part (UnitMemory::gone) until the relink is adopted; those that go get an empty object. Refuses
// what is neither a plain object nor an archive, and archives that offer what a full link might take (CheckOffers).
std::optional<GateRefusal> ReadRoster(const InputListChange& list, const LinkOptions& options, FileSource& files,
                                      Memory* memory, ChangedUnits* changed, RosterChange* undo);

// Reads the members that a full link would take for `names` (Memory::offers). Refuses when an archive is not what it was.
std::optional<GateRefusal> PullMembers(const std::vector<SymbolId>& names, FileSource& files, Memory* memory,
                                       ChangedUnits* changed);

// Takes note of the files and units that have come and gone with a committed relink, and of the new list of inputs. Call it
// when the units' own memory is what it will be.
void AdoptRoster(const InputListChange& list, const ChangedUnits& changed, Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_ROSTER_H_
