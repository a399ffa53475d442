#include "core/input/read_library.h"

#include <utility>

#include "core/input/elf_shared.h"

namespace kitlink {

absl::StatusOr<std::unique_ptr<SharedFile>> ReadLibrary(std::string path, std::string given_name,
                                                        std::shared_ptr<InputBytes> file) {
  return elf::ReadSharedFile(std::move(path), std::move(given_name), std::move(file));
}

}  // namespace kitlink
