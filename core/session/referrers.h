// Units that have not changed, read again because what they refer to has moved.
#ifndef CORE_SESSION_REFERRERS_H_
#define CORE_SESSION_REFERRERS_H_

#include <optional>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "core/base/file_source.h"
#include "core/base/ids.h"
#include "core/session/detect.h"
#include "core/session/memory.h"

namespace kitlink {

// The units that name one of `symbols` and are not among `known`, from inputs that are what they were when they were
// linked. Nothing when one of them is not to be had like that, or when there are so many that a full link is as good.
std::optional<ChangedUnits> ReadReferrers(const Memory& memory, const std::vector<SymbolId>& symbols,
                                          const absl::flat_hash_set<UnitId>& known, FileSource& files);

}  // namespace kitlink

#endif  // CORE_SESSION_REFERRERS_H_
