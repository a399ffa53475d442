// The Detect and Read steps of a relink: which inputs changed, and what they are now.
#ifndef CORE_SESSION_DETECT_H_
#define CORE_SESSION_DETECT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "core/base/file_source.h"
#include "core/base/unit_rank.h"
#include "core/input/inputs.h"
#include "core/session/gate.h"
#include "core/session/input_list.h"
#include "core/session/library_search.h"
#include "core/session/link_session.h"
#include "core/session/memory.h"

namespace kitlink {

// What has to be read again.
struct Changes {
  std::vector<uint32_t> files;  // indices in Memory::files, ascending
  InputListChange list;  // what was renamed or moved is among them
  std::vector<std::pair<uint32_t, FileStamp>> same;  // looked at, and found to be what they were
  std::vector<uint32_t> vanished;  // members of thin archives that are no files any more: no archive may name them

  const std::string& PathOf(const Memory& memory, uint32_t file) const;
};

// Finds the inputs that have to be read again: those of `suspects` (nothing: of all) whose stamps differ or were too
// young to trust, or exactly those that the client names. Libraries and scripts are compared by content at once. Refuses
// when others than plain objects and archives came or went (CompareInputLists), or a script changed; strictly, a library.
// InvalidArgument when the client names a file that
// is no input. Costs a comparison of the list of inputs, if it is another object than last time, what `libraries` asks, and
// a look at each suspect.
absl::StatusOr<std::variant<Changes, GateRefusal>> DetectChanges(const Memory& memory, const LinkRequest& request,
                                                                 const std::optional<std::vector<uint32_t>>& suspects,
                                                                 LibrarySearch* libraries, FileSource& files);

// The changed units' objects as they are now.
struct ChangedUnits {
  std::vector<std::pair<UnitId, std::unique_ptr<ObjectFile>>> units;
  std::vector<std::pair<uint32_t, FileStamp>> stamps;  // of the files read, taken before reading
  std::vector<std::pair<uint32_t, QuickDigest>> digests;  // of plain objects among them
  std::vector<std::shared_ptr<InputBytes>> bytes;      // what was read
  uint64_t bytes_read = 0;
  // Archives whose lists of members changed, or that are new: what they have now, and the names that members offer which
  // were not there before.
  struct Relisted {
    uint32_t file = 0;
    uint64_t member_list = 0;
    std::vector<MemberMemory> members;
    std::vector<std::string> names;
    bool reordered = false;  // members have changed places
    std::vector<std::pair<uint32_t, uint32_t>> joining;  // new in an archive of which all take part: place, and how many before it have its name
    std::vector<std::pair<UnitId, uint32_t>> places;  // of the members that take part
    std::unique_ptr<Archive> archive;
  };
  std::vector<Relisted> relisted;
  absl::flat_hash_set<UnitId> leaving;  // units that take no part any more; their objects are empty
  std::vector<std::pair<UnitId, UnitRank>> moved;  // units that stand elsewhere now
  std::vector<uint32_t> leaving_files;             // no inputs any more; nothing is taken from them
  std::vector<uint32_t> new_files;                 // indices in Memory::files, from where they are not yet found by path
  std::vector<std::pair<uint32_t, UnitId>> joining;  // members that take part from now on, and their files
  std::vector<std::pair<UnitId, SymbolId>> dropped;  // what members define that only nobody needs any more
  std::vector<std::unique_ptr<Archive>> archives;  // that members were read from
  std::vector<OpenedFile> thin_members;  // files that thin archives name and that nobody has heard of yet
  std::vector<std::unique_ptr<ObjectFile>> replaced;
  struct Rebuilt {
    uint32_t file = 0;
    ContentId content;
    std::unique_ptr<SharedFile> library;
  };
  std::vector<Rebuilt> libraries;

  // Adds what else was read.
  void Append(ChangedUnits more);
  // Takes note of the files behind the members of `archive`, as `opened` by reading it. False when one of them is an input
  // in another way as well; and, unless all units of the archive are `compared` with what they were, when one is not known to
  // be what it was.
  [[nodiscard]] bool NoteThinMembers(const Archive& archive, const std::vector<OpenedFile>& opened, const Memory& memory, bool compared);
  // Takes a unit out of the link.
  void Leave(UnitId unit, const Memory& memory);
  // Takes out a member that nobody needs any more, and that is still where it was.
  void Drop(UnitId unit, const Memory& memory);
};

// Reads what changed. Members of an archive that are what they were are left out, those that it has no more leave.
// InvalidArgument when the content is not what the client says; refuses what cannot be read or parsed.
absl::StatusOr<std::variant<ChangedUnits, GateRefusal>> ReadChanges(const Memory& memory, const Changes& changes,
                                                                    const LinkRequest& request, FileSource& files);

// Refuses when a file that was read has changed since: what was planned is not what it says now.
std::optional<GateRefusal> CheckUnchanged(const ChangedUnits& read, const Changes& changes, const Memory& memory,
                                          FileSource& files);

// Notes paths and stamps of what a committed relink, begun at `started_ns`, read.
void AdoptFiles(const Changes& changes, const ChangedUnits& read, int64_t started_ns, Memory* memory);

}  // namespace kitlink

#endif  // CORE_SESSION_DETECT_H_
