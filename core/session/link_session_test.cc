#include "core/session/link_session.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "core/base/memory_files.h"
#include "core/input/command_line.h"
#include "core/input/testing/obj_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;
using testing::ObjBuilder;

// An image in memory whose steps can be told to fail.
class FakeSink : public ImageSink {
 public:
  absl::StatusOr<MutableBytes> BeginImage(uint64_t size) override {
    staged_.assign(size, 0);
    return absl::MakeSpan(staged_);
  }
  absl::Status PublishImage(bool) override {
    image = staged_;
    ++published;
    return absl::OkStatus();
  }
  void AbandonImage() override { staged_.clear(); }
  absl::Status CheckPatchable() override {
    return patchable ? absl::OkStatus() : absl::FailedPreconditionError("somebody has written to it");
  }
  absl::Status Commit(const ImagePatch& patch) override {
    if (!commit.ok()) return commit;
    uint64_t end = 0;
    if (patch.image_size > image.size()) image.resize(patch.image_size);
    for (const Mutation& mutation : patch.mutations) {
      EXPECT_GE(mutation.offset, end) << "mutations are sorted and disjoint";
      end = mutation.offset + mutation.bytes.size();
      if (end > image.size()) return absl::InternalError("outside of the image");
      std::copy(mutation.bytes.begin(), mutation.bytes.end(),
                image.begin() + static_cast<ptrdiff_t>(mutation.offset));
    }
    return absl::OkStatus();
  }
  absl::Status ReadBack(uint64_t offset, MutableBytes into) override {
    if (!readable) return absl::FailedPreconditionError("it is gone");
    if (!InBounds(offset, into.size(), image.size())) return absl::InternalError("outside of the image");
    std::copy_n(image.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return absl::OkStatus();
  }
  void Settle() override {}

  std::vector<uint8_t> image;
  int published = 0;
  bool patchable = true, readable = true;
  absl::Status commit;

 private:
  std::vector<uint8_t> staged_;
};

// Files one of which can be told to misbehave, once: what a build that still runs does to a linker.
class UnsteadyFiles : public MemoryFiles {
 public:
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override {
    if (path == "work.o" && unreadable > 0) {
      --unreadable;
      return absl::UnavailableError("work.o: stale file handle");
    }
    auto bytes = MemoryFiles::Open(path);
    if (path == "work.o") ++opened;
    if (path == "work.o" && young_ns != 0 && bytes.ok()) {
      const ByteView view = (*bytes)->bytes();
      FileStamp stamp;
      stamp.inode = 1000, stamp.mtime_ns = stamp.ctime_ns = young_ns;
      return std::shared_ptr<InputBytes>(std::make_shared<MemoryBytes>(std::vector<uint8_t>(view.begin(), view.end()), stamp));
    }
    if (path != "work.o" || !bytes.ok() || tears == 0 || --tears > 0) return bytes;
    return std::shared_ptr<InputBytes>(std::make_shared<TearingBytes>(*std::move(bytes)));
  }
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override {
    if (path == "work.o" && young_ns != 0) {
      const auto bytes = Open(path);
      if (!bytes.ok()) return bytes.status();
      return (*bytes)->stamp();
    }
    if (path == "work.o" && before_stat && --stats_until == 0) std::exchange(before_stat, nullptr)();
    return MemoryFiles::Stat(path);
  }

  int opened = 0;        // how often work.o was
  int64_t young_ns = 0;  // work.o has this time whatever is in it: it is written again and again within a moment
  int unreadable = 0;   // how many more times it cannot be opened
  int tears = 0;        // the n-th that is opened from now on is cut short after it was read
  int stats_until = 0;  // calls `before_stat` before this many more looks at its stamp
  std::function<void()> before_stat;

 private:
  class TearingBytes : public InputBytes {
   public:
    explicit TearingBytes(std::shared_ptr<InputBytes> whole) : whole_(std::move(whole)) {}
    ByteView bytes() const override { return whole_->bytes(); }
    const FileStamp& stamp() const override { return whole_->stamp(); }
    bool torn() const override { return asked_++ > 0; }
    bool copied() const override { return whole_->copied(); }

   private:
    std::shared_ptr<InputBytes> whole_;
    mutable int asked_ = 0;
  };
};

// mov $value, %eax; ret
std::vector<uint8_t> Work(char value) {
  return ObjBuilder()
      .Section(".text.work", std::string("\xb8") + value + std::string("\0\0\0\xc3", 4))
      .Symbol("work", ".text.work")
      .StackNote()
      .Build();
}

std::vector<uint8_t> Start() {
  return ObjBuilder()
      .Section(".text._start", std::string("\xe8\0\0\0\0\xc3", 6))
      .Symbol("_start", ".text._start")
      .Reloc(".text._start", 1, R_X86_64_PLT32, "work", -4)
      .StackNote()
      .Build();
}

class LinkSessionTest : public ::testing::Test {
 protected:
  LinkSessionTest() : session_(&sink_) {
    files_.Put("start.o", Start());
    files_.Put("work.o", Work(1));
    Diagnostics diagnostics;
    auto options = ParseCommandLine({"-o", "out", "start.o", "work.o"}, files_, diagnostics);
    EXPECT_TRUE(options.ok()) << options.status();
    options_ = *std::move(options);
  }

  // Leaves what was said in messages_.
  absl::StatusOr<LinkReport> Link(std::optional<std::vector<ChangedInput>> changed = std::nullopt) {
    Diagnostics diagnostics;
    auto report = session_.Link({options_, std::move(changed)}, files_, diagnostics);
    messages_.clear();
    for (const Diagnostic& diagnostic : diagnostics.Take()) messages_ += FormatDiagnostic(diagnostic) + "\n";
    if (!report.ok()) messages_ += report.status().ToString();
    return report;
  }

  // Links and expects that it fails, says this, and leaves the image as it is.
  void ExpectFailure(const std::vector<std::string>& texts) {
    const std::vector<uint8_t> before = sink_.image;
    const int published = sink_.published;
    EXPECT_FALSE(Link().ok());
    for (const std::string& text : texts) EXPECT_THAT(messages_, HasSubstr(text));
    EXPECT_EQ(sink_.image, before);
    EXPECT_EQ(sink_.published, published);
  }

  // Links and expects this.
  LinkReport Expect(Outcome outcome, GateReason reason,
                    std::optional<std::vector<ChangedInput>> changed = std::nullopt) {
    auto report = Link(std::move(changed));
    EXPECT_TRUE(report.ok()) << report.status();
    if (!report.ok()) return {};
    EXPECT_EQ(report->outcome, outcome) << Describe(report->reason).name << " " << report->reason_detail;
    EXPECT_EQ(report->reason, reason) << Describe(report->reason).name << " " << report->reason_detail;
    return *std::move(report);
  }

  void LinkFirst() {
    Expect(Outcome::kFull, GateReason::kFirstLink);
    session_.Settle();
    EXPECT_EQ(session_.Status().input_bytes != 0, session_.Status().hot);
  }

  // Whether the image holds work() with this value.
  bool Holds(char value) const {
    const std::string code = std::string("\xb8") + value + std::string("\0\0\0\xc3", 4);
    return std::search(sink_.image.begin(), sink_.image.end(), code.begin(), code.end(),
                       [](uint8_t a, char b) { return a == static_cast<uint8_t>(b); }) != sink_.image.end();
  }

  UnsteadyFiles files_;
  FakeSink sink_;
  LinkSession session_;
  LinkOptions options_;
  std::string messages_;
};

TEST_F(LinkSessionTest, PatchesABody) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  const LinkReport report = Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_EQ(report.atoms.changed, 1u);
  EXPECT_EQ(report.atoms.moved, 0u);
  EXPECT_EQ(report.generation, 2u);
  EXPECT_EQ(report.counters.full_resolves, 1u);
  EXPECT_EQ(sink_.published, 1);
  EXPECT_TRUE(Holds(2));
  EXPECT_FALSE(Holds(1));
}

TEST_F(LinkSessionTest, RewrittenWithTheSameContentIsNoChange) {
  LinkFirst();
  const std::vector<uint8_t> before = sink_.image;
  files_.Put("work.o", Work(1));
  const LinkReport report = Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(report.patched_ranges.empty());
  EXPECT_EQ(sink_.image, before);
}

TEST_F(LinkSessionTest, FailedCommitLeadsToAFullLink) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  sink_.commit = absl::InternalError("no space");
  Expect(Outcome::kFellBackFull, GateReason::kCommitFailed);
  EXPECT_EQ(sink_.published, 2);
  EXPECT_TRUE(Holds(2));
  sink_.commit = absl::OkStatus();
  session_.Settle();
  files_.Put("work.o", Work(3));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(3));
}

TEST_F(LinkSessionTest, ImageThatCannotBeReadBackIsNotPatched) {
  sink_.readable = false;
  LinkFirst();
  Expect(Outcome::kFellBackFull, GateReason::kPriorLinkFailed);
}

TEST_F(LinkSessionTest, DistrustedOutputIsLinkedInFullWithAWarning) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  Expect(Outcome::kPatched, GateReason::kNone);
  session_.Distrust("work.o:.text.work+0x1: 3 here, 2 in a cold link");
  EXPECT_FALSE(session_.Status().hot);
  const LinkReport report = Expect(Outcome::kFellBackFull, GateReason::kShadowMismatch);
  EXPECT_THAT(report.reason_detail, HasSubstr("3 here, 2 in a cold link"));
  EXPECT_THAT(messages_, HasSubstr("warning: the output of the last relink was wrong"));
  session_.Settle();
  files_.Put("work.o", Work(4));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_EQ(messages_, "");
}

// What `work.o` says, and data that makes a file of mostly holes once it is gone.
std::vector<uint8_t> LargeWork(char value) {
  return ObjBuilder()
      .Section(".text.work", std::string("\xb8") + value + std::string("\0\0\0\xc3", 4))
      .Symbol("work", ".text.work")
      .Section(".data.large", std::string(3 << 20, 'x'))
      .StackNote()
      .Build();
}

TEST_F(LinkSessionTest, FragmentedImageIsLaidOutAnewOnceItWasFoundGood) {
  files_.Put("work.o", LargeWork(1));
  LinkFirst();
  EXPECT_EQ(session_.Status().fragmented, "");
  files_.Put("work.o", Work(2));
  Expect(Outcome::kPatched, GateReason::kNone);
  session_.Settle();
  EXPECT_THAT(session_.Status().fragmented, HasSubstr("are holes"));
  // Not by itself, nor for what was said of another generation.
  session_.Confirm(1);
  EXPECT_FALSE(session_.Status().renewal);
  files_.Put("work.o", Work(3));
  Expect(Outcome::kPatched, GateReason::kNone);
  session_.Settle();
  session_.Confirm(3);
  EXPECT_TRUE(session_.Status().renewal);
  // A link that finds nothing changed is not what was meant.
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(session_.Status().renewal);
  EXPECT_EQ(sink_.published, 1);
  files_.Put("work.o", Work(4));
  EXPECT_THAT(Expect(Outcome::kFellBackFull, GateReason::kFragmented).reason_detail, HasSubstr("are holes"));
  EXPECT_EQ(messages_, "");
  EXPECT_TRUE(Holds(4));
  EXPECT_LT(sink_.image.size(), size_t{1} << 20);
  session_.Settle();
  EXPECT_EQ(session_.Status().fragmented, "");
  session_.Confirm(5);
  files_.Put("work.o", Work(5));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(5));
}

TEST_F(LinkSessionTest, FullLinkThatWasNotNeededIsTriedOnce) {
  files_.Put("work.o", LargeWork(1));
  LinkFirst();
  files_.Put("work.o", Work(2));
  Expect(Outcome::kPatched, GateReason::kNone);
  session_.Settle();
  session_.Confirm(2);
  files_.Put("work.o", ObjBuilder().StackNote().Build());
  EXPECT_FALSE(Link().ok());
  files_.Put("work.o", Work(3));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(3));
}

TEST_F(LinkSessionTest, UnpatchableImageAtCaptureIsNotHot) {
  sink_.patchable = false;
  LinkFirst();
  Expect(Outcome::kFellBackFull, GateReason::kNotIncrementalOutput);
}

TEST_F(LinkSessionTest, ReplacedBeforeCaptureIsStillPatched) {
  Expect(Outcome::kFull, GateReason::kFirstLink);
  files_.Put("work.o", Work(2));  // another inode: what was linked is still mapped
  session_.Settle();
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, RewrittenInPlaceBeforeCaptureIsPatchedWhenWhatWasLinkedIsACopy) {
  Expect(Outcome::kFull, GateReason::kFirstLink);
  files_.Rewrite("work.o", Work(2));
  session_.Settle();
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, RewrittenInPlaceBeforeCaptureFallsBackWhenItIsMapped) {
  auto bytes = files_.Open("work.o");
  ASSERT_TRUE(bytes.ok());
  static_cast<MemoryBytes&>(**bytes).set_mapped();
  Expect(Outcome::kFull, GateReason::kFirstLink);
  files_.Rewrite("work.o", Work(2));
  session_.Settle();
  Expect(Outcome::kFellBackFull, GateReason::kUnitNotCaptured);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, TruncatedBeforeCaptureFallsBack) {
  auto bytes = files_.Open("work.o");
  ASSERT_TRUE(bytes.ok());
  Expect(Outcome::kFull, GateReason::kFirstLink);
  static_cast<MemoryBytes&>(**bytes).set_torn();
  session_.Settle();
  files_.Put("work.o", Work(2));
  const LinkReport report = Expect(Outcome::kFellBackFull, GateReason::kUnitNotCaptured);
  EXPECT_EQ(report.counters.full_resolves, 2u);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, OutputChanged) {
  LinkFirst();
  sink_.patchable = false;
  Expect(Outcome::kFellBackFull, GateReason::kOutputChanged);
}

TEST_F(LinkSessionTest, MissingInputFailsAndKeepsTheSession) {
  LinkFirst();
  files_.Remove("work.o");
  ExpectFailure({"work.o"});
  files_.Put("work.o", Work(2));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, InputThatIsReadableAMomentLaterIsLinkedInFull) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  files_.unreadable = 1;
  const LinkReport report = Expect(Outcome::kFellBackFull, GateReason::kUnreadableInput);
  EXPECT_THAT(report.reason_detail, HasSubstr("work.o"));
  EXPECT_TRUE(Holds(2));
  session_.Settle();
  files_.Put("work.o", Work(3));
  Expect(Outcome::kPatched, GateReason::kNone);
}

TEST_F(LinkSessionTest, InputThatIsNoObjectAnyMoreFailsWithItsName) {
  LinkFirst();
  std::vector<uint8_t> cut = Work(2);
  cut.resize(cut.size() / 2);
  files_.Put("work.o", cut);
  ExpectFailure({"work.o"});
  files_.Put("work.o", Work(2));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, TornInputNeverReachesTheImage) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  auto bytes = files_.Open("work.o");
  ASSERT_TRUE(bytes.ok());
  static_cast<MemoryBytes&>(**bytes).set_torn();
  ExpectFailure({"work.o", "cut short"});
  files_.Put("work.o", Work(3));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(3));
}

TEST_F(LinkSessionTest, InputTornWhileThePatchIsPlannedIsReadAgain) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  files_.tears = 1;
  const LinkReport report = Expect(Outcome::kFellBackFull, GateReason::kUnreadableInput);
  EXPECT_THAT(report.reason_detail, HasSubstr("cut short"));
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, InputTornAfterItWasParsedFailsTheFirstLink) {
  files_.tears = 1;
  ExpectFailure({"work.o", "cut short"});
  EXPECT_EQ(sink_.published, 0);
  Expect(Outcome::kFull, GateReason::kFirstLink);
}

TEST_F(LinkSessionTest, InputTornAfterItWasParsedFailsTheFullLink) {
  options_.gate = GatePolicy::kStrict;
  LinkFirst();
  files_.Put("work.o", ObjBuilder()
                           .Section(".text.work", std::string("\xb8\4\0\0\0\xc3", 6))
                           .Symbol("work", ".text.work")
                           .Symbol("another", ".text.work")
                           .StackNote()
                           .Build());
  files_.tears = 2;  // the patch that the gate refuses has read it, too
  ExpectFailure({"work.o", "cut short"});
  files_.Put("work.o", Work(2));
  Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, InputRewrittenWhileThePatchIsPlannedIsReadAgain) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  files_.stats_until = 2;  // once to see that it has changed, once more before the commit
  files_.before_stat = [this] { files_.Put("work.o", Work(3)); };
  const LinkReport report = Expect(Outcome::kFellBackFull, GateReason::kUnreadableInput);
  EXPECT_THAT(report.reason_detail, HasSubstr("work.o"));
  EXPECT_TRUE(Holds(3));
  EXPECT_FALSE(Holds(2));
}

TEST_F(LinkSessionTest, LinkErrorLeavesEverythingAsItWas) {
  LinkFirst();
  // An address does not fit into one byte.
  files_.Put("work.o", ObjBuilder()
                           .Section(".text.work", std::string("\xb8\1\0\0\0\xc3", 6))
                           .Symbol("work", ".text.work")
                           .Reloc(".text.work", 1, R_X86_64_8, "work", 0)
                           .StackNote()
                           .Build());
  ExpectFailure({"work.o", ".text.work", "R_X86_64_8"});
  files_.Put("work.o", Work(2));
  const LinkReport report = Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_EQ(report.counters.full_resolves, 2u);
}

// work() ends with a short jump to near(), which reaches it only from close by.
std::vector<uint8_t> JumpsNear(size_t length) {
  const std::string body = std::string(length, '\x90') + "\xeb" + std::string(1, '\0');
  return ObjBuilder()
      .Section(".text.work", body)
      .Symbol("work", ".text.work")
      .Section(".text.near", "\xc3")
      .Symbol("near", ".text.near")
      .Section(".text.far", std::string(5000, '\x90'))
      .Symbol("far", ".text.far")
      .Reloc(".text.work", length + 1, R_X86_64_PC8, "near", -1)
      .StackNote()
      .Build();
}

TEST_F(LinkSessionTest, ErrorOfAPatchIsNoneOfTheFullLink) {
  files_.Put("work.o", JumpsNear(4));
  LinkFirst();
  files_.Put("work.o", JumpsNear(5));
  Expect(Outcome::kPatched, GateReason::kNone);
  files_.Put("work.o", JumpsNear(600));  // has to leave its slot, for a place behind far()
  const LinkReport report = Expect(Outcome::kFellBackFull, GateReason::kLinkError);
  EXPECT_THAT(report.reason_detail, HasSubstr("work.o:(.text.work+0x259)"));
  EXPECT_EQ(messages_, "");
}

TEST_F(LinkSessionTest, StatedContentMustBeWhatIsRead) {
  LinkFirst();
  const std::vector<uint8_t> before = sink_.image;
  files_.Put("work.o", Work(2));
  const std::vector<uint8_t> other = Work(3), now = Work(2);
  const auto refused = Link(std::vector<ChangedInput>{{"work.o", HashContent(other)}});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << refused.status();
  EXPECT_EQ(sink_.image, before);
  EXPECT_EQ(sink_.published, 1);
  const LinkReport report =
      Expect(Outcome::kPatched, GateReason::kNone, std::vector<ChangedInput>{{"work.o", HashContent(now)}});
  EXPECT_EQ(report.generation, 2u);
  EXPECT_TRUE(Holds(2));
}

TEST_F(LinkSessionTest, ChangedListNamesInputsOnly) {
  LinkFirst();
  files_.Put("other.o", Work(2));
  const auto refused = Link(std::vector<ChangedInput>{{"other.o", {}}});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument) << refused.status();
  Expect(Outcome::kPatched, GateReason::kNone);
}

TEST_F(LinkSessionTest, FallBackIsByteIdenticalToAColdLink) {
  options_.gate = GatePolicy::kStrict;
  LinkFirst();
  files_.Put("work.o", Work(2));
  Expect(Outcome::kPatched, GateReason::kNone);
  files_.Put("work.o", ObjBuilder()
                           .Section(".text.work", std::string("\xb8\4\0\0\0\xc3", 6))
                           .Symbol("work", ".text.work")
                           .Symbol("another", ".text.work")
                           .StackNote()
                           .Build());
  Expect(Outcome::kFellBackFull, GateReason::kDefinedSetChanged);
  FakeSink cold_sink;
  LinkSession cold(&cold_sink);
  Diagnostics diagnostics;
  ASSERT_TRUE(cold.Link({options_, std::nullopt}, files_, diagnostics).ok());
  EXPECT_EQ(sink_.image, cold_sink.image);
}

TEST_F(LinkSessionTest, WhatWasPreparedIsOnlyCommitted) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  const std::vector<uint8_t> before = sink_.image;
  ASSERT_TRUE(session_.Prepare(files_));
  EXPECT_EQ(sink_.image, before);
  EXPECT_EQ(session_.Status().generation, 1u);
  files_.opened = 0;
  const LinkReport report = Expect(Outcome::kPatched, GateReason::kNone);
  EXPECT_GT(report.timings_us.prepared, 0u);
  EXPECT_EQ(files_.opened, 0) << "its stamp is old enough to be trusted";
  EXPECT_EQ(report.atoms.changed, 1u);
  EXPECT_EQ(report.counters.inputs_read, 1u);
  EXPECT_GT(report.bytes_written, 0u);
  EXPECT_TRUE(Holds(2));
  // Once.
  files_.Put("work.o", Work(3));
  EXPECT_EQ(Expect(Outcome::kPatched, GateReason::kNone).timings_us.prepared, 0u);
  EXPECT_TRUE(Holds(3));
}

TEST_F(LinkSessionTest, WhatWasPreparedIsForgottenWhenSomethingElseIsThere) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  ASSERT_TRUE(session_.Prepare(files_));
  files_.Put("work.o", Work(3));
  EXPECT_EQ(Expect(Outcome::kPatched, GateReason::kNone).timings_us.prepared, 0u);
  EXPECT_TRUE(Holds(3));
  EXPECT_FALSE(Holds(2));
  // As it was when it was linked last.
  files_.Put("work.o", Work(4));
  ASSERT_TRUE(session_.Prepare(files_));
  files_.Put("work.o", Work(3));
  EXPECT_EQ(Expect(Outcome::kPatched, GateReason::kNone).timings_us.prepared, 0u);
  EXPECT_TRUE(Holds(3));
  // A second one.
  files_.Put("work.o", Work(5));
  ASSERT_TRUE(session_.Prepare(files_));
  files_.Put("start.o", ObjBuilder()
                            .Section(".text._start", std::string("\xe8\0\0\0\0\x90\xc3", 7))
                            .Symbol("_start", ".text._start")
                            .Reloc(".text._start", 1, R_X86_64_PLT32, "work", -4)
                            .StackNote()
                            .Build());
  EXPECT_EQ(Expect(Outcome::kPatched, GateReason::kNone).timings_us.prepared, 0u);
  EXPECT_TRUE(Holds(5));
}

// A stamp says nothing of a file that was written a moment ago.
TEST_F(LinkSessionTest, YoungFilesAreReadAgainAfterTheyWerePrepared) {
  LinkFirst();
  files_.young_ns = absl::GetCurrentTimeNanos() + int64_t{3'600'000'000'000};
  files_.Put("work.o", Work(2));
  ASSERT_TRUE(session_.Prepare(files_));
  EXPECT_GT(Expect(Outcome::kPatched, GateReason::kNone).timings_us.prepared, 0u);
  EXPECT_TRUE(Holds(2));
  files_.Put("work.o", Work(3));
  ASSERT_TRUE(session_.Prepare(files_));
  files_.Put("work.o", Work(4));
  EXPECT_EQ(Expect(Outcome::kPatched, GateReason::kNone).timings_us.prepared, 0u);
  EXPECT_TRUE(Holds(4));
  EXPECT_FALSE(Holds(3));
}

TEST_F(LinkSessionTest, WhatWasPreparedServesNoOtherRequest) {
  LinkFirst();
  files_.Put("work.o", Work(2));
  ASSERT_TRUE(session_.Prepare(files_));
  const LinkReport named = Expect(Outcome::kPatched, GateReason::kNone, std::vector<ChangedInput>{{"work.o", {}}});
  EXPECT_EQ(named.timings_us.prepared, 0u) << "it says what changed";
  files_.Put("work.o", Work(3));
  ASSERT_TRUE(session_.Prepare(files_));
  options_.gate = GatePolicy::kStrict;
  EXPECT_EQ(Expect(Outcome::kPatched, GateReason::kNone).timings_us.prepared, 0u) << "another gate";
  files_.Put("work.o", Work(4));
  ASSERT_TRUE(session_.Prepare(files_));
  options_.gate = GatePolicy::kExact;
  options_.entry = "work";
  Expect(Outcome::kFellBackFull, GateReason::kOptionsChanged);
  EXPECT_TRUE(Holds(4));
}

TEST_F(LinkSessionTest, WhatCannotBePreparedIsSaidByTheLink) {
  EXPECT_FALSE(session_.Prepare(files_)) << "never linked";
  LinkFirst();
  EXPECT_FALSE(session_.Prepare(files_)) << "nothing changed";
  files_.Put("work.o", "\x7f" "ELF, once");
  EXPECT_FALSE(session_.Prepare(files_));
  ExpectFailure({"work.o"});
  files_.Put("work.o", ObjBuilder()
                           .Section(".text.work", std::string("\xe8\0\0\0\0\xc3", 6))
                           .Symbol("work", ".text.work")
                           .Reloc(".text.work", 1, R_X86_64_PLT32, "nowhere", -4)
                           .StackNote()
                           .Build());
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(session_.Prepare(files_));
  ExpectFailure({"undefined symbol: nowhere"});
  files_.Put("work.o", Work(2));
  ASSERT_TRUE(session_.Prepare(files_));
  sink_.commit = absl::InternalError("no space");
  Expect(Outcome::kFellBackFull, GateReason::kCommitFailed);
  EXPECT_FALSE(session_.Prepare(files_)) << "not captured yet";
  sink_.commit = absl::OkStatus();
  session_.Settle();
  files_.Put("work.o", Work(3));
  ASSERT_TRUE(session_.Prepare(files_));
  session_.Distrust("it is another");
  Expect(Outcome::kFellBackFull, GateReason::kShadowMismatch);
  EXPECT_TRUE(Holds(3));
}

TEST_F(LinkSessionTest, RelinkNeedsALink) {
  Diagnostics diagnostics;
  EXPECT_EQ(session_.Relink(std::nullopt, files_, diagnostics).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace kitlink
