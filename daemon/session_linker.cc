#include "daemon/session_linker.h"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "core/input/command_line.h"
#include "core/session/cold_link.h"
#include "daemon/file_source.h"
#include "daemon/file_watch.h"
#include "daemon/output/file_sink.h"
#include "daemon/process_memory.h"
#include "daemon/repro.h"
#include "daemon/store/kept_output.h"

namespace kitlink::daemon {
namespace {

// What GNU ld takes from the environment.
void ApplyEnvironment(const ClientView& client, LinkOptions& options) {
  for (absl::string_view entry : client.environment) {
    if (absl::ConsumePrefix(&entry, "LD_RUN_PATH=")) {
      if (options.rpaths.empty() && !entry.empty()) options.rpaths.emplace_back(entry);
    } else if (absl::StartsWith(entry, "COLLECT_NO_DEMANGLE=")) {
      options.demangle = false;
    }
  }
}

// Writes the map and the like, where the client wants them.
absl::Status WriteSideFiles(const std::vector<SideFile>& side_files, const std::string& folder,
                            Diagnostics& diagnostics) {
  for (const SideFile& file : side_files) {
    if (file.path == "-") {
      diagnostics.Note(file.text);
      continue;
    }
    const std::string path = absl::StartsWith(file.path, "/") ? file.path : absl::StrCat(folder, "/", file.path);
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    out << file.text;
    out.close();
    if (!out) return absl::InternalError(absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

// With KITLINK_SAVE_REPRO=FOLDER in the client's environment, each link leaves what is needed to do it again.
class ReproSaver {
 public:
  // Before the link.
  ReproSaver(const ClientView& client, const std::string& output) : client_(client), output_(output) {
    for (absl::string_view entry : client.environment) {
      if (absl::ConsumePrefix(&entry, "KITLINK_SAVE_REPRO=")) folder_ = std::string(entry);
    }
    if (folder_.empty()) return;
    if (folder_[0] != '/') folder_ = absl::StrCat(client.folder, "/", folder_);
    std::error_code code;
    std::filesystem::create_directories(folder_, code);
    before_ = absl::StrCat(folder_, "/.before");
    if (!std::filesystem::copy_file(output, before_, std::filesystem::copy_options::overwrite_existing, code)) before_.clear();
  }

  ~ReproSaver() {
    std::error_code code;
    if (!before_.empty()) std::filesystem::remove(before_, code);
  }

  // Nothing is to be collected for Save when it is not.
  bool wanted() const { return !folder_.empty(); }
  absl::Status Save(const LinkOptions& options, const absl::StatusOr<LinkReport>& report, std::vector<std::string> inputs) const {
    if (options.arguments == nullptr) return absl::OkStatus();
    absl::StatusOr<std::string> folder = NextReproFolder(folder_, output_);
    if (!folder.ok()) return folder.status();
    Repro repro;
    repro.folder = client_.folder, repro.output = output_, repro.before = before_;
    repro.arguments = *options.arguments, repro.environment = client_.environment;
    repro.inputs = std::move(inputs);
    repro.remarks = report.ok() ? absl::StrCat(OutcomeName(report->outcome), " ", Describe(report->reason).name, " ", report->reason_detail, "\n")
                                : absl::StrCat("failed: ", report.status().message(), "\n");
    return SaveRepro(repro, *folder);
  }

 private:
  const ClientView& client_;
  const std::string output_;
  std::string folder_, before_;
};

class SessionLinker final : public Linker {
 public:
  // `state` keeps sessions for later daemons; nullptr: they end with this one.
  // No two linkers with one `preparing` prepare at once. All must outlive this.
  SessionLinker(const std::string& output, StateFiles* state, WatchBell* bell, std::atomic<bool>* preparing, std::function<void()> touched)
      : kept_(state == nullptr ? nullptr : std::make_unique<KeptOutput>(state, output, 022, PublishPolicy::kAuto)),
        unkept_(state == nullptr ? std::make_unique<FileSink>(output, 022, PublishPolicy::kAuto) : nullptr),
        sink_(kept_ != nullptr ? *kept_ : *unkept_), files_("/"), watch_(bell, std::move(touched)), session_(&sink_, &watch_, kept_.get()), preparing_(preparing) {}

  absl::StatusOr<LinkReport> Link(const SharedOptions& options, const ClientView& client,
                                  Diagnostics& diagnostics) override {
    sink_.set_umask(client.umask);
    sink_.set_policy(options->publish);
    files_.SetFolder(client.folder);
    watch_.SetFolder(client.folder);
    environment_ = client.environment;
    if (kept_ != nullptr) {
      kept_->SetNames(options->session_key, options->session_salt, client.folder);
      kept_->Resume();
    }
    LinkRequest request;
    request.options = options;
    for (absl::string_view entry : client.environment) {
      if (entry == "KITLINK_DETECT=stat") request.distrust_watch = true;
      if (entry == "KITLINK_DETECT=hash") request.distrust_stamps = true;
    }
    // One name for one output, whatever the client calls it.
    request.output = sink_.path();
    ReproSaver repro(client, sink_.path());
    absl::StatusOr<LinkReport> report = Tracked([&] { return session_.Link(request, files_, diagnostics); });
    if (repro.wanted()) {
      if (absl::Status status = repro.Save(*options, report, Inputs()); !status.ok()) {
        diagnostics.Warning(absl::StrCat("KITLINK_SAVE_REPRO: ", status.message()));
      }
    }
    if (report.ok()) {
      if (absl::Status status = WriteSideFiles(report->side_files, client.folder, diagnostics); !status.ok()) return status;
    }
    return report;
  }

  absl::StatusOr<LinkReport> Relink(std::optional<std::vector<ChangedInput>> changed,
                                    Diagnostics& diagnostics) override {
    if (kept_ != nullptr) kept_->Resume();
    return Tracked([&] { return session_.Relink(std::move(changed), files_, diagnostics); });
  }

  absl::StatusOr<verify::VerifyReport> Verify(Diagnostics& diagnostics) override {
    if (kept_ != nullptr) kept_->Resume();
    const LinkOptions* options = session_.options();
    if (options == nullptr || sink_.moved()) return absl::FailedPreconditionError(absl::StrCat(sink_.path(), ": never linked"));
    // Files of its own: verification reads nothing of the session.
    MappedFileSource files(files_.folder());
    absl::StatusOr<Reference> reference = LinkReference(*options, files, diagnostics);
    if (!reference.ok()) return reference.status();
    absl::StatusOr<std::shared_ptr<InputBytes>> image = files.Open(sink_.path());
    if (!image.ok()) return image.status();
    absl::StatusOr<verify::VerifyReport> report = verify::CompareImages(*reference, (*image)->bytes());
    if (report.ok() && (*image)->torn()) {
      return absl::AbortedError(absl::StrCat(sink_.path(), ": was cut short while it was compared"));
    }
    return report;
  }

  bool MoveTo(absl::string_view output) override {
    if (!sink_.MoveTo(std::string(output)).ok()) return false;
    session_.MoveTo(sink_.path());
    return true;
  }

  std::optional<ShadowJob> Shadow() override {
    const LinkOptions* options = session_.options();
    if (options == nullptr || options->arguments == nullptr || sink_.moved() || !sink_.CheckPatchable().ok()) return std::nullopt;
    ShadowJob job;
    job.folder = files_.folder();
    job.output = sink_.path();
    job.environment = environment_;
    job.arguments = *options->arguments;
    return job;
  }

  void Distrust(const std::string& detail) override { session_.Distrust(detail); }

  void Confirm(uint64_t generation) override { session_.Confirm(generation); }

  bool Prepare() override {
    // One session at a time: an object that a hundred programs share must not have them all planned while compilers run.
    if (preparing_->exchange(true)) return false;
    if (kept_ != nullptr) kept_->Resume();
    absl::flat_hash_set<std::string> opened = files_.TakeOpened();
    const bool prepared = session_.Prepare(files_);
    files_.TakeOpened();
    files_.RestoreOpened(std::move(opened));
    sink_.StopReading();
    preparing_->store(false);
    return prepared;
  }

  void BeginSettling() override {
    if (kept_ != nullptr) kept_->Resume();
  }
  void Settle() override {
    session_.Settle();
    if (!std::exchange(linked_in_full_, false)) return;
    ReturnFreeMemory();
    all_unkept_ = true;
  }
  void Keep() override {
    session_.Keep();
    // Encoding a whole session takes as much again.
    if (!all_unkept_ || (kept_ != nullptr && kept_->Interrupted())) return;
    ReturnFreeMemory();
    all_unkept_ = false;
  }
  void StopSettling() override {
    sink_.StopSettling();
    if (kept_ != nullptr) kept_->Interrupt();
  }
  SessionStatus Status() const override { return session_.Status(); }

  std::vector<std::string> Inputs() const override {
    if (kept_ != nullptr) kept_->Resume();
    std::vector<std::string> inputs = files_.Opened();
    if (const LinkOptions* options = session_.options()) {
      for (const std::string& file : options->response_files) {
        inputs.push_back(absl::StartsWith(file, "/") ? file : absl::StrCat(files_.folder(), "/", file));
      }
    }
    // A session that was taken up from disk has opened little itself.
    if (taken_up_) {
      for (const std::string& path : session_.InputPaths()) {
        inputs.push_back(absl::StartsWith(path, "/") ? path : absl::StrCat(files_.folder(), "/", path));
      }
    }
    std::sort(inputs.begin(), inputs.end());
    inputs.erase(std::unique(inputs.begin(), inputs.end()), inputs.end());
    return inputs;
  }

 private:
  // Keeps the set of opened files that of the last successful link: a patch opens only what changed, a full link
  // everything, a failed one does not count.
  template <typename LinkCall>
  absl::StatusOr<LinkReport> Tracked(LinkCall link) {
    watch_.ForgetWriters();
    absl::flat_hash_set<std::string> before = files_.TakeOpened();
    const bool first = session_.options() == nullptr;
    absl::StatusOr<LinkReport> report = link();
    if (report.ok()) taken_up_ = report->outcome == Outcome::kPatched && (first || taken_up_);
    // Also one that failed: it parsed everything.
    linked_in_full_ = linked_in_full_ || !report.ok() || report->outcome != Outcome::kPatched;
    if (!report.ok()) files_.TakeOpened();
    if (!report.ok() || report->outcome == Outcome::kPatched) files_.RestoreOpened(std::move(before));
    return report;
  }

  // One of the two is the sink.
  const std::unique_ptr<KeptOutput> kept_;
  const std::unique_ptr<FileSink> unkept_;
  FileSink& sink_;
  MappedFileSource files_;
  FileWatch watch_;
  LinkSession session_;
  std::vector<std::string> environment_;  // of the last client
  bool taken_up_ = false;  // from disk, and not linked in full since
  bool linked_in_full_ = false;  // since the last Settle
  bool all_unkept_ = false;  // nothing was kept since the last full link settled
  std::atomic<bool>* const preparing_;
};

}  // namespace

absl::StatusOr<SharedOptions> SessionLinkerFactory::Parse(absl::Span<const std::string> args, const ClientView& client,
                                                          Diagnostics& diagnostics) {
  MappedFileSource files(client.folder);
  const std::string place = absl::StrCat(client.folder, "\n", absl::StrJoin(client.environment, "\n"));
  const bool by_content = absl::c_linear_search(client.environment, "KITLINK_DETECT=hash");
  return cache_.Parse(args, place, files, !by_content, diagnostics,
                      [&](LinkOptions& options) { ApplyEnvironment(client, options); });
}

SessionLinkerFactory::SessionLinkerFactory(const std::string& state_folder)
    : state_(state_folder.empty() ? nullptr : std::make_unique<StateFiles>(absl::StrCat(state_folder, "/store"))) {}

SessionLinkerFactory::~SessionLinkerFactory() = default;

void SessionLinkerFactory::Flush() {
  if (state_ != nullptr) state_->Flush();
}

std::unique_ptr<Linker> SessionLinkerFactory::Create(absl::string_view output, std::function<void()> touched) {
  return std::make_unique<SessionLinker>(std::string(output), state_.get(), &bell_, &preparing_, std::move(touched));
}

}  // namespace kitlink::daemon
