#include "core/input/elf_dynamic.h"

#include <algorithm>

namespace kitlink::elf {
namespace {

absl::Status Malformed(absl::string_view what) { return absl::InvalidArgumentError(what); }

void ReadEntries(ByteView bytes, SharedTables& tables) {
  for (uint64_t at = 0; InBounds(at, sizeof(Elf64_Dyn), bytes.size()); at += sizeof(Elf64_Dyn)) {
    const Elf64_Dyn entry = Load<Elf64_Dyn>(bytes.data() + at);
    if (entry.d_tag == DT_NULL) return;
    tables.entries.push_back(entry);
  }
}

// The string table that section `index` is linked to.
absl::StatusOr<StringTable> LinkedNames(const ElfView& elf, uint32_t index) {
  const uint32_t link = elf.sections[index].sh_link;
  if (link >= elf.sections.size()) return Malformed(elf.Describe(index) + " has no string table");
  absl::StatusOr<ByteView> bytes = elf.Bytes(link);
  if (!bytes.ok()) return bytes.status();
  return StringTable(*bytes);
}

// Fills in what section `index` holds, if it is one of the tables.
absl::Status AddSection(const ElfView& elf, uint32_t index, SharedTables& tables) {
  const Elf64_Shdr& header = elf.sections[index];
  if (header.sh_type != SHT_DYNSYM && header.sh_type != SHT_GNU_versym && header.sh_type != SHT_GNU_verdef &&
      header.sh_type != SHT_DYNAMIC) {
    return absl::OkStatus();
  }
  absl::StatusOr<ByteView> bytes = elf.Bytes(index);
  if (!bytes.ok()) return bytes.status();
  if (header.sh_type == SHT_GNU_versym) {
    tables.versions = *bytes;
    return absl::OkStatus();
  }
  absl::StatusOr<StringTable> names = LinkedNames(elf, index);
  if (!names.ok()) return names.status();
  if (header.sh_type == SHT_DYNSYM) {
    if (header.sh_entsize != sizeof(Elf64_Sym)) return Malformed(elf.Describe(index) + " has entries of a wrong size");
    tables.symbols = *bytes;
    tables.symbol_names = *names;
  } else if (header.sh_type == SHT_GNU_verdef) {
    tables.definitions = *bytes;
    tables.definition_count = header.sh_info;
    tables.definition_names = *names;
  } else {
    ReadEntries(*bytes, tables);
    tables.entry_names = *names;
  }
  return absl::OkStatus();
}

// Everything in the file from `address` to the end of the segment's bytes; empty when no segment has it.
ByteView AtAddress(const ElfView& elf, const std::vector<Elf64_Phdr>& segments, uint64_t address) {
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_LOAD || address < segment.p_vaddr) continue;
    const uint64_t delta = address - segment.p_vaddr;
    if (delta >= segment.p_filesz || !InBounds(segment.p_offset, segment.p_filesz, elf.image.size())) continue;
    return elf.image.subspan(segment.p_offset + delta, segment.p_filesz - delta);
  }
  return ByteView();
}

// The number of dynamic symbols, from DT_GNU_HASH: the last one ends the chain of the highest bucket.
uint64_t CountByGnuHash(ByteView hash) {
  if (hash.size() < 16) return 0;
  const uint64_t buckets = Load<uint32_t>(hash.data());
  const uint64_t first = Load<uint32_t>(hash.data() + 4);
  const uint64_t bloom_words = Load<uint32_t>(hash.data() + 8);
  const uint64_t bucket_table = 16 + bloom_words * 8;
  if (!InBounds(bucket_table, buckets * 4, hash.size())) return 0;
  uint64_t last = 0;
  for (uint64_t i = 0; i < buckets; ++i) {
    last = std::max<uint64_t>(last, Load<uint32_t>(hash.data() + bucket_table + i * 4));
  }
  if (last < first || last == 0) return first;
  const uint64_t chain_table = bucket_table + buckets * 4;
  for (;; ++last) {
    const uint64_t at = chain_table + (last - first) * 4;
    if (!InBounds(at, 4, hash.size())) return 0;
    if (Load<uint32_t>(hash.data() + at) & 1) return last + 1;
  }
}

absl::Status AddByAddresses(const ElfView& elf, const std::vector<Elf64_Phdr>& segments, SharedTables& tables) {
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_DYNAMIC) continue;
    if (!InBounds(segment.p_offset, segment.p_filesz, elf.image.size())) {
      return Malformed("the dynamic section reaches past the end of the file");
    }
    ReadEntries(elf.image.subspan(segment.p_offset, segment.p_filesz), tables);
  }
  uint64_t strings_size = 0;
  uint64_t symbol_count = 0;
  ByteView strings;
  for (const Elf64_Dyn& entry : tables.entries) {
    const ByteView at = AtAddress(elf, segments, entry.d_un.d_ptr);
    if (entry.d_tag == DT_STRTAB) strings = at;
    if (entry.d_tag == DT_STRSZ) strings_size = entry.d_un.d_val;
    if (entry.d_tag == DT_SYMTAB) tables.symbols = at;
    if (entry.d_tag == DT_VERSYM) tables.versions = at;
    if (entry.d_tag == DT_VERDEF) tables.definitions = at;
    if (entry.d_tag == DT_VERDEFNUM) tables.definition_count = entry.d_un.d_val;
    if (entry.d_tag == DT_HASH && at.size() >= 8) symbol_count = Load<uint32_t>(at.data() + 4);
    if (entry.d_tag == DT_GNU_HASH && symbol_count == 0) symbol_count = CountByGnuHash(at);
  }
  if (strings_size > strings.size()) return Malformed("the dynamic string table reaches past the end of the file");
  if (symbol_count > tables.symbols.size() / sizeof(Elf64_Sym)) {
    return Malformed("the dynamic symbol table reaches past the end of the file");
  }
  tables.symbols = tables.symbols.subspan(0, symbol_count * sizeof(Elf64_Sym));
  tables.entry_names = StringTable(strings.subspan(0, strings_size));
  tables.symbol_names = tables.entry_names;
  tables.definition_names = tables.entry_names;
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<Elf64_Phdr>> ReadProgramHeaders(const ElfView& elf) {
  std::vector<Elf64_Phdr> segments;
  const Elf64_Ehdr& header = elf.header;
  if (header.e_phoff == 0 || header.e_phnum == 0) return segments;
  const uint64_t size = uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
  if (header.e_phentsize != sizeof(Elf64_Phdr) || !InBounds(header.e_phoff, size, elf.image.size())) {
    return absl::OutOfRangeError("the program headers reach past the end of the file");
  }
  segments.resize(header.e_phnum);
  std::memcpy(segments.data(), elf.image.data() + header.e_phoff, size);
  return segments;
}

absl::StatusOr<SharedTables> FindDynamicTables(const ElfView& elf, const std::vector<Elf64_Phdr>& segments) {
  SharedTables tables;
  for (uint32_t i = 1; i < elf.sections.size(); ++i) {
    if (absl::Status status = AddSection(elf, i, tables); !status.ok()) return status;
  }
  if (elf.sections.empty()) {
    if (absl::Status status = AddByAddresses(elf, segments, tables); !status.ok()) return status;
  }
  return tables;
}

}  // namespace kitlink::elf
