#include "daemon/output/in_place_commit.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/output/patch_journal.h"

namespace kitlink::daemon {
namespace {

// Bytes between two mutations that cost less than another system call.
constexpr uint64_t kJoin = 1024;

}  // namespace

InPlaceCommit::InPlaceCommit(FileOps& ops, int fd, std::string path, uint64_t image_size)
    : ops_(ops), fd_(fd), path_(std::move(path)), image_size_(image_size), magic_size_(std::min<uint64_t>(kMagicSize, image_size)) {}

absl::Status InPlaceCommit::Run(const ImagePatch& patch) {
  absl::Status status = ReadExactly(ops_, fd_, path_, 0, magic_size_, old_magic_);
  if (!status.ok()) return status;
  Join(patch);
  // More zeros at the end change nothing for those who read the old headers.
  if (status = Extend(ops_, fd_, path_, patch); !status.ok()) return status;
  if (status = SaveOldBytes(patch); !status.ok()) {
    Shorten(patch).IgnoreError();
    return status;
  }

  Overlay(patch);

  const uint8_t cleared[kMagicSize] = {};
  status = WriteExactly(ops_, fd_, path_, 0, magic_size_, cleared);
  if (status.ok()) status = WriteStretches();
  if (status.ok()) status = WriteExactly(ops_, fd_, path_, 0, magic_size_, new_magic_);
  if (status.ok()) return status;

  absl::Status back = RollBack();
  back.Update(Shorten(patch));
  if (!back.ok()) {
    left_broken_ = true;
    return absl::Status(status.code(),
                        absl::StrCat(status.message(), "; undoing it failed too (", back.message(),
                                     "), so the file does not start until it is linked again"));
  }
  return status;
}

void InPlaceCommit::Join(const ImagePatch& patch) {
  size_t total = 0;
  for (const Mutation& mutation : patch.mutations) {
    const uint64_t begin = std::max<uint64_t>(mutation.offset, magic_size_), end = mutation.offset + mutation.bytes.size();
    if (begin >= end) continue;
    if (!stretches_.empty() && begin - (stretches_.back().offset + stretches_.back().size) <= kJoin) {
      total += end - (stretches_.back().offset + stretches_.back().size);
      stretches_.back().size = end - stretches_.back().offset;
      continue;
    }
    stretches_.push_back({begin, end - begin, total});
    total += end - begin;
  }
  old_.resize(total);
}

absl::Status InPlaceCommit::SaveOldBytes(const ImagePatch& patch) {
  for (const Stretch& stretch : stretches_) {
    // Nobody else has written since: the file is what it was when the patch was planned.
    if (patch.before && patch.before(stretch.offset, MutableBytes(&old_[stretch.at], stretch.size))) continue;
    absl::Status status = ReadExactly(ops_, fd_, path_, stretch.offset, stretch.size, &old_[stretch.at]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

void InPlaceCommit::Overlay(const ImagePatch& patch) {
  std::memcpy(new_magic_, old_magic_, kMagicSize);
  new_ = old_;
  auto stretch = stretches_.begin();
  for (const Mutation& mutation : patch.mutations) {
    ByteView bytes(mutation.bytes);
    uint64_t offset = mutation.offset;
    if (offset < magic_size_) {
      const size_t on_magic = std::min<size_t>(bytes.size(), magic_size_ - offset);
      std::copy_n(bytes.data(), on_magic, new_magic_ + offset);
      bytes.remove_prefix(on_magic);
      offset += on_magic;
    }
    if (bytes.empty()) continue;
    while (offset >= stretch->offset + stretch->size) ++stretch;
    std::copy(bytes.begin(), bytes.end(), new_.begin() + static_cast<ptrdiff_t>(stretch->at + (offset - stretch->offset)));
  }
}

absl::Status InPlaceCommit::WriteStretches() {
  for (Stretch& stretch : stretches_) {
    absl::Status status =
        WriteExactly(ops_, fd_, path_, stretch.offset, stretch.size, &new_[stretch.at], &stretch.written);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status InPlaceCommit::Shorten(const ImagePatch& patch) {
  if (patch.image_size <= image_size_) return absl::OkStatus();
  const int error = ops_.Truncate(fd_, image_size_);
  return error < 0 ? FileError("shorten", path_, error) : absl::OkStatus();
}

absl::Status InPlaceCommit::RollBack() {
  for (const Stretch& stretch : stretches_) {
    // What was not written needs no undoing, and writing there could need space that there is not.
    absl::Status status =
        WriteExactly(ops_, fd_, path_, stretch.offset, stretch.written, old_.data() + stretch.at);
    if (!status.ok()) return status;
  }
  return WriteExactly(ops_, fd_, path_, 0, magic_size_, old_magic_);
}

}  // namespace kitlink::daemon
