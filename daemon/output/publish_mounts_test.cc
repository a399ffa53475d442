// Publishing on file systems mounted for the purpose: overlayfs, tmpfs, a full disk.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <optional>
#include <string>

#include "daemon/output/exclusive_file.h"
#include "daemon/output/file_sink.h"
#include "daemon/output/output_test_util.h"

namespace kitlink::daemon {
namespace {

namespace fs = std::filesystem;

#define IN_NAMESPACE(body)                                                       \
  int failures = 0;                                                              \
  if (!InNamespace(body, &failures)) GTEST_SKIP() << "no mount namespaces here"; \
  EXPECT_EQ(failures, 0)

void MountTmpfs(const std::string& at, const std::string& options) {
  ASSERT_EQ(mount("tmpfs", at.c_str(), "tmpfs", 0, options.c_str()), 0) << strerror(errno);
}

// Returns the merged folder.
std::string MountOverlay(const TestFolder& folder) {
  MountTmpfs(folder.path(), "size=64m");
  for (const char* name : {"lower", "upper", "work", "merged"}) fs::create_directory(folder.File(name));
  const std::string options = "lowerdir=" + folder.File("lower") + ",upperdir=" + folder.File("upper") +
                              ",workdir=" + folder.File("work");
  const std::string merged = folder.File("merged");
  EXPECT_EQ(mount("overlay", merged.c_str(), "overlay", 0, options.c_str()), 0) << strerror(errno);
  return merged;
}

uint64_t MagicOf(const std::string& folder) {
  FileOps& ops = FileOps::System();
  OpenFile file(&ops, ops.Open(folder, O_RDONLY, 0));
  uint64_t magic = 0;
  EXPECT_EQ(ops.FileSystemMagic(file.fd(), &magic), 0);
  return magic;
}

// Running, mapped, removed, and plain, over and over.
void Exercise(const std::string& path, PublishPolicy policy, CommitKind when_idle) {
  FileSink sink(path, 022, policy);
  ASSERT_TRUE(PublishLetters(sink, 'A').ok());
  sink.Settle();
  for (char letter = 'B'; letter < 'J'; ++letter) {
    // By turns: a running program is protected by ETXTBSY as well, a mapped one is not.
    std::optional<Running> running;
    if (letter % 2 == 0) running.emplace(path);
    Mapping mapping(path);
    ASSERT_TRUE(sink.CheckPatchable().ok()) << sink.CheckPatchable();
    ASSERT_TRUE(sink.Commit(LetterPatch(letter)).ok());
    EXPECT_EQ(sink.last_commit(), CommitKind::kExchange);
    EXPECT_EQ(Execute(path), std::string(3, letter));
    if (letter % 3 != 0) sink.Settle();
    if (letter % 5 == 0 && letter % 3 != 0) fs::remove(path);
    ASSERT_TRUE(sink.Commit({}).ok());
    EXPECT_EQ(Execute(path), std::string(3, letter));
    if (running) {
      EXPECT_EQ(running->Finish(), std::string(3, static_cast<char>(letter - 1)));
    }
    EXPECT_TRUE(mapping.FinishUnchanged());
    ASSERT_TRUE(sink.Commit(LetterPatch(letter)).ok());
    EXPECT_EQ(sink.last_commit(), when_idle);
    EXPECT_EQ(Execute(path), std::string(3, letter));
  }
}

TEST(PublishMountsTest, OverlayNeverInPlace) {
  TestFolder folder;
  IN_NAMESPACE([&] {
    const std::string merged = MountOverlay(folder);
    ASSERT_FALSE(LeasesTellTheTruth(MagicOf(merged)));
    Exercise(merged + "/auto", PublishPolicy::kAuto, CommitKind::kExchange);
    Exercise(merged + "/exchange", PublishPolicy::kExchange, CommitKind::kExchange);
    FileSink sink(merged + "/inplace", 022, PublishPolicy::kInPlace);
    ASSERT_TRUE(PublishLetters(sink, 'A').ok());
    EXPECT_EQ(sink.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(sink.Commit(LetterPatch('B')).code(), absl::StatusCode::kFailedPrecondition);
  });
}

TEST(PublishMountsTest, Tmpfs) {
  TestFolder folder;
  IN_NAMESPACE([&] {
    MountTmpfs(folder.path(), "size=64m");
    ASSERT_TRUE(LeasesTellTheTruth(MagicOf(folder.path())));
    Exercise(folder.File("auto"), PublishPolicy::kAuto, CommitKind::kInPlace);
    Exercise(folder.File("exchange"), PublishPolicy::kExchange, CommitKind::kExchange);
  });
}

TEST(PublishMountsTest, FullDisk) {
  TestFolder folder;
  IN_NAMESPACE([&] {
    MountTmpfs(folder.path(), "size=1m");
    const std::string path = folder.File("prog");
    FileSink sink(path, 022, PublishPolicy::kAuto);
    ASSERT_TRUE(PublishLetters(sink, 'A', 600'000).ok());
    absl::Status status = sink.BeginImage(600'000).status();  // an error, no SIGBUS
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(Execute(path), "AAA");
    EXPECT_EQ(folder.List().size(), 1u);
    // No room for a spare either, but patching in place needs none.
    sink.Settle();
    EXPECT_EQ(folder.List().size(), 1u);
    ASSERT_TRUE(sink.CheckPatchable().ok());
    ASSERT_TRUE(sink.Commit(LetterPatch('B')).ok());
    EXPECT_EQ(sink.last_commit(), CommitKind::kInPlace);
    EXPECT_EQ(Execute(path), "BBB");
    Running running(path);
    EXPECT_EQ(sink.Commit(LetterPatch('C')).code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(running.Finish(), "BBB");
    EXPECT_EQ(Execute(path), "BBB");
    ASSERT_TRUE(sink.Commit(LetterPatch('D')).ok());
    EXPECT_EQ(Execute(path), "DDD");
  });
}

// An output with holes (the image was written without allocation) on a disk that then fills up.
TEST(PublishMountsTest, FullDiskInPlaceIsRolledBack) {
  TestFolder folder;
  IN_NAMESPACE([&] {
    MountTmpfs(folder.path(), "size=1m");
    DisturbedOps ops;
    ops.Arm([](const char* name, int) { return std::string(name) == "allocate" ? -EOPNOTSUPP : 0; });
    FileSink sink(folder.File("prog"), 022, PublishPolicy::kInPlace, ops);
    constexpr uint64_t kSize = 4 << 20;
    ASSERT_TRUE(PublishLetters(sink, 'A', kSize).ok());
    ImagePatch patch = LetterPatch('B');
    for (uint64_t offset = 1 << 20; offset < kSize - 4096; offset += 4096) {
      patch.mutations.push_back({offset, PatchPhase::kAppend, std::vector<uint8_t>(4096, 1)});
    }
    EXPECT_EQ(sink.Commit(patch).code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(Execute(sink.path()), "AAA");
    uint8_t byte = 9;
    ASSERT_TRUE(sink.ReadBack(1 << 20, MutableBytes(&byte, 1)).ok());
    EXPECT_EQ(byte, 0);
    ASSERT_TRUE(sink.Commit(LetterPatch('C')).ok());
    EXPECT_EQ(Execute(sink.path()), "CCC");
  });
}

}  // namespace
}  // namespace kitlink::daemon
