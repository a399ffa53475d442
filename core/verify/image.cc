#include "core/verify/image.h"

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kitlink::verify {
namespace {

// Entries of a table of T at `offset` in the file, `count` of them `entry_size` apart.
template <typename T>
bool ReadTable(ByteView file, uint64_t offset, uint64_t count, uint64_t entry_size, std::vector<T>& out) {
  if (count == 0) return true;
  if (entry_size < sizeof(T) || count > file.size() / entry_size) return false;
  if (!InBounds(offset, count * entry_size, file.size())) return false;
  out.resize(count);
  for (uint64_t i = 0; i < count; ++i) out[i] = Load<T>(file.data() + offset + i * entry_size);
  return true;
}

bool RangeInside(uint64_t address, uint64_t size, uint64_t start, uint64_t length) {
  return address >= start && InBounds(address - start, size, length);
}

}  // namespace

bool ImageSection::Covers(uint64_t address, uint64_t size) const {
  return (header.sh_flags & SHF_ALLOC) != 0 && RangeInside(address, size, header.sh_addr, header.sh_size);
}

absl::Status Image::Malformed(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(label_, ": ", what));
}

absl::StatusOr<Image> Image::Parse(absl::string_view label, ByteView bytes) {
  Image image;
  image.label_ = std::string(label);
  image.bytes_ = bytes;
  if (bytes.size() < sizeof(Elf64_Ehdr)) return image.Malformed("too short for an ELF header");
  image.header_ = Load<Elf64_Ehdr>(bytes.data());
  const Elf64_Ehdr& h = image.header_;
  if (std::memcmp(h.e_ident, ELFMAG, SELFMAG) != 0) return image.Malformed("no ELF magic number");
  if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB) {
    return image.Malformed("not a 64-bit little-endian image");
  }
  if (h.e_machine != EM_X86_64) return image.Malformed("not an x86-64 image");
  if (h.e_type != ET_EXEC && h.e_type != ET_DYN) return image.Malformed("neither a program nor a library");
  if (absl::Status s = image.ParseSegments(); !s.ok()) return s;
  if (absl::Status s = image.ParseSections(); !s.ok()) return s;
  if (absl::Status s = image.ParseSymbols(SHT_SYMTAB, image.symtab_); !s.ok()) return s;
  if (absl::Status s = image.ParseSymbols(SHT_DYNSYM, image.dynsym_); !s.ok()) return s;
  if (absl::Status s = image.ParseDynamic(); !s.ok()) return s;
  image.executable_ = h.e_type == ET_EXEC || image.Segment(PT_INTERP) != nullptr ||
                      (image.DynamicValue(DT_FLAGS_1).value_or(0) & DF_1_PIE) != 0;
  return image;
}

absl::Status Image::ParseSegments() {
  if (!ReadTable(bytes_, header_.e_phoff, header_.e_phnum, header_.e_phentsize, segments_)) {
    return Malformed("program headers reach outside the file");
  }
  for (const Elf64_Phdr& p : segments_) {
    if (p.p_type == PT_NULL || p.p_type == PT_GNU_STACK) continue;
    if (!InBounds(p.p_offset, p.p_filesz, bytes_.size()))
      return Malformed("a segment reaches outside the file");
    if (p.p_vaddr + p.p_memsz < p.p_vaddr) return Malformed("a segment wraps around the address space");
    if (p.p_type != PT_LOAD) continue;
    if (p.p_filesz > p.p_memsz) return Malformed("a PT_LOAD has more bytes in the file than in memory");
    if (p.p_align > 1 && ((p.p_align & (p.p_align - 1)) != 0 || (p.p_vaddr - p.p_offset) % p.p_align != 0)) {
      return Malformed("a PT_LOAD's offset and address disagree modulo its alignment");
    }
    // The loader takes the headers in order and computes one reservation from the first and the last.
    if (!loads_.empty() && p.p_vaddr < loads_.back().p_vaddr + loads_.back().p_memsz) {
      return Malformed("PT_LOAD segments overlap or are out of order");
    }
    loads_.push_back(p);
  }
  if (loads_.empty()) return Malformed("nothing to load");
  return absl::OkStatus();
}

absl::Status Image::ParseSections() {
  std::vector<Elf64_Shdr> headers;
  uint64_t count = header_.e_shnum;
  if (header_.e_shoff != 0 && count == 0) {  // more than 0xff00 sections: the count is in the first one
    if (!InBounds(header_.e_shoff, sizeof(Elf64_Shdr), bytes_.size()))
      return Malformed("bad section headers");
    count = Load<Elf64_Shdr>(bytes_.data() + header_.e_shoff).sh_size;
  }
  if (!ReadTable(bytes_, header_.e_shoff, count, header_.e_shentsize, headers)) {
    return Malformed("section headers reach outside the file");
  }
  for (const Elf64_Shdr& s : headers) {
    if (s.sh_type != SHT_NOBITS && s.sh_type != SHT_NULL &&
        !InBounds(s.sh_offset, s.sh_size, bytes_.size())) {
      return Malformed("a section reaches outside the file");
    }
  }
  uint64_t names = header_.e_shstrndx;
  if (names == SHN_XINDEX && !headers.empty()) names = headers[0].sh_link;
  ByteView table;
  if (names < headers.size() && headers[names].sh_type == SHT_STRTAB) {
    table = bytes_.subspan(headers[names].sh_offset, headers[names].sh_size);
  }
  for (const Elf64_Shdr& s : headers) {
    ImageSection section;
    section.header = s;
    section.index = static_cast<uint32_t>(sections_.size());
    std::optional<absl::string_view> name = StringIn(table, s.sh_name);
    if (!name && s.sh_type != SHT_NULL) return Malformed("a section's name is not in the name table");
    section.name = name.value_or("");
    sections_.push_back(section);
    if ((s.sh_flags & SHF_ALLOC) != 0 && s.sh_type != SHT_NULL) by_address_.push_back(section.index);
  }
  std::stable_sort(by_address_.begin(), by_address_.end(), [&](uint32_t a, uint32_t b) {
    return sections_[a].header.sh_addr < sections_[b].header.sh_addr;
  });
  return absl::OkStatus();
}

absl::Status Image::ParseSymbols(uint32_t type, std::vector<ImageSymbol>& out) {
  for (const ImageSection& s : sections_) {
    if (s.header.sh_type != type) continue;
    std::vector<Elf64_Sym> raw;
    const uint64_t entry = s.header.sh_entsize == 0 ? sizeof(Elf64_Sym) : s.header.sh_entsize;
    if (!ReadTable(bytes_, s.header.sh_offset, s.header.sh_size / entry, entry, raw)) {
      return Malformed(absl::StrCat(s.name, ": symbols reach outside the file"));
    }
    if (s.header.sh_link >= sections_.size() || sections_[s.header.sh_link].header.sh_type != SHT_STRTAB) {
      return Malformed(absl::StrCat(s.name, ": no string table"));
    }
    const Elf64_Shdr& strings = sections_[s.header.sh_link].header;
    ByteView table = bytes_.subspan(strings.sh_offset, strings.sh_size);
    if (!table.empty() && table[0] != 0) return Malformed(absl::StrCat(s.name, ": its string table names what has no name"));
    for (uint32_t i = 0; i < raw.size(); ++i) {
      std::optional<absl::string_view> name = StringIn(table, raw[i].st_name);
      if (!name && raw[i].st_name != 0) {
        return Malformed(absl::StrCat(s.name, ": symbol ", i, " has no valid name"));
      }
      out.push_back({name.value_or(""), raw[i], i});
    }
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status Image::ParseDynamic() {
  const Elf64_Phdr* p = Segment(PT_DYNAMIC);
  if (p == nullptr) return absl::OkStatus();
  std::optional<ByteView> raw = FileBytes(p->p_vaddr, p->p_memsz);
  if (!raw) return Malformed("PT_DYNAMIC is not in the file");
  for (uint64_t at = 0; InBounds(at, sizeof(Elf64_Dyn), raw->size()); at += sizeof(Elf64_Dyn)) {
    Elf64_Dyn entry = Load<Elf64_Dyn>(raw->data() + at);
    if (entry.d_tag == DT_NULL) return absl::OkStatus();
    dynamic_.push_back(entry);
  }
  return Malformed("the dynamic section has no end");
}

const Elf64_Phdr* Image::Segment(uint32_t type) const {
  for (const Elf64_Phdr& p : segments_) {
    if (p.p_type == type) return &p;
  }
  return nullptr;
}

const Elf64_Phdr* Image::LoadedBy(uint64_t address, uint64_t size) const {
  auto it = std::upper_bound(loads_.begin(), loads_.end(), address,
                             [](uint64_t a, const Elf64_Phdr& p) { return a < p.p_vaddr; });
  if (it == loads_.begin()) return nullptr;
  --it;
  return RangeInside(address, size, it->p_vaddr, it->p_memsz) ? &*it : nullptr;
}

bool Image::InRelro(uint64_t address, uint64_t size) const {
  const Elf64_Phdr* p = Segment(PT_GNU_RELRO);
  if (p == nullptr) return false;
  return RangeInside(address, size, p->p_vaddr, p->p_memsz);
}

const ImageSection* Image::SectionNamed(absl::string_view name) const {
  for (const ImageSection& s : sections_) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

const ImageSection* Image::SectionCovering(uint64_t address, uint64_t size, bool tls) const {
  auto it = std::upper_bound(by_address_.begin(), by_address_.end(), address,
                             [&](uint64_t a, uint32_t s) { return a < sections_[s].header.sh_addr; });
  // Sections may be empty, and TLS zero-fill takes no address space: look at a few that start before.
  for (int tries = 0; it != by_address_.begin() && tries < 16; ++tries) {
    const ImageSection& s = sections_[*--it];
    const bool is_tls = (s.header.sh_flags & SHF_TLS) != 0;
    const bool takes_space = !is_tls || s.header.sh_type != SHT_NOBITS;
    if ((tls ? is_tls : takes_space) && s.header.sh_size != 0 && s.Covers(address, size)) return &s;
  }
  return nullptr;
}

std::optional<ByteView> Image::FileBytes(uint64_t address, uint64_t size) const {
  ByteView all = FileBytesFrom(address);
  if (all.size() < size) return std::nullopt;
  return all.subspan(0, size);
}

ByteView Image::FileBytesFrom(uint64_t address) const {
  const Elf64_Phdr* p = LoadedBy(address, 0);
  if (p == nullptr || address - p->p_vaddr >= p->p_filesz) return {};
  return bytes_.subspan(p->p_offset + (address - p->p_vaddr), p->p_filesz - (address - p->p_vaddr));
}

namespace {
void CopyWithZeros(ByteView file, MutableBytes out) {
  const size_t have = std::min(file.size(), out.size());
  if (have != 0) std::memcpy(out.data(), file.data(), have);
  if (have < out.size()) std::memset(out.data() + have, 0, out.size() - have);
}
}  // namespace

bool Image::Read(uint64_t address, MutableBytes out) const {
  if (LoadedBy(address, out.size()) == nullptr) return false;
  CopyWithZeros(FileBytesFrom(address), out);
  return true;
}

bool Image::ReadTls(uint64_t address, MutableBytes out) const {
  const Elf64_Phdr* p = Segment(PT_TLS);
  if (p == nullptr || !RangeInside(address, out.size(), p->p_vaddr, p->p_memsz)) return false;
  const uint64_t skip = address - p->p_vaddr;
  CopyWithZeros(skip < p->p_filesz ? bytes_.subspan(p->p_offset + skip, p->p_filesz - skip) : ByteView(),
                out);
  return true;
}

std::optional<uint64_t> Image::DynamicValue(int64_t tag) const {
  for (const Elf64_Dyn& d : dynamic_) {
    if (d.d_tag == tag) return d.d_un.d_val;
  }
  return std::nullopt;
}

std::optional<absl::string_view> Image::DynamicString(uint64_t offset) const {
  std::optional<uint64_t> table = DynamicValue(DT_STRTAB), size = DynamicValue(DT_STRSZ);
  if (!table || !size) return std::nullopt;
  std::optional<ByteView> bytes = FileBytes(*table, *size);
  if (!bytes) return std::nullopt;
  return StringIn(*bytes, offset);
}

std::optional<absl::string_view> Image::StringIn(ByteView table, uint64_t offset) {
  if (offset >= table.size()) return std::nullopt;
  const void* end = std::memchr(table.data() + offset, 0, table.size() - offset);
  if (end == nullptr) return std::nullopt;
  return AsString(table.subspan(offset, static_cast<const uint8_t*>(end) - (table.data() + offset)));
}

uint64_t Image::ThreadPointer() const {
  const Elf64_Phdr* p = Segment(PT_TLS);
  if (p == nullptr) return 0;
  const bool sane = p->p_align != 0 && (p->p_align & (p->p_align - 1)) == 0;
  return AlignUp(p->p_vaddr + p->p_memsz, sane ? p->p_align : 1);
}

uint64_t Image::AddressOf(const ImageSymbol& symbol) const {
  if (symbol.type() != STT_TLS || !symbol.defined()) return symbol.symbol.st_value;
  const Elf64_Phdr* p = Segment(PT_TLS);
  return symbol.symbol.st_value + (p == nullptr ? 0 : p->p_vaddr);
}

const ImageSymbol* Image::FindSymbol(absl::string_view name) const {
  for (const ImageSymbol& s : symtab_) {
    if (s.name == name && s.defined()) return &s;
  }
  return nullptr;
}

}  // namespace kitlink::verify
