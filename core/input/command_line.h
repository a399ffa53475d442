// The GNU ld command line.
#ifndef CORE_INPUT_COMMAND_LINE_H_
#define CORE_INPUT_COMMAND_LINE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "core/base/diagnostics.h"
#include "core/base/file_source.h"
#include "core/input/options.h"

namespace kitlink {

// Parses `args` (without the program's name), reading response files through `files`. Long options may start with
// one dash or two, as in GNU ld; values may follow "=" or be the next argument. Options that cannot matter here
// (-plugin, -plugin-opt, --sort-common, -O2, ...) are accepted by name and dropped.
// InvalidArgument naming the option that is unknown, malformed or unsupported; NotFound for a missing response file.
absl::StatusOr<LinkOptions> ParseCommandLine(absl::Span<const std::string> args, FileSource& files,
                                             Diagnostics& diagnostics);

// True when two option sets ask for the same link, leaving aside the inputs' own list, response file names and
// whatever cannot change the image (threads, trace, error limit). Used to recognise "the same link again".
bool SameLinkOptions(const LinkOptions& a, const LinkOptions& b);

}  // namespace kitlink

#endif  // CORE_INPUT_COMMAND_LINE_H_
