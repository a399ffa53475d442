#include "core/input/file_type.h"

#include <elf.h>

#include <algorithm>

#include "absl/strings/match.h"

namespace kitlink {
namespace {

bool IsText(ByteView head) {
  return std::all_of(head.begin(), head.end(), [](uint8_t byte) {
    return byte >= 0x20 || (byte >= '\t' && byte <= '\r');
  });
}

}  // namespace

FileType DetectFileType(ByteView bytes) {
  if (bytes.empty()) return FileType::kEmpty;
  const ByteView head = bytes.subspan(0, 4096);
  const absl::string_view text = AsString(head);
  if (absl::StartsWith(text, ELFMAG)) {
    // e_type stands at the same place in every class; its byte order only matters for values we do not know.
    if (head.size() < EI_NIDENT + 2) return FileType::kElfExecutable;
    const uint8_t* type = head.data() + EI_NIDENT;
    const bool big = head[EI_DATA] == ELFDATA2MSB;
    const int value = big ? type[0] << 8 | type[1] : type[1] << 8 | type[0];
    if (value == ET_REL) return FileType::kElfObject;
    return value == ET_DYN ? FileType::kElfShared : FileType::kElfExecutable;
  }
  if (absl::StartsWith(text, "!<arch>\n")) return FileType::kArchive;
  if (absl::StartsWith(text, "!<thin>\n")) return FileType::kThinArchive;
  if (absl::StartsWith(text, "BC\xc0\xde") || absl::StartsWith(text, "\xde\xc0\x17\x0b")) return FileType::kBitcode;
  return IsText(head) ? FileType::kText : FileType::kUnknown;
}

}  // namespace kitlink
