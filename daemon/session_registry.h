// The daemon's sessions by name, and which of them to forget when memory runs short.
#ifndef DAEMON_SESSION_REGISTRY_H_
#define DAEMON_SESSION_REGISTRY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "daemon/linker.h"
#include "daemon/session.h"
#include "daemon/worker_pool.h"

namespace kitlink::daemon {

// How a session is found: by a build system's key when there is one, else by the output.
struct SessionName {
  std::string output;  // absolute path
  std::string key;
};

// Thread safe.
class SessionRegistry {
 public:
  // `memory_limit`: bytes that the sessions may hold together before the one used longest ago is closed.
  // `factory` and `pool` must outlive the registry.
  SessionRegistry(LinkerFactory* factory, WorkerPool* pool, uint64_t memory_limit);

  // The session to link `name` in.
  std::shared_ptr<Session> FindOrCreate(const SessionName& name);
  // A session that has linked `name`; one that was linked by key is also found by its output, the one used last
  // if there are several. Null when there is none.
  std::shared_ptr<Session> Find(const SessionName& name) const;
  // Those that have linked something, sorted by output.
  std::vector<std::shared_ptr<Session>> List() const;
  // Closes idle sessions, the one used longest ago first, until the rest keep to the memory limit, and drops those
  // that hold nothing. `keep` stays. Returns the outputs of those it closed.
  std::vector<std::string> Trim(const Session* keep);

 private:
  LinkerFactory* const factory_;
  WorkerPool* const pool_;
  const uint64_t memory_limit_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<Session>> sessions_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kitlink::daemon

#endif  // DAEMON_SESSION_REGISTRY_H_
