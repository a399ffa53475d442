// The state of a session on disk: what it remembers, written after a reply and found again by the next process.
//
// docs/state-format.md describes the bytes.
#ifndef CORE_SESSION_STATE_STATE_H_
#define CORE_SESSION_STATE_STATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/page_source.h"
#include "core/session/memory.h"
#include "core/session/state/state_store.h"

namespace kitlink {

// The version of the format. A change of what a struct holds needs no new one: the schema's digest differs.
inline constexpr uint32_t kStateVersion = 2;

// What goes along with the memory.
struct SessionFacts {
  uint64_t generation = 0;
  std::string output;  // as the reports call it
  std::string image;   // what the sink says of the published image: see ImageSink::Record
  std::string folder;  // absolute: where relative paths lead from
};

// Puts what is not in `store` yet, then writes the manifest. Brings `memory` into the form that is written, which changes
// nothing that it says. Cancelled when somebody waits (what was put so far need not be put again); whatever the store
// fails with. `all_pages`: as if nothing had been put before.
absl::Status SaveState(const SessionFacts& facts, Memory* memory, StateStore* store, bool all_pages = false);

struct RestoredState {
  SessionFacts facts;
  std::unique_ptr<Memory> memory;
  std::shared_ptr<PageSource> source;  // of the memory's tables: damaged() when they turned out to be
};

// The state that `manifest` leads to in `store`, which must outlive the result. Chunks are looked at when they are needed
// first. FailedPrecondition when another version wrote it, DataLoss when it is damaged; the message says more.
absl::StatusOr<RestoredState> LoadState(absl::string_view manifest, BlobStore* store);

// The blobs that `manifest` leads to. Fails as LoadState does.
absl::StatusOr<std::vector<ContentId>> ListBlobs(absl::string_view manifest, BlobStore* blobs);

}  // namespace kitlink

#endif  // CORE_SESSION_STATE_STATE_H_
