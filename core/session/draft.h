// A relink that is planned, and not yet committed.
#ifndef CORE_SESSION_DRAFT_H_
#define CORE_SESSION_DRAFT_H_

#include <cstdint>

#include "core/base/file_source.h"
#include "core/input/options.h"
#include "core/session/detect.h"
#include "core/session/libraries.h"
#include "core/session/link_report.h"
#include "core/session/memory.h"
#include "core/session/plan.h"
#include "core/session/roster.h"

namespace kitlink {

// What the steps from Read to Plan find out. What they change in the session's memory meanwhile is undone by the destructor
// unless the draft is committed: it must not outlive the memory. Not thread safe.
struct Draft {
  Draft(const SharedOptions& of_options, int64_t started, Memory* memory)
      : options(of_options), started_ns(started), libraries(memory), roster(memory) {}

  // A draft that was made ahead: true when it is of changed objects alone, whose bytes nobody else can write to. Others would
  // leave the session's memory as the draft wants it, for a link that may never come.
  bool CanWait(const Changes& changes) const;
  // A draft that was made ahead, of the memory as it still is: true when planning this request anew would read the same
  // bytes, and so plan the same. Files that were young when they were read are read again: an equal stamp proves nothing of
  // them. O(what was read).
  bool Serves(const LinkRequest& request, const Changes& changes, const Memory& memory, FileSource& files) const;

  // The most that is worth planning ahead: what comes of it may be thrown away, and who asks for a link meanwhile waits.
  static constexpr size_t kMostFiles = 64;
  static constexpr uint64_t kMostBytes = 16 << 20;

  const SharedOptions options;
  const int64_t started_ns;  // since the epoch; before the first byte was read
  Changes ahead;             // as they were when the draft was made ahead
  ChangedUnits changed;
  LibraryUpdate libraries;
  RosterChange roster;
  Plan plan;
  uint64_t symbols_resolved = 0;
  LinkTimings timings_us;  // of the steps that made it
};

}  // namespace kitlink

#endif  // CORE_SESSION_DRAFT_H_
