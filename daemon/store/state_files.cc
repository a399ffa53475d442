#include "daemon/store/state_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/digest.h"
#include "core/session/state/state.h"
#include "daemon/output/recorded.h"

namespace kitlink::daemon {
namespace {

constexpr char kTemporary[] = ".new";

absl::Status Errno(absl::string_view what, absl::string_view path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", what, " ", path));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

absl::Status MakeFolders(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    const std::string folder = path.substr(0, at);
    // What sources contain can be read off their state: it is nobody else's business.
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Errno("make", folder);
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, ByteView bytes, const std::string& path) {
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count = write(fd, &bytes[at], bytes.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("write", path);
    at += static_cast<size_t>(count);
  }
  return absl::OkStatus();
}

// Whoever opens `path` finds all of it or what was there before. Nothing is brought to the disk: what is written here is
// believed after its digest only, and an output that was recorded under another boot not at all without hashing it. Waiting
// for the disk would hold up whoever writes to the same file system meanwhile, the next patch first of all.
absl::Status Replace(const std::string& path, const std::string& temporary, ByteView bytes) {
  const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  int fd = open(temporary.c_str(), flags, 0600);
  if (fd < 0 && errno == ENOENT) {
    if (absl::Status status = MakeFolders(temporary); !status.ok()) return status;
    fd = open(temporary.c_str(), flags, 0600);
  }
  if (fd < 0) return Errno("write", temporary);
  absl::Status status;
  {
    Descriptor file(fd);
    status = WriteAll(fd, bytes, temporary);
  }
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) status = Errno("write", path);
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

absl::StatusOr<std::string> ReadAll(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info;
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0) return Errno("read", path);
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count = pread(file.fd(), &bytes[at], bytes.size() - at, static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("read", path);
    if (count == 0) return absl::DataLossError(absl::StrCat(path, " is cut short"));
    at += static_cast<size_t>(count);
  }
  return bytes;
}

std::vector<std::string> List(const std::string& folder) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(dir);
  return names;
}

absl::Time ModifiedAt(const struct stat& info) { return absl::TimeFromTimespec(info.st_mtim); }

// Blobs of a store that is only read: what a sweep looks through.
class ReadBlobs : public BlobStore {
 public:
  explicit ReadBlobs(StateFiles* files) : files_(files) {}
  absl::Status Put(const ContentId&, ByteView) override { return absl::UnimplementedError("read only"); }
  absl::StatusOr<std::string> Get(const ContentId& id) override { return files_->GetBlob(id); }

 private:
  StateFiles* const files_;
};

}  // namespace

absl::StatusOr<ContentId> HashFile(const std::string& path) {
  Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (file.fd() < 0) return Errno("read", path);
  ContentHasher hasher;
  std::vector<uint8_t> bytes(1 << 20);
  for (;;) {
    const ssize_t count = read(file.fd(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Errno("read", path);
    if (count == 0) return hasher.Finish();
    hasher.Update(ByteView(bytes.data(), static_cast<size_t>(count)));
  }
}

StateFiles::StateFiles(std::string folder, const StateLimits& limits)
    : folder_(std::move(folder)), limits_(limits), thread_([this] { Work(); }) {}

StateFiles::~StateFiles() {
  {
    absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

std::string StateFiles::BlobPath(const ContentId& id) const {
  const std::string hex = id.ToHex();
  return absl::StrCat(folder_, "/blobs/", hex.substr(0, 2), "/", hex.substr(2));
}

std::string StateFiles::ManifestPath(const std::string& key) const {
  return absl::StrCat(folder_, "/sessions/", HashContent(AsBytes(key)).ToHex());
}

absl::Status StateFiles::PutBlob(const ContentId& id, ByteView bytes) {
  const std::string path = BlobPath(id);
  struct stat info;
  if (stat(path.c_str(), &info) == 0 && static_cast<uint64_t>(info.st_size) == bytes.size()) {
    // A sweep must not take it away before the manifest that needs it is there.
    if (absl::Now() - ModifiedAt(info) > limits_.grace / 2) utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
    return absl::OkStatus();
  }
  return Replace(path, absl::StrCat(path, kTemporary, getpid(), "-", ++written_), bytes);
}

absl::StatusOr<std::string> StateFiles::GetBlob(const ContentId& id) { return ReadAll(BlobPath(id)); }

void StateFiles::DiscardBlob(const ContentId& id) { unlink(BlobPath(id).c_str()); }

absl::StatusOr<std::string> StateFiles::ReadManifest(const std::string& key) {
  {
    // What was asked for last counts, wherever it is.
    absl::MutexLock lock(&mutex_);
    if (const auto it = waiting_.find(key); it != waiting_.end()) return it->second.manifest;
  }
  return ReadAll(ManifestPath(key));
}

absl::StatusOr<StateStore::Portable> StateFiles::ReadPortable(const std::string& portable) {
  if (portable.empty()) return absl::NotFoundError("it has no name elsewhere");
  absl::StatusOr<std::string> bytes = ReadAll(ManifestPath(portable));
  if (!bytes.ok()) return bytes.status();
  StateStore::Portable found;
  if (bytes->size() < sizeof(found.output)) return absl::DataLossError("it is cut short");
  const size_t size = bytes->size() - sizeof(found.output);
  std::copy_n(bytes->begin() + static_cast<ptrdiff_t>(size), sizeof(found.output), found.output.bytes.begin());
  bytes->resize(size);
  found.manifest = *std::move(bytes);
  return found;
}

void StateFiles::WriteManifest(const std::string& key, Waiting waiting) {
  absl::MutexLock lock(&mutex_);
  waiting.due = absl::Now() + limits_.delay;
  waiting_[key] = std::move(waiting);
  added_ = true;
}

void StateFiles::Remove(const std::string& key, const std::string& portable) {
  {
    absl::MutexLock lock(&mutex_);
    waiting_.erase(key);
  }
  Flush();  // what is being written now must not come after this
  unlink(ManifestPath(key).c_str());
  if (!portable.empty()) unlink(ManifestPath(portable).c_str());
}

void StateFiles::Flush() {
  absl::MutexLock lock(&mutex_);
  hurry_ = true;
  mutex_.Await(absl::Condition(
      +[](StateFiles* files) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files->mutex_) { return files->waiting_.empty() && !files->writing_; },
      this));
  hurry_ = false;
}

void StateFiles::WriteHere(const std::string& key, const Waiting& waiting) {
  const std::string path = ManifestPath(key);
  // What cannot be written is a full link later, nothing worse.
  Replace(path, absl::StrCat(path, kTemporary, getpid(), "-", ++written_), AsBytes(waiting.manifest)).IgnoreError();
}

void StateFiles::WriteElsewhere(const Waiting& waiting) {
  // The digest must be of the bytes that the manifest describes.
  if (!IsRecorded(waiting.output, waiting.image)) return;
  const absl::StatusOr<ContentId> content = HashFile(waiting.output);
  if (!content.ok() || !IsRecorded(waiting.output, waiting.image)) return;
  const std::string path = ManifestPath(waiting.portable);
  const std::string bytes = absl::StrCat(waiting.manifest, AsString(content->bytes));
  Replace(path, absl::StrCat(path, kTemporary, getpid(), "-", ++written_), AsBytes(bytes)).IgnoreError();
}

std::map<std::string, StateFiles::Waiting>::iterator StateFiles::Next() {
  added_ = false;
  auto next = waiting_.end();
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
    if (next == waiting_.end() || it->second.due < next->second.due) next = it;
  }
  if (next == waiting_.end() || ending_ || hurry_ || next->second.due <= absl::Now()) return next;
  const auto called = [](StateFiles* files) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files->mutex_) {
    return files->ending_ || files->hurry_ || files->added_;
  };
  mutex_.AwaitWithDeadline(absl::Condition(+called, this), next->second.due);
  return waiting_.end();
}

void StateFiles::Work() {
  absl::Time swept = absl::Now();
  absl::MutexLock lock(&mutex_);
  while (!ending_ || !waiting_.empty()) {
    const auto called = [](StateFiles* files) ABSL_EXCLUSIVE_LOCKS_REQUIRED(files->mutex_) {
      return files->ending_ || !files->waiting_.empty();
    };
    mutex_.AwaitWithTimeout(absl::Condition(+called, this), limits_.sweep_every);
    if (const auto next = Next(); next != waiting_.end()) {
      const std::string key = next->first;
      Waiting waiting = std::move(next->second);
      waiting_.erase(next);
      writing_ = true;
      mutex_.Unlock();
      waiting.elsewhere ? WriteElsewhere(waiting) : WriteHere(key, waiting);
      mutex_.Lock();
      writing_ = false;
      if (!waiting.portable.empty() && !std::exchange(waiting.elsewhere, true)) {
        waiting.due = absl::Now() + limits_.elsewhere_delay;
        waiting_.try_emplace(key, std::move(waiting));  // a newer one counts
      }
    }
    if (!ending_ && !hurry_ && absl::Now() - swept > limits_.sweep_every) {
      mutex_.Unlock();
      Sweep();
      mutex_.Lock();
      swept = absl::Now();
    }
  }
}

void StateFiles::Sweep() {
  struct Session {
    std::string path;
    absl::Time used;
    std::vector<ContentId> blobs;
  };
  const absl::Time now = absl::Now();
  ReadBlobs blobs(this);
  std::vector<Session> sessions;
  const std::string manifests = absl::StrCat(folder_, "/sessions");
  for (const std::string& name : List(manifests)) {
    Session session;
    session.path = absl::StrCat(manifests, "/", name);
    struct stat info;
    if (stat(session.path.c_str(), &info) != 0) continue;
    session.used = ModifiedAt(info);
    const bool old = now - session.used > limits_.age;
    const absl::StatusOr<std::string> manifest = ReadAll(session.path);
    absl::StatusOr<std::vector<ContentId>> listed = absl::NotFoundError("");
    if (manifest.ok() && !old && !absl::StrContains(name, kTemporary)) {
      listed = ListBlobs(*manifest, &blobs);
    }
    if (manifest.ok() && !old && absl::IsDataLoss(listed.status()) && manifest->size() > sizeof(ContentId)) {
      // One for other places has a digest at its end.
      listed = ListBlobs(absl::string_view(*manifest).substr(0, manifest->size() - sizeof(ContentId)), &blobs);
    }
    if (listed.ok()) {
      session.blobs = *std::move(listed);
      sessions.push_back(std::move(session));
    } else if (now - session.used > limits_.grace) {
      unlink(session.path.c_str());
    }
  }
  std::sort(sessions.begin(), sessions.end(), [](const Session& a, const Session& b) { return a.used > b.used; });
  absl::flat_hash_set<ContentId> needed;
  uint64_t bytes = 0;
  for (const Session& session : sessions) {
    std::vector<ContentId> fresh;
    uint64_t more = 0;
    for (const ContentId& id : session.blobs) {
      struct stat info;
      if (needed.contains(id) || stat(BlobPath(id).c_str(), &info) != 0) continue;
      fresh.push_back(id);
      more += static_cast<uint64_t>(info.st_size);
    }
    if (bytes + more > limits_.bytes) {
      unlink(session.path.c_str());
      continue;
    }
    bytes += more;
    needed.insert(fresh.begin(), fresh.end());
  }
  for (const std::string& part : List(absl::StrCat(folder_, "/blobs"))) {
    const std::string folder = absl::StrCat(folder_, "/blobs/", part);
    for (const std::string& name : List(folder)) {
      const absl::StatusOr<ContentId> id = ContentId::FromHex(absl::StrCat(part, name));
      if (id.ok() && needed.contains(*id)) continue;
      const std::string path = absl::StrCat(folder, "/", name);
      struct stat info;
      if (stat(path.c_str(), &info) == 0 && now - ModifiedAt(info) > limits_.grace) unlink(path.c_str());
    }
  }
}

}  // namespace kitlink::daemon
