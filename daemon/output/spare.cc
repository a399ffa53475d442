#include "daemon/output/spare.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/output/exclusive_file.h"

namespace kitlink::daemon {
namespace {

// One to two milliseconds of copying between two looks at `stop`.
constexpr uint64_t kChunk = 4 << 20;

absl::Status Changed(const std::string& path) {
  return absl::FailedPreconditionError(absl::StrCat(path, " has been changed or replaced"));
}

absl::StatusOr<OpenFile> OpenUnchanged(FileOps& ops, const std::string& path, int flags,
                                       const FileIdentity& expected) {
  OpenFile file(&ops, ops.Open(path, flags | O_NOFOLLOW | O_NONBLOCK, 0));
  if (!file.is_open()) return FileError("open", path, file.fd());
  struct stat info;
  if (const int error = ops.Fstat(file.fd(), &info); error < 0) return FileError("examine", path, error);
  if (FileIdentity::Of(info) != expected) return Changed(path);
  return file;
}

}  // namespace

bool Spare::IsUsable() {
  struct stat info;
  return state_ == State::kComplete && ops_.Lstat(path_, &info) == 0 && FileIdentity::Of(info) == identity_;
}

void Spare::Discard() {
  if (state_ == State::kNone) return;
  state_ = State::kNone;
  struct stat info;
  // Another daemon may have put its own there.
  if (ops_.Lstat(path_, &info) == 0 && FileIdentity::Of(info).SameInode(identity_)) ops_.Unlink(path_);
}

void Spare::MoveTo(std::string path) {
  struct stat info;
  const bool moved = IsUsable() && ops_.Rename(path_, path) == 0 && ops_.Lstat(path, &info) == 0 &&
                     FileIdentity::Of(info).SameButStatus(identity_);
  if (!moved) Discard();
  path_ = std::move(path);
  if (moved) identity_ = FileIdentity::Of(info);  // with the time of the rename
}

absl::Status Spare::RecordIdentity(int fd) {
  struct stat info;
  if (const int error = ops_.Fstat(fd, &info); error < 0) return FileError("examine", path_, error);
  identity_ = FileIdentity::Of(info);
  return absl::OkStatus();
}

absl::Status Spare::Create(const OpenFile& from) {
  ops_.Unlink(path_);  // a killed daemon's
  OpenFile to(&ops_, ops_.Open(path_, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (!to.is_open()) return FileError("create", path_, to.fd());
  copied_ = 0;
  was_published_ = false;
  if (absl::Status status = RecordIdentity(to.fd()); !status.ok()) {
    ops_.Unlink(path_);
    return status;
  }
  state_ = State::kPartial;
  if (ops_.Clone(to.fd(), from.fd()) == 0) {
    copied_ = size_;
  } else if (size_ > 0) {
    int error = ops_.Allocate(to.fd(), size_);
    if (error == -EOPNOTSUPP || error == -ENOSYS) error = ops_.Truncate(to.fd(), size_);
    if (error < 0) return FileError(absl::StrCat("allocate ", size_, " bytes for"), path_, error);
  }
  return RecordIdentity(to.fd());
}

absl::Status Spare::CopyFrom(const std::string& output, const FileIdentity& expected,
                             const std::atomic<bool>* stop) {
  absl::StatusOr<OpenFile> from = OpenUnchanged(ops_, output, O_RDONLY, expected);
  if (!from.ok()) return from.status();
  if (state_ != State::kPartial || size_ != expected.size) {
    Discard();
    size_ = expected.size;
    if (absl::Status status = Create(*from); !status.ok()) {
      Discard();
      return status;
    }
  }
  absl::StatusOr<OpenFile> to = OpenUnchanged(ops_, path_, O_RDWR, identity_);
  absl::Status status = to.ok() ? CopyChunks(from->fd(), output, to->fd(), stop) : to.status();
  if (to.ok()) status.Update(RecordIdentity(to->fd()));
  if (absl::IsCancelled(status)) return status;
  struct stat info;
  if (status.ok() && (ops_.Fstat(from->fd(), &info) < 0 || FileIdentity::Of(info) != expected)) {
    status = Changed(output);
  }
  if (!status.ok()) {
    Discard();
    return status;
  }
  state_ = State::kComplete;
  return status;
}

absl::Status Spare::CopyChunks(int from, const std::string& output, int to, const std::atomic<bool>* stop) {
  uint64_t data_end = copied_;
  while (copied_ < size_) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed))
      return absl::CancelledError("copying interrupted");
    if (copied_ >= data_end) {
      // The new file reads as zeros, so only data has to be copied. Where holes cannot be asked for, all is
      // data.
      const int64_t data = ops_.Seek(from, copied_, SEEK_DATA);
      if (data == -ENXIO) {
        copied_ = size_;
        break;
      }
      if (data >= 0) copied_ = std::clamp<uint64_t>(static_cast<uint64_t>(data), copied_, size_);
      const int64_t hole = data < 0 ? -1 : ops_.Seek(from, copied_, SEEK_HOLE);
      data_end = hole < 0 ? size_ : std::min<uint64_t>(static_cast<uint64_t>(hole), size_);
    }
    const uint64_t length = std::min(kChunk, data_end - copied_);
    if (absl::Status status = CopyChunk(from, output, to, length); !status.ok()) return status;
    copied_ += length;
  }
  return absl::OkStatus();
}

absl::Status Spare::CopyChunk(int from, const std::string& output, int to, uint64_t length) {
  uint64_t done = 0;
  while (done < length) {
    const int64_t copied = ops_.CopyRange(from, to, copied_ + done, length - done);
    if (copied <= 0) break;  // not supported here, or a real error that reading and writing will meet again
    done += static_cast<uint64_t>(copied);
  }
  if (done == length) return absl::OkStatus();
  std::vector<uint8_t> buffer(std::min<uint64_t>(length - done, 1 << 20));
  while (done < length) {
    const size_t part = std::min<uint64_t>(buffer.size(), length - done);
    absl::Status status = ReadExactly(ops_, from, output, copied_ + done, part, buffer.data());
    if (status.ok()) status = WriteExactly(ops_, to, path_, copied_ + done, part, buffer.data());
    if (!status.ok()) return status;
    done += part;
  }
  return absl::OkStatus();
}

absl::Status Spare::Write(int fd, const PatchJournal& journal, const ImagePatch& patch,
                          absl::optional<mode_t> mode) {
  absl::Status status = journal.Replay(ops_, fd, path_);
  if (status.ok()) status = WritePatch(ops_, fd, path_, patch);
  if (!status.ok()) return status;
  if (mode.has_value()) {
    if (const int error = ops_.Chmod(fd, *mode); error < 0) return FileError("set the mode of", path_, error);
    if (const int error = ops_.TouchNow(fd); error < 0) return FileError("set the time of", path_, error);
  }
  return RecordIdentity(fd);
}

absl::Status Spare::Update(const PatchJournal& journal, const ImagePatch& patch,
                           absl::optional<mode_t> mode) {
  absl::Status status;
  if (was_published_) {
    // Processes may be running it, or have it mapped.
    absl::StatusOr<ExclusiveFile> file = ExclusiveFile::Open(ops_, path_, identity_);
    status = file.ok() ? Write(file->fd(), journal, patch, mode) : file.status();
  } else {
    absl::StatusOr<OpenFile> file = OpenUnchanged(ops_, path_, O_RDWR, identity_);
    status = file.ok() ? Write(file->fd(), journal, patch, mode) : file.status();
  }
  if (status.ok()) {
    was_published_ = false;  // nobody had it, and under its hidden name nobody gets it
  } else {
    MakeGarbage();
  }
  return status;
}

absl::Status Spare::Read(uint64_t offset, MutableBytes into) {
  if (state_ != State::kComplete) return absl::FailedPreconditionError(absl::StrCat("no ", path_));
  absl::StatusOr<OpenFile> file = OpenUnchanged(ops_, path_, O_RDONLY, identity_);
  if (!file.ok()) return file.status();
  // It may lack what the output has grown by, which the journal's patches have.
  const uint64_t size = static_cast<uint64_t>(identity_.size);
  const uint64_t there = offset < size ? std::min<uint64_t>(size - offset, into.size()) : 0;
  std::fill(into.begin() + static_cast<ptrdiff_t>(there), into.end(), 0);
  return there == 0 ? absl::OkStatus() : ReadExactly(ops_, file->fd(), path_, offset, there, into.data());
}

void Spare::BecomeOldOutput(const FileIdentity& expected) {
  struct stat info;
  state_ = State::kGarbage;
  if (ops_.Lstat(path_, &info) < 0) {
    state_ = State::kNone;
    return;
  }
  identity_ = FileIdentity::Of(info);
  size_ = expected.size;
  copied_ = size_;
  was_published_ = true;
  // The exchange itself changed the status time.
  if (identity_.SameButStatus(expected)) state_ = State::kComplete;
}

}  // namespace kitlink::daemon
