// Bounds-checked access to the headers of an ELF64 little-endian image, shared by the readers of objects,
// shared libraries and archives.
#ifndef CORE_INPUT_ELF_VIEW_H_
#define CORE_INPUT_ELF_VIEW_H_

#include <elf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/bytes.h"
#include "core/input/elf_machine.h"

namespace kitlink::elf {

// A string table (System V ABI, "String Table"). Names are read with a bound, so that a table that somebody
// rewrites under our mapping cannot lead outside it.
class StringTable {
 public:
  StringTable() = default;
  explicit StringTable(ByteView bytes) : bytes_(bytes) {}

  // Sets `name` to the string at `offset`; false when it is outside the table or has no end. Offset 0 of an empty
  // table is the empty string.
  bool Get(uint64_t offset, absl::string_view* name) const;

 private:
  ByteView bytes_;
};

// The headers of one ELF image, copied out of it because archive members may be unaligned.
struct ElfView {
  ByteView image;
  Elf64_Ehdr header;
  const MachineTraits* machine = nullptr;
  std::vector<Elf64_Shdr> sections;  // e_shnum of them, or what section 0 says where that does not fit
  uint32_t names_index = 0;          // of the section with section names, 0 for none
  StringTable names;

  // The bytes of section `index`; empty for SHT_NOBITS and SHT_NULL. OutOfRange when they reach past the image.
  // REQUIRES: index < sections.size()
  absl::StatusOr<ByteView> Bytes(uint32_t index) const;
  // "section 7 (.text)", for messages. Any index.
  std::string Describe(uint32_t index) const;
};

// Checks identification, machine and section table, which may be absent. Errors do not name the file.
absl::StatusOr<ElfView> ParseElfHeaders(ByteView image);

// Why an image cannot be part of a link for any supported machine; OK for a 64-bit little-endian ELF file of one.
absl::Status CheckIdentification(ByteView image);

}  // namespace kitlink::elf

#endif  // CORE_INPUT_ELF_VIEW_H_
