// The entry point for shared libraries of any format.
#ifndef CORE_INPUT_READ_LIBRARY_H_
#define CORE_INPUT_READ_LIBRARY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "core/input/model.h"

namespace kitlink {

// Parses the shared library in `file`; `given_name` stands in where it does not say what the loader calls it.
// InvalidArgument naming `path` when it is malformed, or no shared library.
absl::StatusOr<std::unique_ptr<SharedFile>> ReadLibrary(std::string path, std::string given_name,
                                                        std::shared_ptr<InputBytes> file);

}  // namespace kitlink

#endif  // CORE_INPUT_READ_LIBRARY_H_
