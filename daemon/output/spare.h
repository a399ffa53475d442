// The hidden second copy of an output, which is patched and then takes the output's place.
#ifndef DAEMON_OUTPUT_SPARE_H_
#define DAEMON_OUTPUT_SPARE_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "core/base/bytes.h"
#include "core/output/image_sink.h"
#include "daemon/output/file_identity.h"
#include "daemon/output/file_ops.h"
#include "daemon/output/patch_journal.h"

namespace kitlink::daemon {

// A file under a fixed hidden name in the output's folder. Whoever owns the spare keeps a PatchJournal of
// what it lacks. No descriptor is open between calls. Not thread safe.
class Spare {
 public:
  Spare(FileOps& ops, std::string path) : ops_(ops), path_(std::move(path)) {}
  Spare(const Spare&) = delete;
  Spare& operator=(const Spare&) = delete;
  ~Spare() { Discard(); }

  enum class State : uint8_t {
    kNone,
    kPartial,  // a copy was interrupted; CopyFrom continues it
    kComplete,
    kGarbage,  // to be deleted, which may take O(image)
  };

  State state() const { return state_; }
  const std::string& path() const { return path_; }
  const FileIdentity& identity() const { return identity_; }
  // May somebody still be using it, because it was the output before an exchange?
  bool was_published() const { return was_published_; }
  // Complete, still there and unchanged.
  bool IsUsable();

  // Copies the output, which has to be `expected` before and after: by reflink, else copy_file_range, else
  // reading and writing; space is allocated first, so that later patches do not run out of it. Cancelled when
  // `stop` becomes true (kPartial then). FailedPrecondition when the output is not `expected`. Mutations that
  // the output gets between two parts of an interrupted copy are to be replayed afterwards.
  absl::Status CopyFrom(const std::string& output, const FileIdentity& expected,
                        const std::atomic<bool>* stop);

  // Replays `journal`, then `patch`. With `mode`, also gives the file that mode and the present time, ready
  // to be published. FailedPrecondition when somebody still uses the old output that it is, or has changed
  // it. Any failure makes it garbage. REQUIRES: kComplete.
  absl::Status Update(const PatchJournal& journal, const ImagePatch& patch, absl::optional<mode_t> mode);

  absl::Status Read(uint64_t offset, MutableBytes into);

  // After an exchange: the old output, which was `expected`, now has the spare's name.
  void BecomeOldOutput(const FileIdentity& expected);
  // After a rename of the spare over the output.
  void Forget() { state_ = State::kNone; }
  void MakeGarbage() {
    if (state_ != State::kNone) state_ = State::kGarbage;
  }
  // Deletes the file, if it is ours.
  void Discard();
  // Takes the file to another name in the same file system. Without one, or when that fails, the spare is none there.
  void MoveTo(std::string path);

 private:
  absl::Status Create(const OpenFile& from);
  absl::Status CopyChunks(int from, const std::string& output, int to, const std::atomic<bool>* stop);
  absl::Status CopyChunk(int from, const std::string& output, int to, uint64_t length);
  absl::Status Write(int fd, const PatchJournal& journal, const ImagePatch& patch,
                     absl::optional<mode_t> mode);
  absl::Status RecordIdentity(int fd);

  FileOps& ops_;
  std::string path_;
  State state_ = State::kNone;
  FileIdentity identity_;
  uint64_t size_ = 0;    // of the image
  uint64_t copied_ = 0;  // bytes copied or found to be a hole
  bool was_published_ = false;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_SPARE_H_
