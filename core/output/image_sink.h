// Where an image goes. The engine plans in terms of image offsets; a sink knows what is behind them: a file
// that other processes may be executing, or memory of this process.
#ifndef CORE_OUTPUT_IMAGE_SINK_H_
#define CORE_OUTPUT_IMAGE_SINK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"

namespace kitlink {

// Half-open range of image (file) offsets, in bytes.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t length = 0;
};

// The order in which a sink that others are executing must apply mutations: first what nothing refers to
// yet, then tables, then what makes it reachable.
enum class PatchPhase : uint8_t { kAppend, kTables, kSwitch };

struct Mutation {
  uint64_t offset = 0;
  PatchPhase phase = PatchPhase::kAppend;
  std::vector<uint8_t> bytes;
};

// A set of disjoint mutations, sorted by offset. All lie inside the published image, or inside what it grows to.
struct ImagePatch {
  std::vector<Mutation> mutations;
  uint64_t image_size = 0;  // bytes that the image has from now on, if they are more than before; what is new is zero
  // Copies what the image held there when the patch was planned; false where nobody has looked. Null: nobody has anywhere.
  std::function<bool(uint64_t offset, MutableBytes into)> before = nullptr;
};

// Reads `into.size()` bytes of an image at `offset`.
using ImageReader = std::function<absl::Status(uint64_t offset, MutableBytes into)>;

// One output. Not thread safe: its session serialises calls. Errors leave the published image as it was,
// except that Commit in place may leave a file that refuses to start (its magic number cleared), which
// CheckPatchable reports from then on.
class ImageSink {
 public:
  virtual ~ImageSink() = default;

  // `size` zero bytes to write a new image into, invisible to others, valid until PublishImage or AbandonImage.
  virtual absl::StatusOr<MutableBytes> BeginImage(uint64_t size) = 0;
  // Makes the image from BeginImage the output, atomically. `executable` asks for the x bits (under the umask).
  virtual absl::Status PublishImage(bool executable) = 0;
  virtual void AbandonImage() = 0;

  // OK when a patch can be committed to the image that this sink published last: it is still there and nobody
  // has changed it, or a spare holds the same generation. FailedPrecondition with the reason otherwise.
  virtual absl::Status CheckPatchable() = 0;
  // Applies `patch`, all or nothing, and refreshes the modification time. An empty patch only does the latter.
  virtual absl::Status Commit(const ImagePatch& patch) = 0;
  // Reads back bytes of the published image. FailedPrecondition when it is gone or changed.
  virtual absl::Status ReadBack(uint64_t offset, MutableBytes into) = 0;

  // Work after the reply (bringing the spare to the published generation). May take O(image).
  virtual void Settle() = 0;
};

}  // namespace kitlink

#endif  // CORE_OUTPUT_IMAGE_SINK_H_
