// A FileSource that serves bytes from memory: for tests, fuzzers, and links of things that are not on a disk.
#ifndef CORE_BASE_MEMORY_FILES_H_
#define CORE_BASE_MEMORY_FILES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "core/base/file_source.h"

namespace kitlink {

// One file's contents, owned. The bytes are 16-byte aligned, as a mapping's would be.
class MemoryBytes : public InputBytes {
 public:
  explicit MemoryBytes(std::vector<uint8_t> bytes, FileStamp stamp = {}) : bytes_(std::move(bytes)), stamp_(stamp) {
    stamp_.size = bytes_.size();
  }
  ByteView bytes() const override { return bytes_; }
  const FileStamp& stamp() const override { return stamp_; }
  bool torn() const override { return torn_; }
  bool copied() const override { return copied_; }
  // Makes the file look as if it had been cut short while it was read.
  void set_torn() { torn_ = true; }
  // Makes the file look as if it were mapped.
  void set_mapped() { copied_ = false; }

 private:
  std::vector<uint8_t> bytes_;
  FileStamp stamp_;
  bool torn_ = false;
  bool copied_ = true;
};

// Thread safe. Files that were opened keep their bytes when Put or Remove change what the name stands for.
class MemoryFiles : public FileSource {
 public:
  // Creates or replaces `path`; its stamp changes.
  void Put(absl::string_view path, std::vector<uint8_t> bytes);
  void Put(absl::string_view path, absl::string_view text);
  // As Put, keeping the inode: what assemblers do to their output.
  void Rewrite(absl::string_view path, std::vector<uint8_t> bytes);
  void Remove(absl::string_view path);

  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override;
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override;

 private:
  absl::Mutex mutex_;
  uint64_t clock_ ABSL_GUARDED_BY(mutex_) = 0;  // inode and time of the next file
  absl::flat_hash_map<std::string, std::shared_ptr<MemoryBytes>> files_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kitlink

#endif  // CORE_BASE_MEMORY_FILES_H_
