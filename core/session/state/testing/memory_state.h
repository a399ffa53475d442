// A StateStore in memory, for tests.
#ifndef CORE_SESSION_STATE_TESTING_MEMORY_STATE_H_
#define CORE_SESSION_STATE_TESTING_MEMORY_STATE_H_

#include <cstdint>
#include <map>
#include <string>

#include "core/session/state/state_store.h"

namespace kitlink::testing {

class MemoryState : public StateStore {
 public:
  absl::Status Put(const ContentId& id, ByteView bytes) override {
    if (blobs.emplace(id.ToHex(), AsString(bytes)).second) written += bytes.size();
    return absl::OkStatus();
  }
  absl::StatusOr<std::string> Get(const ContentId& id) override {
    const auto it = blobs.find(id.ToHex());
    if (it == blobs.end()) return absl::NotFoundError(id.ToHex());
    return it->second;
  }
  absl::StatusOr<std::string> ReadManifest() override {
    if (manifest.empty()) return absl::NotFoundError("no manifest");
    return manifest;
  }
  absl::Status WriteManifest(absl::string_view text, absl::string_view) override {
    manifest = std::string(text);
    ++manifests;
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> Record() override { return std::string("record"); }
  absl::Status TakeUp(absl::string_view image) override {
    return image == "record" ? absl::OkStatus() : absl::FailedPreconditionError("another image");
  }

  std::map<std::string, std::string> blobs;  // by hexadecimal id
  std::string manifest;
  int manifests = 0;     // how often it was written
  uint64_t written = 0;  // bytes of blobs that were not there yet
};

}  // namespace kitlink::testing

#endif  // CORE_SESSION_STATE_TESTING_MEMORY_STATE_H_
