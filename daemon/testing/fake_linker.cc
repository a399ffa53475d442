#include "daemon/testing/fake_linker.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "daemon/file_source.h"

namespace kitlink::daemon {
namespace {

// The misbehaviour that was asked for travels in a list that this linker has no other use for.
std::string Fake(const LinkOptions& options, absl::string_view name) {
  std::string prefix = absl::StrCat("--fake-", name);
  for (absl::string_view text : options.wrap) {
    if (absl::ConsumePrefix(&text, prefix)) {
      absl::ConsumePrefix(&text, "=");
      return text.empty() ? "yes" : std::string(text);
    }
  }
  return "";
}

void AwaitFile(const std::string& path) {
  struct stat info;
  while (!path.empty() && stat(path.c_str(), &info) != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

class FakeLinker final : public Linker {
 public:
  FakeLinker(FakeWorld* world, std::string output) : world_(world), output_(std::move(output)), files_("/") {}

  absl::StatusOr<LinkReport> Link(const SharedOptions& options, const ClientView& client,
                                  Diagnostics& diagnostics) override {
    if (unsettled_) world_->overlapped = true;
    options_ = options;
    client_ = client;
    return LinkNow(diagnostics);
  }

  absl::StatusOr<LinkReport> Relink(std::optional<std::vector<ChangedInput>> changed,
                                    Diagnostics& diagnostics) override {
    if (unsettled_) world_->overlapped = true;
    for (const ChangedInput& input : changed.value_or(std::vector<ChangedInput>())) {
      if (input.content.known()) return absl::InvalidArgumentError(absl::StrCat(input.path, ": has another content"));
    }
    return LinkNow(diagnostics);
  }

  bool Prepare() override {
    if (unsettled_) world_->overlapped = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ++world_->prepared;
    return !world_->nothing_to_prepare;
  }

  absl::StatusOr<verify::VerifyReport> Verify(Diagnostics&) override {
    verify::VerifyReport report;
    std::ifstream file(output_);
    std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (text != text_) report.differences.push_back({"the bytes differ"});
    report.atoms_compared = 1;
    return report;
  }

  std::optional<ShadowJob> Shadow() override {
    if (!world_->shadows) return std::nullopt;
    ShadowJob job;
    job.folder = client_.folder, job.output = output_;
    return job;
  }

  void Settle() override {
    Enter();
    AwaitFile(Fake(options_, "settle"));
    unsettled_ = false;
    ++world_->settles;
    Leave();
  }

  void Keep() override {
    Enter();
    const std::string path = Fake(options_, "keep");
    struct stat info;
    while (!stopped_ && !path.empty() && stat(path.c_str(), &info) != 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (!stopped_) ++world_->keeps;
    Leave();
  }

  void BeginSettling() override { stopped_ = false; }
  void StopSettling() override { stopped_ = true; }

  SessionStatus Status() const override {
    SessionStatus status;
    status.generation = generation_;
    status.units = options_.inputs.size();
    if (!absl::SimpleAtoi(Fake(options_, "bytes"), &status.bytes_held)) status.bytes_held = text_.size();
    status.hot = generation_ != 0;
    return status;
  }

  std::vector<std::string> Inputs() const override { return files_.Opened(); }

 private:
  void Enter() {
    if (inside_.exchange(true)) world_->overlapped = true;
    int now = ++world_->running;
    for (int most = world_->most_running; most < now && !world_->most_running.compare_exchange_weak(most, now);) {
    }
  }
  void Leave() {
    --world_->running;
    inside_ = false;
  }

  absl::StatusOr<LinkReport> LinkNow(Diagnostics& diagnostics) {
    Enter();
    ++world_->links;
    if (std::string path = Fake(options_, "began"); !path.empty()) std::ofstream(path).put('x');
    AwaitFile(Fake(options_, "wait"));
    if (!Fake(options_, "die").empty()) kill(getpid(), SIGKILL);
    absl::StatusOr<LinkReport> report = Write(diagnostics);
    Leave();
    return report;
  }

  absl::StatusOr<LinkReport> Write(Diagnostics& diagnostics) {
    if (std::string text = Fake(options_, "warning"); !text.empty()) diagnostics.Warning(text);
    if (std::string text = Fake(options_, "error"); !text.empty()) {
      diagnostics.Error(text);
      return diagnostics.ToStatus();
    }
    files_.SetFolder(client_.folder);
    std::string text;
    for (const InputArgument& input : options_.inputs) {
      auto file = files_.Open(input.name);
      if (!file.ok()) return file.status();
      absl::StrAppend(&text, AsString((*file)->bytes()));
    }
    LinkReport report;
    report.output = output_;
    report.outcome = generation_ == 0 ? Outcome::kFull : Outcome::kPatched;
    report.reason = generation_ == 0 ? GateReason::kFirstLink : GateReason::kNone;
    if (generation_ != 0 && text != text_) report.patched_ranges = {{0, text.size()}};
    text_ = text;
    std::ofstream(output_) << text;
    chmod(output_.c_str(), 0777 & ~client_.umask);
    report.generation = ++generation_;
    report.bytes_written = text.size();
    report.build_id = "0123abcd";
    report.atoms.total = options_.inputs.size();
    unsettled_ = true;
    return report;
  }

  FakeWorld* const world_;
  const std::string output_;
  MappedFileSource files_;
  LinkOptions options_;
  ClientView client_;
  std::string text_;
  uint64_t generation_ = 0;
  std::atomic<bool> inside_{false};
  std::atomic<bool> stopped_{false};
  bool unsettled_ = false;
};

}  // namespace

absl::StatusOr<SharedOptions> FakeFactory::Parse(absl::Span<const std::string> args, const ClientView&,
                                               Diagnostics&) {
  LinkOptions options;
  for (size_t i = 0; i < args.size(); ++i) {
    absl::string_view arg = args[i];
    if (arg == "-o" && i + 1 < args.size()) {
      options.output = args[++i];
    } else if (absl::ConsumePrefix(&arg, "--session-key=")) {
      options.session_key = std::string(arg);
    } else if (absl::StartsWith(arg, "--fake-")) {
      options.wrap.push_back(args[i]);
    } else if (absl::StartsWith(arg, "-")) {
      return absl::InvalidArgumentError(absl::StrCat("unknown option: ", arg));
    } else {
      InputArgument input;
      input.name = args[i];
      options.inputs.push_back(input);
    }
  }
  return options;
}

std::unique_ptr<Linker> FakeFactory::Create(absl::string_view output, std::function<void()> touched) {
  {
    absl::MutexLock lock(&world_->mutex);
    world_->touched = std::move(touched);
  }
  return std::make_unique<FakeLinker>(world_, std::string(output));
}

}  // namespace kitlink::daemon
