// ELF shared libraries as a link sees them: what they define, in which versions, and what they need.
//
// Source: System V ABI, chapter 5; LSB Core, "Symbol Versioning".
#ifndef CORE_INPUT_ELF_SHARED_H_
#define CORE_INPUT_ELF_SHARED_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/input/model.h"

namespace kitlink::elf {

// Reads the library in `file`. `given_name` stands in for a missing DT_SONAME. The tables are found through the
// section headers, or through the program headers where there are none. Thread safe.
// InvalidArgument naming `path` when it is malformed or no shared library for a supported machine.
absl::StatusOr<std::unique_ptr<SharedFile>> ReadSharedFile(std::string path, std::string given_name,
                                                           std::shared_ptr<InputBytes> file);

}  // namespace kitlink::elf

#endif  // CORE_INPUT_ELF_SHARED_H_
