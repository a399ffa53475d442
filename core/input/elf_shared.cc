#include "core/input/elf_shared.h"

#include <elf.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/input/elf_dynamic.h"
#include "core/input/elf_section_kind.h"
#include "core/input/elf_view.h"

namespace kitlink::elf {
namespace {

// Bits of a symbol's version index (LSB Core, "Symbol Version Table").
constexpr uint16_t kHiddenVersion = 0x8000;
constexpr uint16_t kLocalVersion = 0;   // VER_NDX_LOCAL
constexpr uint16_t kGlobalVersion = 1;  // VER_NDX_GLOBAL: the base definition, which is no version

// No object is known to need more; what an address alone says about alignment is chance above it.
constexpr uint64_t kMaxGuessedAlignment = 64;

class SharedReader {
 public:
  explicit SharedReader(SharedFile& library) : library_(library) {}
  absl::Status Read();

 private:
  absl::Status ReadEntries();
  absl::Status ReadVersionNames();
  absl::Status ReadSymbols();
  absl::Status AddSymbol(const Elf64_Sym& raw, uint16_t version);
  bool ReadOnly(const Elf64_Sym& raw) const;
  uint32_t Alignment(const Elf64_Sym& raw) const;

  SharedFile& library_;
  ElfView elf_;
  std::vector<Elf64_Phdr> segments_;
  SharedTables tables_;
  std::vector<absl::string_view> version_names_;  // by version index
};

absl::Status SharedReader::Read() {
  absl::StatusOr<ElfView> elf = ParseElfHeaders(library_.file->bytes());
  if (!elf.ok()) return elf.status();
  elf_ = *std::move(elf);
  if (elf_.header.e_type != ET_DYN) return absl::InvalidArgumentError("is not a shared library");
  absl::StatusOr<std::vector<Elf64_Phdr>> segments = ReadProgramHeaders(elf_);
  if (!segments.ok()) return segments.status();
  segments_ = *std::move(segments);
  absl::StatusOr<SharedTables> tables = FindDynamicTables(elf_, segments_);
  if (!tables.ok()) return tables.status();
  tables_ = *std::move(tables);
  if (absl::Status status = ReadEntries(); !status.ok()) return status;
  if (absl::Status status = ReadVersionNames(); !status.ok()) return status;
  return ReadSymbols();
}

absl::Status SharedReader::ReadEntries() {
  for (const Elf64_Dyn& entry : tables_.entries) {
    if (entry.d_tag == DT_FLAGS_1 && (entry.d_un.d_val & DF_1_PIE) != 0) {
      return absl::InvalidArgumentError("is a position-independent executable, not a shared library");
    }
    if (entry.d_tag != DT_SONAME && entry.d_tag != DT_NEEDED) continue;
    absl::string_view name;
    if (!tables_.entry_names.Get(entry.d_un.d_val, &name)) {
      return absl::InvalidArgumentError("the dynamic section names a string outside the string table");
    }
    if (entry.d_tag == DT_NEEDED) {
      library_.needed.emplace_back(name);
    } else if (!name.empty()) {
      library_.soname = std::string(name);
    }
  }
  return absl::OkStatus();
}

absl::Status SharedReader::ReadVersionNames() {
  const absl::Status malformed = absl::InvalidArgumentError("the version definitions are malformed");
  const ByteView bytes = tables_.definitions;
  uint64_t at = 0;
  for (uint64_t i = 0; i < tables_.definition_count; ++i) {
    if (!InBounds(at, sizeof(Elf64_Verdef), bytes.size())) return malformed;
    const Elf64_Verdef definition = Load<Elf64_Verdef>(bytes.data() + at);
    const uint64_t aux_at = at + definition.vd_aux;
    if (definition.vd_version != VER_DEF_CURRENT || definition.vd_cnt == 0) return malformed;
    if (!InBounds(aux_at, sizeof(Elf64_Verdaux), bytes.size())) return malformed;
    absl::string_view name;
    if (!tables_.definition_names.Get(Load<Elf64_Verdaux>(bytes.data() + aux_at).vda_name, &name)) return malformed;
    const uint16_t index = definition.vd_ndx & ~kHiddenVersion;
    if (index >= version_names_.size()) version_names_.resize(index + 1);
    if ((definition.vd_flags & VER_FLG_BASE) == 0) version_names_[index] = name;
    if (definition.vd_next == 0) break;
    at += definition.vd_next;
  }
  return absl::OkStatus();
}

absl::Status SharedReader::ReadSymbols() {
  const uint64_t count = tables_.symbols.size() / sizeof(Elf64_Sym);
  const bool versioned = !tables_.versions.empty();
  if (versioned && tables_.versions.size() / 2 < count) {
    return absl::InvalidArgumentError("the table of symbol versions is cut short");
  }
  library_.defined.reserve(count);
  for (uint64_t i = 1; i < count; ++i) {
    const Elf64_Sym raw = Load<Elf64_Sym>(tables_.symbols.data() + i * sizeof(Elf64_Sym));
    const uint16_t version = versioned ? Load<uint16_t>(tables_.versions.data() + i * 2) : kGlobalVersion;
    if (absl::Status status = AddSymbol(raw, version); !status.ok()) return status;
  }
  library_.defined.shrink_to_fit();
  return absl::OkStatus();
}

absl::Status SharedReader::AddSymbol(const Elf64_Sym& raw, uint16_t version) {
  SharedSymbol symbol;
  const unsigned type = ELF64_ST_TYPE(raw.st_info);
  if (!MapSymbolBinding(ELF64_ST_BIND(raw.st_info), &symbol.binding)) return absl::OkStatus();
  if (symbol.binding == SymbolBinding::kLocal || type == STT_SECTION || type == STT_FILE) return absl::OkStatus();
  if (!tables_.symbol_names.Get(raw.st_name, &symbol.name)) {
    return absl::InvalidArgumentError("a dynamic symbol has no valid name");
  }
  if (raw.st_shndx == SHN_UNDEF) {
    library_.undefined.push_back(symbol.name);
    if (symbol.binding != SymbolBinding::kWeak) library_.undefined_strong.push_back(symbol.name);
    return absl::OkStatus();
  }
  symbol.visibility = MapVisibility(raw.st_other);
  const uint16_t index = version & ~kHiddenVersion;
  if (symbol.visibility >= Visibility::kHidden || index == kLocalVersion) return absl::OkStatus();
  if (index > kGlobalVersion && index < version_names_.size()) symbol.version = version_names_[index];
  symbol.default_version = (version & kHiddenVersion) == 0;
  symbol.type = MapSymbolType(type);
  symbol.value = raw.st_value;
  symbol.size = raw.st_size;
  symbol.readonly = ReadOnly(raw);
  symbol.alignment = Alignment(raw);
  library_.defined.push_back(symbol);
  return absl::OkStatus();
}

// What the loader protects after relocation is as good as read-only to the program.
bool SharedReader::ReadOnly(const Elf64_Sym& raw) const {
  if (ELF64_ST_TYPE(raw.st_info) == STT_TLS || raw.st_shndx == SHN_ABS) return false;
  for (const Elf64_Phdr& segment : segments_) {
    const bool protects = segment.p_type == PT_GNU_RELRO || (segment.p_type == PT_LOAD && !(segment.p_flags & PF_W));
    if (protects && raw.st_value >= segment.p_vaddr && raw.st_value - segment.p_vaddr < segment.p_memsz) return true;
  }
  return false;
}

uint32_t SharedReader::Alignment(const Elf64_Sym& raw) const {
  uint64_t limit = kMaxGuessedAlignment;
  if (raw.st_shndx < SHN_LORESERVE && raw.st_shndx < elf_.sections.size()) {
    const uint64_t section = std::max<uint64_t>(elf_.sections[raw.st_shndx].sh_addralign, 1);
    if ((section & (section - 1)) == 0) limit = std::min<uint64_t>(section, uint64_t{1} << 31);
  }
  const uint64_t by_address = raw.st_value == 0 ? limit : raw.st_value & (~raw.st_value + 1);
  return static_cast<uint32_t>(std::min(limit, by_address));
}

}  // namespace

absl::StatusOr<std::unique_ptr<SharedFile>> ReadSharedFile(std::string path, std::string given_name,
                                                           std::shared_ptr<InputBytes> file) {
  auto library = std::make_unique<SharedFile>();
  library->path = std::move(path);
  library->soname = std::move(given_name);
  library->file = std::move(file);
  const absl::Status status = SharedReader(*library).Read();
  if (library->file->torn()) {
    return absl::AbortedError(absl::StrCat(library->path, ": was cut short while it was being read"));
  }
  if (!status.ok()) return absl::InvalidArgumentError(absl::StrCat(library->path, ": ", status.message()));
  return library;
}

}  // namespace kitlink::elf
