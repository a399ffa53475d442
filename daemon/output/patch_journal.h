// The patches that a lagging copy of an image has not got yet.
#ifndef DAEMON_OUTPUT_PATCH_JOURNAL_H_
#define DAEMON_OUTPUT_PATCH_JOURNAL_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/output/image_sink.h"
#include "daemon/output/file_ops.h"

namespace kitlink::daemon {

// Patches in the order of their commits. "copy + journal == published image" is the invariant its owner
// keeps; replaying is idempotent, because patches are absolute bytes. Not thread safe.
class PatchJournal {
 public:
  // `limit`: bytes kept at most. A longer journal costs more than copying the image afresh.
  explicit PatchJournal(uint64_t limit) : limit_(limit) {}

  // False when the limit would be passed; the journal is then empty and the copy worthless.
  bool Append(const ImagePatch& patch);
  void Clear();
  void set_limit(uint64_t limit) { limit_ = limit; }
  bool empty() const { return patches_.empty(); }
  uint64_t bytes() const { return bytes_; }

  // Writes all of it to `fd`. `path` is for messages.
  absl::Status Replay(FileOps& ops, int fd, absl::string_view path) const;
  // Brings bytes that were read from the copy at `offset` up to date.
  void Overlay(uint64_t offset, MutableBytes bytes) const;

 private:
  uint64_t limit_;
  uint64_t bytes_ = 0;
  std::vector<ImagePatch> patches_;
};

// InvalidArgument unless mutations are sorted, disjoint and inside an image of `size` bytes.
absl::Status CheckPatch(const ImagePatch& patch, uint64_t size);

// Makes the file behind `fd` at least as long as the patch's image; what is new is zero.
absl::Status Extend(FileOps& ops, int fd, absl::string_view path, const ImagePatch& patch);

// Writes the mutations to `fd`, which nobody else looks at, in order of offset, after Extend.
absl::Status WritePatch(FileOps& ops, int fd, absl::string_view path, const ImagePatch& patch);

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_PATCH_JOURNAL_H_
