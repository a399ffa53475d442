// A new image while it is being written, under a hidden name or in memory.
#ifndef DAEMON_OUTPUT_STAGED_IMAGE_H_
#define DAEMON_OUTPUT_STAGED_IMAGE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "daemon/output/file_identity.h"
#include "daemon/output/file_ops.h"

namespace kitlink::daemon {

// The hidden names beside an output: ".NAME.kitlink-new.PID-N" for images being written and
// ".NAME.kitlink-spare". A NAME that would make them longer than file systems allow is cut and hashed.
class HiddenNames {
 public:
  // REQUIRES: `output` is an absolute path.
  explicit HiddenNames(const std::string& output);

  const std::string& folder() const { return folder_; }
  std::string Spare() const { return folder_ + stem_ + "spare"; }
  std::string New(uint64_t number) const;

  // Removes what a killed process has left: new images that nobody holds locked and whose process is gone.
  // The spare too, unless `keep_spare`. Best effort.
  void RemoveStale(FileOps& ops, bool keep_spare) const;

 private:
  std::string folder_;  // ends with a slash
  std::string stem_;    // ".NAME.kitlink-"
};

// Zero bytes to fill in. As a file: its space is allocated before it is mapped, so that a full disk is an
// error here and not a SIGBUS in whoever writes the image. That costs the sparseness of the image's holes on
// disk (as unwritten extents: space, but no I/O). Where the file system cannot allocate, the image is kept in
// memory and written out by Finish, sparsely. Not thread safe; the bytes may be written by several threads.
class StagedImage {
 public:
  // A hidden file beside the output. It is locked (flock), which tells it from a killed daemon's.
  static absl::StatusOr<std::unique_ptr<StagedImage>> CreateFile(FileOps& ops, const HiddenNames& names,
                                                                 uint64_t size);
  // Memory only, for outputs that are not regular files.
  static absl::StatusOr<std::unique_ptr<StagedImage>> CreateInMemory(FileOps& ops, uint64_t size);

  StagedImage(const StagedImage&) = delete;
  StagedImage& operator=(const StagedImage&) = delete;
  ~StagedImage();  // removes the file, unless Finish and Rename have succeeded

  MutableBytes bytes() const { return MutableBytes(data_, size_); }

  // Ends writing: no mapping and no descriptor remain (either would make execve fail with ETXTBSY). The file
  // gets `mode` and the present time. Its identity as yet, before the rename, is returned.
  absl::StatusOr<FileIdentity> Finish(mode_t mode);
  // Gives the finished file its name, replacing what has it.
  absl::Status RenameTo(const std::string& output);

 private:
  StagedImage(FileOps& ops, uint64_t size) : ops_(ops), size_(size) {}

  absl::Status OpenHidden(const HiddenNames& names);
  absl::Status MapFile();
  absl::Status MapMemory();
  absl::Status WriteOut();
  absl::Status Unmap();

  FileOps& ops_;
  const uint64_t size_;
  std::string path_;  // empty: in memory only, or renamed
  OpenFile file_;
  uint8_t* data_ = nullptr;
  bool in_memory_ = false;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_STAGED_IMAGE_H_
