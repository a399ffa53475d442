// What a link writes besides its output: -Map, --dependency-file, and the lists that -t and --print-gc-sections print.
#ifndef CORE_SESSION_SIDE_FILES_H_
#define CORE_SESSION_SIDE_FILES_H_

#include <string>
#include <vector>

#include "core/input/options.h"
#include "core/session/cold.h"
#include "core/session/link_report.h"

namespace kitlink {

// The files that `options` ask for, to be written by the caller once the output is. Cheap when there are none.
std::vector<SideFile> SideFiles(const LinkOptions& options, const ColdLink& link);

}  // namespace kitlink

#endif  // CORE_SESSION_SIDE_FILES_H_
