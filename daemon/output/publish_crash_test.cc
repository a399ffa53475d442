// Publishing stopped at every system call, by death and by error.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <functional>
#include <string>

#include "daemon/output/file_sink.h"
#include "daemon/output/output_test_util.h"

namespace kitlink::daemon {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;

// What a daemon is doing when it is stopped, after having published 'A'.
enum class Scene {
  kCommit,         // the first one, no spare yet
  kCommitKnown,    // ..., and the plan knows what the image held
  kCommitSettled,  // with a fresh spare
  kCommitThird,    // the spare is an old output and lags
  kCommitRemoved,  // the output is gone
  kCommitGrowing,  // the image gets longer, and the spare lags
  kRelink,         // a whole new image
  kSettle,
};

struct Case {
  PublishPolicy policy;
  Scene scene;
};

std::string NameOf(const ::testing::TestParamInfo<Case>& info) {
  static const char* const kPolicies[] = {"Auto", "InPlace", "Exchange"};
  static const char* const kScenes[] = {"Commit",        "CommitKnown",   "CommitSettled", "CommitThird",
                                        "CommitRemoved", "CommitGrowing", "Relink",
                                        "Settle"};
  return std::string(kPolicies[static_cast<int>(info.param.policy)]) +
         kScenes[static_cast<int>(info.param.scene)];
}

class PublishCrashTest : public ::testing::TestWithParam<Case> {
 protected:
  // Publishes 'A' at `path` and gets ready.
  void Prepare(FileSink& sink) {
    ASSERT_TRUE(PublishLetters(sink, 'A').ok());
    const Scene scene = GetParam().scene;
    if (scene == Scene::kCommit || scene == Scene::kCommitKnown) return;
    if (scene == Scene::kSettle) {
      ASSERT_TRUE(sink.Commit({}).ok());
      return;
    }
    sink.Settle();
    if (scene == Scene::kCommitThird || scene == Scene::kCommitGrowing) {
      ASSERT_TRUE(sink.Commit(LetterPatch('Y')).ok());
      ASSERT_TRUE(sink.Commit(LetterPatch('A')).ok());
    }
    if (scene == Scene::kCommitRemoved) std::filesystem::remove(sink.path());
  }

  // What is disturbed. Makes 'B' of it.
  absl::Status Act(FileSink& sink) {
    switch (GetParam().scene) {
      case Scene::kRelink:
        return PublishLetters(sink, 'B');
      case Scene::kSettle:
        sink.Settle();
        return absl::OkStatus();
      case Scene::kCommitGrowing:
        return sink.Commit(GrowingPatch('B'));
      case Scene::kCommitKnown: {
        ImagePatch patch = LetterPatch('B');
        patch.before = [image = LetterProgram('A')](uint64_t offset, MutableBytes into) {
          if (!InBounds(offset, into.size(), image.size())) return false;
          std::copy_n(image.begin() + static_cast<long>(offset), into.size(), into.begin());
          return true;
        };
        return sink.Commit(patch);
      }
      default:
        return sink.Commit(LetterPatch('B'));
    }
  }

  bool InPlaceAllowed() const { return GetParam().policy != PublishPolicy::kExchange; }

  // The next daemon links from scratch: works whatever was left, and leaves nothing behind.
  void ExpectNextLinkRight(const TestFolder& folder) {
    {
      FileSink next(folder.File("prog"), 022, GetParam().policy);
      ASSERT_TRUE(PublishLetters(next, 'C').ok());
      EXPECT_EQ(Execute(folder.File("prog")), "CCC");
    }
    EXPECT_THAT(folder.List(), ElementsAre("prog"));
  }
};

TEST_P(PublishCrashTest, KilledAtEachCall) {
  bool completed = false;
  int at = 0;
  int refused = 0;
  while (!completed) {
    ++at;
    SCOPED_TRACE(at);
    TestFolder folder;
    const std::string path = folder.File("prog");
    const int result = InChild([&]() -> int {
      DisturbedOps ops;
      FileSink sink(path, 022, GetParam().policy, ops);
      Prepare(sink);
      ops.Arm([&](const char*, int number) {
        if (number == at) raise(SIGKILL);
        return 0;
      });
      const bool ok = Act(sink).ok();
      _exit(ok ? 0 : 1);  // as a killed daemon, without cleaning up
    });
    completed = result != -SIGKILL;
    EXPECT_EQ(result, completed ? 0 : -SIGKILL);
    const std::string printed = Execute(path);
    refused += printed == "refused" ? 1 : 0;
    if (GetParam().scene == Scene::kCommitRemoved && !completed) {
      EXPECT_THAT(printed, AnyOf("error 2", "BBB"));
    } else if (GetParam().scene == Scene::kSettle) {
      EXPECT_EQ(printed, "AAA");
    } else if (completed) {
      EXPECT_EQ(printed, "BBB");
    } else if (InPlaceAllowed()) {
      EXPECT_THAT(printed, AnyOf("AAA", "BBB", "refused"));
    } else {
      EXPECT_THAT(printed, AnyOf("AAA", "BBB"));
    }
    ExpectNextLinkRight(folder);
    ASSERT_LT(at, 1000);
  }
  RecordProperty("calls", at);
  EXPECT_GT(at, 5);
  // Were the points between clearing and restoring the magic number met at all?
  if (GetParam().policy == PublishPolicy::kInPlace && GetParam().scene == Scene::kCommit) {
    EXPECT_GT(refused, 5);
  }
}

// From call `at` on: that one fails, or that one and all later writes do.
class PublishFaultTest : public PublishCrashTest {
 protected:
  void FailAtEachCall(int error, bool lasting) {
    bool completed = false;
    for (int at = 1; !completed; ++at) {
      SCOPED_TRACE(at);
      ASSERT_LT(at, 1000);
      TestFolder folder;
      DisturbedOps ops;
      {
        FileSink sink(folder.File("prog"), 022, GetParam().policy, ops);
        Prepare(sink);
        completed = true;
        ops.Arm([&](const char* name, int number) {
          if (number >= at) completed = false;
          const bool writing = std::string(name) == "pwrite" || std::string(name) == "allocate";
          return number == at || (lasting && number > at && writing) ? error : 0;
        });
        const absl::Status status = Act(sink);
        const int last = ops.calls();
        ops.Disarm();
        if (last < at) completed = true;
        CheckOutcome(sink, status);
      }
      ExpectNextLinkRight(folder);
    }
  }

  void CheckOutcome(FileSink& sink, const absl::Status& status) {
    const std::string printed = Execute(sink.path());
    if (GetParam().scene == Scene::kSettle) {
      EXPECT_EQ(printed, "AAA");
    } else if (status.ok()) {
      EXPECT_EQ(printed, "BBB");
    } else if (printed == "refused") {
      EXPECT_TRUE(InPlaceAllowed());
      EXPECT_EQ(sink.CheckPatchable().code(), absl::StatusCode::kFailedPrecondition);
    } else {
      EXPECT_EQ(printed, GetParam().scene == Scene::kCommitRemoved ? "error 2" : "AAA") << status;
    }
    ExpectSpareRight(sink, status.ok() && GetParam().scene != Scene::kSettle ? "BBB" : "AAA");
  }

  // Whatever it now says about itself is true, also when the spare has to be shown.
  void ExpectSpareRight(FileSink& sink, const std::string& published) {
    std::filesystem::remove(sink.path());
    if (sink.CheckPatchable().ok()) {
      ASSERT_TRUE(sink.Commit({}).ok());
      EXPECT_EQ(Execute(sink.path()), published);
      ASSERT_TRUE(sink.Commit(LetterPatch('D')).ok());
      EXPECT_EQ(Execute(sink.path()), "DDD");
    } else {
      ASSERT_TRUE(PublishLetters(sink, 'D').ok());
    }
    sink.Settle();
    std::filesystem::remove(sink.path());
    if (!sink.CheckPatchable().ok()) return;
    ASSERT_TRUE(sink.Commit({}).ok());
    EXPECT_EQ(Execute(sink.path()), "DDD");
  }
};

TEST_P(PublishFaultTest, OneCallFails) {
  FailAtEachCall(-EIO, false);
  FailAtEachCall(-ENOSPC, false);
}

TEST_P(PublishFaultTest, DiskStaysFull) { FailAtEachCall(-ENOSPC, true); }

const Case kCases[] = {
    {PublishPolicy::kAuto, Scene::kCommit},          {PublishPolicy::kAuto, Scene::kCommitSettled},
    {PublishPolicy::kAuto, Scene::kCommitThird},     {PublishPolicy::kAuto, Scene::kCommitRemoved},
    {PublishPolicy::kAuto, Scene::kCommitGrowing},   {PublishPolicy::kInPlace, Scene::kCommitGrowing},
    {PublishPolicy::kExchange, Scene::kCommitGrowing},
    {PublishPolicy::kAuto, Scene::kRelink},          {PublishPolicy::kAuto, Scene::kSettle},
    {PublishPolicy::kInPlace, Scene::kCommit},       {PublishPolicy::kInPlace, Scene::kRelink},
    {PublishPolicy::kInPlace, Scene::kCommitKnown},  {PublishPolicy::kAuto, Scene::kCommitKnown},
    {PublishPolicy::kExchange, Scene::kCommit},      {PublishPolicy::kExchange, Scene::kCommitSettled},
    {PublishPolicy::kExchange, Scene::kCommitThird}, {PublishPolicy::kExchange, Scene::kCommitRemoved},
    {PublishPolicy::kExchange, Scene::kRelink},      {PublishPolicy::kExchange, Scene::kSettle},
};

INSTANTIATE_TEST_SUITE_P(Policies, PublishCrashTest, ::testing::ValuesIn(kCases), NameOf);
INSTANTIATE_TEST_SUITE_P(Policies, PublishFaultTest, ::testing::ValuesIn(kCases), NameOf);

}  // namespace
}  // namespace kitlink::daemon
