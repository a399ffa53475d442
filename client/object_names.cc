#include "client/object_names.h"

#include <elf.h>

#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

namespace kitlink::client {
namespace {

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  ObjectNames Run() {
    names_.bitcode = bytes_.substr(0, 4) == "BC\xc0\xde";
    Elf64_Ehdr header;
    if (!Read(0, &header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_type != ET_REL ||
        header.e_ident[EI_CLASS] != ELFCLASS64) {
      return names_;
    }
    names_.object = true;
    for (unsigned i = 0; i < header.e_shnum; ++i) {
      Elf64_Shdr section;
      if (!Read(header.e_shoff + i * sizeof(section), &section)) break;
      sections_.push_back(section);
    }
    if (header.e_shstrndx < sections_.size()) ReadSections(sections_[header.e_shstrndx]);
    for (const Elf64_Shdr& section : sections_) {
      if (section.sh_type == SHT_SYMTAB && section.sh_link < sections_.size()) ReadSymbols(section, sections_[section.sh_link]);
    }
    for (const auto& [section, list] : functions_) {
      if (list.size() > 1) names_.shared_functions.insert(list.begin(), list.end());
    }
    for (const auto& [section, list] : data_) {
      if (list.size() > 1) names_.shared_data.insert(list.begin(), list.end());
    }
    return names_;
  }

 private:
  template <typename T>
  bool Read(uint64_t offset, T* value) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) return false;
    memcpy(value, bytes_.data() + offset, sizeof(T));
    return true;
  }

  std::string Text(const Elf64_Shdr& strings, uint64_t offset) const {
    if (strings.sh_offset > bytes_.size() || strings.sh_size > bytes_.size() - strings.sh_offset) return "";
    const std::string_view table = bytes_.substr(strings.sh_offset, strings.sh_size);
    if (offset >= table.size()) return "";
    return std::string(table.substr(offset, table.find('\0', offset) - offset));
  }

  void ReadSections(const Elf64_Shdr& strings) {
    for (const Elf64_Shdr& section : sections_) {
      const std::string name = Text(strings, section.sh_name);
      if (name.empty()) continue;
      names_.sections.insert(name);
      if (name == ".debug_info" || name == ".zdebug_info") names_.debug = true;
      if (name.rfind(".zdebug", 0) == 0 || (section.sh_flags & SHF_COMPRESSED)) names_.compressed = true;
      if (name.rfind(".gnu.lto_", 0) == 0 || name == ".llvmbc") names_.bitcode = true;
    }
  }

  void ReadSymbols(const Elf64_Shdr& table, const Elf64_Shdr& strings) {
    for (uint64_t at = 0; at + sizeof(Elf64_Sym) <= table.sh_size; at += sizeof(Elf64_Sym)) {
      Elf64_Sym symbol;
      if (!Read(table.sh_offset + at, &symbol)) return;
      const int type = ELF64_ST_TYPE(symbol.st_info);
      const std::string name = Text(strings, symbol.st_name);
      if (name.empty() || type == STT_FILE || type == STT_SECTION || symbol.st_shndx == SHN_UNDEF) continue;
      names_.symbols.insert(name);
      if (symbol.st_shndx >= sections_.size() || symbol.st_size == 0) continue;
      // Aliases of one thing are one thing.
      if (!seen_.insert({symbol.st_shndx, symbol.st_value}).second) continue;
      const Elf64_Shdr& section = sections_[symbol.st_shndx];
      if (type == STT_FUNC && (section.sh_flags & SHF_EXECINSTR)) functions_[symbol.st_shndx].push_back(name);
      if (type == STT_OBJECT && !(section.sh_flags & SHF_MERGE)) data_[symbol.st_shndx].push_back(name);
    }
  }

  const std::string_view bytes_;
  ObjectNames names_;
  std::vector<Elf64_Shdr> sections_;
  std::set<std::pair<unsigned, uint64_t>> seen_;
  std::map<unsigned, std::vector<std::string>> functions_, data_;
};

}  // namespace

ObjectNames ReadObjectNames(std::string_view bytes) { return Reader(bytes).Run(); }

}  // namespace kitlink::client
