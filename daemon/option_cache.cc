#include "daemon/option_cache.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "core/base/bytes.h"
#include "core/input/command_line.h"

namespace kitlink::daemon {
namespace {

// True of words that mean nothing and that gcc makes up anew for each link: a temporary file of its LTO plug-in.
bool IsMadeUp(absl::string_view word) {
  return absl::StartsWith(word, "-plugin-opt=-fresolution=") || absl::StartsWith(word, "--plugin-opt=-fresolution=");
}

bool NamesFile(absl::string_view word) { return word.size() > 1 && word[0] == '@'; }

bool SameButForNames(absl::Span<const std::string> a, absl::Span<const std::string> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const std::string& x, const std::string& y) {
    return x == y || (IsMadeUp(x) && IsMadeUp(y)) || (NamesFile(x) && NamesFile(y));
  });
}

// How much is compared at once: a whole list is some hundred kilobytes, and byte by byte is twenty times slower.
constexpr size_t kStep = 1024;

size_t CommonStart(absl::string_view a, absl::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  size_t at = 0;
  while (most - at >= kStep && a.substr(at, kStep) == b.substr(at, kStep)) at += kStep;
  while (at < most && a[at] == b[at]) ++at;
  return at;
}

size_t CommonEnd(absl::string_view a, absl::string_view b) {
  const size_t most = std::min(a.size(), b.size());
  size_t length = 0;
  const auto piece = [&](absl::string_view text) { return text.substr(text.size() - length - kStep, kStep); };
  while (most - length >= kStep && piece(a) == piece(b)) length += kStep;
  while (length < most && a[a.size() - 1 - length] == b[b.size() - 1 - length]) ++length;
  return length;
}

bool MentionsAny(absl::string_view text, absl::string_view characters) {
  return std::any_of(characters.begin(), characters.end(), [&](char c) { return text.find(c) != absl::string_view::npos; });
}

// True when two response files say the same, but for one made-up word. O(bytes), nothing is cut into words.
bool SameWords(absl::string_view a, absl::string_view b) {
  if (a == b) return true;
  size_t begin = CommonStart(a, b);
  while (begin > 0 && !absl::ascii_isspace(a[begin - 1])) --begin;
  size_t tail = CommonEnd(a.substr(begin), b.substr(begin));
  while (tail > 0 && !absl::ascii_isspace(a[a.size() - tail])) --tail;
  // What is quoted may hold blanks: then words do not begin and end with them.
  if (MentionsAny(a, "'\"\\")) return false;
  const absl::string_view x = a.substr(begin, a.size() - tail - begin), y = b.substr(begin, b.size() - tail - begin);
  const auto one_word = [](absl::string_view text) {
    return IsMadeUp(text) && text.find_first_of("'\"\\ \t\n\v\f\r") == absl::string_view::npos;
  };
  return one_word(x) && one_word(y);
}

}  // namespace

// Notes what was opened, and what could not be.
class OptionCache::RecordingFiles : public FileSource {
 public:
  explicit RecordingFiles(FileSource& files) : files_(files) {}

  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override {
    absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files_.Open(path);
    looked.push_back({std::string(path), bytes.ok() ? *bytes : nullptr});
    complete &= !bytes.ok() || (*bytes)->copied();  // what is mapped changes with the file, and would equal itself
    return bytes;
  }
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override {
    complete = false;
    return files_.Stat(path);
  }

  std::vector<Looked> looked;
  bool complete = true;  // everything that was asked for is in `looked`, as it was

 private:
  FileSource& files_;
};

bool OptionCache::Same(const Entry& entry, absl::Span<const std::string> args, FileSource& files, bool trust_stamps) {
  const int64_t now_ns = absl::GetCurrentTimeNanos(), compared_ns = entry.compared_ns.load(std::memory_order_relaxed);
  const auto untouched = [&](const Looked& looked, absl::string_view path) {
    if (!trust_stamps || looked.bytes == nullptr || !OldEnough(looked.bytes->stamp(), compared_ns)) return false;
    const absl::StatusOr<FileStamp> stamp = files.Stat(path);
    return stamp.ok() && *stamp == looked.bytes->stamp();
  };
  absl::flat_hash_map<absl::string_view, absl::string_view> renamed;  // @files that go by another name now
  for (size_t i = 0; i < args.size(); ++i) {
    if (!NamesFile(args[i]) || entry.args[i] == args[i]) continue;
    if (!renamed.emplace(absl::string_view(entry.args[i]).substr(1), absl::string_view(args[i]).substr(1)).second) return false;
  }
  bool same_stamps = true;  // else what was compared are other files
  for (const Looked& looked : entry.looked) {
    absl::string_view path = looked.path;
    if (const auto it = renamed.find(path); it != renamed.end()) {
      path = it->second;
      renamed.erase(it);  // whoever else mentions the old name means it
    }
    if (untouched(looked, path)) continue;
    const absl::StatusOr<std::shared_ptr<InputBytes>> now = files.Open(path);
    if (!now.ok() && looked.bytes == nullptr) continue;
    if (!now.ok() || looked.bytes == nullptr) return false;
    same_stamps &= (*now)->stamp() == looked.bytes->stamp();
    if (!SameWords(AsString(looked.bytes->bytes()), AsString((*now)->bytes())) || (*now)->torn()) return false;
  }
  if (!renamed.empty()) return false;
  if (same_stamps) entry.compared_ns.store(now_ns, std::memory_order_relaxed);
  return true;
}

std::vector<std::shared_ptr<const OptionCache::Entry>> OptionCache::Candidates(absl::Span<const std::string> args,
                                                                               const std::string& place) const {
  std::vector<std::shared_ptr<const Entry>> candidates;
  absl::MutexLock lock(&mutex_);
  for (const std::shared_ptr<const Entry>& entry : entries_) {
    if (entry->place == place && SameButForNames(entry->args, args)) candidates.push_back(entry);
  }
  return candidates;
}

absl::StatusOr<SharedOptions> OptionCache::Parse(absl::Span<const std::string> args, const std::string& place,
                                                 FileSource& files, bool trust_stamps, Diagnostics& diagnostics,
                                                 absl::FunctionRef<void(LinkOptions&)> finish) {
  for (const std::shared_ptr<const Entry>& known : Candidates(args, place)) {
    if (!Same(*known, args, files, trust_stamps)) continue;
    absl::MutexLock lock(&mutex_);
    const auto it = std::find(entries_.begin(), entries_.end(), known);
    if (it != entries_.end()) entries_.splice(entries_.begin(), entries_, it);
    return known->options;
  }
  const int64_t now_ns = absl::GetCurrentTimeNanos();
  RecordingFiles recording(files);
  Diagnostics own;
  absl::StatusOr<LinkOptions> options = ParseCommandLine(args, recording, own);
  const std::vector<Diagnostic> said = own.Take();
  for (const Diagnostic& diagnostic : said) diagnostics.Add(diagnostic.severity, diagnostic.text);
  if (!options.ok()) return options.status();
  finish(*options);
  auto entry = std::make_shared<Entry>();
  entry->place = place;
  entry->args.assign(args.begin(), args.end());
  entry->looked = std::move(recording.looked);
  entry->compared_ns = now_ns;
  entry->options = SharedOptions(*std::move(options));
  // What was complained about is to be complained about again.
  if (!said.empty() || !recording.complete) return entry->options;
  absl::MutexLock lock(&mutex_);
  entries_.remove_if([&](const std::shared_ptr<const Entry>& old) { return old->place == place && old->args == entry->args; });
  entries_.push_front(entry);
  if (entries_.size() > kEntries) entries_.pop_back();
  return entry->options;
}

}  // namespace kitlink::daemon
