#include "daemon/output/file_sink.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/output/exclusive_file.h"
#include "daemon/output/in_place_commit.h"
#include "daemon/output/special_output.h"

namespace kitlink::daemon {
namespace {

constexpr int kMostTicks = 20;  // milliseconds, longer than any tick

// Beyond this, copying the image is no dearer than keeping and replaying patches.
uint64_t JournalLimit(uint64_t image_size) {
  return std::clamp<uint64_t>(image_size / 8, uint64_t{1} << 20, uint64_t{64} << 20);
}

}  // namespace

FileSink::FileSink(std::string path, mode_t umask, PublishPolicy policy, FileOps& ops)
    : path_(std::move(path)),
      names_(path_),
      ops_(ops),
      umask_(umask & 0777),
      policy_(policy),
      spare_(ops, names_.Spare()),
      journal_(JournalLimit(0)) {}

FileSink::~FileSink() = default;

FileSink::OutputState FileSink::Examine() {
  if (moved_) return OutputState::kGone;
  struct stat info;
  const int error = ops_.Lstat(path_, &info);
  if (error == -ENOENT) return OutputState::kGone;
  if (error < 0 || !S_ISREG(info.st_mode)) return OutputState::kChanged;
  const FileIdentity now = FileIdentity::Of(info);
  if (now == *published_) return OutputState::kIntact;
  return now.SameButStatus(*published_) ? OutputState::kStatusChanged : OutputState::kChanged;
}

void FileSink::RecordPublished(const FileIdentity& before_rename) {
  struct stat info;
  published_.reset();
  moved_ = false;
  if (ops_.Lstat(path_, &info) < 0) return;
  // The rename changed the status time; any other difference is somebody else's doing.
  const FileIdentity now = FileIdentity::Of(info);
  if (now.SameButStatus(before_rename)) published_ = now;
}

void FileSink::ForgetSpareContents() {
  spare_.MakeGarbage();
  journal_.Clear();
}

absl::StatusOr<MutableBytes> FileSink::BeginImage(uint64_t size) {
  stop_.store(false, std::memory_order_relaxed);
  image_.reset();
  reading_.Close();
  struct stat info;
  if (ops_.Lstat(path_, &info) == 0 && S_ISDIR(info.st_mode)) return FileError("write", path_, EISDIR);
  special_ = IsSpecialFile(ops_, path_);
  if (!special_ && !std::exchange(cleaned_, true)) {
    names_.RemoveStale(ops_, /*keep_spare=*/spare_.state() != Spare::State::kNone);
  }
  auto image =
      special_ ? StagedImage::CreateInMemory(ops_, size) : StagedImage::CreateFile(ops_, names_, size);
  if (!image.ok()) return image.status();
  image_ = *std::move(image);
  return image_->bytes();
}

absl::Status FileSink::PublishImage(bool executable) {
  stop_.store(false, std::memory_order_relaxed);
  std::unique_ptr<StagedImage> image = std::move(image_);
  if (image == nullptr) return absl::FailedPreconditionError("PublishImage without BeginImage");
  if (special_) {
    absl::Status status = WriteSpecialFile(ops_, path_, image->bytes());
    published_.reset();
    moved_ = false;
    ForgetSpareContents();
    return status;
  }
  const mode_t mode = (executable ? 0777 : 0666) & ~umask_;
  absl::StatusOr<FileIdentity> identity = image->Finish(mode);
  if (!identity.ok()) return identity.status();
  // Freeing a large file takes milliseconds, which the rename would pay for if this were its last reference.
  OpenFile replaced(&ops_, ops_.Open(path_, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0));
  if (absl::Status status = image->RenameTo(path_); !status.ok()) return status;
  if (replaced.is_open()) replaced_ = std::move(replaced);
  executable_ = executable;
  broken_ = false;
  last_commit_ = CommitKind::kNone;
  ForgetSpareContents();
  journal_.set_limit(JournalLimit(identity->size));
  RecordPublished(*identity);
  MakeSpareAtOnce();
  return absl::OkStatus();
}

void FileSink::AbandonImage() { image_.reset(); }

absl::Status FileSink::AdoptImage(const FileIdentity& published, bool executable) {
  published_ = published;
  moved_ = false;
  if (IsSpecialFile(ops_, path_) || Examine() != OutputState::kIntact) {
    published_.reset();
    return absl::FailedPreconditionError(absl::StrCat(path_, " is not the file that was published"));
  }
  special_ = false;
  executable_ = executable;
  broken_ = false;
  ForgetSpareContents();
  journal_.set_limit(JournalLimit(published.size));
  return absl::OkStatus();
}

absl::Status FileSink::MoveTo(std::string path) {
  stop_.store(false, std::memory_order_relaxed);
  if (absl::Status status = CheckPublished(); !status.ok()) return status;
  if (policy_ == PublishPolicy::kInPlace) return absl::FailedPreconditionError(absl::StrCat(path, " is not there to be patched in place"));
  struct stat info;
  if (IsSpecialFile(ops_, path) || (ops_.Lstat(path, &info) == 0 && S_ISDIR(info.st_mode))) {
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a regular file"));
  }
  const OutputState state = Examine();
  // Somebody may still run the old output that the spare is.
  const bool copy = state == OutputState::kIntact && (!spare_.IsUsable() || spare_.was_published());
  if (!copy && !spare_.IsUsable()) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " is gone or changed, and there is no spare of it"));
  }
  image_.reset();
  reading_.Close();
  const HiddenNames names(path);
  if (copy) spare_.Discard();
  const std::string spare = spare_.path();
  spare_.MoveTo(names.Spare());
  if (!copy && !spare_.IsUsable() && state != OutputState::kIntact) {
    spare_.MoveTo(spare);
    return absl::FailedPreconditionError(absl::StrCat(path_, " is gone or changed, and its spare cannot be moved"));
  }
  if (copy || (!spare_.IsUsable() && state == OutputState::kIntact)) {
    journal_.Clear();
    // Where it fails, CheckPatchable says that there is no spare.
    spare_.CopyFrom(path_, *published_, nullptr).IgnoreError();
  }
  path_ = std::move(path);
  names_ = names;
  cleaned_ = false;
  moved_ = true;
  return absl::OkStatus();
}

absl::Status FileSink::AdoptImageFrom(const std::string& published_at, const FileIdentity& published, bool executable) {
  const std::string here = std::exchange(path_, published_at);
  absl::Status status = AdoptImage(published, executable);
  if (status.ok()) status = MoveTo(here);
  if (!status.ok()) published_.reset();
  path_ = here;
  return status;
}

absl::Status FileSink::CheckPublished() const {
  if (special_) return absl::FailedPreconditionError(absl::StrCat(path_, " is not a regular file"));
  if (broken_) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " was left unfinished by a commit that failed and could not be undone"));
  }
  if (!published_.has_value())
    return absl::FailedPreconditionError(absl::StrCat(path_, " was not published here"));
  return absl::OkStatus();
}

absl::Status FileSink::CheckPatchable() {
  stop_.store(false, std::memory_order_relaxed);
  reading_.Close();
  if (absl::Status status = CheckPublished(); !status.ok()) return status;
  const OutputState state = Examine();
  if (state == OutputState::kChanged) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " was changed by somebody else"));
  }
  if (policy_ == PublishPolicy::kInPlace) {
    if (state != OutputState::kIntact) {
      return absl::FailedPreconditionError(
          absl::StrCat(path_, " cannot be patched in place: it was removed or touched"));
    }
    return ExclusiveFile::Open(ops_, path_, *published_).status();
  }
  if (state == OutputState::kIntact || spare_.IsUsable()) return absl::OkStatus();
  spare_at_once_ = true;
  return absl::FailedPreconditionError(absl::StrCat(
      path_, state == OutputState::kGone ? " was removed" : " had its permissions or links changed",
      ", and there is no spare of it"));
}

absl::Status FileSink::Commit(const ImagePatch& patch) {
  stop_.store(false, std::memory_order_relaxed);
  reading_.Close();  // a lease is for a file that nobody has open
  if (absl::Status status = CheckPublished(); !status.ok()) return status;
  if (absl::Status status = CheckPatch(patch, std::max<uint64_t>(published_->size, patch.image_size)); !status.ok()) return status;
  const OutputState state = Examine();
  if (state == OutputState::kChanged) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " was changed by somebody else"));
  }
  if (state == OutputState::kIntact) {
    if (patch.mutations.empty()) {
      absl::Status status = Touch();
      if (status.ok() || policy_ == PublishPolicy::kInPlace) return status;
    } else if (policy_ != PublishPolicy::kExchange) {
      absl::Status status = CommitInPlace(patch);
      if (!absl::IsFailedPrecondition(status) || policy_ == PublishPolicy::kInPlace) return status;
    }
  } else if (policy_ == PublishPolicy::kInPlace) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " cannot be patched in place: it was removed or touched"));
  }
  return CommitByExchange(patch, state);
}

absl::Status FileSink::Touch() {
  OpenFile file(&ops_, ops_.Open(path_, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0));
  if (!file.is_open()) return FileError("open", path_, file.fd());
  struct stat info;
  if (const int error = ops_.Fstat(file.fd(), &info); error < 0) return FileError("examine", path_, error);
  if (FileIdentity::Of(info) != *published_) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " was changed by somebody else"));
  }
  if (const int error = ops_.TouchNow(file.fd()); error < 0)
    return FileError("set the time of", path_, error);
  if (ops_.Fstat(file.fd(), &info) == 0) {
    published_ = FileIdentity::Of(info);
  } else {
    published_.reset();
  }
  last_commit_ = CommitKind::kTouched;
  return absl::OkStatus();
}

absl::Status FileSink::CommitInPlace(const ImagePatch& patch) {
  absl::StatusOr<ExclusiveFile> file = ExclusiveFile::Open(ops_, path_, *published_);
  if (!file.ok()) {
    // Whatever the reason, nothing has been touched.
    return absl::FailedPreconditionError(file.status().message());
  }
  InPlaceCommit commit(ops_, file->fd(), path_, published_->size);
  absl::Status status = commit.Run(patch);
  broken_ = commit.left_broken();
  if (status.ok()) {
    // Writing has refreshed the time already; a failure here is of no consequence.
    ops_.TouchNow(file->fd());
    last_commit_ = CommitKind::kInPlace;
    Remember(patch);
  } else if (absl::IsFailedPrecondition(status)) {
    status = absl::InternalError(status.message());  // FailedPrecondition would say "nothing was touched"
  }
  const FileIdentity before = *published_;
  struct stat info;
  published_.reset();
  if (ops_.Fstat(file->fd(), &info) == 0) published_ = FileIdentity::Of(info);
  // Within one tick of the clock a file's times do not change. What is written down of the image before the patch must
  // not fit the image after it.
  for (int tries = 0; status.ok() && published_ == before && tries < kMostTicks; ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    ops_.TouchNow(file->fd());
    published_.reset();
    if (ops_.Fstat(file->fd(), &info) == 0) published_ = FileIdentity::Of(info);
  }
  if (status.ok() && published_ == before) published_.reset();
  return status;
}

void FileSink::Remember(const ImagePatch& patch) {
  if (spare_.state() != Spare::State::kPartial && spare_.state() != Spare::State::kComplete) return;
  if (!journal_.Append(patch)) spare_.MakeGarbage();
}

absl::Status FileSink::MakeSpare(const std::atomic<bool>* stop) {
  if (spare_.state() == Spare::State::kComplete) spare_.Discard();
  if (spare_.state() != Spare::State::kPartial) journal_.Clear();
  return spare_.CopyFrom(path_, *published_, stop);
}

void FileSink::MakeSpareAtOnce() {
  if (!spare_at_once_ || policy_ == PublishPolicy::kInPlace || spare_.IsUsable()) return;
  if (!published_.has_value() || Examine() != OutputState::kIntact) return;
  // Without one the next link is a full one, no worse.
  MakeSpare(nullptr).IgnoreError();
}

absl::Status FileSink::UpdateSpareFor(const ImagePatch& patch, OutputState state) {
  if (spare_.IsUsable()) {
    absl::Status status = spare_.Update(journal_, patch, Mode());
    if (status.ok()) return status;
    const bool in_use = absl::IsFailedPrecondition(status) || absl::IsPermissionDenied(status);
    if (!in_use || state != OutputState::kIntact) return status;
  } else if (state != OutputState::kIntact) {
    return absl::FailedPreconditionError(absl::StrCat(path_, " is gone, and there is no spare of it"));
  }
  if (absl::Status status = MakeSpare(nullptr); !status.ok()) return status;
  return spare_.Update(journal_, patch, Mode());
}

absl::Status FileSink::CommitByExchange(const ImagePatch& patch, OutputState state) {
  absl::Status status = UpdateSpareFor(patch, state);
  if (status.ok()) status = PublishSpare(patch, state);
  // It may have got part of the patch, or all of it, but the output has not.
  if (!status.ok()) {
    ForgetSpareContents();
  } else {
    MakeSpareAtOnce();
  }
  return status;
}

absl::Status FileSink::PublishSpare(const ImagePatch& patch, OutputState state) {
  const FileIdentity old = *published_;
  const FileIdentity fresh = spare_.identity();
  bool exchanged = false;
  if (state != OutputState::kGone) {
    const int error = ops_.Exchange(spare_.path(), path_);
    exchanged = error == 0;
    const bool rename_instead = error == -ENOENT || error == -EINVAL || error == -ENOSYS;
    if (error < 0 && !rename_instead) return FileError("replace", path_, error);
  }
  if (!exchanged) {
    if (const int error = ops_.Rename(spare_.path(), path_); error < 0)
      return FileError("replace", path_, error);
  }
  last_commit_ = CommitKind::kExchange;
  RecordPublished(fresh);
  journal_.Clear();
  if (!exchanged) {
    spare_.Forget();
    return absl::OkStatus();
  }
  spare_.BecomeOldOutput(old);
  // Its bytes are known only as far as nobody touched it.
  if (state != OutputState::kIntact) spare_.MakeGarbage();
  Remember(patch);
  return absl::OkStatus();
}

absl::Status FileSink::ReadBack(uint64_t offset, MutableBytes into) {
  stop_.store(false, std::memory_order_relaxed);
  if (absl::Status status = CheckPublished(); !status.ok()) return status;
  if (!InBounds(offset, into.size(), published_->size)) {
    return absl::OutOfRangeError(
        absl::StrCat(path_, ": reading ", into.size(), " bytes at ", offset, " of ", published_->size));
  }
  if (!reading_.is_open()) reading_ = OpenFile(&ops_, ops_.Open(path_, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0));
  if (reading_.is_open()) {
    absl::Status status = ReadExactly(ops_, reading_.fd(), path_, offset, into.size(), into.data());
    // Asked behind the bytes: what was read before somebody wrote is as it was published.
    struct stat info;
    if (ops_.Fstat(reading_.fd(), &info) == 0 && FileIdentity::Of(info) == *published_) return status;
    reading_.Close();
  }
  if (!spare_.IsUsable()) {
    return absl::FailedPreconditionError(
        absl::StrCat(path_, " is gone or changed, and there is no spare of it"));
  }
  if (absl::Status status = spare_.Read(offset, into); !status.ok()) return status;
  journal_.Overlay(offset, into);
  return absl::OkStatus();
}

void FileSink::Settle() {
  replaced_.Close();
  reading_.Close();
  if (policy_ == PublishPolicy::kInPlace || !CheckPublished().ok()) ForgetSpareContents();
  if (spare_.state() == Spare::State::kGarbage) spare_.Discard();
  if (policy_ == PublishPolicy::kInPlace || !CheckPublished().ok()) return;
  if (stop_.load(std::memory_order_relaxed)) return;

  if (spare_.state() == Spare::State::kComplete && (spare_.was_published() || !journal_.empty())) {
    if (spare_.Update(journal_, ImagePatch{}, absl::nullopt).ok()) journal_.Clear();
  }
  if (spare_.IsUsable() || Examine() != OutputState::kIntact) return;
  // Without a spare, the next commit copies, or the next link is a full one.
  if (!MakeSpare(&stop_).ok()) return;
  if (!journal_.empty() && spare_.Update(journal_, ImagePatch{}, absl::nullopt).ok()) journal_.Clear();
}

}  // namespace kitlink::daemon
