#include "daemon/store/state_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/time/clock.h"
#include "core/base/digest.h"
#include "core/input/testing/obj_builder.h"
#include "core/session/state/state.h"
#include "core/session/testing/hot_memory.h"
#include "daemon/output/recorded.h"
#include "daemon/store/kept_output.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

namespace fs = std::filesystem;

class StateFilesTest : public ::testing::Test {
 protected:
  StateFilesTest() {
    const char* tmp = getenv("TEST_TMPDIR");
    folder_ = std::string(tmp != nullptr ? tmp : "/tmp") + "/" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
  }
  static ContentId Put(StateFiles& files, absl::string_view text) {
    const ContentId id = HashContent(AsBytes(text));
    EXPECT_TRUE(files.PutBlob(id, AsBytes(text)).ok());
    return id;
  }
  size_t CountFiles(const std::string& part) const {
    size_t count = 0;
    std::error_code error;
    for (fs::recursive_directory_iterator it(folder_ + part, error), end; it != end; it.increment(error)) {
      count += it->is_regular_file();
    }
    return count;
  }
  // A session of a program, as a daemon leaves it.
  static void SaveSession(StateFiles& files, const std::string& output, const char* code) {
    kitlink::testing::HotMemory hot;
    hot.files.Put("a.o", kitlink::testing::ObjBuilder().Section(".text.f", code).Symbol("_start", ".text.f").Build());
    hot.Link({"a.o"});
    ASSERT_NE(hot.memory, nullptr);
    KeptOutput state(&files, output, 022, PublishPolicy::kAuto);
    ASSERT_TRUE(SaveState({1, output, "", "/"}, hot.memory.get(), &state).ok());
  }
  static bool Loads(StateFiles& files, const std::string& output) {
    KeptOutput state(&files, output, 022, PublishPolicy::kAuto);
    const absl::StatusOr<std::string> manifest = state.ReadManifest();
    return manifest.ok() && LoadState(*manifest, &state).ok();
  }
  StateFiles::Waiting Manifest(const std::string& text) const { return {text, "", folder_ + "/out", "", {}}; }
  static StateLimits Quick() {
    StateLimits limits;
    limits.delay = absl::ZeroDuration();
    limits.grace = absl::ZeroDuration();
    return limits;
  }
  std::string folder_;
};

TEST_F(StateFilesTest, BlobsAreFoundAgainByContent) {
  StateFiles files(folder_);
  const ContentId id = Put(files, "some bytes");
  EXPECT_EQ(*files.GetBlob(id), "some bytes");
  EXPECT_TRUE(absl::IsNotFound(files.GetBlob(HashContent(AsBytes("others"))).status()));
}

TEST_F(StateFilesTest, EqualBlobsAreKeptOnce) {
  StateFiles files(folder_);
  const ContentId id = Put(files, "some bytes");
  struct stat before, after;
  const std::string hex = id.ToHex();
  const std::string path = folder_ + "/blobs/" + hex.substr(0, 2) + "/" + hex.substr(2);
  ASSERT_EQ(stat(path.c_str(), &before), 0);
  Put(files, "some bytes");
  ASSERT_EQ(stat(path.c_str(), &after), 0);
  EXPECT_EQ(before.st_ino, after.st_ino);
  EXPECT_EQ(CountFiles("/blobs"), 1u);
}

TEST_F(StateFilesTest, ABlobOfAnotherLengthIsPutAnew) {
  StateFiles files(folder_);
  const ContentId id = Put(files, "some bytes");
  const std::string hex = id.ToHex();
  ASSERT_EQ(truncate((folder_ + "/blobs/" + hex.substr(0, 2) + "/" + hex.substr(2)).c_str(), 3), 0);
  Put(files, "some bytes");
  EXPECT_EQ(*files.GetBlob(id), "some bytes");
}

TEST_F(StateFilesTest, NobodyElseMayRead) {
  StateFiles files(folder_ + "/deep/er");
  Put(files, "some bytes");
  struct stat info;
  ASSERT_EQ(stat((folder_ + "/deep").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 077, 0u);
}

TEST_F(StateFilesTest, TheLastManifestCounts) {
  {
    StateFiles files(folder_);
    files.WriteManifest("key", Manifest("first"));
    files.WriteManifest("key", Manifest("second"));
    files.WriteManifest("other", Manifest("third"));
    EXPECT_EQ(*files.ReadManifest("key"), "second");  // though it is not written yet
  }
  StateFiles files(folder_);
  EXPECT_EQ(*files.ReadManifest("key"), "second");
  EXPECT_EQ(*files.ReadManifest("other"), "third");
  EXPECT_TRUE(absl::IsNotFound(files.ReadManifest("nobody's").status()));
  EXPECT_EQ(CountFiles("/sessions"), 2u);
}

// To hash a large output after each link would disturb the next.
TEST_F(StateFilesTest, TheNameElsewhereComesLaterAndHoldsNothingUp) {
  StateLimits limits = Quick();
  limits.elsewhere_delay = absl::Hours(1);
  StateFiles files(folder_, limits);
  fs::create_directories(folder_);
  StateFiles::Waiting waiting = Manifest("one");
  std::ofstream(waiting.output) << "bytes of the output";
  struct stat info;
  ASSERT_EQ(stat(waiting.output.c_str(), &info), 0);
  waiting.image = WriteRecord(FileIdentity::Of(info));
  waiting.portable = "portable out";
  files.WriteManifest("key", waiting);
  while (CountFiles("/sessions") == 0) absl::SleepFor(absl::Milliseconds(1));
  files.WriteManifest("other", Manifest("two"));  // is not kept waiting for an hour
  while (CountFiles("/sessions") < 2) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_TRUE(absl::IsNotFound(files.ReadPortable("portable out").status()));
  files.Flush();
  const absl::StatusOr<StateStore::Portable> portable = files.ReadPortable("portable out");
  ASSERT_TRUE(portable.ok());
  EXPECT_EQ(portable->manifest, "one");
  EXPECT_EQ(portable->output, HashContent(AsBytes("bytes of the output")));
}

TEST_F(StateFilesTest, SessionsShareWhatIsEqual) {
  StateFiles files(folder_, Quick());
  SaveSession(files, "/one", "\xc3");
  const size_t alone = CountFiles("/blobs");
  SaveSession(files, "/two", "\xc3");
  EXPECT_EQ(CountFiles("/blobs"), alone);
}

TEST_F(StateFilesTest, ASweepKeepsWhatManifestsLeadTo) {
  StateFiles files(folder_, Quick());
  SaveSession(files, "/one", "\xc3");
  const size_t needed = CountFiles("/blobs");
  const ContentId garbage = Put(files, "nobody's");
  files.Flush();
  files.Sweep();
  EXPECT_EQ(CountFiles("/blobs"), needed);
  EXPECT_FALSE(files.GetBlob(garbage).ok());
  EXPECT_TRUE(Loads(files, "/one"));
}

TEST_F(StateFilesTest, YoungBlobsWaitForTheirManifest) {
  StateLimits limits = Quick();
  limits.grace = absl::Minutes(1);
  StateFiles files(folder_, limits);
  const ContentId id = Put(files, "a manifest is to come");
  files.Sweep();
  EXPECT_TRUE(files.GetBlob(id).ok());
}

TEST_F(StateFilesTest, TooManyBytesCostTheOldestSession) {
  StateLimits limits = Quick();
  limits.bytes = 1;
  StateFiles files(folder_, limits);
  SaveSession(files, "/one", "\xc3");
  files.Flush();
  files.Sweep();
  EXPECT_FALSE(Loads(files, "/one"));
  EXPECT_EQ(CountFiles("/blobs"), 0u);
}

TEST_F(StateFilesTest, SessionsThatNobodyLinksGo) {
  StateLimits limits = Quick();
  limits.age = absl::ZeroDuration();
  StateFiles files(folder_, limits);
  SaveSession(files, "/one", "\xc3");
  files.Flush();
  files.Sweep();
  EXPECT_EQ(CountFiles(""), 0u);
}

}  // namespace
}  // namespace kitlink::daemon
