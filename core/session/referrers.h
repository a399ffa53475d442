// Units that have not changed, read again because what they refer to has moved.
#ifndef CORE_SESSION_REFERRERS_H_
#define CORE_SESSION_REFERRERS_H_

#include <optional>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "core/base/file_source.h"
#include "core/base/ids.h"
#include "core/session/detect.h"
#include "core/session/memory.h"

namespace kitlink {

// These units, from inputs that are what they were when they were linked, or members, with the content that they had, of
// archives that this relink has read (`changed`). Nothing when one of them is not to be had like that, or when there are
// more than `most`.
std::optional<ChangedUnits> ReadUnits(const Memory& memory, const absl::btree_set<UnitId>& units, size_t most,
                                      FileSource& files, const ChangedUnits& changed);

// The units that name one of `symbols`, and `units`, but for those that are among `known`; as ReadUnits.
std::optional<ChangedUnits> ReadReferrers(const Memory& memory, const std::vector<SymbolId>& symbols,
                                          const absl::flat_hash_set<UnitId>& known, size_t most, FileSource& files,
                                          const ChangedUnits& changed, const std::vector<UnitId>& units = {});

}  // namespace kitlink

#endif  // CORE_SESSION_REFERRERS_H_
