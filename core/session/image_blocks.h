// What a plan reads of the image, in blocks that are read once.
#ifndef CORE_SESSION_IMAGE_BLOCKS_H_
#define CORE_SESSION_IMAGE_BLOCKS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/output/image_sink.h"

namespace kitlink {

// A patch looks at the same places several times: what stood there, what differs, what the leaves of the build id's tree
// are now. Each look at the file costs two system calls and, by then, a cold cache. Behind the end of the image there are
// zeros: it may be about to grow. For one plan, during which nobody may write the image. Not thread safe.
class ImageBlocks {
 public:
  // REQUIRES: `read` lives as long as something is read; the image has `size` bytes.
  ImageBlocks(const ImageReader& read, uint64_t size) : read_(read), size_(size) {}
  ImageBlocks(const ImageBlocks&) = delete;
  ImageBlocks& operator=(const ImageBlocks&) = delete;

  // Whatever the reader fails with.
  absl::Status Read(uint64_t offset, MutableBytes into);
  // Copies what has been read. False, and nothing copied, when not all of it was. The reader need not live any more.
  bool Known(uint64_t offset, MutableBytes into) const;

 private:
  static constexpr uint64_t kBlock = 4096;
  static constexpr uint64_t kMostKept = 16 * kBlock;  // what is longer is hardly read twice

  static constexpr uint64_t kSlab = 16 * kBlock;

  absl::Status Load(uint64_t begin, uint64_t end);
  // Room for that many bytes, whole blocks, as long as this lives.
  uint8_t* Allocate(uint64_t size);
  absl::Status ReadThrough(uint64_t offset, MutableBytes into) const;
  // REQUIRES: the blocks are there.
  void Copy(uint64_t offset, MutableBytes into) const;

  const ImageReader& read_;
  const uint64_t size_;
  absl::flat_hash_map<uint64_t, const uint8_t*> blocks_;  // by number
  std::vector<std::unique_ptr<uint8_t[]>> slabs_;
  uint64_t slab_size_ = 0, left_ = 0;  // of the last slab: bytes, those that are free
};

}  // namespace kitlink

#endif  // CORE_SESSION_IMAGE_BLOCKS_H_
