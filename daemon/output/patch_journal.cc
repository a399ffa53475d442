#include "daemon/output/patch_journal.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {

bool PatchJournal::Append(const ImagePatch& patch) {
  uint64_t added = 0;
  for (const Mutation& mutation : patch.mutations) added += sizeof(Mutation) + mutation.bytes.size();
  if (added == 0) return true;
  if (added > limit_ || bytes_ > limit_ - added) {
    Clear();
    return false;
  }
  bytes_ += added;
  patches_.push_back({patch.mutations, patch.image_size, nullptr});
  return true;
}

void PatchJournal::Clear() {
  patches_.clear();
  bytes_ = 0;
}

absl::Status PatchJournal::Replay(FileOps& ops, int fd, absl::string_view path) const {
  for (const ImagePatch& patch : patches_) {
    if (absl::Status status = WritePatch(ops, fd, path, patch); !status.ok()) return status;
  }
  return absl::OkStatus();
}

void PatchJournal::Overlay(uint64_t offset, MutableBytes bytes) const {
  const uint64_t end = offset + bytes.size();
  for (const ImagePatch& patch : patches_) {
    for (const Mutation& mutation : patch.mutations) {
      const uint64_t from = std::max(offset, mutation.offset);
      const uint64_t to = std::min<uint64_t>(end, mutation.offset + mutation.bytes.size());
      if (from >= to) continue;
      std::memcpy(bytes.data() + (from - offset), mutation.bytes.data() + (from - mutation.offset),
                  to - from);
    }
  }
}

absl::Status CheckPatch(const ImagePatch& patch, uint64_t size) {
  uint64_t end = 0;
  for (const Mutation& mutation : patch.mutations) {
    if (mutation.offset < end) {
      return absl::InvalidArgumentError(
          absl::StrCat("patch: mutation at ", mutation.offset, " overlaps or precedes another"));
    }
    if (!InBounds(mutation.offset, mutation.bytes.size(), size)) {
      return absl::InvalidArgumentError(absl::StrCat("patch: mutation at ", mutation.offset, " of ",
                                                     mutation.bytes.size(), " bytes passes the image's end, ",
                                                     size));
    }
    end = mutation.offset + mutation.bytes.size();
  }
  return absl::OkStatus();
}

absl::Status Extend(FileOps& ops, int fd, absl::string_view path, const ImagePatch& patch) {
  if (patch.image_size == 0) return absl::OkStatus();
  struct stat info;
  if (const int error = ops.Fstat(fd, &info); error < 0) return FileError("examine", path, error);
  if (static_cast<uint64_t>(info.st_size) >= patch.image_size) return absl::OkStatus();
  const int error = ops.Truncate(fd, patch.image_size);
  return error < 0 ? FileError("extend", path, error) : absl::OkStatus();
}

absl::Status WritePatch(FileOps& ops, int fd, absl::string_view path, const ImagePatch& patch) {
  if (absl::Status status = Extend(ops, fd, path, patch); !status.ok()) return status;
  for (const Mutation& mutation : patch.mutations) {
    absl::Status status =
        WriteExactly(ops, fd, path, mutation.offset, mutation.bytes.size(), mutation.bytes.data());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace kitlink::daemon
