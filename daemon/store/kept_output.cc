#include "daemon/store/kept_output.h"

#include <sys/stat.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/output/recorded.h"

namespace kitlink::daemon {

void KeptOutput::SetNames(const std::string& key, const std::string& salt, const std::string& folder) {
  folder_ = folder;
  key_ = key.empty() ? path() : absl::StrCat("key ", key);
  portable_.clear();
  if (!key.empty()) {
    portable_ = absl::StrCat("portable key ", key);
  } else if (absl::StartsWith(path(), absl::StrCat(folder, "/"))) {
    portable_ = absl::StrCat("portable ", path().substr(folder.size() + 1));
  }
  if (salt.empty()) return;
  const std::string prefix = absl::StrCat("salt ", salt.size(), " ", salt, " ");
  key_ = prefix + key_;
  if (!portable_.empty()) portable_ = prefix + portable_;
}

absl::Status KeptOutput::WriteManifest(absl::string_view manifest, absl::string_view image) {
  files_->WriteManifest(key_, {std::string(manifest), std::string(image), path(), portable_, {}});
  return absl::OkStatus();
}

absl::StatusOr<std::string> KeptOutput::Record() {
  if (!published().has_value()) return absl::FailedPreconditionError(absl::StrCat(path(), " is not published"));
  return WriteRecord(*published());
}

absl::Status KeptOutput::TakeUp(absl::string_view image, absl::string_view output) {
  absl::StatusOr<Recorded> recorded = ReadRecord(image);
  if (!recorded.ok()) return recorded.status();
  if (!IsOfThisBoot(*recorded)) return absl::FailedPreconditionError("the machine was started anew since");
  if (output == path()) return AdoptImage(recorded->identity, /*executable=*/true);
  return AdoptImageFrom(std::string(output), recorded->identity, /*executable=*/true);
}

absl::Status KeptOutput::TakeUpCopy(absl::string_view image, const ContentId& content) {
  absl::StatusOr<Recorded> recorded = ReadRecord(image);
  if (!recorded.ok()) return recorded.status();
  struct stat before;
  const bool found = lstat(path().c_str(), &before) == 0 && S_ISREG(before.st_mode);
  if (found && static_cast<uint64_t>(before.st_size) == recorded->identity.size) {
    const absl::StatusOr<ContentId> digest = HashFile(path());
    // Whoever writes to it meanwhile gives it another time, which AdoptImage sees.
    if (digest.ok() && *digest == content) return AdoptImage(FileIdentity::Of(before), /*executable=*/true);
  }
  return absl::FailedPreconditionError(absl::StrCat(path(), " is no copy of the file that was published"));
}

}  // namespace kitlink::daemon
