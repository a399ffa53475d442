#include "daemon/session_linker.h"

#include <algorithm>
#include <fstream>
#include <utility>

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

class SessionLinker final : public Linker {
 public:
  explicit SessionLinker(std::string output)
      : sink_(std::move(output), 022, PublishPolicy::kAuto), files_("/"), session_(&sink_, &watch_) {}

  absl::StatusOr<LinkReport> Link(const SharedOptions& options, const ClientView& client,
                                  Diagnostics& diagnostics) override {
    sink_.set_umask(client.umask);
    sink_.set_policy(options->publish);
    files_.SetFolder(client.folder);
    watch_.SetFolder(client.folder);
    LinkRequest request;
    request.options = options;
    for (absl::string_view entry : client.environment) {
      if (entry == "KITLINK_DETECT=stat") request.distrust_watch = true;
      if (entry == "KITLINK_DETECT=hash") request.distrust_stamps = true;
    }
    // One name for one output, whatever the client calls it.
    request.output = sink_.path();
    absl::StatusOr<LinkReport> report = Tracked([&] { return session_.Link(request, files_, diagnostics); });
    if (report.ok()) {
      if (absl::Status status = WriteSideFiles(report->side_files, client.folder, diagnostics); !status.ok()) return status;
    }
    return report;
  }

  absl::StatusOr<LinkReport> Relink(std::optional<std::vector<ChangedInput>> changed,
                                    Diagnostics& diagnostics) override {
    return Tracked([&] { return session_.Relink(std::move(changed), files_, diagnostics); });
  }

  absl::StatusOr<verify::VerifyReport> Verify(Diagnostics& diagnostics) override {
    const LinkOptions* options = session_.options();
    if (options == nullptr) return absl::FailedPreconditionError(absl::StrCat(sink_.path(), ": never linked"));
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

  void Settle() override { session_.Settle(); }
  void StopSettling() override { sink_.StopSettling(); }
  SessionStatus Status() const override { return session_.Status(); }

  std::vector<std::string> Inputs() const override {
    std::vector<std::string> inputs = files_.Opened();
    if (const LinkOptions* options = session_.options()) {
      for (const std::string& file : options->response_files) {
        inputs.push_back(absl::StartsWith(file, "/") ? file : absl::StrCat(files_.folder(), "/", file));
      }
    }
    std::sort(inputs.begin(), inputs.end());
    return inputs;
  }

 private:
  // Keeps the set of opened files that of the last successful link: a patch opens only what changed, a full link
  // everything, a failed one does not count.
  template <typename LinkCall>
  absl::StatusOr<LinkReport> Tracked(LinkCall link) {
    absl::flat_hash_set<std::string> before = files_.TakeOpened();
    absl::StatusOr<LinkReport> report = link();
    if (!report.ok()) files_.TakeOpened();
    if (!report.ok() || report->outcome == Outcome::kPatched) files_.RestoreOpened(std::move(before));
    return report;
  }

  FileSink sink_;
  MappedFileSource files_;
  FileWatch watch_;
  LinkSession session_;
};

}  // namespace

absl::StatusOr<SharedOptions> SessionLinkerFactory::Parse(absl::Span<const std::string> args, const ClientView& client,
                                                          Diagnostics& diagnostics) {
  MappedFileSource files(client.folder);
  const std::string place = absl::StrCat(client.folder, "\n", absl::StrJoin(client.environment, "\n"));
  return cache_.Parse(args, place, files, diagnostics, [&](LinkOptions& options) { ApplyEnvironment(client, options); });
}

std::unique_ptr<Linker> SessionLinkerFactory::Create(absl::string_view output) {
  return std::make_unique<SessionLinker>(std::string(output));
}

}  // namespace kitlink::daemon
