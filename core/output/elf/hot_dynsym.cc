#include "core/output/elf/hot_dynsym.h"

#include <elf.h>

#include <algorithm>
#include <iterator>

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

HotDynsym::HotDynsym(const DynamicTables& tables, ByteView rows, const DynsymHome& home)
    : home_(home), has_versym_(!tables.versym.empty()), has_verdef_(!tables.verdef.empty()),
      first_defined_(tables.first_defined) {
  if (!tables.present) return;
  for (uint32_t row = first_defined_; row-- > tables.first_row();) {
    Import import;
    import.symbol = tables.symbols[row - tables.first_row()];
    import.row = Load<Elf64_Sym>(&rows[uint64_t{row - tables.first_row()} * sizeof(Elf64_Sym)]);
    if (has_versym_) import.version = tables.versym[row];
    plan_.imports.push_back(import);
  }
  if (tables.spare_strings != 0) {
    plan_.strings.Give(tables.spare_strings, tables.strings.bytes().size() - tables.spare_strings);
  }
  if (tables.spare_verneed != 0) plan_.verneed.Give(tables.spare_verneed, tables.verneed.size() - tables.spare_verneed);
  for (uint32_t name : tables.needed) needed_[tables.strings.bytes().c_str() + name] = name;
  plan_.next_version = std::max<uint16_t>(plan_.next_version, static_cast<uint16_t>(tables.verdef_count + 1));
  ReadVersions(tables);
  Begin();
}

// The tables were made by this program: they are well formed.
void HotDynsym::ReadVersions(const DynamicTables& tables) {
  const char* strings = tables.strings.bytes().c_str();
  absl::flat_hash_map<uint16_t, uint32_t> users;
  for (const Import& import : plan_.imports) ++users[import.version];
  // Definitions that bind to a library's version, copies for one, stay what they are.
  for (size_t row = first_defined_; row < tables.end_row() && has_versym_; ++row) ++users[tables.versym[row] & kMaxVersion];
  uint32_t at = 0;
  for (uint32_t n = 0; n < tables.verneed_count; ++n) {
    const auto need = Load<Elf64_Verneed>(&tables.verneed[at]);
    Needed& library = plan_.needed[strings + need.vn_file];
    library.at = at;
    uint32_t aux_at = at + need.vn_aux;
    for (uint32_t v = 0; v < need.vn_cnt; ++v) {
      const auto aux = Load<Elf64_Vernaux>(&tables.verneed[aux_at]);
      library.versions[aux_at] = {aux, strings + aux.vna_name, users[aux.vna_other]};
      plan_.next_version = std::max<uint16_t>(plan_.next_version, static_cast<uint16_t>(aux.vna_other + 1));
      aux_at += aux.vna_next;
    }
    at += need.vn_next;
  }
}

void HotDynsym::Begin() { staged_.reset(); }

absl::StatusOr<uint32_t> HotDynsym::AddString(absl::string_view text, std::vector<Mutation>* mutations) {
  const uint64_t at = Stage().strings.Take(text.size() + 1);
  if (at == FreeRooms::kNone) return absl::ResourceExhaustedError(".dynstr: no room for more names");
  Mutation name;
  name.offset = home_.dynstr + at;
  name.phase = PatchPhase::kTables;
  name.bytes.assign(text.begin(), text.end());
  name.bytes.push_back(0);
  mutations->push_back(std::move(name));
  return static_cast<uint32_t>(at);
}

absl::StatusOr<HotDynsym::Name> HotDynsym::AddName(SymbolId symbol, absl::string_view text,
                                                   std::vector<Mutation>* mutations) {
  if (auto it = Stage().names.find(symbol); it != Stage().names.end()) {
    const uint32_t offset = it->second;
    Stage().names.erase(it);
    return Name{offset, 0};
  }
  const absl::StatusOr<uint32_t> offset = AddString(text, mutations);
  if (!offset.ok()) return offset.status();
  return Name{*offset, static_cast<uint32_t>(text.size()) + 1};
}

void HotDynsym::GiveName(SymbolId symbol, const Name& name) {
  if (name.bytes != 0) {
    Stage().strings.Give(name.offset, name.bytes);
  } else {
    Stage().names[symbol] = name.offset;
  }
}

// Writes a library's list of versions.
void HotDynsym::WriteLinks(const Needed& needed, std::vector<Mutation>* mutations) const {
  const uint64_t at = home_.verneed + needed.at;
  PutField(at + offsetof(Elf64_Verneed, vn_cnt), static_cast<uint16_t>(needed.versions.size()), mutations);
  PutField(at + offsetof(Elf64_Verneed, vn_aux), needed.versions.begin()->first - needed.at, mutations);
  for (auto it = needed.versions.begin(); it != needed.versions.end(); ++it) {
    auto next = std::next(it);
    Elf64_Vernaux aux = it->second.aux;
    aux.vna_next = next == needed.versions.end() ? 0 : next->first - it->first;
    PutField(home_.verneed + it->first, aux, mutations);
  }
}

// Writes the list of libraries, and how many there are.
void HotDynsym::WriteLibraries(std::vector<Mutation>* mutations) const {
  absl::btree_map<uint32_t, uint32_t> files;  // by place
  for (const auto& [soname, library] : now().needed) files[library.at] = needed_.at(soname);
  for (auto it = files.begin(); it != files.end(); ++it) {
    const auto next = std::next(it);
    const uint64_t at = home_.verneed + it->first;
    PutField(at + offsetof(Elf64_Verneed, vn_version), Elf64_Half{VER_NEED_CURRENT}, mutations);
    PutField(at + offsetof(Elf64_Verneed, vn_file), Elf64_Word{it->second}, mutations);
    PutField(at + offsetof(Elf64_Verneed, vn_next), next == files.end() ? Elf64_Word{0} : next->first - it->first, mutations);
  }
  for (uint64_t field : home_.verneed_counts) PutField(field, static_cast<uint32_t>(files.size()), mutations);
}

// The versions that are needed of the import's library; a list of its own if there is none yet.
absl::StatusOr<HotDynsym::Needed*> HotDynsym::LibraryOf(const NewImport& import, std::vector<Mutation>* mutations) {
  const std::string soname(import.soname);
  if (auto it = Stage().needed.find(soname); it != Stage().needed.end()) return &it->second;
  const uint64_t at = Stage().needed.empty() ? FreeRooms::kNone : Stage().verneed.Take(sizeof(Elf64_Verneed));
  if (at == FreeRooms::kNone) return absl::NotFoundError(absl::StrCat(".gnu.version_r: no versions of ", import.soname));
  Needed& library = Stage().needed[soname];
  library.at = static_cast<uint32_t>(at);
  WriteLibraries(mutations);
  return &library;
}

// The number of the import's version. A version that is new of a library whose others are known joins their list.
absl::StatusOr<uint16_t> HotDynsym::VersionOf(const NewImport& import, std::vector<Mutation>* mutations) {
  if (import.version.empty()) {
    return static_cast<uint16_t>(import.soname.empty() && has_verdef_ ? VER_NDX_LOCAL : VER_NDX_GLOBAL);
  }
  const absl::StatusOr<Needed*> library = LibraryOf(import, mutations);
  if (!library.ok()) return library.status();
  Needed& needed = **library;
  for (auto& [at, version] : needed.versions) {
    if (version.name != import.version) continue;
    ++version.users;
    return version.aux.vna_other;
  }
  const uint64_t at = Stage().verneed.TakeBehind(needed.at, sizeof(Elf64_Vernaux));
  if (at == FreeRooms::kNone || Stage().next_version > kMaxVersion) {
    return absl::NotFoundError(absl::StrCat(".gnu.version_r: no room for ", import.version, " of ", import.soname));
  }
  absl::StatusOr<uint32_t> name = AddString(import.version, mutations);
  if (!name.ok()) return name.status();
  Version version;
  version.name = std::string(import.version);
  version.users = 1;
  version.aux.vna_hash = SysvHash(import.version);
  version.aux.vna_other = Stage().next_version++;
  version.aux.vna_name = *name;
  needed.versions[static_cast<uint32_t>(at)] = version;
  WriteLinks(needed, mutations);
  return version.aux.vna_other;
}

// One user of a version less: a version that nobody uses must not be there.
absl::Status HotDynsym::Release(uint16_t number, std::vector<Mutation>* mutations) {
  for (auto& [soname, needed] : Stage().needed) {
    for (auto it = needed.versions.begin(); it != needed.versions.end(); ++it) {
      if (it->second.aux.vna_other != number) continue;
      if (--it->second.users != 0) return absl::OkStatus();
      // The list begins with the first library's.
      if (needed.versions.size() == 1 && needed.at == 0) {
        return absl::UnimplementedError(absl::StrCat(".gnu.version_r: nothing is needed of ", soname, " any more"));
      }
      Stage().verneed.Give(it->first, sizeof(Elf64_Vernaux));
      needed.versions.erase(it);
      if (!needed.versions.empty()) {
        WriteLinks(needed, mutations);
        return absl::OkStatus();
      }
      Stage().verneed.Give(needed.at, sizeof(Elf64_Verneed));
      Stage().needed.erase(soname);
      WriteLibraries(mutations);
      return absl::OkStatus();
    }
  }
  return absl::OkStatus();
}

void HotDynsym::WriteRow(uint32_t row, std::vector<Mutation>* mutations) {
  PutField(home_.dynsym + uint64_t{row} * sizeof(Elf64_Sym), At(row).row, mutations);
  if (has_versym_) PutField(home_.versym + uint64_t{row} * 2, At(row).version, mutations);
}

void HotDynsym::SetKind(uint32_t row, const NewImport& import) {
  // Whether the library chooses among several is its own affair.
  const SymbolType type = import.type == SymbolType::kIfunc ? SymbolType::kFunction : import.type;
  const SymbolBinding binding = import.weak ? SymbolBinding::kWeak : SymbolBinding::kGlobal;
  At(row).row.st_info = MakeGlobalRow(type, binding, Visibility::kDefault).st_info;
}

absl::Status HotDynsym::Rewrite(uint32_t row, const NewImport& import, std::vector<Mutation>* mutations) {
  // The new version first: a list without versions would have to go.
  const absl::StatusOr<uint16_t> version = VersionOf(import, mutations);
  if (!version.ok()) return version.status();
  if (absl::Status status = Release(At(row).version, mutations); !status.ok()) return status;
  At(row).version = *version;
  SetKind(row, import);
  WriteRow(row, mutations);
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> HotDynsym::Add(const NewImport& import, std::vector<Mutation>* mutations) {
  if (!import.soname.empty() && !needed_.contains(std::string(import.soname))) {
    return absl::NotFoundError(absl::StrCat("the image does not depend on ", import.soname));
  }
  if (!import.version.empty() && !has_versym_) {
    return absl::NotFoundError(".gnu.version: the image has no versions");
  }
  if (first_row() <= 1) return absl::ResourceExhaustedError(".dynsym: no free rows");
  absl::StatusOr<uint16_t> version = VersionOf(import, mutations);
  if (!version.ok()) return version.status();
  Import fresh;
  fresh.symbol = import.symbol;
  fresh.version = *version;
  const absl::StatusOr<Name> name = AddName(import.symbol, import.name, mutations);
  if (!name.ok()) return name.status();
  fresh.row.st_name = name->offset;
  fresh.name_bytes = name->bytes;
  Stage().imports.push_back(fresh);
  const uint32_t row = first_row();
  SetKind(row, import);
  WriteRow(row, mutations);
  PutField(home_.info_field, Elf64_Word{row}, mutations);
  return row;
}

absl::StatusOr<HotDynsym::Moved> HotDynsym::Remove(uint32_t row, std::vector<Mutation>* mutations) {
  const Import gone = At(row);
  if (absl::Status status = Release(gone.version, mutations); !status.ok()) return status;
  GiveName(gone.symbol, {gone.row.st_name, gone.name_bytes});
  return Forget(row, mutations);
}

HotDynsym::Moved HotDynsym::Forget(uint32_t row, std::vector<Mutation>* mutations) {
  Moved moved;
  const uint32_t first = first_row();
  if (row != first) {
    moved = {At(first).symbol, first, row};
    At(row) = At(first);
    WriteRow(row, mutations);
  }
  Stage().imports.pop_back();
  PutField(home_.dynsym + uint64_t{first} * sizeof(Elf64_Sym), FillerRow(), mutations);
  if (has_versym_) PutField(home_.versym + uint64_t{first} * 2, uint16_t{VER_NDX_LOCAL}, mutations);
  PutField(home_.info_field, Elf64_Word{first + 1}, mutations);
  return moved;
}

uint64_t HotDynsym::bytes_held() const {
  uint64_t total = plan_.imports.capacity() * sizeof(Import) + needed_.size() * 40;
  for (const auto& [soname, needed] : plan_.needed) total += sizeof(Needed) + needed.versions.size() * 72;
  return total;
}

}  // namespace kitlink::elf
