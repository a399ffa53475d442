// A linked ELF x86-64 image as it lies on disk, read without trusting any of it.
//
// Written for verification alone: it shares nothing with the readers of relocatable objects or with the
// writer, so that an error in those does not hide itself here. The layout follows the System V ABI (generic
// part, chapters 4 and 5) and its x86-64 supplement.
#ifndef CORE_VERIFY_IMAGE_H_
#define CORE_VERIFY_IMAGE_H_

#include <elf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace kitlink::verify {

struct ImageSection {
  absl::string_view name;
  Elf64_Shdr header = {};
  uint32_t index = 0;
  // True when [address, address + size) lies in it as it is loaded.
  bool Covers(uint64_t address, uint64_t size) const;
};

struct ImageSymbol {
  absl::string_view name;
  Elf64_Sym symbol = {};
  uint32_t index = 0;
  uint8_t type() const { return ELF64_ST_TYPE(symbol.st_info); }
  uint8_t binding() const { return ELF64_ST_BIND(symbol.st_info); }
  uint8_t visibility() const { return ELF64_ST_VISIBILITY(symbol.st_other); }
  bool defined() const { return symbol.st_shndx != SHN_UNDEF; }
};

// Headers, symbols and the dynamic section of one image. Immutable after Parse; thread safe to read. Every
// view points into the bytes given to Parse, which must outlive it.
class Image {
 public:
  // Fails when the image is no loadable x86-64 ELF file or a header reaches outside the file; `label` names
  // it.
  static absl::StatusOr<Image> Parse(absl::string_view label, ByteView bytes);

  const std::string& label() const { return label_; }
  ByteView bytes() const { return bytes_; }
  const Elf64_Ehdr& header() const { return header_; }
  const std::vector<Elf64_Phdr>& segments() const { return segments_; }
  const std::vector<ImageSection>& sections() const { return sections_; }
  const std::vector<ImageSymbol>& symtab() const { return symtab_; }
  const std::vector<ImageSymbol>& dynsym() const { return dynsym_; }
  const std::vector<Elf64_Dyn>& dynamic() const { return dynamic_; }

  // Whether the loader may choose the base (ET_DYN).
  bool relocatable() const { return header_.e_type == ET_DYN; }
  // Whether it is a program: its own definitions then win over every library's.
  bool executable() const { return executable_; }

  // The first segment of a type, or null.
  const Elf64_Phdr* Segment(uint32_t type) const;
  // The PT_LOAD that holds all of [address, address + size) in memory, or null.
  const Elf64_Phdr* LoadedBy(uint64_t address, uint64_t size) const;
  // Whether all of the range becomes read-only after relocation.
  bool InRelro(uint64_t address, uint64_t size) const;
  // Section by name (the first), or null.
  const ImageSection* SectionNamed(absl::string_view name) const;
  // The loaded section that covers a range, or null. With `tls` only thread-local ones; zero-fill of those is
  // not found otherwise.
  const ImageSection* SectionCovering(uint64_t address, uint64_t size, bool tls) const;

  // File bytes behind [address, address + size); nullopt when any of it is not in the file.
  std::optional<ByteView> FileBytes(uint64_t address, uint64_t size) const;
  // File bytes from `address` to the end of what its segment has in the file; empty when there are none.
  ByteView FileBytesFrom(uint64_t address) const;
  // What a process sees there before relocation: file bytes, then zeros. False when not mapped, or when the
  // zero part of an image's TLS template is asked for (use ReadTls).
  bool Read(uint64_t address, MutableBytes out) const;
  // The same for the TLS template: file bytes, then zeros up to the segment's memory size.
  bool ReadTls(uint64_t address, MutableBytes out) const;

  std::optional<uint64_t> DynamicValue(int64_t tag) const;
  // A string of DT_STRTAB; nullopt when out of bounds or not terminated.
  std::optional<absl::string_view> DynamicString(uint64_t offset) const;
  // A string at `offset` of a table; nullopt when out of bounds or not terminated.
  static std::optional<absl::string_view> StringIn(ByteView table, uint64_t offset);

  // Address that the thread pointer has relative to the TLS template (x86-64: the end, aligned).
  uint64_t ThreadPointer() const;
  // Address of a symbol of symtab() or dynsym(): TLS values are turned into addresses of the template.
  uint64_t AddressOf(const ImageSymbol& symbol) const;
  // First symtab() entry with that name that is defined, or null. O(symbols).
  const ImageSymbol* FindSymbol(absl::string_view name) const;

 private:
  absl::Status ParseSegments();
  absl::Status ParseSections();
  absl::Status ParseSymbols(uint32_t type, std::vector<ImageSymbol>& out);
  absl::Status ParseDynamic();
  absl::Status Malformed(absl::string_view what) const;

  std::string label_;
  ByteView bytes_;
  Elf64_Ehdr header_ = {};
  std::vector<Elf64_Phdr> segments_;
  std::vector<Elf64_Phdr> loads_;  // sorted by address
  std::vector<ImageSection> sections_;
  std::vector<uint32_t> by_address_;  // loaded sections, sorted by address
  std::vector<ImageSymbol> symtab_, dynsym_;
  std::vector<Elf64_Dyn> dynamic_;
  bool executable_ = false;
};

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_IMAGE_H_
