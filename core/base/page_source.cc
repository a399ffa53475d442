#include "core/base/page_source.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"

namespace kitlink {

absl::StatusOr<std::string> PageSource::Fetch(const ContentId& id) const {
  Note(id);
  absl::StatusOr<std::string> bytes = blobs_->Get(id);
  if (!bytes.ok()) return absl::DataLossError(absl::StrCat("a chunk is missing: ", bytes.status().message()));
  if (checked_ && HashContent(AsBytes(*bytes)) != id) {
    blobs_->Discard(id);
    return absl::DataLossError(absl::StrCat("chunk ", id.ToHex(), " is not what was written"));
  }
  return bytes;
}

void PageSource::Damage(absl::string_view what) {
  std::lock_guard<std::mutex> lock(what_mutex_);
  if (what_.empty()) what_ = std::string(what);
  damaged_.store(true, std::memory_order_release);
}

std::string PageSource::what() const {
  std::lock_guard<std::mutex> lock(what_mutex_);
  return what_;
}

}  // namespace kitlink
