// A link from scratch, without a session: what --incremental=off, KITLINK_DAEMON=off and verify use.
#ifndef CORE_SESSION_COLD_LINK_H_
#define CORE_SESSION_COLD_LINK_H_

#include "absl/status/statusor.h"
#include "core/base/diagnostics.h"
#include "core/base/file_source.h"
#include "core/input/options.h"
#include "core/output/reference.h"

namespace kitlink {

// Links `options` into memory and describes the result for verification.
absl::StatusOr<Reference> LinkReference(const LinkOptions& options, FileSource& files,
                                                Diagnostics& diagnostics);

}  // namespace kitlink

#endif  // CORE_SESSION_COLD_LINK_H_
