// Where the state of one session is kept between processes. The core writes no file by itself: the daemon supplies a
// store below its state folder, tests supply one in memory.
#ifndef CORE_SESSION_STATE_STATE_STORE_H_
#define CORE_SESSION_STATE_STATE_STORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/blob_store.h"

namespace kitlink {

// Blobs, the one manifest that says which of them are this session's state, and the output that they describe. Thread safe
// as BlobStore says.
class StateStore : public BlobStore {
 public:
  // The manifest that was written last. NotFound when there is none.
  virtual absl::StatusOr<std::string> ReadManifest() = 0;
  // Replaces the manifest, all or nothing. It describes the output as it is now, of which Record said `image`: the store
  // sees to it that the output is on disk first, and may do both later, in the background.
  virtual absl::Status WriteManifest(absl::string_view manifest, absl::string_view image) = 0;

  // The manifest is no good: there is none any more.
  virtual void Forget() {}

  // A manifest of a session like this one, perhaps of another folder or machine, and the digest of its output's bytes.
  struct Portable {
    std::string manifest;
    ContentId output;
  };
  virtual absl::StatusOr<Portable> ReadPortable() { return absl::NotFoundError("no state for another place"); }
  // Absolute: where the link that runs takes relative paths from. Empty: nobody says, and state stays where it is.
  virtual std::string folder() const { return ""; }

  // What is to be known of the published image to take it up in another process: bytes that mean something on this
  // machine only. They change with every publication and commit that changes the image. FailedPrecondition when none is
  // published.
  virtual absl::StatusOr<std::string> Record() = 0;
  // Makes the sink take up the image that an earlier process published at the absolute path `output` and recorded.
  // FailedPrecondition when it is not that any more. The sink may publish elsewhere: a session with a name of its own goes on
  // where the build system wants its output this time.
  virtual absl::Status TakeUp(absl::string_view image, absl::string_view output) = 0;
  // The same for an image whose bytes have the digest `content`, wherever it came from. O(image).
  virtual absl::Status TakeUpCopy(absl::string_view image, const ContentId& content) {
    (void)image, (void)content;
    return absl::UnimplementedError("copies are not taken up");
  }
};

}  // namespace kitlink

#endif  // CORE_SESSION_STATE_STATE_STORE_H_
