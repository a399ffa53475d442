// Static archives: the "ar" format with System V / GNU index and long names, GNU thin archives, and BSD names.
//
// Source: System V ABI, chapter 7, "Archive File"; GNU binutils, "ar" (thin archives).
#ifndef CORE_INPUT_ARCHIVE_H_
#define CORE_INPUT_ARCHIVE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/file_source.h"
#include "core/input/inputs.h"

namespace kitlink {

// Indexes the archive in `file`. Members of a thin archive are opened through `files` and appended to `opened`.
// Members stand in the order of the archive, each once. Without an index each member's symbol table is read.
// Thread safe. InvalidArgument naming `path` when the archive is malformed, NotFound for a missing thin member.
absl::StatusOr<std::unique_ptr<Archive>> ReadArchive(std::string path, std::shared_ptr<InputBytes> file,
                                                     FileSource& files, std::vector<OpenedFile>& opened);

// Global names that an ELF object defines, for archives without an index. Empty for anything but a readable object:
// what is wrong with it is said when it is linked.
std::vector<absl::string_view> DefinedNames(ByteView object);

}  // namespace kitlink

#endif  // CORE_INPUT_ARCHIVE_H_
