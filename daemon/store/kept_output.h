// An output whose session outlives the daemon.
#ifndef DAEMON_STORE_KEPT_OUTPUT_H_
#define DAEMON_STORE_KEPT_OUTPUT_H_

#include <atomic>
#include <string>

#include "core/session/state/state_store.h"
#include "daemon/output/file_sink.h"
#include "daemon/store/state_files.h"

namespace kitlink::daemon {

// A FileSink, and the store of its session's state. Thread safe as both say.
class KeptOutput : public FileSink, public StateStore {
 public:
  // `files` must outlive this. `path`: absolute.
  KeptOutput(StateFiles* files, const std::string& path, mode_t umask, PublishPolicy policy)
      : FileSink(path, umask, policy), files_(files), key_(path) {}

  // Before each link. The session is known by `key`, the build system's, else by its output. Elsewhere it is known by the
  // key, or by where the output lies in `folder`, in which the link runs. With a `salt`, by that as well.
  void SetNames(const std::string& key, const std::string& salt, const std::string& folder);
  // Makes a running save stop soon, until Resume. From any thread.
  void Interrupt() { interrupted_.store(true, std::memory_order_relaxed); }
  void Resume() { interrupted_.store(false, std::memory_order_relaxed); }

  absl::Status Put(const ContentId& id, ByteView bytes) override { return files_->PutBlob(id, bytes); }
  absl::StatusOr<std::string> Get(const ContentId& id) override { return files_->GetBlob(id); }
  void Discard(const ContentId& id) override { files_->DiscardBlob(id); }
  bool Interrupted() const override { return interrupted_.load(std::memory_order_relaxed); }
  absl::StatusOr<std::string> ReadManifest() override { return files_->ReadManifest(key_); }
  absl::StatusOr<Portable> ReadPortable() override { return files_->ReadPortable(portable_); }
  absl::Status WriteManifest(absl::string_view manifest, absl::string_view image) override;
  void Forget() override { files_->Remove(key_, portable_); }
  std::string folder() const override { return folder_; }
  // The file's identity, and the boot in which it was published.
  absl::StatusOr<std::string> Record() override;
  absl::Status TakeUp(absl::string_view image, absl::string_view output) override;
  absl::Status TakeUpCopy(absl::string_view image, const ContentId& content) override;

 private:
  StateFiles* const files_;
  std::string key_, portable_, folder_;
  std::atomic<bool> interrupted_{false};
};

}  // namespace kitlink::daemon

#endif  // DAEMON_STORE_KEPT_OUTPUT_H_
