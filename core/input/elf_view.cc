#include "core/input/elf_view.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace kitlink::elf {

bool StringTable::Get(uint64_t offset, absl::string_view* name) const {
  if (offset >= bytes_.size()) {
    *name = absl::string_view();
    return offset == 0;
  }
  const char* begin = reinterpret_cast<const char*>(bytes_.data()) + offset;
  const size_t room = bytes_.size() - offset;
  const size_t length = strnlen(begin, room);
  *name = absl::string_view(begin, length);
  return length < room;
}

absl::StatusOr<ByteView> ElfView::Bytes(uint32_t index) const {
  const Elf64_Shdr& section = sections[index];
  if (section.sh_type == SHT_NOBITS || section.sh_type == SHT_NULL) return ByteView();
  if (!InBounds(section.sh_offset, section.sh_size, image.size())) {
    return absl::OutOfRangeError(absl::StrCat(Describe(index), " reaches past the end of the file"));
  }
  return image.subspan(section.sh_offset, section.sh_size);
}

std::string ElfView::Describe(uint32_t index) const {
  absl::string_view name;
  if (index >= sections.size() || !names.Get(sections[index].sh_name, &name) || name.empty()) {
    return absl::StrCat("section ", index);
  }
  return absl::StrCat("section ", index, " (", name, ")");
}

absl::Status CheckIdentification(ByteView image) {
  if (image.size() < SELFMAG || std::memcmp(image.data(), ELFMAG, SELFMAG) != 0) {
    return absl::InvalidArgumentError("not an ELF file");
  }
  if (image.size() < sizeof(Elf64_Ehdr)) return absl::InvalidArgumentError("the ELF header is cut short");
  if (image[EI_CLASS] != ELFCLASS64) return absl::InvalidArgumentError("is not a 64-bit ELF file");
  if (image[EI_DATA] != ELFDATA2LSB) return absl::InvalidArgumentError("is not a little-endian ELF file");
  if (image[EI_VERSION] != EV_CURRENT) return absl::InvalidArgumentError("has an unknown ELF version");
  const uint16_t machine = Load<Elf64_Ehdr>(image.data()).e_machine;
  if (FindMachine(machine) == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("is for ", MachineName(machine), " (machine ", machine, "), which is not supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<ElfView> ParseElfHeaders(ByteView image) {
  if (absl::Status status = CheckIdentification(image); !status.ok()) return status;
  ElfView view;
  view.image = image;
  view.header = Load<Elf64_Ehdr>(image.data());
  view.machine = FindMachine(view.header.e_machine);
  const Elf64_Ehdr& header = view.header;
  if (header.e_shoff == 0) return view;
  if (header.e_shentsize != sizeof(Elf64_Shdr)) {
    return absl::InvalidArgumentError(absl::StrCat("section headers of ", header.e_shentsize, " bytes"));
  }
  if (!InBounds(header.e_shoff, sizeof(Elf64_Shdr), image.size())) {
    return absl::InvalidArgumentError("the section table lies outside the file");
  }
  const uint8_t* table = image.data() + header.e_shoff;
  const Elf64_Shdr first = Load<Elf64_Shdr>(table);
  // Counts that do not fit into the header are in section 0 (System V ABI, "e_shnum").
  const uint64_t count = header.e_shnum != 0 ? header.e_shnum : first.sh_size;
  if (count == 0 || count > (image.size() - header.e_shoff) / sizeof(Elf64_Shdr) || count >= 0xfffffff0u) {
    return absl::InvalidArgumentError("the section table reaches past the end of the file");
  }
  view.sections.resize(count);
  std::memcpy(view.sections.data(), table, count * sizeof(Elf64_Shdr));
  view.names_index = header.e_shstrndx == SHN_XINDEX ? first.sh_link : header.e_shstrndx;
  if (view.names_index == 0) return view;
  if (view.names_index >= count) return absl::InvalidArgumentError("the section name table does not exist");
  absl::StatusOr<ByteView> names = view.Bytes(view.names_index);
  if (!names.ok()) return names.status();
  view.names = StringTable(*names);
  return view;
}

}  // namespace kitlink::elf
