// Which inputs a relink has to look at: with a watch, those that somebody touched; without, all of them.
#ifndef CORE_SESSION_WATCHED_INPUTS_H_
#define CORE_SESSION_WATCHED_INPUTS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "core/base/file_source.h"
#include "core/base/input_watch.h"
#include "core/session/detect.h"
#include "core/session/memory.h"

namespace kitlink {

// Not thread safe. Files are indices in Memory::files.
class WatchedInputs {
 public:
  // `watch` may be nullptr; it must outlive this.
  explicit WatchedInputs(InputWatch* watch) : watch_(watch) {}

  // Watches the inputs of `memory`, unless that is being done, then looks at each once: what changed between the link
  // and now is found here. O(inputs), for the time after a reply.
  void Start(const Memory& memory, FileSource& files);
  // The memory is another one from now on.
  void Stop() { active_ = false; }
  // The inputs that may have changed, ascending; nothing when all must be looked at. What was told once stays
  // suspect until it is Adopted, so a link that fails loses nothing.
  std::optional<std::vector<uint32_t>> Suspects();
  // False when there is a watch and it has ended, so that Suspects would tell nothing.
  bool watches() const { return watch_ == nullptr || active_; }
  // As InputWatch::Calm.
  bool Calm() const { return watch_ == nullptr || watch_->Calm(); }
  // A relink that looked at all suspects was committed, and `memory` has the stamps that it saw. `fresh` are inputs that it
  // met for the first time: they are watched from now on, then looked at once more. O(changes).
  void Adopted(const Memory& memory, const Changes& changes, const std::vector<uint32_t>& fresh, FileSource& files);
  // The same of a relink that looked at some inputs only: others stay suspects.
  void Came(const Memory& memory, const std::vector<uint32_t>& fresh, FileSource& files);

 private:
  void WatchFresh(const Memory& memory, const std::vector<uint32_t>& fresh, FileSource& files);

  InputWatch* const watch_;
  bool active_ = false;
  absl::btree_set<uint32_t> suspects_;
  absl::btree_set<uint32_t> renamed_;  // since the watch began: always suspect
  absl::flat_hash_set<uint32_t> gone_;  // inputs no more, though still watched
  uint32_t watched_ = 0;                // files: those below this index
};

}  // namespace kitlink

#endif  // CORE_SESSION_WATCHED_INPUTS_H_
