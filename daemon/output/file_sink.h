// An output file: published whole, then patched in place or by exchanging it with a hidden spare.
#ifndef DAEMON_OUTPUT_FILE_SINK_H_
#define DAEMON_OUTPUT_FILE_SINK_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "core/base/bytes.h"
#include "core/input/options.h"
#include "core/output/image_sink.h"
#include "daemon/output/file_identity.h"
#include "daemon/output/file_ops.h"
#include "daemon/output/patch_journal.h"
#include "daemon/output/spare.h"
#include "daemon/output/staged_image.h"

namespace kitlink::daemon {

// How a commit reached the output.
enum class CommitKind : uint8_t {
  kNone,      // nothing committed yet
  kTouched,   // nothing to write; the modification time was refreshed
  kInPlace,   // written into the output under a write lease
  kExchange,  // a patched spare took the output's place
};

// ImageSink for one output path. See image_sink.h for what each call means; beyond that:
//
// A new image takes the output's place by rename, so the output's old inode, whoever runs or maps it or has
// another name for it, keeps its bytes. As with GNU ld, hard links are broken up and a symbolic link is
// replaced by the program; unlike GNU ld, this holds for a dangling link and one to an empty file too (it
// writes through those). The folder has to be writable: overwriting the old file is no substitute, it could
// not be undone. An output that is not a regular file is written and never patched.
//
// A patch goes into the output itself, if the policy allows, nobody else uses it and the file system can be
// trusted to say so (ExclusiveFile, InPlaceCommit). Else it goes into the spare, which then takes the
// output's place (renameat2(RENAME_EXCHANGE), or rename when the output is gone). With kInPlace what cannot
// be done in place is FailedPrecondition, and no spare is kept; with kExchange nothing is ever written into
// the output. Where there is no spare yet, or somebody still runs the old output that it is, Commit copies
// the image first: O(image), but less than a link.
//
// Any other change of the output, even of its permissions or its number of links, makes it unpatchable; if
// only its status (not size or modification time) changed and there is a spare, the spare replaces it.
// Build systems that remove outputs before a link, or write-protect them after it, do so before Settle has
// made a spare. Once that has cost a patch, the spare is made before PublishImage or Commit returns.
//
// Not thread safe, except StopSettling. No descriptor or mapping of the published file is held between calls.
// The process should not fork without exec while Commit runs: a child keeps descriptors until its exec.
class FileSink : public ImageSink {
 public:
  // `path`: absolute. `umask`: the client's. `ops`: not owned, outlives the sink. Touches nothing yet.
  FileSink(std::string path, mode_t umask, PublishPolicy policy, FileOps& ops = FileOps::System());
  // Deletes the spare and an unpublished image.
  ~FileSink() override;

  // For the calls that follow; they belong to a link, not to an output.
  void set_umask(mode_t umask) { umask_ = umask & 0777; }
  void set_policy(PublishPolicy policy) { policy_ = policy; }

  // The first call also removes what a killed daemon left beside the output. ResourceExhausted when the disk
  // is full: storing into the bytes cannot fail later. PermissionDenied when the folder is not writable.
  absl::StatusOr<MutableBytes> BeginImage(uint64_t size) override;
  absl::Status PublishImage(bool executable) override;
  void AbandonImage() override;

  absl::Status CheckPatchable() override;
  absl::Status Commit(const ImagePatch& patch) override;
  absl::Status ReadBack(uint64_t offset, MutableBytes into) override;
  // Closes what ReadBack has opened, until it is called again.
  void StopReading() { reading_.Close(); }
  // Brings the spare up to date, making it if there is none, and frees what the last publication replaced.
  void Settle() override;

  // Makes a running or coming Settle return soon, until the next request (any other call) begins. What it has
  // copied is kept. Callable from any thread at any time while the sink lives.
  void StopSettling() { stop_.store(true, std::memory_order_relaxed); }

  // Takes on an output that an earlier daemon published, recorded as `published`. FailedPrecondition when the
  // output is not that any more.
  absl::Status AdoptImage(const FileIdentity& published, bool executable);
  // Goes on at another path, absolute: what comes next is published there, over whatever is there, and the output that was
  // stays as it is. FailedPrecondition, and nothing changed, when the image is not to be had any more: the old output is gone
  // or changed and there is no spare; or when the path is no place for a regular file, or what is patched must be patched in place. O(image) unless there is a
  // spare.
  absl::Status MoveTo(std::string path);
  // Nothing was published at path() since.
  bool moved() const { return moved_; }
  // AdoptImage of an output that was published at `published_at`, then MoveTo here.
  absl::Status AdoptImageFrom(const std::string& published_at, const FileIdentity& published, bool executable);
  // What to record for AdoptImage; changes with every publication and commit. None when nothing patchable is
  // published.
  absl::optional<FileIdentity> published() const { return moved_ ? absl::nullopt : published_; }

  const std::string& path() const { return path_; }
  CommitKind last_commit() const { return last_commit_; }

 private:
  enum class OutputState : uint8_t { kIntact, kStatusChanged, kChanged, kGone };

  OutputState Examine();
  mode_t Mode() const { return (executable_ ? 0777 : 0666) & ~umask_; }
  void RecordPublished(const FileIdentity& before_rename);
  void ForgetSpareContents();

  absl::Status PublishSpecial();
  absl::Status CheckPublished() const;
  absl::Status Touch();
  // Refused (nothing done) is FailedPrecondition; any other failure is the commit's.
  absl::Status CommitInPlace(const ImagePatch& patch);
  absl::Status CommitByExchange(const ImagePatch& patch, OutputState state);
  absl::Status UpdateSpareFor(const ImagePatch& patch, OutputState state);
  absl::Status PublishSpare(const ImagePatch& patch, OutputState state);
  absl::Status MakeSpare(const std::atomic<bool>* stop);
  // After a publication: see spare_at_once_.
  void MakeSpareAtOnce();
  void Remember(const ImagePatch& patch);

  std::string path_;
  HiddenNames names_;
  FileOps& ops_;
  mode_t umask_;
  PublishPolicy policy_;

  bool cleaned_ = false;  // leftovers of a killed daemon
  bool special_ = false;  // the output is not a regular file
  std::unique_ptr<StagedImage> image_;

  absl::optional<FileIdentity> published_;
  bool executable_ = true;
  bool moved_ = false;   // to a path at which nothing was published yet
  bool broken_ = false;  // a commit in place failed and could not be undone
  bool spare_at_once_ = false;  // a patch was refused for want of a spare; Settle would come too late again
  CommitKind last_commit_ = CommitKind::kNone;

  Spare spare_;
  PatchJournal journal_;  // what the spare lacks
  OpenFile reading_;      // the output, for the reads of one plan
  OpenFile replaced_;     // delays freeing a replaced output's blocks until Settle
  std::atomic<bool> stop_{false};
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_FILE_SINK_H_
