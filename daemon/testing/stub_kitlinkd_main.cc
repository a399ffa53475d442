// kitlinkd with no linker in it: what an answer costs before anything is linked. `tools/bench/bench --workload=floor`
// times ld.kit beside it.
//
// Its first link of an output writes a file of a fixed size and watches the inputs. Each later one does what no linker
// can leave out: it asks which inputs changed, reads one that did, writes scattered pages of the output, publishes it
// and replies.

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "daemon/daemon.h"
#include "daemon/file_source.h"
#include "daemon/file_watch.h"
#include "daemon/output/file_sink.h"
#include "daemon/session_linker.h"
#include "proto/rendezvous/version.h"

namespace kitlink::daemon {
namespace {

constexpr uint64_t kImageSize = 200 << 20;
constexpr uint64_t kPages = 24, kPage = 4096;

class StubLinker final : public Linker {
 public:
  explicit StubLinker(const std::string& output) : sink_(output, 022, PublishPolicy::kAuto) {}

  absl::StatusOr<LinkReport> Link(const SharedOptions& options, const ClientView& client, Diagnostics&) override {
    const absl::Time start = absl::Now();
    LinkReport report;
    report.output = sink_.path();
    report.generation = ++generation_;
    const absl::Status linked = generation_ == 1 ? WriteWhole(*options, client) : Patch(client, &report);
    if (!linked.ok()) return linked;
    report.timings_us.total = static_cast<uint64_t>(absl::ToInt64Microseconds(absl::Now() - start));
    return report;
  }

  absl::StatusOr<LinkReport> Relink(std::optional<std::vector<ChangedInput>>, Diagnostics&) override {
    return absl::UnimplementedError("a stub");
  }
  absl::StatusOr<verify::VerifyReport> Verify(Diagnostics&) override { return absl::UnimplementedError("a stub"); }
  void Settle() override { sink_.Settle(); }
  void StopSettling() override { sink_.StopSettling(); }
  SessionStatus Status() const override { return {}; }
  std::vector<std::string> Inputs() const override { return {}; }

 private:
  absl::Status WriteWhole(const LinkOptions& options, const ClientView& client) {
    for (const InputArgument& input : options.inputs) {
      if (!input.library) inputs_.push_back(input.name);
    }
    watch_.SetFolder(client.folder);
    if (!watch_.Watch(inputs_)) return absl::FailedPreconditionError("the inputs cannot be watched");
    const absl::StatusOr<MutableBytes> bytes = sink_.BeginImage(kImageSize);
    if (!bytes.ok()) return bytes.status();
    // Out of order, as threads write the parts of an image. In one sweep, the page cache would hold it in large folios,
    // of which ext4 walks all blocks for each small write.
    constexpr uint64_t kImagePages = kImageSize / kPage, kStride = 7919;
    for (uint64_t i = 0; i < kImagePages; ++i) {
      std::memset(&(*bytes)[i * kStride % kImagePages * kPage], static_cast<int>(i % 255 + 1), kPage);
    }
    return sink_.PublishImage(true);
  }

  absl::Status Patch(const ClientView& client, LinkReport* report) {
    watch_.SetFolder(client.folder);
    std::vector<uint32_t> changed;
    if (!watch_.Changed(&changed)) return absl::FailedPreconditionError("the watch was lost");
    MappedFileSource files(client.folder);
    for (uint32_t file : changed) {
      const auto read = files.Open(inputs_[file]);
      if (!read.ok()) return read.status();
      ++report->counters.inputs_read;
    }
    const absl::Status patchable = sink_.CheckPatchable();
    if (!patchable.ok()) return patchable;
    ImagePatch patch;
    for (uint64_t i = 0; i < kPages; ++i) {
      const uint64_t offset = kImageSize / kPages / kPage * kPage * i;
      patch.mutations.push_back({offset, PatchPhase::kAppend, std::vector<uint8_t>(kPage, value_)});
      report->patched_ranges.push_back({offset, kPage});
    }
    ++value_;
    report->outcome = Outcome::kPatched;
    report->bytes_written = kPages * kPage;
    return sink_.Commit(patch);
  }

  FileSink sink_;
  FileWatch watch_;
  std::vector<std::string> inputs_;
  uint64_t generation_ = 0;
  uint8_t value_ = 1;
};

// Parses as kitlinkd does: what the command line costs belongs to the floor.
class StubFactory final : public LinkerFactory {
 public:
  absl::StatusOr<SharedOptions> Parse(absl::Span<const std::string> args, const ClientView& client,
                                      Diagnostics& diagnostics) override {
    return parser_.Parse(args, client, diagnostics);
  }
  std::unique_ptr<Linker> Create(absl::string_view output, std::function<void()>) override {
    return std::make_unique<StubLinker>(std::string(output));
  }

 private:
  SessionLinkerFactory parser_;
};

}  // namespace
}  // namespace kitlink::daemon

int main(int argc, char** argv) {
#ifdef NDEBUG
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
#endif
  kitlink::daemon::DaemonOptions options;
  options.version = kitlink::kVersion;
  int status = 0;
  if (!kitlink::daemon::ParseDaemonArguments(argc, argv, &options, &status)) return status;
  kitlink::daemon::StubFactory factory;
  std::string error;
  const kitlink::daemon::ExitStatus result = kitlink::daemon::RunDaemon(options, factory, &error);
  if (!error.empty()) fprintf(stderr, "kitlinkd: error: %s\n", error.c_str());
  return static_cast<int>(result);
}
