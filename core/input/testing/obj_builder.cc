#include "core/input/testing/obj_builder.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/base/memory_files.h"
#include "core/input/inputs.h"
#include "gtest/gtest.h"

namespace kitlink::testing {
namespace {

bool NameIs(absl::string_view name, absl::string_view stem) {
  return name == stem || absl::StartsWith(name, absl::StrCat(stem, "."));
}

// Appends `text` and its NUL to a string table; returns where it stands.
uint32_t AddString(std::string& table, absl::string_view text) {
  if (text.empty()) return 0;
  const size_t at = table.size();
  table.append(text.data(), text.size());
  table.push_back('\0');
  return static_cast<uint32_t>(at);
}

template <typename T>
void Append(std::string& bytes, const T& value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(T));
}

// Sections laid into a file, with their table at its end.
class Writer {
 public:
  Writer() : body_(sizeof(Elf64_Ehdr), '\0'), headers_(1), names_(1, '\0') {}

  uint32_t next_index() const { return static_cast<uint32_t>(headers_.size()); }

  Elf64_Shdr& Add(absl::string_view name, uint32_t type, absl::string_view bytes, uint64_t alignment) {
    const uint64_t boundary = std::max<uint64_t>(alignment, 1);
    if (boundary <= 4096) body_.resize(AlignUp(body_.size(), boundary));
    Elf64_Shdr header = {};
    header.sh_name = AddString(names_, name);
    header.sh_type = type;
    header.sh_offset = body_.size();
    header.sh_size = bytes.size();
    header.sh_addralign = alignment;
    body_.append(bytes.data(), bytes.size());
    headers_.push_back(header);
    return headers_.back();
  }

  std::vector<uint8_t> Finish(uint16_t machine) {
    const uint32_t names_index = next_index();
    const uint32_t own_name = AddString(names_, ".shstrtab");
    const std::string names = names_;
    Add("", SHT_STRTAB, names, 1).sh_name = own_name;
    body_.resize(AlignUp(body_.size(), 8));
    Elf64_Ehdr header = {};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_type = ET_REL;
    header.e_machine = machine;
    header.e_version = EV_CURRENT;
    header.e_shoff = body_.size();
    header.e_ehsize = sizeof(Elf64_Ehdr);
    header.e_shentsize = sizeof(Elf64_Shdr);
    // Where the numbers do not fit, section 0 has them.
    header.e_shnum = headers_.size() < SHN_LORESERVE ? static_cast<uint16_t>(headers_.size()) : 0;
    header.e_shstrndx = names_index < SHN_LORESERVE ? static_cast<uint16_t>(names_index) : SHN_XINDEX;
    if (header.e_shnum == 0) headers_[0].sh_size = headers_.size();
    if (header.e_shstrndx == SHN_XINDEX) headers_[0].sh_link = names_index;
    std::memcpy(body_.data(), &header, sizeof(header));
    for (const Elf64_Shdr& section : headers_) Append(body_, section);
    return std::vector<uint8_t>(body_.begin(), body_.end());
  }

 private:
  std::string body_;
  std::vector<Elf64_Shdr> headers_;
  std::string names_;
};

uint32_t Lookup(const std::map<std::string, uint32_t>& indexes, const std::string& name) {
  auto found = indexes.find(name);
  return found == indexes.end() ? 0 : found->second;
}

}  // namespace

SectionSpec SpecForName(absl::string_view name) {
  SectionSpec spec;
  if (NameIs(name, ".text")) spec.flags = SHF_ALLOC | SHF_EXECINSTR;
  if (NameIs(name, ".rodata")) spec.flags = SHF_ALLOC;
  if (NameIs(name, ".data")) spec.flags = SHF_ALLOC | SHF_WRITE;
  if (NameIs(name, ".bss")) spec.flags = SHF_ALLOC | SHF_WRITE, spec.type = SHT_NOBITS;
  if (NameIs(name, ".tdata")) spec.flags = SHF_ALLOC | SHF_WRITE | SHF_TLS;
  if (NameIs(name, ".tbss")) spec.flags = SHF_ALLOC | SHF_WRITE | SHF_TLS, spec.type = SHT_NOBITS;
  if (NameIs(name, ".init_array")) spec.flags = SHF_ALLOC | SHF_WRITE, spec.type = SHT_INIT_ARRAY, spec.alignment = 8;
  if (NameIs(name, ".fini_array")) spec.flags = SHF_ALLOC | SHF_WRITE, spec.type = SHT_FINI_ARRAY, spec.alignment = 8;
  if (name == ".eh_frame") spec.flags = SHF_ALLOC, spec.alignment = 8;
  if (NameIs(name, ".note") && name != ".note.GNU-stack") spec.type = SHT_NOTE, spec.alignment = 4;
  return spec;
}

ObjBuilder& ObjBuilder::Section(std::string name, std::string bytes) {
  SectionSpec spec = SpecForName(name);
  return Section(std::move(name), std::move(bytes), std::move(spec));
}

ObjBuilder& ObjBuilder::Section(std::string name, std::string bytes, SectionSpec spec) {
  sections_.push_back(SectionRow{std::move(name), std::move(bytes), std::move(spec)});
  return *this;
}

ObjBuilder& ObjBuilder::Bss(std::string name, uint64_t size, uint64_t alignment) {
  SectionSpec spec = SpecForName(name);
  spec.nobits_size = size;
  spec.alignment = alignment;
  return Section(std::move(name), "", std::move(spec));
}

ObjBuilder& ObjBuilder::Symbol(std::string name, std::string section) {
  SymbolSpec spec;
  const SectionRow* row = FindSection(section);
  const uint64_t flags = row == nullptr ? 0 : row->spec.flags;
  spec.type = flags & SHF_EXECINSTR ? STT_FUNC : flags & SHF_TLS ? STT_TLS : STT_OBJECT;
  if (row != nullptr) spec.size = row->spec.type == SHT_NOBITS ? row->spec.nobits_size : row->bytes.size();
  return Symbol(std::move(name), std::move(section), spec);
}

ObjBuilder& ObjBuilder::Symbol(std::string name, std::string section, SymbolSpec spec) {
  symbols_.push_back(SymbolRow{std::move(name), std::move(section), SHN_UNDEF, spec});
  return *this;
}

ObjBuilder& ObjBuilder::Undefined(std::string name, unsigned char binding) {
  SymbolSpec spec;
  spec.binding = binding;
  symbols_.push_back(SymbolRow{std::move(name), "", SHN_UNDEF, spec});
  return *this;
}

ObjBuilder& ObjBuilder::Absolute(std::string name, uint64_t value) {
  SymbolSpec spec;
  spec.value = value;
  symbols_.push_back(SymbolRow{std::move(name), "", SHN_ABS, spec});
  return *this;
}

ObjBuilder& ObjBuilder::Common(std::string name, uint64_t size, uint64_t alignment) {
  SymbolSpec spec;
  spec.value = alignment;
  spec.size = size;
  spec.type = STT_OBJECT;
  symbols_.push_back(SymbolRow{std::move(name), "", SHN_COMMON, spec});
  return *this;
}

ObjBuilder& ObjBuilder::Reloc(const std::string& section, uint64_t offset, uint32_t type, std::string symbol,
                              int64_t addend) {
  relocs_.push_back(RelocRow{section, std::move(symbol), offset, type, addend});
  return *this;
}

ObjBuilder& ObjBuilder::Group(std::string signature, std::vector<std::string> sections, bool comdat) {
  groups_.push_back(GroupRow{std::move(signature), std::move(sections), comdat});
  return *this;
}

ObjBuilder& ObjBuilder::Machine(uint16_t machine) {
  machine_ = machine;
  return *this;
}

const ObjBuilder::SectionRow* ObjBuilder::FindSection(absl::string_view name) const {
  for (const SectionRow& row : sections_) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

std::vector<ObjBuilder::SymbolRow> ObjBuilder::AllSymbols() const {
  std::vector<SymbolRow> all = symbols_;
  auto declare = [&](const std::string& name) {
    if (name.empty()) return;
    for (const SymbolRow& row : all) {
      if (row.name == name) return;
    }
    SymbolRow row;
    row.name = name;
    if (FindSection(name) != nullptr) {
      row.section = name;
      row.spec.binding = STB_LOCAL;
      row.spec.type = STT_SECTION;
    }
    all.push_back(std::move(row));
  };
  for (const RelocRow& reloc : relocs_) declare(reloc.symbol);
  for (const GroupRow& group : groups_) declare(group.signature);
  std::stable_partition(all.begin(), all.end(), [](const SymbolRow& row) { return row.spec.binding == STB_LOCAL; });
  return all;
}

std::vector<uint8_t> ObjBuilder::Build() const {
  Writer writer;
  std::map<std::string, uint32_t> section_index, symbol_index;
  uint32_t next = 1 + static_cast<uint32_t>(groups_.size());
  for (const SectionRow& row : sections_) section_index[row.name] = next++;
  std::map<std::string, std::string> relocations;  // by section; their headers follow the sections
  const std::vector<SymbolRow> symbols = AllSymbols();
  for (size_t i = 0; i < symbols.size(); ++i) symbol_index[symbols[i].name] = static_cast<uint32_t>(i + 1);
  for (const RelocRow& row : relocs_) {
    Elf64_Rela rela = {};
    rela.r_offset = row.offset;
    rela.r_info = ELF64_R_INFO(static_cast<uint64_t>(Lookup(symbol_index, row.symbol)), row.type);
    rela.r_addend = row.addend;
    Append(relocations[row.section], rela);
  }
  const uint32_t symtab = next + static_cast<uint32_t>(relocations.size());

  for (const GroupRow& group : groups_) {
    std::string words;
    Append(words, uint32_t{group.comdat ? 1u : 0u});
    for (const std::string& name : group.sections) Append(words, Lookup(section_index, name));
    Elf64_Shdr& header = writer.Add(".group", SHT_GROUP, words, 4);
    header.sh_link = symtab;
    header.sh_info = Lookup(symbol_index, group.signature);
    header.sh_entsize = 4;
  }
  for (const SectionRow& row : sections_) {
    Elf64_Shdr& header = writer.Add(row.name, row.spec.type, row.bytes, row.spec.alignment);
    header.sh_flags = row.spec.flags;
    header.sh_entsize = row.spec.entry_size;
    header.sh_link = Lookup(section_index, row.spec.link);
    if (row.spec.type == SHT_NOBITS) header.sh_size = row.spec.nobits_size;
    for (const GroupRow& group : groups_) {
      if (std::count(group.sections.begin(), group.sections.end(), row.name) != 0) header.sh_flags |= SHF_GROUP;
    }
  }
  for (const auto& [section, bytes] : relocations) {
    Elf64_Shdr& header = writer.Add(".rela" + section, SHT_RELA, bytes, 8);
    header.sh_flags = SHF_INFO_LINK;
    header.sh_link = symtab;
    header.sh_info = Lookup(section_index, section);
    header.sh_entsize = sizeof(Elf64_Rela);
  }

  std::string table(sizeof(Elf64_Sym), '\0'), names(1, '\0'), extended(4, '\0');
  uint32_t first_global = 1;
  for (const SymbolRow& row : symbols) {
    Elf64_Sym symbol = {};
    if (row.spec.type != STT_SECTION) symbol.st_name = AddString(names, row.name);
    symbol.st_info = ELF64_ST_INFO(row.spec.binding, row.spec.type);
    symbol.st_other = row.spec.visibility;
    symbol.st_value = row.spec.value;
    symbol.st_size = row.spec.size;
    const uint32_t section = row.section.empty() ? row.index : Lookup(section_index, row.section);
    const bool large = !row.section.empty() && section >= SHN_LORESERVE;
    symbol.st_shndx = large ? SHN_XINDEX : static_cast<uint16_t>(section);
    Append(extended, large ? section : 0u);
    if (row.spec.binding == STB_LOCAL) ++first_global;
    Append(table, symbol);
  }
  Elf64_Shdr& header = writer.Add(".symtab", SHT_SYMTAB, table, 8);
  header.sh_link = symtab + 1;
  header.sh_info = first_global;
  header.sh_entsize = sizeof(Elf64_Sym);
  writer.Add(".strtab", SHT_STRTAB, names, 1);
  if (symtab >= SHN_LORESERVE) {
    Elf64_Shdr& shndx = writer.Add(".symtab_shndx", SHT_SYMTAB_SHNDX, extended, 4);
    shndx.sh_link = symtab;
    shndx.sh_entsize = 4;
  }
  return writer.Finish(machine_);
}

std::unique_ptr<ObjectFile> ReadBytes(std::vector<uint8_t> bytes, std::string path) {
  auto file = std::make_shared<MemoryBytes>(std::move(bytes));
  const ByteView image = file->bytes();
  absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadObject(std::move(path), "", file, image);
  EXPECT_TRUE(object.ok()) << object.status();
  return object.ok() ? *std::move(object) : nullptr;
}

std::vector<uint8_t> BuildArchive(const std::vector<MemberSpec>& members, bool with_index) {
  auto header = [](absl::string_view name, size_t size) {
    return absl::StrFormat("%-16s%-12d%-6d%-6d%-8s%-10d`\n", name, 0, 0, 0, "644", size);
  };
  auto big_endian = [](std::string& bytes, uint64_t value) { Append(bytes, __builtin_bswap32(value)); };
  auto pad = [](std::string& bytes) { bytes.resize(AlignUp(bytes.size(), 2), '\n'); };
  std::string long_names, symbol_names;
  std::vector<std::string> written;
  uint64_t count = 0;
  for (const MemberSpec& member : members) {
    written.push_back(member.name + "/");
    if (written.back().size() > 16) {
      written.back() = absl::StrCat("/", long_names.size());
      absl::StrAppend(&long_names, member.name, "/\n");
    }
    for (const std::string& symbol : member.symbols) symbol_names += symbol + '\0', ++count;
  }
  const size_t index_size = 4 + 4 * count + symbol_names.size();
  std::string offsets, body;
  size_t at = 8;  // "!<arch>\n"
  if (with_index) at += 60 + AlignUp(index_size, 2);
  if (!long_names.empty()) at += 60 + AlignUp(long_names.size(), 2);
  for (size_t i = 0; i < members.size(); ++i) {
    for (size_t s = 0; s < members[i].symbols.size(); ++s) big_endian(offsets, at + body.size());
    body += header(written[i], members[i].bytes.size());
    body.append(members[i].bytes.begin(), members[i].bytes.end());
    pad(body);
  }
  std::string archive = "!<arch>\n";
  if (with_index) {
    archive += header("/", index_size);
    big_endian(archive, count);
    archive += offsets + symbol_names;
    pad(archive);
  }
  if (!long_names.empty()) archive += header("//", long_names.size()) + long_names, pad(archive);
  archive += body;
  return std::vector<uint8_t>(archive.begin(), archive.end());
}

}  // namespace kitlink::testing
