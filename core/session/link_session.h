// The session of one output: everything that is known about its last link, kept hot.
//
// A full link is the cold case of the same session; there is no separate incremental entry.
//
//   cold:  Read -> Resolve -> MarkLive -> ScanRelocations -> Place -> Write
//   warm:  Detect -> Read(changed) -> Diff -> Gate -> Plan -> Commit
#ifndef CORE_SESSION_LINK_SESSION_H_
#define CORE_SESSION_LINK_SESSION_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/diagnostics.h"
#include "core/base/digest.h"
#include "core/base/file_source.h"
#include "core/base/input_watch.h"
#include "core/input/options.h"
#include "core/output/image_sink.h"
#include "core/session/link_report.h"

namespace kitlink {

class StateStore;

// An input that a client says has changed, and what it says its content is now.
struct ChangedInput {
  std::string path;
  ContentId content;  // not known(): not stated
};

struct LinkRequest {
  SharedOptions options;
  // Set: exactly these inputs changed, detection is skipped. A content id that does not match what is read
  // fails the link with InvalidArgument and leaves everything as it was.
  std::optional<std::vector<ChangedInput>> changed;
  // Look at the stamp of every input, whatever the watch says. O(inputs).
  bool distrust_watch = false;
  // Look at the content of every input, whatever its stamp says. O(inputs' bytes).
  bool distrust_stamps = false;
  // What the report calls the output; empty: what the options do.
  std::string output = {};
};

// What a session holds, for `status`.
struct SessionStatus {
  uint64_t generation = 0;
  uint64_t units = 0;
  uint64_t atoms = 0;
  uint64_t symbols = 0;
  uint64_t bytes_held = 0;  // estimate of the hot state's size
  uint64_t input_bytes = 0;  // of the objects and archive members that took part in the last full link; 0: not known
  bool hot = false;         // a relink can be patched
  std::string fragmented;   // why the image should be laid out anew (fragmentation.h); empty: it need not be
  bool renewal = false;     // the next link does that
};

// Not thread safe: the owner serialises calls. `sink` and `watch` must outlive the session, the `files` of a link the
// Settle that follows it (each link may bring its own, as each client resolves paths in its own folder). Without a watch
// every relink looks at every input.
class LinkSession {
 public:
  // `store` keeps what the session remembers for later processes, of the output that `sink` publishes; nullptr: it ends with
  // this one. All must outlive the session.
  explicit LinkSession(ImageSink* sink, InputWatch* watch = nullptr, StateStore* store = nullptr);
  ~LinkSession();
  LinkSession(const LinkSession&) = delete;
  LinkSession& operator=(const LinkSession&) = delete;

  // Brings the output up to date with its inputs: patches it where that is provably right, links in full
  // otherwise. On an error the output and the session are as before, and `diagnostics` says why.
  absl::StatusOr<LinkReport> Link(const LinkRequest& request, FileSource& files, Diagnostics& diagnostics);

  // Links again with the options of the last successful link (kitlinkc relink). FailedPrecondition when there was none.
  absl::StatusOr<LinkReport> Relink(std::optional<std::vector<ChangedInput>> changed, FileSource& files,
                                    Diagnostics& diagnostics);

  // Plans what the next link has to do, as far as it can be known now: with the last options, of the inputs as they are. If
  // the next link finds them the same, it only commits. Changes nothing that anybody sees, and costs what planning does; for
  // when the watch tells of a change and nobody waits. Does nothing while an input is being written. True when the next link
  // has something to go by.
  bool Prepare(FileSource& files);

  // The sink publishes at another path from now on.
  void MoveTo(std::string output);

  // The output is not what a link from scratch gives: forgets what a patch would be based on. The next link is a full
  // one, says so in a warning, and calls it kShadowMismatch with this detail.
  void Distrust(std::string detail);

  // The output of this generation is as good as a link from scratch: what that would give may take its place. If the image is
  // fragmented, the next link is a full one and calls its reason kFragmented. Nothing is published before that, nor does it
  // matter when there was another link since.
  void Confirm(uint64_t of_generation);

  // Work that only later relinks need, to be called after the reply was sent and before the next Link.
  void Settle();
  // Writes what is not in the store yet, so that a later process can patch. O(what links since the last time touched), and the
  // root of the state, which is encoded anew. Returns early when the store says that somebody waits.
  void Keep();

  SessionStatus Status() const;
  // Paths of the files that the last successful link opened, as they were given.
  std::vector<std::string> InputPaths() const;
  // The options of the last successful link; nullptr before it.
  const LinkOptions* options() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kitlink

#endif  // CORE_SESSION_LINK_SESSION_H_
