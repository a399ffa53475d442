// Where the pages of tables come from that were read from disk, and the note that one of them was bad.
#ifndef CORE_BASE_PAGE_SOURCE_H_
#define CORE_BASE_PAGE_SOURCE_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/blob_store.h"
#include "core/base/digest.h"

namespace kitlink {

// Ids that are read must be below these.
struct IdLimits {
  uint32_t sections = 0xfffffffeu;
  uint32_t units = 0xfffffffeu;
  uint32_t symbols = 0xfffffffeu;
};

// Pages are looked at when they are first touched, in the middle of planning, where nobody can be told that one is bad.
// So a bad page reads as empty rows, and whoever is about to rely on what was planned asks damaged() first. Thread safe,
// but for SetLimits and the noting of ids.
class PageSource {
 public:
  // `blobs` must outlive this. Without `checked`, digests are only names: for fuzzers.
  explicit PageSource(BlobStore* blobs, bool checked = true) : blobs_(blobs), checked_(checked) {}

  void SetLimits(const IdLimits& limits) { limits_ = limits; }
  const IdLimits& limits() const { return limits_; }

  // The bytes behind `id`, checked against it. DataLoss when they are not there or are others; not noted as damage.
  absl::StatusOr<std::string> Fetch(const ContentId& id) const;

  // Notes that something was bad; the first text stays.
  void Damage(absl::string_view what);
  bool damaged() const { return damaged_.load(std::memory_order_acquire); }
  std::string what() const;

  // From now on, notes the ids that are fetched or listed.
  void NoteIds() { noting_ = true; }
  void Note(const ContentId& id) const {
    if (noting_) noted_.push_back(id);
  }
  std::vector<ContentId> TakeNoted() { return std::move(noted_); }

  // Guards pages that are being read.
  std::mutex& mutex() { return mutex_; }

 private:
  BlobStore* const blobs_;
  const bool checked_;
  IdLimits limits_;
  bool noting_ = false;
  mutable std::vector<ContentId> noted_;
  std::mutex mutex_;
  std::atomic<bool> damaged_{false};
  mutable std::mutex what_mutex_;
  std::string what_;
};

}  // namespace kitlink

#endif  // CORE_BASE_PAGE_SOURCE_H_
