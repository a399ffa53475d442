// A BlobStore in memory, for tests.
#ifndef CORE_BASE_MEMORY_BLOBS_H_
#define CORE_BASE_MEMORY_BLOBS_H_

#include <cstdint>
#include <map>
#include <string>

#include "core/base/blob_store.h"

namespace kitlink {

class MemoryBlobs : public BlobStore {
 public:
  absl::Status Put(const ContentId& id, ByteView bytes) override {
    ++puts;
    const bool fresh = blobs.emplace(id.ToHex(), AsString(bytes)).second;
    if (fresh) written += bytes.size();
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Get(const ContentId& id) override {
    ++gets;
    const auto it = blobs.find(id.ToHex());
    if (it == blobs.end()) return absl::NotFoundError(id.ToHex());
    return it->second;
  }

  std::map<std::string, std::string> blobs;  // by hexadecimal id
  uint64_t puts = 0, gets = 0;
  uint64_t written = 0;  // bytes that were not there yet
};

}  // namespace kitlink

#endif  // CORE_BASE_MEMORY_BLOBS_H_
