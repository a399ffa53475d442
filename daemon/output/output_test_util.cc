#include "daemon/output/output_test_util.h"

#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>

namespace kitlink::daemon {
namespace {

constexpr uint64_t kBase = 0x400000;
constexpr uint64_t kCodeOffset = 0x100;
constexpr int kNotExecuted = 99;

void Put(std::vector<uint8_t>& code, std::initializer_list<int> bytes) {
  for (const int byte : bytes) code.push_back(static_cast<uint8_t>(byte));
}

void Put32(std::vector<uint8_t>& code, uint64_t value) {
  for (int i = 0; i < 4; ++i) code.push_back(static_cast<uint8_t>(value >> (8 * i)));
}

// Reads until the end and closes.
std::string ReadAll(int fd) {
  std::string text;
  char buffer[64];
  for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(got));
  close(fd);
  return text;
}

void WriteFile(const std::string& path, const std::string& text) { std::ofstream(path) << text; }

}  // namespace

TestFolder::TestFolder(const std::string& parent) {
  const char* const temporary = getenv("TEST_TMPDIR");
  std::string pattern = (!parent.empty()        ? parent
                         : temporary != nullptr ? temporary
                                                : "/tmp") +
                        "/sink-XXXXXX";
  path_ = mkdtemp(pattern.data());
}

TestFolder::~TestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> TestFolder::List() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<uint8_t> LetterProgram(char letter, size_t size) {
  std::vector<uint8_t> code;
  Put(code, {0x31, 0xc0, 0x31, 0xff});        // xor eax,eax; xor edi,edi (read from 0)
  Put(code, {0x48, 0x8d, 0x74, 0x24, 0xf8});  // lea rsi,[rsp-8]
  Put(code, {0xba, 1, 0, 0, 0, 0x0f, 0x05});  // mov edx,1; syscall
  for (const uint64_t offset : kLetterOffsets) {
    Put(code, {0xb8, 1, 0, 0, 0, 0xbf, 1, 0, 0, 0, 0xbe});  // mov eax,1; mov edi,1; mov esi,
    Put32(code, kBase + offset);
    Put(code, {0xba, 1, 0, 0, 0, 0x0f, 0x05});  // mov edx,1; syscall
  }
  Put(code, {0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05});  // mov eax,60; xor edi,edi; syscall

  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_version = EV_CURRENT;
  header.e_entry = kBase + kCodeOffset;
  header.e_phoff = sizeof header;
  header.e_ehsize = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment = {};
  segment.p_type = PT_LOAD;
  segment.p_flags = PF_R | PF_X;
  segment.p_vaddr = segment.p_paddr = kBase;
  segment.p_filesz = segment.p_memsz = 0x8000;
  segment.p_align = 0x1000;

  std::vector<uint8_t> image(size);
  std::memcpy(image.data(), &header, sizeof header);
  std::memcpy(image.data() + sizeof header, &segment, sizeof segment);
  std::copy(code.begin(), code.end(), image.begin() + kCodeOffset);
  for (const Mutation& mutation : LetterPatch(letter).mutations) {
    std::copy(mutation.bytes.begin(), mutation.bytes.end(),
              image.begin() + static_cast<long>(mutation.offset));
  }
  return image;
}

ImagePatch LetterPatch(char letter) {
  const auto byte = static_cast<uint8_t>(letter);
  ImagePatch patch;
  // Ends in e_ident's padding, so it covers the magic number too.
  std::vector<uint8_t> ident(16);
  const uint8_t start[] = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT};
  std::copy(std::begin(start), std::end(start), ident.begin());
  ident[15] = byte;
  patch.mutations.push_back({0, PatchPhase::kSwitch, ident});
  patch.mutations.push_back({kLetterOffsets[0], PatchPhase::kSwitch, {byte}});
  patch.mutations.push_back({kLetterOffsets[1], PatchPhase::kTables, {byte}});
  patch.mutations.push_back({kFillOffset, PatchPhase::kAppend, std::vector<uint8_t>(kFillSize, byte)});
  patch.mutations.push_back({kLetterOffsets[2], PatchPhase::kAppend, {byte}});
  return patch;
}

ImagePatch GrowingPatch(char letter) {
  ImagePatch patch = LetterPatch(letter);
  Mutation grown;
  grown.offset = kGrownOffset;
  grown.bytes.assign(100, static_cast<uint8_t>(letter));
  patch.mutations.push_back(std::move(grown));
  patch.image_size = kGrownSize;
  return patch;
}

std::string Execute(const std::string& path, int input) {
  int out[2];
  EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
  const int in = input >= 0 ? input : open("/dev/null", O_RDONLY | O_CLOEXEC);
  const pid_t pid = vfork();  // forking a sanitized process takes tens of milliseconds
  if (pid == 0) {
    dup2(in, 0);
    dup2(out[1], 1);
    execl(path.c_str(), path.c_str(), nullptr);
    const int number = errno;
    [[maybe_unused]] const ssize_t put = write(1, &number, sizeof number);
    _exit(kNotExecuted);
  }
  close(out[1]);
  if (input < 0) close(in);
  std::string printed = ReadAll(out[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  if (WIFSIGNALED(status)) return printed + " signal " + std::to_string(WTERMSIG(status));
  if (WEXITSTATUS(status) != kNotExecuted) return printed;
  int number = 0;
  std::memcpy(&number, printed.data(), std::min(printed.size(), sizeof number));
  return number == ENOEXEC ? "refused" : "error " + std::to_string(number);
}

Running::Running(const std::string& path) {
  int in[2];
  int out[2];
  int executed[2];
  EXPECT_EQ(pipe2(in, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(executed, O_CLOEXEC), 0);
  pid_ = fork();
  if (pid_ == 0) {
    dup2(in[0], 0);
    dup2(out[1], 1);
    execl(path.c_str(), path.c_str(), nullptr);
    _exit(kNotExecuted);
  }
  close(in[0]);
  close(out[1]);
  close(executed[1]);
  EXPECT_EQ(ReadAll(executed[0]), "");  // ends when execve closes the other end
  input_ = in[1];
  output_ = out[0];
}

std::string Running::Finish() {
  EXPECT_EQ(write(input_, "x", 1), 1);
  close(input_);
  std::string printed = ReadAll(output_);
  waitpid(pid_, nullptr, 0);
  return printed;
}

Mapping::Mapping(const std::string& path) {
  int go[2];
  int ready[2];
  EXPECT_EQ(pipe2(go, O_CLOEXEC), 0);
  EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
  pid_ = fork();
  if (pid_ == 0) {
    close(go[1]);
    const int fd = open(path.c_str(), O_RDONLY);
    struct stat info;
    fstat(fd, &info);
    const auto size = static_cast<size_t>(info.st_size);
    void* const at = mmap(nullptr, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    close(fd);
    const std::vector<uint8_t> before(static_cast<uint8_t*>(at), static_cast<uint8_t*>(at) + size);
    char byte = 1;
    if (write(ready[1], &byte, 1) != 1 || read(go[0], &byte, 1) != 1) _exit(2);
    _exit(std::memcmp(before.data(), at, size) == 0 ? 0 : 1);
  }
  close(go[0]);
  char byte;
  EXPECT_EQ(read(ready[0], &byte, 1), 1);
  close(ready[0]);
  close(ready[1]);
  go_ = go[1];
}

bool Mapping::FinishUnchanged() {
  // Not by closing: later children have inherited this end.
  EXPECT_EQ(write(go_, "x", 1), 1);
  close(go_);
  int status = 0;
  waitpid(pid_, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int InChild(const std::function<int()>& body) {
  fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    const int result = body();
    fflush(nullptr);
    _exit(result);
  }
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

bool InNamespace(const std::function<void()>& body, int* failures) {
  constexpr int kNotAllowed = 77;
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  const int result = InChild([&] {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0) {
      WriteFile("/proc/self/setgroups", "deny");
      WriteFile("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
      WriteFile("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
    } else if (unshare(CLONE_NEWNS) != 0) {  // in a chroot only root may, without a user namespace
      return kNotAllowed;
    }
    body();
    return ::testing::Test::HasFailure() ? 1 : 0;
  });
  *failures = result == kNotAllowed ? 0 : result;
  if (result == kNotAllowed) fprintf(stderr, "SKIPPED: this machine allows no mount namespaces\n");
  return result != kNotAllowed;
}

absl::Status PublishLetters(FileSink& sink, char letter, size_t size) {
  absl::StatusOr<MutableBytes> bytes = sink.BeginImage(size);
  if (!bytes.ok()) return bytes.status();
  const std::vector<uint8_t> image = LetterProgram(letter, size);
  std::copy(image.begin(), image.end(), bytes->begin());
  return sink.PublishImage(true);
}

int DisturbedOps::Disturb(const char* name) {
  ++number_;
  return before_ ? before_(name, number_) : 0;
}

// Fails as told, else calls the system.
#define DISTURBED(name, call)                                     \
  do {                                                            \
    if (const int error = Disturb(name); error < 0) return error; \
    return FileOps::call;                                         \
  } while (false)

int DisturbedOps::Open(const std::string& path, int flags, mode_t mode) {
  DISTURBED("open", Open(path, flags, mode));
}
int DisturbedOps::Close(int fd) {
  Disturb("close");
  return FileOps::Close(fd);
}
int64_t DisturbedOps::Pread(int fd, void* into, size_t length, uint64_t offset) {
  DISTURBED("pread", Pread(fd, into, length, offset));
}
int64_t DisturbedOps::Pwrite(int fd, const void* from, size_t length, uint64_t offset) {
  if (length < 2) DISTURBED("pwrite", Pwrite(fd, from, length, offset));
  // Half now, so that a call can be torn.
  if (const int error = Disturb("pwrite"); error < 0) return error;
  return FileOps::Pwrite(fd, from, length - length / 2, offset);
}
int DisturbedOps::Truncate(int fd, uint64_t size) { DISTURBED("truncate", Truncate(fd, size)); }
int DisturbedOps::Allocate(int fd, uint64_t size) { DISTURBED("allocate", Allocate(fd, size)); }
int64_t DisturbedOps::Seek(int fd, uint64_t offset, int whence) {
  DISTURBED("seek", Seek(fd, offset, whence));
}
int DisturbedOps::Fstat(int fd, struct stat* into) { DISTURBED("fstat", Fstat(fd, into)); }
int DisturbedOps::Lstat(const std::string& path, struct stat* into) { DISTURBED("lstat", Lstat(path, into)); }
int DisturbedOps::Stat(const std::string& path, struct stat* into) { DISTURBED("stat", Stat(path, into)); }
int DisturbedOps::FileSystemMagic(int fd, uint64_t* magic) {
  DISTURBED("fstatfs", FileSystemMagic(fd, magic));
}
int DisturbedOps::Chmod(int fd, mode_t mode) { DISTURBED("chmod", Chmod(fd, mode)); }
int DisturbedOps::TouchNow(int fd) { DISTURBED("touch", TouchNow(fd)); }
int DisturbedOps::LockExclusive(int fd) { DISTURBED("flock", LockExclusive(fd)); }
int DisturbedOps::SetLeaseSignal(int fd, int signal) { DISTURBED("setsig", SetLeaseSignal(fd, signal)); }
int DisturbedOps::SetLease(int fd, int type) { DISTURBED("setlease", SetLease(fd, type)); }
int DisturbedOps::Clone(int to, int from) { DISTURBED("clone", Clone(to, from)); }
int64_t DisturbedOps::CopyRange(int from, int to, uint64_t offset, size_t length) {
  DISTURBED("copy_range", CopyRange(from, to, offset, length));
}
int DisturbedOps::Rename(const std::string& from, const std::string& to) {
  DISTURBED("rename", Rename(from, to));
}
int DisturbedOps::Exchange(const std::string& a, const std::string& b) {
  DISTURBED("exchange", Exchange(a, b));
}
int DisturbedOps::Unlink(const std::string& path) { DISTURBED("unlink", Unlink(path)); }
int DisturbedOps::ListFolder(const std::string& path, std::vector<std::string>* names) {
  DISTURBED("list", ListFolder(path, names));
}
int DisturbedOps::MapShared(int fd, uint64_t size, void** at) { DISTURBED("map", MapShared(fd, size, at)); }
int DisturbedOps::Unmap(void* at, uint64_t size) { DISTURBED("unmap", Unmap(at, size)); }

#undef DISTURBED

}  // namespace kitlink::daemon
