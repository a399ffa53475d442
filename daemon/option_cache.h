// Command lines that were parsed before.
#ifndef DAEMON_OPTION_CACHE_H_
#define DAEMON_OPTION_CACHE_H_

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "core/base/diagnostics.h"
#include "core/base/file_source.h"
#include "core/input/options.h"

namespace kitlink::daemon {

// Build systems ask for the same link over and over; a list of 10,000 inputs is compared in a fraction of the time that
// parsing it takes, and a link that gets the very options of the one before compares nothing. Thread safe.
class OptionCache {
 public:
  // ParseCommandLine of `args`, and what `finish` makes of it: from the cache when the words and `place` are the same and
  // every file that was looked at for it (@files) has the content that it had. `place` stands for all else that the
  // result depends on: the folder of `files`, what `finish` goes by. What gcc makes up for each call does not count: the
  // name of its @file, and the file in which its plug-in would leave symbols' resolutions. `trust_stamps`: a file whose
  // stamp is the same, and was old enough when it was compared last, is not read again.
  absl::StatusOr<SharedOptions> Parse(absl::Span<const std::string> args, const std::string& place, FileSource& files,
                                      bool trust_stamps, Diagnostics& diagnostics,
                                      absl::FunctionRef<void(LinkOptions&)> finish);

 private:
  struct Looked {
    std::string path;
    std::shared_ptr<InputBytes> bytes;  // nullptr: it could not be opened
  };
  struct Entry {
    std::string place;
    std::vector<std::string> args;
    std::vector<Looked> looked;
    SharedOptions options;
    mutable std::atomic<int64_t> compared_ns{0};  // when all of them had their stamps and said what they said, last
  };
  class RecordingFiles;

  static bool Same(const Entry& entry, absl::Span<const std::string> args, FileSource& files, bool trust_stamps);
  std::vector<std::shared_ptr<const Entry>> Candidates(absl::Span<const std::string> args, const std::string& place) const;

  static constexpr size_t kEntries = 16;
  mutable absl::Mutex mutex_;
  std::list<std::shared_ptr<const Entry>> entries_ ABSL_GUARDED_BY(mutex_);  // last used first
};

}  // namespace kitlink::daemon

#endif  // DAEMON_OPTION_CACHE_H_
