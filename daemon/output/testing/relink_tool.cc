// Keeps the sessions of some outputs hot for test scripts, without a daemon or a protocol: relink_tool IN OUT
// reads commands from IN and answers on OUT (FIFOs, or files such as /dev/stdin). One command a line:
//
//   link FOLDER ARGUMENTS                  links as `ld` would in FOLDER; ARGUMENTS names a file of arguments that end in NUL
//   restart OUTPUT                         forgets the session, as the end of a daemon does; its state stays
//   relink OUTPUT [PATH[=CONTENT_ID]]...   links again with the last options; with paths, exactly those changed
//   verify OUTPUT                          compares the output with a cold link of the same inputs
//   idle OUTPUT                            the same, and tells the session when they are as good as each other, as a daemon does
//                                          when nobody wants anything
//   quit
//
// With RELINK_PREPARE in the environment each link is planned ahead, and the plan is used (use), thrown away (discard), or one
// by turns (any other value).
//
// An answer is some lines that start with "ld: " or "difference: ", and one that starts with "result: ", of
// key=value fields; detail=, which may hold blanks, and output= are the last. The process ends with the one
// that started it.
#include <sys/prctl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/input/command_line.h"
#include "core/session/cold_link.h"
#include "core/session/link_session.h"
#include "core/session/testing/disk_files.h"
#include "core/verify/verify.h"
#include "daemon/store/kept_output.h"
#include "daemon/store/state_files.h"

namespace kitlink {
namespace {

struct Output {
  Output(const std::string& path, daemon::StateFiles* files)
      : sink(files, path, 022, PublishPolicy::kAuto), session(&sink, nullptr, &sink) {}
  daemon::KeptOutput sink;
  LinkSession session;
  std::string folder;
};

class Tool {
 public:
  explicit Tool(FILE* out) : out_(out) {}

  // False when there is nothing more to do.
  bool Run(absl::string_view line) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.empty() || words[0] == "quit") return false;
    if (words[0] == "link" && words.size() == 3) {
      LinkFor(words[1], words[2]);
    } else if (words[0] == "relink" && words.size() >= 2) {
      Relink(words);
    } else if (words[0] == "restart" && words.size() == 2) {
      Restart(words[1]);
      Result("done");
    } else if (words[0] == "verify" && words.size() == 2) {
      Verify(words[1], false);
    } else if (words[0] == "idle" && words.size() == 2) {
      Verify(words[1], true);
    } else {
      Result("error=usage");
    }
    return true;
  }

 private:
  void Result(const std::string& text) {
    fprintf(out_, "result: %s\n", text.c_str());
    fflush(out_);
  }

  void Report(const absl::StatusOr<LinkReport>& report, Diagnostics& diagnostics) {
    for (const Diagnostic& diagnostic : diagnostics.Take()) {
      fprintf(out_, "ld: %s\n", absl::CEscape(FormatDiagnostic(diagnostic)).c_str());
    }
    if (!report.ok()) return Result(absl::StrCat("error=", absl::CEscape(report.status().ToString())));
    const AtomCounts& atoms = report->atoms;
    Result(absl::StrCat("outcome=", OutcomeName(report->outcome), " reason=", Describe(report->reason).name,
                        " changed=", atoms.changed, " moved=", atoms.moved, " added=", atoms.added,
                        " removed=", atoms.removed, " total=", atoms.total,
                        " ranges=", report->patched_ranges.size(), " bytes=", report->bytes_written,
                        " generation=", report->generation, " full_resolves=", report->counters.full_resolves,
                        " inputs_read=", report->counters.inputs_read, " build_id=", report->build_id,
                        " us=", report->timings_us.total, " prepared=", report->timings_us.prepared != 0 ? 1 : 0, " detail=", absl::CEscape(report->reason_detail),
                        " output=", path_));
  }

  void LinkFor(const std::string& folder, const std::string& arguments) {
    Diagnostics diagnostics;
    if (chdir(folder.c_str()) != 0) return Result("error=no such folder");
    const absl::StatusOr<std::shared_ptr<InputBytes>> file = files_.Open(arguments);
    if (!file.ok()) return Result("error=no arguments");
    const ByteView bytes = (*file)->bytes();
    std::vector<std::string> words =
        absl::StrSplit(absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()), '\0');
    if (!words.empty()) words.pop_back();
    absl::StatusOr<LinkOptions> options = ParseCommandLine(words, files_, diagnostics);
    if (!options.ok()) return Report(options.status(), diagnostics);
    const std::string path =
        options->output.front() == '/' ? options->output : absl::StrCat(folder, "/", options->output);
    if (getenv("RELINK_RESTART") != nullptr) Restart(path);
    // In the folder of the first output, so that tests can look at it.
    if (state_ == nullptr) state_ = std::make_unique<daemon::StateFiles>(absl::StrCat(folder, "/.state"));
    std::unique_ptr<Output>& output = outputs_[path];
    if (output == nullptr) output = std::make_unique<Output>(path, state_.get());
    output->folder = folder;
    path_ = path;
    output->sink.set_policy(options->publish);
    output->sink.SetNames(options->session_key, options->session_salt, folder);
    LinkRequest request;
    request.options = *options;
    request.distrust_watch = Prepare(output.get());
    Report(output->session.Link(request, files_, diagnostics), diagnostics);
    output->session.Settle();
    output->session.Keep();
  }

  // As the daemon does when the watch tells of a change. Every second time the link makes nothing of it (true).
  bool Prepare(Output* output) {
    const char* mode = getenv("RELINK_PREPARE");
    if (mode == nullptr) return false;
    const bool prepared = output->session.Prepare(files_);
    return prepared && (mode == std::string("discard") || (mode != std::string("use") && ++prepared_ % 2 == 0));
  }

  void Restart(const std::string& path) {
    if (outputs_.erase(path) != 0) state_->Flush();
  }

  Output* Find(const std::string& path) {
    auto it = outputs_.find(path);
    if (it == outputs_.end() || it->second->session.options() == nullptr ||
        chdir(it->second->folder.c_str()) != 0) {
      Result("error=nothing was linked to this output");
      return nullptr;
    }
    return it->second.get();
  }

  void Relink(const std::vector<std::string>& words) {
    Output* output = Find(words[1]);
    if (output == nullptr) return;
    std::optional<std::vector<ChangedInput>> changed;
    for (size_t i = 2; i < words.size(); ++i) {
      if (!changed) changed.emplace();
      const std::vector<std::string> parts = absl::StrSplit(words[i], absl::MaxSplits('=', 1));
      ChangedInput input;
      input.path = parts[0];
      if (parts.size() == 2) {
        const absl::StatusOr<std::shared_ptr<InputBytes>> stated = files_.Open(parts[1]);
        // For tests, the id of the content that a second file has.
        if (stated.ok()) input.content = HashContent((*stated)->bytes());
      }
      changed->push_back(std::move(input));
    }
    Diagnostics diagnostics;
    path_ = words[1];
    if (!changed) Prepare(output);
    Report(output->session.Relink(std::move(changed), files_, diagnostics), diagnostics);
    output->session.Settle();
    output->session.Keep();
  }

  void Verify(const std::string& path, bool confirm) {
    Output* output = Find(path);
    if (output == nullptr) return;
    Diagnostics diagnostics;
    auto reference = LinkReference(*output->session.options(), files_, diagnostics);
    if (!reference.ok()) return Report(reference.status(), diagnostics);
    const absl::StatusOr<std::shared_ptr<InputBytes>> image = files_.Open(path);
    if (!image.ok()) return Report(image.status(), diagnostics);
    const auto verdict = verify::CompareImages(*reference, (*image)->bytes());
    if (!verdict.ok()) return Report(verdict.status(), diagnostics);
    for (const auto& difference : verdict->differences)
      fprintf(out_, "difference: %s\n", difference.what.c_str());
    if (confirm && verdict->equivalent()) output->session.Confirm(output->session.Status().generation);
    Result(absl::StrCat("verdict=", verdict->equivalent() ? "EQUIVALENT" : "DIFFERENT",
                        " atoms=", verdict->atoms_compared, " sites=", verdict->sites_compared));
  }

  FILE* out_;
  testing::DiskFiles files_;  // paths are relative to the process's folder, which each command sets
  int prepared_ = 0;          // how many links were planned ahead
  std::string path_;          // of the output that was linked last
  std::unique_ptr<daemon::StateFiles> state_;
  std::map<std::string, std::unique_ptr<Output>> outputs_;
};

int Main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: relink_tool IN OUT\n");
    return 2;
  }
  // Scripts that are killed cannot end what they have started.
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  // Read-write: a FIFO that some other process closes does not end then.
  FILE* in = fopen(argv[1], "r+");
  FILE* out = fopen(argv[2], "r+");
  if (in == nullptr || out == nullptr) return 2;
  Tool tool(out);
  std::string line;
  for (int c = fgetc(in); c != EOF; c = fgetc(in)) {
    if (c != '\n') {
      line.push_back(static_cast<char>(c));
      continue;
    }
    if (!tool.Run(line)) break;
    line.clear();
  }
  return 0;
}

}  // namespace
}  // namespace kitlink

int main(int argc, char** argv) { return kitlink::Main(argc, argv); }
