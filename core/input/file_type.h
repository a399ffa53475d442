// What a file is, told by its first bytes.
#ifndef CORE_INPUT_FILE_TYPE_H_
#define CORE_INPUT_FILE_TYPE_H_

#include <cstdint>

#include "core/base/bytes.h"

namespace kitlink {

enum class FileType : uint8_t {
  kUnknown,
  kEmpty,
  kElfObject,      // ET_REL
  kElfShared,      // ET_DYN
  kElfExecutable,  // any other ELF file
  kArchive,
  kThinArchive,
  kBitcode,  // LLVM's, which only link-time optimisation can use
  kText,     // taken for a linker script
};

// Looks at no more than the first 4 KiB.
FileType DetectFileType(ByteView bytes);

}  // namespace kitlink

#endif  // CORE_INPUT_FILE_TYPE_H_
