// Where blobs are kept and found again by their content. The core writes no file by itself: the daemon supplies a store
// below its state folder, tests supply one in memory.
#ifndef CORE_BASE_BLOB_STORE_H_
#define CORE_BASE_BLOB_STORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/digest.h"

namespace kitlink {

// Thread safe.
class BlobStore {
 public:
  virtual ~BlobStore() = default;
  // Keeps `bytes`, whose digest is `id`. Bytes that are kept already are not kept twice.
  virtual absl::Status Put(const ContentId& id, ByteView bytes) = 0;
  // What was put as `id`, as far as the store can tell: the caller checks the digest. NotFound when it is not there.
  virtual absl::StatusOr<std::string> Get(const ContentId& id) = 0;
  // What is kept as `id` is not that: it had better be put anew.
  virtual void Discard(const ContentId& id) { (void)id; }
  // True when somebody waits for the thread that puts: it is to come back soon.
  virtual bool Interrupted() const { return false; }
};

}  // namespace kitlink

#endif  // CORE_BASE_BLOB_STORE_H_
