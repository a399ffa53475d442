#include "daemon/option_cache.h"

#include <algorithm>
#include <utility>

#include "core/input/command_line.h"

namespace kitlink::daemon {

// Notes what was opened, and what could not be.
class OptionCache::RecordingFiles : public FileSource {
 public:
  explicit RecordingFiles(FileSource& files) : files_(files) {}

  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override {
    absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files_.Open(path);
    looked.push_back({std::string(path), bytes.ok() ? *bytes : nullptr});
    return bytes;
  }
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override {
    complete = false;
    return files_.Stat(path);
  }

  std::vector<Looked> looked;
  bool complete = true;  // everything that was asked for is in `looked`

 private:
  FileSource& files_;
};

bool OptionCache::Same(const Looked& looked, FileSource& files) {
  const absl::StatusOr<std::shared_ptr<InputBytes>> now = files.Open(looked.path);
  if (!now.ok() || looked.bytes == nullptr) return !now.ok() && looked.bytes == nullptr;
  const ByteView a = looked.bytes->bytes(), b = (*now)->bytes();
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin()) && !(*now)->torn();
}

std::shared_ptr<const OptionCache::Entry> OptionCache::Find(absl::Span<const std::string> args,
                                                            const std::string& place) const {
  absl::MutexLock lock(&mutex_);
  for (const std::shared_ptr<const Entry>& entry : entries_) {
    if (entry->place == place && absl::MakeConstSpan(entry->args) == args) return entry;
  }
  return nullptr;
}

absl::StatusOr<SharedOptions> OptionCache::Parse(absl::Span<const std::string> args, const std::string& place,
                                                 FileSource& files, Diagnostics& diagnostics,
                                                 absl::FunctionRef<void(LinkOptions&)> finish) {
  const std::shared_ptr<const Entry> known = Find(args, place);
  if (known != nullptr && std::all_of(known->looked.begin(), known->looked.end(),
                                      [&](const Looked& looked) { return Same(looked, files); })) {
    absl::MutexLock lock(&mutex_);
    const auto it = std::find(entries_.begin(), entries_.end(), known);
    if (it != entries_.end()) entries_.splice(entries_.begin(), entries_, it);
    return known->options;
  }
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
  entry->options = SharedOptions(*std::move(options));
  // What was complained about is to be complained about again.
  if (!said.empty() || !recording.complete) return entry->options;
  absl::MutexLock lock(&mutex_);
  entries_.remove(known);
  entries_.push_front(entry);
  if (entries_.size() > kEntries) entries_.pop_back();
  return entry->options;
}

}  // namespace kitlink::daemon
