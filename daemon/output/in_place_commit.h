// Patching a published file where it lies.
#ifndef DAEMON_OUTPUT_IN_PLACE_COMMIT_H_
#define DAEMON_OUTPUT_IN_PLACE_COMMIT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/output/image_sink.h"
#include "daemon/output/file_ops.h"

namespace kitlink::daemon {

// One commit, used once. Reads the old bytes, clears the image's first four (every format's magic number, so
// that neither execve nor the dynamic loader accepts the file), writes the mutations, and restores the magic
// number last. Killed at any point, it leaves the old file, the new one, or one that refuses to start. A failed
// write is rolled back.
//
// Nobody else has the file open, so the phases of mutations do not matter here, and what lies close together is
// written in one go, with the bytes between.
//
// This orders what other processes see, not what a power failure leaves on disk.
class InPlaceCommit {
 public:
  // A patch may make the file longer.
  // REQUIRES: `fd` is held exclusively (ExclusiveFile) and CheckPatch accepted `patch` for `image_size`.
  InPlaceCommit(FileOps& ops, int fd, std::string path, uint64_t image_size);

  // All or nothing; but see left_broken.
  absl::Status Run(const ImagePatch& patch);

  // True when Run failed and rolling back failed too: the magic number is still cleared.
  bool left_broken() const { return left_broken_; }

 private:
  static constexpr size_t kMagicSize = 4;

  // Some mutations, without what falls on the magic number.
  struct Stretch {
    uint64_t offset;
    size_t size;
    size_t at;           // of its bytes in old_ and new_
    size_t written = 0;  // how many of them have been replaced
  };

  void Join(const ImagePatch& patch);
  absl::Status SaveOldBytes(const ImagePatch& patch);
  void Overlay(const ImagePatch& patch);
  absl::Status WriteStretches();
  absl::Status RollBack();
  absl::Status Shorten(const ImagePatch& patch);

  FileOps& ops_;
  const int fd_;
  const std::string path_;
  const uint64_t image_size_;
  const size_t magic_size_;
  uint8_t old_magic_[kMagicSize] = {};
  uint8_t new_magic_[kMagicSize] = {};
  std::vector<Stretch> stretches_;
  std::vector<uint8_t> old_, new_;
  bool left_broken_ = false;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_IN_PLACE_COMMIT_H_
