// The state of sessions in files: blobs by their content, and a manifest for each session, below the daemon's state
// folder.
//
//   FOLDER/blobs/ab/cdef...   named by their digest
//   FOLDER/sessions/1234...   manifests, named by the digest of the session's key
#ifndef DAEMON_STORE_STATE_FILES_H_
#define DAEMON_STORE_STATE_FILES_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "core/session/state/state_store.h"

namespace kitlink::daemon {

struct StateLimits {
  uint64_t bytes = uint64_t{8} << 30;        // of all blobs; the sessions used longest ago go first
  absl::Duration age = absl::Hours(24 * 30);  // of a session that nobody links
  absl::Duration grace = absl::Minutes(10);   // a younger blob may belong to a manifest that is yet to come
  absl::Duration sweep_every = absl::Minutes(10);
  absl::Duration delay = absl::Milliseconds(200);  // between the last link and its manifest
  // Between that and the manifest for other folders, for which the whole output is hashed: 30 ms for 20 MB.
  absl::Duration elsewhere_delay = absl::Seconds(5);
};

// The digest of a regular file's bytes.
absl::StatusOr<ContentId> HashFile(const std::string& path);

// All sessions' state. Thread safe. One thread of its own writes manifests, and throws out what nobody needs.
class StateFiles {
 public:
  // `folder` is made when something is written.
  explicit StateFiles(std::string folder, const StateLimits& limits = {});
  // Writes what waits to be written.
  ~StateFiles();
  StateFiles(const StateFiles&) = delete;
  StateFiles& operator=(const StateFiles&) = delete;

  absl::Status PutBlob(const ContentId& id, ByteView bytes);
  absl::StatusOr<std::string> GetBlob(const ContentId& id);
  void DiscardBlob(const ContentId& id);
  absl::StatusOr<std::string> ReadManifest(const std::string& key);
  // A manifest that waits to be written.
  struct Waiting {
    std::string manifest;
    std::string image;     // what the sink recorded of the output: see recorded.h
    std::string output;    // absolute
    std::string portable;  // the session's name elsewhere
    absl::Time due;
    bool elsewhere = false;  // it was written, and is to be written under its other name
  };
  // Writes it soon, after the bytes of the output have reached the disk; some time later, unless there is a newer one then,
  // under its other name, too, with the output's digest.
  void WriteManifest(const std::string& key, Waiting waiting);
  absl::StatusOr<StateStore::Portable> ReadPortable(const std::string& portable);
  // Forgets a session, under both names.
  void Remove(const std::string& key, const std::string& portable);
  // Waits until everything that was asked for is written.
  void Flush();
  // Removes sessions that are too old or too large, then blobs that no manifest leads to.
  void Sweep();

 private:
  std::string BlobPath(const ContentId& id) const;
  std::string ManifestPath(const std::string& key) const;
  void Work();
  void WriteHere(const std::string& key, const Waiting& waiting);
  void WriteElsewhere(const Waiting& waiting);
  // The next to be written; waiting_.end() after a wait, or when there is none.
  std::map<std::string, Waiting>::iterator Next() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string folder_;
  const StateLimits limits_;
  absl::Mutex mutex_;
  std::map<std::string, Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool added_ ABSL_GUARDED_BY(mutex_) = false;  // to waiting_, since the thread looked
  bool hurry_ ABSL_GUARDED_BY(mutex_) = false;  // somebody flushes
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::atomic<uint64_t> written_{0};  // counts names of temporary files
  std::thread thread_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_STORE_STATE_FILES_H_
