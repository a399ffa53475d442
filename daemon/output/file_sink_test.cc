#include "daemon/output/file_sink.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "daemon/output/exclusive_file.h"
#include "daemon/output/output_test_util.h"

namespace kitlink::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace fs = std::filesystem;

struct stat StatOf(const std::string& path) {
  struct stat info = {};
  EXPECT_EQ(lstat(path.c_str(), &info), 0) << path;
  return info;
}

int64_t MtimeOf(const std::string& path) { return FileIdentity::Of(StatOf(path)).mtime_ns; }

void MakeOld(const std::string& path, FileSink& sink) {
  const timespec times[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  ASSERT_TRUE(sink.AdoptImage(FileIdentity::Of(StatOf(path)), true).ok());
}

// Makes root, too, subject to permissions. Changing the user would not do: a sandbox may have only one.
bool DropCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[2] = {};
  return syscall(SYS_capset, &header, none) == 0;
}

std::string LetterAt(FileSink& sink, size_t which) {
  uint8_t byte = 0;
  absl::Status status = sink.ReadBack(kLetterOffsets[which], MutableBytes(&byte, 1));
  return status.ok() ? std::string(1, static_cast<char>(byte)) : std::string(status.message());
}

class FileSinkTest : public ::testing::Test {
 protected:
  // Are leases to be trusted where the tests run? If not, kAuto exchanges.
  bool Trusted() {
    uint64_t magic = 0;
    const int fd = open(folder_.path().c_str(), O_RDONLY);
    FileOps::System().FileSystemMagic(fd, &magic);
    close(fd);
    return LeasesTellTheTruth(magic);
  }

  TestFolder folder_;
  std::string path_ = folder_.File("prog");
  DisturbedOps ops_;
  FileSink sink_{path_, 022, PublishPolicy::kAuto, ops_};
};

TEST_F(FileSinkTest, PublishesWholeImageUnderUmask) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  EXPECT_EQ(Execute(path_), "AAA");
  EXPECT_EQ(StatOf(path_).st_mode & 07777, 0755u);
  EXPECT_THAT(folder_.List(), ElementsAre("prog"));
  sink_.set_umask(077);
  ASSERT_TRUE(PublishLetters(sink_, 'B').ok());
  EXPECT_EQ(StatOf(path_).st_mode & 07777, 0700u);
  ASSERT_TRUE(sink_.BeginImage(10).ok());
  ASSERT_TRUE(sink_.PublishImage(false).ok());
  EXPECT_EQ(StatOf(path_).st_mode & 07777, 0600u);
  EXPECT_EQ(StatOf(path_).st_size, 10);
}

TEST_F(FileSinkTest, AbandonedImageLeavesOldOutput) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  ASSERT_TRUE(sink_.BeginImage(1 << 20).ok());
  EXPECT_EQ(folder_.List().size(), 2u);
  sink_.AbandonImage();
  EXPECT_THAT(folder_.List(), ElementsAre("prog"));
  EXPECT_EQ(Execute(path_), "AAA");
  EXPECT_TRUE(sink_.CheckPatchable().ok());
}

TEST_F(FileSinkTest, EmptyImage) {
  ASSERT_TRUE(sink_.BeginImage(0).ok());
  ASSERT_TRUE(sink_.PublishImage(true).ok());
  EXPECT_EQ(StatOf(path_).st_size, 0);
  EXPECT_TRUE(sink_.Commit({}).ok());
  sink_.Settle();
}

TEST_F(FileSinkTest, CommitsInPlaceWhenAlone) {
  if (!Trusted()) GTEST_SKIP() << "the test folder's file system is not trusted with leases";
  sink_.set_policy(PublishPolicy::kInPlace);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  const ino_t inode = StatOf(path_).st_ino;
  ASSERT_TRUE(sink_.CheckPatchable().ok()) << sink_.CheckPatchable();
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(sink_.last_commit(), CommitKind::kInPlace);
  EXPECT_EQ(StatOf(path_).st_ino, inode);
  EXPECT_EQ(Execute(path_), "BBB");
  EXPECT_EQ(LetterAt(sink_, 2), "B");
  sink_.Settle();
  EXPECT_THAT(folder_.List(), ElementsAre("prog"));  // no spare under this policy
  ASSERT_TRUE(sink_.CheckPatchable().ok());
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
  EXPECT_EQ(Execute(path_), "CCC");
}

TEST_F(FileSinkTest, ExchangeNeverWritesIntoTheOutput) {
  sink_.set_policy(PublishPolicy::kExchange);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  for (char letter = 'B'; letter < 'J'; ++letter) {
    if (letter % 3 != 0) sink_.Settle();
    std::ifstream old(path_);  // keeps the old inode open, so it must not be reused while it is
    ASSERT_TRUE(sink_.CheckPatchable().ok());
    ASSERT_TRUE(sink_.Commit(LetterPatch(letter)).ok());
    EXPECT_EQ(sink_.last_commit(), CommitKind::kExchange);
    EXPECT_EQ(Execute(path_), std::string(3, letter));
    if (letter % 2 == 0) sink_.Settle();
    old.seekg(static_cast<long>(kLetterOffsets[1]));
    EXPECT_EQ(old.get(), letter - 1);
  }
}

TEST_F(FileSinkTest, ImagesGetLonger) {
  for (PublishPolicy policy : {PublishPolicy::kAuto, PublishPolicy::kExchange}) {
    sink_.set_policy(policy);
    ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
    sink_.Settle();
    ASSERT_TRUE(sink_.Commit(GrowingPatch('B')).ok());
    EXPECT_EQ(Execute(path_), "BBB");
    EXPECT_EQ(StatOf(path_).st_size, static_cast<off_t>(kGrownSize));
    // The spare lacks what is new, which the journal has.
    fs::remove(path_);
    if (sink_.CheckPatchable().ok()) {
      uint8_t bytes[3] = {};
      ASSERT_TRUE(sink_.ReadBack(kGrownOffset - 1, MutableBytes(bytes, 3)).ok());
      EXPECT_THAT(bytes, ElementsAre(0, 'B', 'B'));
      ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
      EXPECT_EQ(Execute(path_), "CCC");
      EXPECT_EQ(StatOf(path_).st_size, static_cast<off_t>(kGrownSize));
    }
  }
}

TEST_F(FileSinkTest, ExchangeReusesTheOldInode) {
  if (!Trusted()) GTEST_SKIP() << "the test folder's file system is not trusted with leases";
  sink_.set_policy(PublishPolicy::kExchange);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  const ino_t first = StatOf(path_).st_ino;
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  const ino_t second = StatOf(path_).st_ino;
  EXPECT_NE(first, second);
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());  // without Settle: two patches behind, replayed
  EXPECT_EQ(StatOf(path_).st_ino, first);
  EXPECT_EQ(Execute(path_), "CCC");
  sink_.Settle();
  ASSERT_TRUE(sink_.Commit(LetterPatch('D')).ok());
  EXPECT_EQ(StatOf(path_).st_ino, second);
  EXPECT_EQ(Execute(path_), "DDD");
}

TEST_F(FileSinkTest, RunningProgramKeepsItsCode) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  Running first(path_);
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(sink_.last_commit(), CommitKind::kExchange);
  Running second(path_);
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());  // the spare is still running: copied afresh
  Running third(path_);
  sink_.Settle();
  ASSERT_TRUE(PublishLetters(sink_, 'D').ok());
  EXPECT_EQ(Execute(path_), "DDD");
  EXPECT_EQ(first.Finish(), "AAA");
  EXPECT_EQ(second.Finish(), "BBB");
  EXPECT_EQ(third.Finish(), "CCC");
}

TEST_F(FileSinkTest, InPlaceRefusesWhatIsInUse) {
  sink_.set_policy(PublishPolicy::kInPlace);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  {
    Running running(path_);
    EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(sink_.Commit(LetterPatch('B')).code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(running.Finish(), "AAA");
  }
  EXPECT_EQ(Execute(path_), "AAA");
  Mapping mapping(path_);
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(sink_.Commit({}).ok());  // only the time: harms nobody
  EXPECT_TRUE(mapping.FinishUnchanged());
}

TEST_F(FileSinkTest, MappedLibraryStaysUnchanged) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  Mapping first(path_);
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(sink_.last_commit(), CommitKind::kExchange);
  sink_.Settle();
  Mapping second(path_);
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
  sink_.Settle();
  EXPECT_TRUE(first.FinishUnchanged());
  EXPECT_TRUE(second.FinishUnchanged());
  EXPECT_EQ(Execute(path_), "CCC");
}

TEST_F(FileSinkTest, HardLinkKeepsItsBytes) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  fs::create_hard_link(path_, folder_.File("other"));
  ASSERT_TRUE(sink_.CheckPatchable().ok())
      << sink_.CheckPatchable();  // the spare is known, the output is not
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  sink_.Settle();
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
  ASSERT_TRUE(PublishLetters(sink_, 'D').ok());
  EXPECT_EQ(Execute(path_), "DDD");
  EXPECT_EQ(Execute(folder_.File("other")), "AAA");
}

TEST_F(FileSinkTest, HardLinkedBeforeRecording) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  fs::create_hard_link(path_, folder_.File("other"));
  ASSERT_TRUE(sink_.AdoptImage(FileIdentity::Of(StatOf(path_)), true).ok());
  for (char letter : {'B', 'C', 'D'}) ASSERT_TRUE(sink_.Commit(LetterPatch(letter)).ok());
  EXPECT_EQ(Execute(path_), "DDD");
  EXPECT_EQ(Execute(folder_.File("other")), "AAA");
}

TEST_F(FileSinkTest, SymbolicLinkIsReplaced) {
  std::ofstream(folder_.File("target")) << "text";
  fs::create_symlink("target", path_);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  EXPECT_TRUE(S_ISREG(StatOf(path_).st_mode));
  EXPECT_EQ(fs::file_size(folder_.File("target")), 4u);
  fs::remove(path_);
  fs::create_symlink("nowhere", path_);
  ASSERT_TRUE(PublishLetters(sink_, 'B').ok());
  EXPECT_TRUE(S_ISREG(StatOf(path_).st_mode));
  EXPECT_FALSE(fs::exists(folder_.File("nowhere")));
  fs::rename(path_, folder_.File("real"));
  fs::create_symlink("real", path_);
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FileSinkTest, RemovedOutputComesBackFromTheSpare) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  fs::remove(path_);
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);  // no spare yet
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());  // the spare lags, the journal has it
  fs::remove(path_);
  ASSERT_TRUE(sink_.CheckPatchable().ok()) << sink_.CheckPatchable();
  EXPECT_EQ(LetterAt(sink_, 0), "B");
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
  EXPECT_EQ(Execute(path_), "CCC");
  sink_.Settle();
  fs::remove(path_);
  ASSERT_TRUE(sink_.CheckPatchable().ok());
  ASSERT_TRUE(sink_.Commit({}).ok());  // nothing changed, but it has to be there again
  EXPECT_EQ(Execute(path_), "CCC");
  EXPECT_EQ(StatOf(path_).st_mode & 07777, 0755u);
  sink_.Settle();
  fs::remove(path_);
  sink_.Settle();  // must not lose the spare
  sink_.set_umask(027);
  ASSERT_TRUE(sink_.Commit({}).ok());
  EXPECT_EQ(StatOf(path_).st_mode & 07777, 0750u);
}

// What Bazel does: it removes an output before the link and write-protects it at once after.
TEST_F(FileSinkTest, KeepsUpWithABuildThatNeverLetsItSettle) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  fs::permissions(path_, fs::perms(0555));
  sink_.Settle();
  fs::remove(path_);
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);  // nobody could know
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  for (const char letter : {'B', 'C', 'D'}) {
    fs::permissions(path_, fs::perms(0555));
    sink_.Settle();
    if (letter != 'C') fs::remove(path_);
    ASSERT_TRUE(sink_.CheckPatchable().ok()) << letter << sink_.CheckPatchable();
    ASSERT_TRUE(sink_.Commit(LetterPatch(letter)).ok());
    EXPECT_EQ(Execute(path_), std::string(3, letter));
    EXPECT_EQ(StatOf(path_).st_mode & 07777, 0755u);
  }
}

TEST_F(FileSinkTest, SpareIsRemovedWithTheSession) {
  {
    FileSink sink(path_, 022, PublishPolicy::kExchange);
    ASSERT_TRUE(PublishLetters(sink, 'A').ok());
    sink.Settle();
    EXPECT_EQ(folder_.List().size(), 2u);
    ASSERT_TRUE(sink.Commit(LetterPatch('B')).ok());
    sink.Settle();
    ASSERT_TRUE(sink.BeginImage(100).ok());
  }
  EXPECT_THAT(folder_.List(), ElementsAre("prog"));
}

TEST_F(FileSinkTest, RefreshesTheModificationTime) {
  for (const PublishPolicy policy : {PublishPolicy::kAuto, PublishPolicy::kExchange}) {
    sink_.set_policy(policy);
    ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
    const std::string reference = folder_.File("reference");
    for (const ImagePatch& patch : {ImagePatch{}, LetterPatch('B'), ImagePatch{}}) {
      MakeOld(path_, sink_);
      std::ofstream(reference) << "x";
      ASSERT_TRUE(sink_.Commit(patch).ok());
      EXPECT_GE(MtimeOf(path_), MtimeOf(reference));
      EXPECT_EQ(sink_.last_commit() == CommitKind::kTouched, patch.mutations.empty());
      EXPECT_TRUE(sink_.CheckPatchable().ok());
    }
  }
}

TEST_F(FileSinkTest, NoticesForeignChanges) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  usleep(20'000);  // the kernel's clock may be coarse
  std::ofstream(path_, std::ios::in | std::ios::out) << "!";
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sink_.Commit(LetterPatch('B')).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sink_.Commit({}).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  EXPECT_TRUE(sink_.CheckPatchable().ok());
  std::ofstream(folder_.File("copy")) << "another file";
  fs::rename(folder_.File("copy"), path_);
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sink_.Commit({}).code(), absl::StatusCode::kFailedPrecondition);
}

// Somebody writes and puts the modification time back: only the status time tells.
TEST_F(FileSinkTest, ForeignBytesUnderAForgedTimeAreNotReused) {
  constexpr uint64_t kUnpatched = 0x7000;
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  usleep(20'000);
  const timespec times[2] = {StatOf(path_).st_atim, StatOf(path_).st_mtim};
  uint8_t byte = 1;
  ASSERT_TRUE(sink_.CheckPatchable().ok());
  ASSERT_TRUE(sink_.ReadBack(kUnpatched, MutableBytes(&byte, 1)).ok());  // it has the file open from now on
  {
    std::fstream file(path_);
    file.seekp(kUnpatched);
    file << "foreign";
  }
  ASSERT_EQ(utimensat(AT_FDCWD, path_.c_str(), times, 0), 0);
  ASSERT_TRUE(sink_.ReadBack(kUnpatched, MutableBytes(&byte, 1)).ok());
  EXPECT_EQ(byte, 0) << "what was published";
  for (const char letter : {'B', 'C', 'D'}) {
    ASSERT_TRUE(sink_.CheckPatchable().ok());
    ASSERT_TRUE(sink_.Commit(LetterPatch(letter)).ok());
    sink_.set_policy(PublishPolicy::kExchange);
    ASSERT_TRUE(sink_.ReadBack(kUnpatched, MutableBytes(&byte, 1)).ok());
    EXPECT_EQ(byte, 0);
  }
}

TEST_F(FileSinkTest, BazelMakesOutputsReadOnly) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  usleep(20'000);
  fs::permissions(path_, fs::perms(0555));
  ASSERT_TRUE(sink_.CheckPatchable().ok());
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(sink_.last_commit(), CommitKind::kExchange);
  EXPECT_EQ(Execute(path_), "BBB");
  EXPECT_EQ(StatOf(path_).st_mode & 07777, 0755u);
  // Without a spare nothing vouches for the bytes.
  usleep(20'000);
  FileSink fresh(path_, 022, PublishPolicy::kAuto);
  ASSERT_TRUE(PublishLetters(fresh, 'C').ok());
  usleep(20'000);
  fs::permissions(path_, fs::perms(0555));
  EXPECT_EQ(fresh.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(fresh.Commit(LetterPatch('D')).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FileSinkTest, ForeignSpareIsNotPublished) {
  sink_.set_policy(PublishPolicy::kExchange);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  const std::string spare = HiddenNames(path_).Spare();
  ASSERT_TRUE(fs::exists(spare));
  fs::remove(spare);
  std::ofstream(spare) << "another daemon's";
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(Execute(path_), "BBB");
  sink_.Settle();
  fs::remove(spare);
  std::ofstream(spare) << "another daemon's";
  fs::remove(path_);
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(sink_.Commit(LetterPatch('C')).ok());
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(FileSinkTest, RemovesWhatAKilledDaemonLeft) {
  const int pid = fork();
  if (pid == 0) _exit(0);
  waitpid(pid, nullptr, 0);
  const std::string dead = folder_.File(".prog.kitlink-new." + std::to_string(pid) + "-7");
  const std::string own = folder_.File(".prog.kitlink-new." + std::to_string(getpid()) + "-999");
  const std::string alive = folder_.File(".prog.kitlink-new." + std::to_string(getppid()) + "-1");
  const std::string other = folder_.File(".program.kitlink-new." + std::to_string(pid) + "-7");
  const std::string spare = HiddenNames(path_).Spare();
  for (const std::string& name : {dead, own, alive, other, spare}) std::ofstream(name) << "x";
  FileSink in_use(path_, 022, PublishPolicy::kAuto);  // another session's image, being written
  ASSERT_TRUE(in_use.BeginImage(100).ok());
  std::ofstream(dead) << "x";
  ASSERT_TRUE(sink_.BeginImage(100).ok());
  sink_.AbandonImage();
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_FALSE(fs::exists(own));
  EXPECT_FALSE(fs::exists(spare));
  EXPECT_TRUE(fs::exists(alive));
  EXPECT_TRUE(fs::exists(other));
  EXPECT_TRUE(in_use.PublishImage(true).ok());
}

TEST_F(FileSinkTest, LongNames) {
  const std::string path = folder_.File(std::string(255, 'n'));
  FileSink sink(path, 022, PublishPolicy::kExchange);
  ASSERT_TRUE(PublishLetters(sink, 'A').ok());
  ASSERT_TRUE(sink.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(Execute(path), "BBB");
  EXPECT_NE(HiddenNames(path).Spare(), HiddenNames(path.substr(0, path.size() - 1) + "m").Spare());
}

TEST_F(FileSinkTest, FolderAndMissingFolderAreErrors) {
  FileSink folder(folder_.path(), 022, PublishPolicy::kAuto);
  EXPECT_THAT(std::string(folder.BeginImage(10).status().message()), HasSubstr("Is a directory"));
  FileSink missing(folder_.File("no/prog"), 022, PublishPolicy::kAuto);
  EXPECT_EQ(missing.BeginImage(10).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileSinkTest, UnwritableFolderLeavesOldOutput) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  fs::permissions(folder_.path(), fs::perms(0555));
  EXPECT_EQ(InChild([&] {
              if (!DropCapabilities()) return 9;
              FileSink sink(path_, 022, PublishPolicy::kAuto);
              absl::Status status = sink.BeginImage(10).status();
              if (!absl::IsPermissionDenied(status)) return 1;
              return status.message().find(folder_.path()) == absl::string_view::npos ? 2 : 0;
            }),
            0);
  fs::permissions(folder_.path(), fs::perms(0755));
  EXPECT_EQ(Execute(path_), "AAA");
}

TEST_F(FileSinkTest, BadPatchesAreRefused) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  const std::vector<uint8_t> two = {1, 2};
  ImagePatch overlapping{{{10, PatchPhase::kAppend, two}, {11, PatchPhase::kAppend, two}}};
  ImagePatch outside{{{0x7fff, PatchPhase::kAppend, two}}};
  ImagePatch overflowing{{{~uint64_t{0}, PatchPhase::kAppend, two}}};
  for (const ImagePatch& patch : {overlapping, outside, overflowing}) {
    EXPECT_EQ(sink_.Commit(patch).code(), absl::StatusCode::kInvalidArgument);
  }
  uint8_t byte;
  EXPECT_EQ(sink_.ReadBack(0x8000, MutableBytes(&byte, 1)).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(Execute(path_), "AAA");
}

TEST_F(FileSinkTest, NothingPublished) {
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sink_.Commit({}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sink_.PublishImage(true).code(), absl::StatusCode::kFailedPrecondition);
  sink_.Settle();
  EXPECT_THAT(folder_.List(), IsEmpty());
}

TEST_F(FileSinkTest, DeviceIsWrittenNotReplaced) {
  fs::create_symlink("/dev/null", path_);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  EXPECT_TRUE(S_ISLNK(StatOf(path_).st_mode));
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sink_.Commit({}).code(), absl::StatusCode::kFailedPrecondition);
  sink_.Settle();
  EXPECT_THAT(folder_.List(), ElementsAre("prog"));
}

TEST_F(FileSinkTest, PipeIsWritten) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] {
    std::ifstream pipe(path_);
    got.assign(std::istreambuf_iterator<char>(pipe), {});
  });
  EXPECT_TRUE(PublishLetters(sink_, 'A', 300'000).ok());
  reader.join();
  const std::vector<uint8_t> image = LetterProgram('A', 300'000);
  EXPECT_TRUE(got == std::string(image.begin(), image.end()));
  EXPECT_TRUE(S_ISFIFO(StatOf(path_).st_mode));
  EXPECT_EQ(sink_.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
  std::thread leaver([&] {
    std::ifstream pipe(path_);
    pipe.get();
  });
  EXPECT_FALSE(PublishLetters(sink_, 'A', 300'000).ok());  // an error, not a SIGPIPE
  leaver.join();
}

TEST_F(FileSinkTest, WorksWithoutAllocationExchangeAndCopyRange) {
  ops_.Arm([](const char* name, int) {
    const std::string call = name;
    if (call == "allocate" || call == "clone" || call == "copy_range") return -EOPNOTSUPP;
    return call == "exchange" || call == "seek" ? -EINVAL : 0;
  });
  sink_.set_policy(PublishPolicy::kExchange);
  ASSERT_TRUE(PublishLetters(sink_, 'A', 1 << 20).ok());
  EXPECT_LT(StatOf(path_).st_blocks * 512, 1 << 20);  // holes stay holes this way
  for (char letter : {'B', 'C', 'D'}) {
    ASSERT_TRUE(sink_.Commit(LetterPatch(letter)).ok());
    EXPECT_EQ(Execute(path_), std::string(3, letter));
  }
  sink_.Settle();
  EXPECT_EQ(folder_.List().size(), 2u);
}

TEST_F(FileSinkTest, OpenersWaitForACommitInPlace) {
  if (!Trusted()) GTEST_SKIP() << "the test folder's file system is not trusted with leases";
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  pid_t waiter = -1;
  int impatient = -1;
  ops_.Arm([&](const char* name, int) {
    if (std::string(name) != "pwrite" || waiter >= 0) return 0;
    waiter = fork();
    if (waiter == 0) {
      close_range(3, ~0u, 0);  // our descriptor for writing, which this fork got, would be ETXTBSY to itself
      // Waits in execve; refused if it came through now. The kernel ends the lease of a closing file an instant before
      // it stops counting it as written to, so whoever waited may be told ETXTBSY once more.
      for (int tries = 0; tries < 500; ++tries) {
        execl(path_.c_str(), path_.c_str(), nullptr);
        if (errno != ETXTBSY) break;
        usleep(10'000);
      }
      _exit(98);
    }
    usleep(50'000);
    EXPECT_EQ(waitpid(waiter, nullptr, WNOHANG), 0);
    impatient = InChild([&] {
      const int fd = open(path_.c_str(), O_RDONLY | O_NONBLOCK);
      return fd < 0 && errno == EWOULDBLOCK ? 0 : 1;
    });
    return 0;
  });
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(sink_.last_commit(), CommitKind::kInPlace);
  EXPECT_EQ(impatient, 0);
  int status = -1;
  waitpid(waiter, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST_F(FileSinkTest, LaggingSpareIsCopiedAfreshWhenTheJournalGetsLong) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  sink_.Settle();
  for (int i = 0; i < 400; ++i) ASSERT_TRUE(sink_.Commit(LetterPatch(static_cast<char>('A' + i % 26))).ok());
  ASSERT_TRUE(sink_.Commit(LetterPatch('Z')).ok());
  sink_.Settle();
  fs::remove(path_);
  ASSERT_TRUE(sink_.Commit({}).ok());
  EXPECT_EQ(Execute(path_), "ZZZ");
}

TEST_F(FileSinkTest, SettlingCanBeInterruptedAndContinued) {
  constexpr size_t kSize = 40 << 20;
  ASSERT_TRUE(PublishLetters(sink_, 'A', kSize).ok());
  int copies = 0;
  ops_.Arm([&](const char* name, int) {
    if (std::string(name) == "clone") return -EOPNOTSUPP;
    if (std::string(name) == "seek") return -EINVAL;  // copy the zeros too
    if (std::string(name) == "copy_range" && ++copies == 3) sink_.StopSettling();
    return 0;
  });
  sink_.Settle();
  EXPECT_EQ(copies, 3);
  ASSERT_TRUE(sink_.CheckPatchable().ok());
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());  // in place, if it can: what was copied lacks this
  sink_.Settle();
  EXPECT_LE(copies, 3 + 10 + 3);
  fs::remove(path_);
  ASSERT_TRUE(sink_.Commit({}).ok());
  EXPECT_EQ(Execute(path_), "BBB");
}

TEST_F(FileSinkTest, ReadersAndStopsFromOtherThreads) {
  ASSERT_TRUE(PublishLetters(sink_, 'A', 8 << 20).ok());
  std::atomic<bool> done{false};
  std::thread reader([&] {
    while (!done) {
      std::ifstream file(path_);
      char magic[4] = {};
      file.read(magic, 4);
      EXPECT_EQ(std::string(magic, 4),
                "\x7f"
                "ELF");  // never a cleared one
    }
  });
  std::thread stopper([&] {
    while (!done) {
      sink_.StopSettling();
      usleep(100);
    }
  });
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(sink_.CheckPatchable().ok());
    ASSERT_TRUE(sink_.Commit(LetterPatch(static_cast<char>('A' + i % 26))).ok());
    sink_.Settle();
  }
  done = true;
  reader.join();
  stopper.join();
  EXPECT_EQ(Execute(path_), "VVV");
}

TEST_F(FileSinkTest, AdoptsWhatAnEarlierDaemonPublished) {
  FileIdentity recorded;
  {
    FileSink earlier(path_, 022, PublishPolicy::kAuto);
    ASSERT_TRUE(PublishLetters(earlier, 'A').ok());
    ASSERT_TRUE(earlier.Commit(LetterPatch('B')).ok());
    recorded = *earlier.published();
  }
  ASSERT_TRUE(sink_.AdoptImage(recorded, true).ok());
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
  EXPECT_EQ(Execute(path_), "CCC");
  recorded.mtime_ns -= 1;
  EXPECT_EQ(sink_.AdoptImage(recorded, true).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(FileSinkTest, MovesOnToAnotherPath) {
  const std::string second = folder_.File("second"), third = folder_.File("third");
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  ASSERT_TRUE(sink_.MoveTo(second).ok());  // there is no spare: a copy
  EXPECT_EQ(sink_.path(), second);
  EXPECT_EQ(sink_.published(), absl::nullopt) << "nothing that a later daemon would find";
  EXPECT_TRUE(sink_.CheckPatchable().ok());
  EXPECT_EQ(LetterAt(sink_, 0), "A");
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(Execute(path_) + Execute(second), "AAABBB");
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
  sink_.Settle();  // makes a spare
  ASSERT_TRUE(sink_.Commit(LetterPatch('D')).ok());
  std::ofstream(third) << "somebody else's";
  ASSERT_TRUE(fs::remove(second));
  ASSERT_TRUE(sink_.MoveTo(third).ok());  // only the spare has it, and the journal what that lacks
  EXPECT_EQ(LetterAt(sink_, 1), "D");
  ASSERT_TRUE(sink_.Commit({}).ok());
  EXPECT_EQ(Execute(third), "DDD");
  EXPECT_THAT(folder_.List(), ElementsAre("prog", "third"));
}

TEST_F(FileSinkTest, MovesOnFromWhatIsStillRun) {
  sink_.set_policy(PublishPolicy::kExchange);
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  Running running(path_);
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());  // the spare is what runs
  ASSERT_TRUE(sink_.MoveTo(folder_.File("second")).ok());
  ASSERT_TRUE(sink_.Commit(LetterPatch('C')).ok());
  EXPECT_EQ(running.Finish(), "AAA");
  EXPECT_EQ(Execute(path_) + Execute(folder_.File("second")), "BBBCCC");
}

TEST_F(FileSinkTest, DoesNotMoveWithoutAnImage) {
  EXPECT_EQ(sink_.MoveTo(folder_.File("second")).code(), absl::StatusCode::kFailedPrecondition) << "nothing was published";
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  EXPECT_EQ(sink_.MoveTo(folder_.path()).code(), absl::StatusCode::kFailedPrecondition) << "a folder";
  EXPECT_EQ(sink_.MoveTo("/dev/null").code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(sink_.path(), path_);
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok()) << "nothing has changed";
  std::ofstream(path_, std::ios::app) << "x";
  EXPECT_EQ(sink_.MoveTo(folder_.File("second")).code(), absl::StatusCode::kFailedPrecondition);
}

// A folder that cannot be written: the next commit fails, and so would a link from scratch.
TEST_F(FileSinkTest, MovesOnToAFolderThatDoesNotExist) {
  ASSERT_TRUE(PublishLetters(sink_, 'A').ok());
  ASSERT_TRUE(sink_.MoveTo(folder_.File("nowhere/second")).ok());
  EXPECT_FALSE(sink_.CheckPatchable().ok());
  EXPECT_FALSE(sink_.BeginImage(10).ok());
  ASSERT_TRUE(fs::create_directory(folder_.File("nowhere")));
  ASSERT_TRUE(PublishLetters(sink_, 'B').ok());
  EXPECT_EQ(Execute(folder_.File("nowhere/second")), "BBB");
}

TEST_F(FileSinkTest, AdoptsWhatWasPublishedElsewhere) {
  FileIdentity recorded;
  {
    FileSink earlier(folder_.File("first"), 022, PublishPolicy::kAuto);
    ASSERT_TRUE(PublishLetters(earlier, 'A').ok());
    recorded = *earlier.published();
  }
  ASSERT_TRUE(sink_.AdoptImageFrom(folder_.File("first"), recorded, true).ok());
  EXPECT_EQ(sink_.path(), path_);
  ASSERT_TRUE(sink_.Commit(LetterPatch('B')).ok());
  EXPECT_EQ(Execute(folder_.File("first")) + Execute(path_), "AAABBB");
  recorded.mtime_ns -= 1;
  FileSink other(folder_.File("other"), 022, PublishPolicy::kAuto);
  EXPECT_FALSE(other.AdoptImageFrom(folder_.File("first"), recorded, true).ok());
  EXPECT_EQ(other.path(), folder_.File("other"));
  EXPECT_FALSE(other.CheckPatchable().ok());
}

}  // namespace
}  // namespace kitlink::daemon
