#include "daemon/output/in_place_commit.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/output/patch_journal.h"

namespace kitlink::daemon {

InPlaceCommit::InPlaceCommit(FileOps& ops, int fd, std::string path, uint64_t image_size)
    : ops_(ops), fd_(fd), path_(std::move(path)), image_size_(image_size), magic_size_(std::min<uint64_t>(kMagicSize, image_size)) {}

absl::Status InPlaceCommit::Run(const ImagePatch& patch) {
  absl::Status status = ReadExactly(ops_, fd_, path_, 0, magic_size_, old_magic_);
  if (!status.ok()) return status;
  std::memcpy(new_magic_, old_magic_, kMagicSize);
  Split(patch);
  // More zeros at the end change nothing for those who read the old headers.
  if (status = Extend(ops_, fd_, path_, patch); !status.ok()) return status;
  if (status = SaveOldBytes(); !status.ok()) {
    Shorten(patch).IgnoreError();
    return status;
  }

  const uint8_t cleared[kMagicSize] = {};
  status = WriteExactly(ops_, fd_, path_, 0, magic_size_, cleared);
  if (status.ok()) status = WritePieces();
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

void InPlaceCommit::Split(const ImagePatch& patch) {
  size_t old_size = 0;
  pieces_.reserve(patch.mutations.size());
  for (PatchPhase phase : {PatchPhase::kAppend, PatchPhase::kTables, PatchPhase::kSwitch}) {
    for (const Mutation& mutation : patch.mutations) {
      if (mutation.phase != phase) continue;
      ByteView bytes(mutation.bytes);
      uint64_t offset = mutation.offset;
      if (offset < magic_size_) {
        const size_t on_magic = std::min<size_t>(bytes.size(), magic_size_ - offset);
        std::copy_n(bytes.data(), on_magic, new_magic_ + offset);
        bytes.remove_prefix(on_magic);
        offset += on_magic;
      }
      if (bytes.empty()) continue;
      pieces_.push_back({offset, bytes, old_size});
      old_size += bytes.size();
    }
  }
  old_.resize(old_size);
}

absl::Status InPlaceCommit::SaveOldBytes() {
  for (const Piece& piece : pieces_) {
    absl::Status status =
        ReadExactly(ops_, fd_, path_, piece.offset, piece.bytes.size(), old_.data() + piece.old_at);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status InPlaceCommit::WritePieces() {
  for (Piece& piece : pieces_) {
    absl::Status status =
        WriteExactly(ops_, fd_, path_, piece.offset, piece.bytes.size(), piece.bytes.data(), &piece.written);
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
  for (const Piece& piece : pieces_) {
    // What was not written needs no undoing, and writing there could need space that there is not.
    absl::Status status =
        WriteExactly(ops_, fd_, path_, piece.offset, piece.written, old_.data() + piece.old_at);
    if (!status.ok()) return status;
  }
  return WriteExactly(ops_, fd_, path_, 0, magic_size_, old_magic_);
}

}  // namespace kitlink::daemon
