// Programs to publish and ways to disturb publishing, for the tests of this folder.
#ifndef DAEMON_OUTPUT_OUTPUT_TEST_UTIL_H_
#define DAEMON_OUTPUT_OUTPUT_TEST_UTIL_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "core/output/image_sink.h"
#include "daemon/output/file_ops.h"
#include "daemon/output/file_sink.h"

namespace kitlink::daemon {

// A folder that is removed with its owner. Under TEST_TMPDIR, or under `parent`.
class TestFolder {
 public:
  explicit TestFolder(const std::string& parent = "");
  ~TestFolder();
  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }
  // Names of what is in it, sorted.
  std::vector<std::string> List() const;

 private:
  std::string path_;
};

// A tiny x86-64 ELF program that reads one byte from its standard input and then prints three letters, each
// from a page of its own, so that a mix of two versions shows.
std::vector<uint8_t> LetterProgram(char letter, size_t size = 0x8000);
// Turns any LetterProgram into the one with `letter`: the letters, a page of filling, the ELF header's
// padding.
ImagePatch LetterPatch(char letter);
// The same, and makes the image longer by a page, in whose middle the letter stands.
ImagePatch GrowingPatch(char letter);
constexpr uint64_t kGrownSize = 0x9000, kGrownOffset = 0x8800;
constexpr uint64_t kLetterOffsets[] = {0x1010, 0x3ff8, 0x6020};
constexpr uint64_t kFillOffset = 0x4800;
constexpr uint64_t kFillSize = 0x1000;

// What `path` prints when executed with `input` as standard input (-1: /dev/null); "refused" when execve
// fails with ENOEXEC; "error N" for another errno.
std::string Execute(const std::string& path, int input = -1);

// A process that runs `path` and waits; Finish lets it go on and returns what it prints.
class Running {
 public:
  explicit Running(const std::string& path);
  std::string Finish();

 private:
  pid_t pid_;
  int input_;
  int output_;
};

// A process that maps `path` privately, closes it, and compares when asked.
class Mapping {
 public:
  explicit Mapping(const std::string& path);
  // Are the mapped bytes still what they were?
  bool FinishUnchanged();

 private:
  pid_t pid_;
  int go_;
};

// Runs `body` in a forked child; its exit status, or minus the number of the signal that ended it.
int InChild(const std::function<int()>& body);
// Runs `body` (with gtest expectations) in a child that may mount file systems privately. False when the
// machine allows no namespaces; says so on standard error.
bool InNamespace(const std::function<void()>& body, int* failures);

// Publishes LetterProgram(letter).
absl::Status PublishLetters(FileSink& sink, char letter, size_t size = 0x8000);

// The system's calls, counted; can fail or kill at one of them.
class DisturbedOps : public FileOps {
 public:
  // Called before each call with its name and its number since Arm; a negative result is returned instead of
  // making the call. Writes are cut in halves, so that each has a point in its middle.
  using Before = std::function<int(const char* name, int number)>;

  void Arm(Before before) {
    number_ = 0;
    before_ = std::move(before);
  }
  void Disarm() { before_ = nullptr; }
  int calls() const { return number_; }

  int Open(const std::string& path, int flags, mode_t mode) override;
  int Close(int fd) override;
  int64_t Pread(int fd, void* into, size_t length, uint64_t offset) override;
  int64_t Pwrite(int fd, const void* from, size_t length, uint64_t offset) override;
  int Truncate(int fd, uint64_t size) override;
  int Allocate(int fd, uint64_t size) override;
  int64_t Seek(int fd, uint64_t offset, int whence) override;
  int Fstat(int fd, struct stat* into) override;
  int Lstat(const std::string& path, struct stat* into) override;
  int Stat(const std::string& path, struct stat* into) override;
  int FileSystemMagic(int fd, uint64_t* magic) override;
  int Chmod(int fd, mode_t mode) override;
  int TouchNow(int fd) override;
  int LockExclusive(int fd) override;
  int SetLeaseSignal(int fd, int signal) override;
  int SetLease(int fd, int type) override;
  int Clone(int to, int from) override;
  int64_t CopyRange(int from, int to, uint64_t offset, size_t length) override;
  int Rename(const std::string& from, const std::string& to) override;
  int Exchange(const std::string& a, const std::string& b) override;
  int Unlink(const std::string& path) override;
  int ListFolder(const std::string& path, std::vector<std::string>* names) override;
  int MapShared(int fd, uint64_t size, void** at) override;
  int Unmap(void* at, uint64_t size) override;

 private:
  int Disturb(const char* name);

  Before before_;
  int number_ = 0;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OUTPUT_OUTPUT_TEST_UTIL_H_
