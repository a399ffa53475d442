#include "core/session/draft.h"

#include <memory>
#include <string>

#include "core/input/command_line.h"

namespace kitlink {
namespace {

bool NothingButFiles(const Changes& changes) {
  return changes.list.same_places() && changes.list.renamed.empty() && changes.vanished.empty();
}

bool SameOptions(const SharedOptions& a, const SharedOptions& b) {
  return a.Is(b) || (SameLinkOptions(a, b) && a->gate == b->gate && a->move == b->move);
}

}  // namespace

bool Draft::CanWait(const Changes& changes) const {
  if (!NothingButFiles(changes)) return false;
  if (!changed.relisted.empty() || !changed.leaving.empty() || !changed.moved.empty() || !changed.leaving_files.empty() ||
      !changed.new_files.empty() || !changed.joining.empty() || !changed.dropped.empty() || !changed.archives.empty() ||
      !changed.thin_members.empty() || !changed.libraries.empty() || plan.grown) {
    return false;
  }
  // Each file once, and its bytes at the same place.
  if (changed.stamps.size() != changed.bytes.size() || changed.stamps.size() > kMostFiles || changed.bytes_read > kMostBytes) return false;
  for (size_t i = 0; i < changed.stamps.size(); ++i) {
    const InputBytes& bytes = *changed.bytes[i];
    if (!bytes.copied() || bytes.torn() || bytes.stamp() != changed.stamps[i].second) return false;
  }
  return true;
}

bool Draft::Serves(const LinkRequest& request, const Changes& changes, const Memory& memory, FileSource& files) const {
  if (request.changed || request.distrust_watch || request.distrust_stamps || !SameOptions(options, request.options)) return false;
  if (!NothingButFiles(changes) || changes.files != ahead.files) return false;
  for (size_t i = 0; i < changed.stamps.size(); ++i) {
    const auto& [file, stamp] = changed.stamps[i];
    const std::string& path = memory.files[file].path;
    if (OldEnough(stamp, started_ns)) {
      const absl::StatusOr<FileStamp> now = files.Stat(path);
      if (!now.ok() || *now != stamp) return false;
      continue;
    }
    const absl::StatusOr<std::shared_ptr<InputBytes>> now = files.Open(path);
    if (!now.ok() || (*now)->torn() || (*now)->stamp() != stamp || (*now)->bytes() != changed.bytes[i]->bytes()) return false;
  }
  return true;
}

}  // namespace kitlink
