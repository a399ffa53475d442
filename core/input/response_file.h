// "@FILE" arguments: the file's words stand in its place.
//
// Source: GCC and binutils manuals, "@file". Words are separated by white space; single and double quotes keep white
// space, and a backslash keeps the character after it, everywhere.
#ifndef CORE_INPUT_RESPONSE_FILE_H_
#define CORE_INPUT_RESPONSE_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/base/file_source.h"

namespace kitlink {

std::vector<std::string> SplitResponseFile(absl::string_view text);

// `args` with every "@FILE" expanded, in files too; the paths read are appended to `read`. NotFound for a file that
// does not exist, InvalidArgument for files that name each other without end.
absl::StatusOr<std::vector<std::string>> ExpandResponseFiles(absl::Span<const std::string> args, FileSource& files,
                                                             std::vector<std::string>& read);

}  // namespace kitlink

#endif  // CORE_INPUT_RESPONSE_FILE_H_
