#include "core/output/elf/hot_dynsym.h"

#include <elf.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"
#include "core/output/elf/symtab.h"

namespace kitlink::elf {
namespace {

constexpr uint16_t kMaxVersion = 0x7fff;  // the bit above says that a version is hidden

template <typename T>
void PutField(uint64_t offset, const T& value, std::vector<Mutation>* mutations) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.phase = PatchPhase::kTables;
  mutation.bytes.resize(sizeof(T));
  Store(mutation.bytes.data(), value);
  mutations->push_back(std::move(mutation));
}

}  // namespace

HotDynsym::HotDynsym(const DynamicTables& tables, const DynsymHome& home)
    : home_(home), has_versym_(!tables.versym.empty()), has_verdef_(!tables.verdef.empty()),
      first_defined_(tables.first_defined) {
  plan_.first_row = tables.first_row();
  plan_.strings = tables.spare_strings;
  plan_.strings_end = tables.spare_strings == 0 ? 0 : static_cast<uint32_t>(tables.strings.bytes().size());
  plan_.verneed = tables.spare_verneed;
  plan_.verneed_end = tables.spare_verneed == 0 ? 0 : static_cast<uint32_t>(tables.verneed.size());
  for (uint32_t name : tables.needed) needed_.insert(tables.strings.bytes().c_str() + name);
  for (uint16_t version : tables.versym) {
    plan_.next_version = std::max<uint16_t>(plan_.next_version, static_cast<uint16_t>((version & kMaxVersion) + 1));
  }
  ReadVersions(tables);
  Begin();
}

// The tables were made by this program: they are well formed.
void HotDynsym::ReadVersions(const DynamicTables& tables) {
  const char* strings = tables.strings.bytes().c_str();
  plan_.next_version = std::max<uint16_t>(plan_.next_version, static_cast<uint16_t>(tables.verdef_count + 1));
  uint32_t at = 0;
  for (uint32_t n = 0; n < tables.verneed_count; ++n) {
    const auto need = Load<Elf64_Verneed>(&tables.verneed[at]);
    Needed& library = plan_.versions[strings + need.vn_file];
    library.at = at;
    library.count = need.vn_cnt;
    uint32_t aux_at = at + need.vn_aux;
    for (uint32_t v = 0; v < need.vn_cnt; ++v) {
      const auto aux = Load<Elf64_Vernaux>(&tables.verneed[aux_at]);
      library.last_aux = aux_at;
      library.numbers[strings + aux.vna_name] = aux.vna_other;
      plan_.next_version = std::max<uint16_t>(plan_.next_version, static_cast<uint16_t>(aux.vna_other + 1));
      aux_at += aux.vna_next;
    }
    at += need.vn_next;
  }
}

void HotDynsym::Begin() { staged_ = plan_; }

absl::StatusOr<uint32_t> HotDynsym::AddString(absl::string_view text, std::vector<Mutation>* mutations) {
  if (text.size() >= staged_.strings_end - staged_.strings) {
    return absl::ResourceExhaustedError(".dynstr: no room for more names");
  }
  const uint32_t at = staged_.strings;
  Mutation name;
  name.offset = home_.dynstr + at;
  name.phase = PatchPhase::kTables;
  name.bytes.assign(text.begin(), text.end());
  name.bytes.push_back(0);
  mutations->push_back(std::move(name));
  staged_.strings += static_cast<uint32_t>(text.size()) + 1;
  return at;
}

// The number of the import's version. A version that is new of a library whose others are known joins their list.
absl::StatusOr<uint16_t> HotDynsym::VersionOf(const NewImport& import, std::vector<Mutation>* mutations) {
  if (import.version.empty()) {
    return static_cast<uint16_t>(import.soname.empty() && has_verdef_ ? VER_NDX_LOCAL : VER_NDX_GLOBAL);
  }
  auto library = staged_.versions.find(std::string(import.soname));
  if (library == staged_.versions.end()) {
    return absl::NotFoundError(absl::StrCat(".gnu.version_r: no versions of ", import.soname));
  }
  Needed& needed = library->second;
  const std::string version(import.version);
  if (auto it = needed.numbers.find(version); it != needed.numbers.end()) return it->second;
  if (sizeof(Elf64_Vernaux) > staged_.verneed_end - staged_.verneed || staged_.next_version > kMaxVersion) {
    return absl::NotFoundError(absl::StrCat(".gnu.version_r: no room for ", version, " of ", import.soname));
  }
  absl::StatusOr<uint32_t> name = AddString(version, mutations);
  if (!name.ok()) return name.status();
  Elf64_Vernaux aux{};
  aux.vna_hash = SysvHash(version);
  aux.vna_other = staged_.next_version++;
  aux.vna_name = *name;
  PutField(home_.verneed + staged_.verneed, aux, mutations);
  PutField(home_.verneed + needed.last_aux + offsetof(Elf64_Vernaux, vna_next), staged_.verneed - needed.last_aux,
           mutations);
  PutField(home_.verneed + needed.at + offsetof(Elf64_Verneed, vn_cnt), ++needed.count, mutations);
  needed.last_aux = staged_.verneed;
  needed.numbers[version] = aux.vna_other;
  staged_.verneed += sizeof(aux);
  return aux.vna_other;
}

void HotDynsym::Rewrite(uint32_t row, const NewImport& import, std::vector<Mutation>* mutations) const {
  // Whether the library chooses among several is its own affair.
  const SymbolType type = import.type == SymbolType::kIfunc ? SymbolType::kFunction : import.type;
  const SymbolBinding binding = import.weak ? SymbolBinding::kWeak : SymbolBinding::kGlobal;
  const Elf64_Sym symbol = MakeGlobalRow(type, binding, Visibility::kDefault);
  PutField(home_.dynsym + uint64_t{row} * sizeof(symbol) + offsetof(Elf64_Sym, st_info), symbol.st_info, mutations);
}

absl::StatusOr<uint32_t> HotDynsym::Add(const NewImport& import, std::vector<Mutation>* mutations) {
  if (!import.soname.empty() && !needed_.contains(std::string(import.soname))) {
    return absl::NotFoundError(absl::StrCat("the image does not depend on ", import.soname));
  }
  if (!import.version.empty() && !has_versym_) {
    return absl::NotFoundError(".gnu.version: the image has no versions");
  }
  if (staged_.first_row <= 1) return absl::ResourceExhaustedError(".dynsym: no free rows");
  absl::StatusOr<uint16_t> version = VersionOf(import, mutations);
  if (!version.ok()) return version.status();
  absl::StatusOr<uint32_t> name = AddString(import.name, mutations);
  if (!name.ok()) return name.status();
  const uint32_t row = --staged_.first_row;
  Elf64_Sym symbol{};
  symbol.st_name = *name;
  PutField(home_.dynsym + uint64_t{row} * sizeof(symbol), symbol, mutations);
  Rewrite(row, import, mutations);
  PutField(home_.info_field, Elf64_Word{row}, mutations);
  if (has_versym_) PutField(home_.versym + uint64_t{row} * 2, *version, mutations);
  return row;
}

void HotDynsym::Define(uint32_t row, const SymbolUpdate& update, uint64_t tls_begin,
                       std::vector<Mutation>* mutations) const {
  const uint64_t at = home_.dynsym + uint64_t{row} * sizeof(Elf64_Sym);
  // Others bind to the address that was published.
  PutField(at + offsetof(Elf64_Sym, st_size), Elf64_Xword{update.size}, mutations);
  if (!update.republished) return;
  const uint16_t section = update.absolute ? SHN_ABS : static_cast<uint16_t>(update.output_section + 1);
  PutField(at + offsetof(Elf64_Sym, st_shndx), section, mutations);
  PutField(at + offsetof(Elf64_Sym, st_value), update.tls ? update.address - tls_begin : update.address, mutations);
}

uint64_t HotDynsym::bytes_held() const {
  uint64_t total = 0;
  for (const auto& [soname, needed] : plan_.versions) total += sizeof(Needed) + needed.numbers.size() * 48;
  return total + needed_.size() * 40;
}

}  // namespace kitlink::elf
