// A StateStore in memory, for tests.
#ifndef CORE_SESSION_STATE_TESTING_MEMORY_STATE_H_
#define CORE_SESSION_STATE_TESTING_MEMORY_STATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "core/base/digest.h"
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
  absl::Status TakeUp(absl::string_view image, absl::string_view) override {
    return image == "record" ? absl::OkStatus() : absl::FailedPreconditionError("another image");
  }

  // Makes `bytes` what is kept as `id`, and everything that leads there lead to them, as somebody would who can compute
  // digests.
  void Forge(const std::string& id, std::string bytes) {
    const std::string old_digest(AsString(ContentId::FromHex(id)->bytes));
    const ContentId fresh = HashContent(AsBytes(bytes));
    const std::string digest(AsString(fresh.bytes));
    blobs.erase(id);
    blobs[fresh.ToHex()] = std::move(bytes);
    std::map<std::string, std::string> leading;
    for (const auto& [other, text] : blobs) {
      if (absl::StrContains(text, old_digest)) leading[other] = absl::StrReplaceAll(text, {{old_digest, digest}});
    }
    for (auto& [other, text] : leading) Forge(other, std::move(text));
    if (absl::StrContains(manifest, old_digest)) ForgeManifest(absl::StrReplaceAll(Body(), {{old_digest, digest}}));
  }
  // The manifest without the digest at its end.
  std::string Body() const { return manifest.substr(0, manifest.size() - sizeof(ContentId)); }
  void ForgeManifest(std::string body) {
    const ContentId digest = HashContent(AsBytes(body));
    manifest = std::move(body) + std::string(AsString(digest.bytes));
  }

  std::map<std::string, std::string> blobs;  // by hexadecimal id
  std::string manifest;
  int manifests = 0;     // how often it was written
  uint64_t written = 0;  // bytes of blobs that were not there yet
};

}  // namespace kitlink::testing

#endif  // CORE_SESSION_STATE_TESTING_MEMORY_STATE_H_
