// The cold pipeline: Read -> Resolve -> MarkLive -> ScanRelocations -> Place. Writing is the caller's, who knows where to.
#ifndef CORE_SESSION_COLD_H_
#define CORE_SESSION_COLD_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/diagnostics.h"
#include "core/base/file_source.h"
#include "core/input/options.h"
#include "core/output/planned_image.h"
#include "core/symbols/program.h"

namespace kitlink {

// A link from scratch, up to the point where it can be written.
struct ColdLink {
  std::unique_ptr<Program> program;
  const Arch* arch = nullptr;
  std::unique_ptr<PlannedImage> image;  // refers to *program
};

// FailedPrecondition or InvalidArgument when the link failed; `diagnostics` has the errors.
absl::StatusOr<ColdLink> PlanColdLink(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics);

// Aborted, naming the file, when an object or archive was cut short since the link began: what was read of it, and
// written to the image, may be zeros. Asked when the image is written and not yet published.
absl::Status CheckInputsWhole(const Program& program);

}  // namespace kitlink

#endif  // CORE_SESSION_COLD_H_
