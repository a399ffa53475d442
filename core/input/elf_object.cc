#include "core/input/elf_object.h"

#include <elf.h>

#include <algorithm>
#include <limits>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/input/decompress.h"
#include "core/input/elf_notes.h"
#include "core/input/elf_section_kind.h"
#include "core/input/elf_view.h"

namespace kitlink::elf {
namespace {

static_assert(sizeof(Reloc) == sizeof(Elf64_Rela) && alignof(Reloc) == 1, "relocation views are not copied");

// Larger than any address space; sums of a few such sizes still do not overflow.
constexpr uint64_t kMaxSectionSize = uint64_t{1} << 47;

constexpr char kLtoMessage[] = "was compiled with -flto; kitlink does not do link-time optimisation";

class Reader {
 public:
  explicit Reader(ObjectFile& object) : object_(object) {}

  absl::Status Read();

 private:
  absl::Status Error(absl::string_view text) const {
    return absl::InvalidArgumentError(absl::StrCat(object_.DisplayName(), ": ", text));
  }
  absl::Status SectionError(uint32_t index, absl::string_view text) const {
    return Error(absl::StrCat(elf_.Describe(index), " ", text));
  }
  absl::StatusOr<ByteView> Bytes(uint32_t index) const {
    absl::StatusOr<ByteView> bytes = elf_.Bytes(index);
    if (!bytes.ok()) return Error(bytes.status().message());
    return bytes;
  }

  absl::Status ReadSections();
  absl::Status ReadSection(uint32_t index);
  absl::Status ReadNotes(uint32_t index, InputSection& section);
  absl::Status Inflate(uint32_t index, InputSection& section);
  absl::Status InflateOldStyle(uint32_t index, InputSection& section);
  absl::Status SetInflated(uint32_t index, InputSection& section, Compression method, ByteView packed, uint64_t size);
  absl::Status ReadSymbols();
  absl::Status FindSymbolTable();
  absl::Status ReadSymbol(uint32_t index, const Elf64_Sym& raw, InputSymbol& symbol) const;
  absl::Status ReadSymbolSection(uint32_t index, const Elf64_Sym& raw, InputSymbol& symbol) const;
  absl::Status SymbolError(uint32_t index, const InputSymbol& symbol, absl::string_view text) const;
  absl::Status ReadGroups();
  absl::Status ReadGroup(uint32_t index);
  absl::Status JoinGroup(uint32_t index, int32_t group);
  absl::Status ReadRelocations();
  absl::Status ReadRela(uint32_t index, InputSection& target);
  absl::Status ReadRel(uint32_t index, InputSection& target);
  absl::Status CheckRelocations(uint32_t index, const InputSection& target) const;
  void SettleMergeFlags();

  ObjectFile& object_;
  ElfView elf_;
  uint32_t symtab_ = 0;  // section indexes, 0 for none
  uint32_t symtab_shndx_ = 0;
  StringTable symbol_names_;
  ByteView extended_indexes_;
};

absl::Status Reader::Read() {
  absl::StatusOr<ElfView> elf = ParseElfHeaders(object_.image);
  if (!elf.ok()) return Error(elf.status().message());
  elf_ = *std::move(elf);
  if (elf_.header.e_type != ET_REL) return Error("is not a relocatable object");
  object_.traits.machine_flags = elf_.header.e_flags;
  if (elf_.sections.empty()) elf_.sections.resize(1);
  if (absl::Status status = ReadSections(); !status.ok()) return status;
  if (absl::Status status = ReadSymbols(); !status.ok()) return status;
  if (absl::Status status = ReadGroups(); !status.ok()) return status;
  if (absl::Status status = ReadRelocations(); !status.ok()) return status;
  SettleMergeFlags();
  return absl::OkStatus();
}

absl::Status Reader::ReadSections() {
  object_.sections.resize(elf_.sections.size());
  for (uint32_t i = 1; i < elf_.sections.size(); ++i) {
    if (absl::Status status = ReadSection(i); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadSection(uint32_t index) {
  const Elf64_Shdr& header = elf_.sections[index];
  InputSection& section = object_.sections[index];
  if (!elf_.names.Get(header.sh_name, &section.name)) return SectionError(index, "has no valid name");
  const KindOrError kind = KindOfSection(*elf_.machine, header, section.name);
  if (kind.error != nullptr) return SectionError(index, kind.error);
  section.kind = kind.kind;
  if (section.kind == SectionKind::kNone && !kind.note) return absl::OkStatus();

  section.flags = MapSectionFlags(header.sh_flags);
  const uint64_t alignment = std::max<uint64_t>(header.sh_addralign, 1);
  if ((alignment & (alignment - 1)) != 0 || alignment > (uint64_t{1} << 31)) {
    return SectionError(index, absl::StrCat("has alignment ", header.sh_addralign, ", which is no power of two"));
  }
  section.alignment = static_cast<uint32_t>(alignment);
  if (header.sh_entsize <= std::numeric_limits<uint32_t>::max()) {
    section.entry_size = static_cast<uint32_t>(header.sh_entsize);
  }
  if ((section.flags & kSecLinkOrder) != 0) {
    if (header.sh_link >= elf_.sections.size()) return SectionError(index, "is linked to a section that does not exist");
    section.link = header.sh_link;
    // The compiler writes 0 when what the section was linked to has been dropped.
    if (section.link == 0 || section.link == index) section.flags &= ~uint32_t{kSecLinkOrder};
  }
  if (header.sh_size >= kMaxSectionSize) return SectionError(index, "is larger than any address space");
  section.size = header.sh_size;
  absl::StatusOr<ByteView> bytes = Bytes(index);
  if (!bytes.ok()) return bytes.status();
  section.bytes = *bytes;
  if (kind.note) return ReadNotes(index, section);
  if ((header.sh_flags & SHF_COMPRESSED) != 0) return Inflate(index, section);
  if (absl::StartsWith(section.name, ".zdebug_")) return InflateOldStyle(index, section);
  return absl::OkStatus();
}

// Notes about the object are not linked; they leave an empty slot.
absl::Status Reader::ReadNotes(uint32_t index, InputSection& section) {
  if (section.name == ".note.GNU-stack") {
    object_.traits.has_stack_note = true;
    object_.traits.exec_stack = (section.flags & kSecExec) != 0;
  } else if (absl::Status status = ReadPropertyNotes(*elf_.machine, section.bytes, object_.traits); !status.ok()) {
    return SectionError(index, "is malformed");
  }
  const absl::string_view name = section.name;
  section = InputSection();
  section.name = name;
  return absl::OkStatus();
}

absl::Status Reader::Inflate(uint32_t index, InputSection& section) {
  if (section.kind == SectionKind::kNobits || section.bytes.size() < sizeof(Elf64_Chdr)) {
    return SectionError(index, "has no compression header");
  }
  const Elf64_Chdr header = Load<Elf64_Chdr>(section.bytes.data());
  const uint64_t alignment = std::max<uint64_t>(header.ch_addralign, 1);
  if ((alignment & (alignment - 1)) != 0 || alignment > (uint64_t{1} << 31)) {
    return SectionError(index, absl::StrCat("has alignment ", alignment, ", which is no power of two"));
  }
  section.alignment = static_cast<uint32_t>(alignment);
  const ByteView packed = section.bytes.subspan(sizeof(Elf64_Chdr));
  constexpr uint32_t kZstdType = 2;  // ELFCOMPRESS_ZSTD, younger than glibc 2.36
  if (header.ch_type != ELFCOMPRESS_ZLIB && header.ch_type != kZstdType) {
    return SectionError(index, absl::StrCat("is compressed by unknown method ", header.ch_type));
  }
  const Compression method = header.ch_type == ELFCOMPRESS_ZLIB ? Compression::kZlib : Compression::kZstd;
  return SetInflated(index, section, method, packed, header.ch_size);
}

// Before SHF_COMPRESSED: "ZLIB", the size as eight big-endian bytes, the data; and the name says so.
absl::Status Reader::InflateOldStyle(uint32_t index, InputSection& section) {
  if (section.bytes.size() < 12 || AsString(section.bytes.subspan(0, 4)) != "ZLIB") {
    return SectionError(index, "has no compression header");
  }
  uint64_t size = 0;
  for (int i = 4; i < 12; ++i) size = size << 8 | section.bytes[i];
  const ByteView packed = section.bytes.subspan(12);
  // ".zdebug_info" becomes ".debug_info".
  const size_t length = section.name.size() - 1;
  std::unique_ptr<uint8_t[]> name(new uint8_t[length]);
  name[0] = '.';
  std::memcpy(name.get() + 1, section.name.data() + 2, length - 1);
  section.name = AsString(ByteView(name.get(), length));
  object_.owned.push_back(std::move(name));
  return SetInflated(index, section, Compression::kZlib, packed, size);
}

absl::Status Reader::SetInflated(uint32_t index, InputSection& section, Compression method, ByteView packed,
                                 uint64_t size) {
  absl::StatusOr<std::unique_ptr<uint8_t[]>> inflated = Decompress(method, packed, size);
  if (!inflated.ok()) return SectionError(index, absl::StrCat("cannot be decompressed: ", inflated.status().message()));
  section.bytes = ByteView(inflated->get(), size);
  section.size = size;
  object_.owned.push_back(*std::move(inflated));
  return absl::OkStatus();
}

absl::Status Reader::FindSymbolTable() {
  for (uint32_t i = 1; i < elf_.sections.size(); ++i) {
    if (elf_.sections[i].sh_type != SHT_SYMTAB) continue;
    if (symtab_ != 0) return SectionError(i, "is a second symbol table");
    symtab_ = i;
  }
  if (symtab_ == 0) return absl::OkStatus();
  for (uint32_t i = 1; i < elf_.sections.size(); ++i) {
    if (elf_.sections[i].sh_type == SHT_SYMTAB_SHNDX && elf_.sections[i].sh_link == symtab_) symtab_shndx_ = i;
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadSymbols() {
  if (absl::Status status = FindSymbolTable(); !status.ok()) return status;
  object_.symbols.resize(1);
  object_.first_global = 1;
  if (symtab_ == 0) return absl::OkStatus();
  const Elf64_Shdr& header = elf_.sections[symtab_];
  if (header.sh_entsize != sizeof(Elf64_Sym) || header.sh_size % sizeof(Elf64_Sym) != 0) {
    return SectionError(symtab_, "has entries of a wrong size");
  }
  if (header.sh_link >= elf_.sections.size()) return SectionError(symtab_, "has no string table");
  absl::StatusOr<ByteView> table = Bytes(symtab_);
  if (!table.ok()) return table.status();
  absl::StatusOr<ByteView> names = Bytes(header.sh_link);
  if (!names.ok()) return names.status();
  symbol_names_ = StringTable(*names);
  if (symtab_shndx_ != 0) {
    absl::StatusOr<ByteView> extended = Bytes(symtab_shndx_);
    if (!extended.ok()) return extended.status();
    extended_indexes_ = *extended;
  }

  const uint64_t count = table->size() / sizeof(Elf64_Sym);
  if (count > 0x7fffffffu) return SectionError(symtab_, "has too many symbols");
  if (count == 0) return absl::OkStatus();
  if (header.sh_info == 0 || header.sh_info > count) return SectionError(symtab_, "has an invalid sh_info");
  object_.first_global = header.sh_info;
  object_.symbols.resize(count);
  const uint8_t* raw = table->data() + sizeof(Elf64_Sym);
  for (uint32_t i = 1; i < count; ++i, raw += sizeof(Elf64_Sym)) {
    absl::Status status = ReadSymbol(i, Load<Elf64_Sym>(raw), object_.symbols[i]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Reader::SymbolError(uint32_t index, const InputSymbol& symbol, absl::string_view text) const {
  return Error(absl::StrCat("symbol ", index, " (", symbol.name, ") ", text));
}

absl::Status Reader::ReadSymbol(uint32_t index, const Elf64_Sym& raw, InputSymbol& symbol) const {
  if (!symbol_names_.Get(raw.st_name, &symbol.name)) return Error(absl::StrCat("symbol ", index, " has no valid name"));
  symbol.value = raw.st_value;
  symbol.size = raw.st_size;
  symbol.type = MapSymbolType(ELF64_ST_TYPE(raw.st_info));
  symbol.visibility = MapVisibility(raw.st_other);
  if (!MapSymbolBinding(ELF64_ST_BIND(raw.st_info), &symbol.binding)) {
    return SymbolError(index, symbol, "has an unknown binding");
  }
  // Resolution looks at the second part of the table only, so a symbol on the wrong side would be lost.
  if ((symbol.binding == SymbolBinding::kLocal) != (index < object_.first_global)) {
    return SymbolError(index, symbol, "is on the wrong side of the table's sh_info");
  }
  return ReadSymbolSection(index, raw, symbol);
}

absl::Status Reader::ReadSymbolSection(uint32_t index, const Elf64_Sym& raw, InputSymbol& symbol) const {
  uint32_t section = raw.st_shndx;
  if (section == SHN_UNDEF) {
    symbol.section = kSectionUndefined;
    return absl::OkStatus();
  }
  if (section == SHN_ABS) {
    symbol.section = kSectionAbsolute;
    return absl::OkStatus();
  }
  if (section == SHN_COMMON || (section == elf_.machine->large_common && section != 0)) {
    if (symbol.name == "__gnu_lto_slim") return Error(kLtoMessage);
    if (symbol.value == 0) symbol.value = 1;
    if ((symbol.value & (symbol.value - 1)) != 0 || symbol.value > (uint64_t{1} << 31)) {
      return SymbolError(index, symbol, "has an alignment that is no power of two");
    }
    if (symbol.size >= kMaxSectionSize) return SymbolError(index, symbol, "is larger than any address space");
    symbol.section = kSectionCommon;
    return absl::OkStatus();
  }
  if (section == SHN_XINDEX) {
    if (!InBounds(uint64_t{index} * 4, 4, extended_indexes_.size())) {
      return SymbolError(index, symbol, "has no entry in the table of extended section indexes");
    }
    section = Load<uint32_t>(extended_indexes_.data() + uint64_t{index} * 4);
  } else if (section >= SHN_LORESERVE) {
    return SymbolError(index, symbol, absl::StrCat("has the reserved section index ", section));
  }
  if (section == 0 || section >= object_.sections.size()) {
    return SymbolError(index, symbol, absl::StrCat("is in section ", section, ", which does not exist"));
  }
  symbol.section = section;
  return absl::OkStatus();
}

absl::Status Reader::ReadGroups() {
  for (uint32_t i = 1; i < elf_.sections.size(); ++i) {
    if (elf_.sections[i].sh_type == SHT_GROUP) {
      if (absl::Status status = ReadGroup(i); !status.ok()) return status;
    }
  }
  // The scheme before groups: one section of each name ".gnu.linkonce.*" is kept.
  for (uint32_t i = 1; i < object_.sections.size(); ++i) {
    const InputSection& section = object_.sections[i];
    if (section.kind == SectionKind::kNone || section.group >= 0) continue;
    if (!absl::StartsWith(section.name, ".gnu.linkonce.")) continue;
    SectionGroup group;
    group.signature = section.name;
    object_.groups.push_back(std::move(group));
    absl::Status status = JoinGroup(i, static_cast<int32_t>(object_.groups.size() - 1));
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadGroup(uint32_t index) {
  const Elf64_Shdr& header = elf_.sections[index];
  absl::StatusOr<ByteView> bytes = Bytes(index);
  if (!bytes.ok()) return bytes.status();
  if (bytes->size() < 4 || bytes->size() % 4 != 0) return SectionError(index, "is no valid group");
  if (header.sh_link != symtab_ || header.sh_info == 0 || header.sh_info >= object_.symbols.size()) {
    return SectionError(index, "has no signature");
  }
  const InputSymbol& symbol = object_.symbols[header.sh_info];
  const int32_t number = static_cast<int32_t>(object_.groups.size());
  SectionGroup& group = object_.groups.emplace_back();
  group.signature = symbol.name;
  // Assemblers name a group after a section by its section symbol, which has no name of its own.
  if (group.signature.empty() && symbol.type == SymbolType::kSection && symbol.section < object_.sections.size()) {
    group.signature = object_.sections[symbol.section].name;
  }
  constexpr uint32_t kComdat = 1;  // GRP_COMDAT; glibc's header agrees, other bits are the system's and mean nothing here
  group.comdat = (Load<uint32_t>(bytes->data()) & kComdat) != 0;
  for (uint64_t at = 4; at < bytes->size(); at += 4) {
    const uint32_t member = Load<uint32_t>(bytes->data() + at);
    if (member == 0 || member >= object_.sections.size() || member == index) {
      return SectionError(index, absl::StrCat("has member ", member, ", which is no section"));
    }
    // Relocation sections are members too, but belong to their section here.
    if (object_.sections[member].kind == SectionKind::kNone) continue;
    if (absl::Status status = JoinGroup(member, number); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Reader::JoinGroup(uint32_t index, int32_t group) {
  if (object_.sections[index].group >= 0) return SectionError(index, "is in two groups");
  object_.sections[index].group = group;
  object_.groups[group].members.push_back(index);
  return absl::OkStatus();
}

absl::Status Reader::ReadRelocations() {
  for (uint32_t i = 1; i < elf_.sections.size(); ++i) {
    const Elf64_Shdr& header = elf_.sections[i];
    if (header.sh_type != SHT_RELA && header.sh_type != SHT_REL) continue;
    if (header.sh_info >= object_.sections.size()) return SectionError(i, "relocates a section that does not exist");
    InputSection& target = object_.sections[header.sh_info];
    if (target.kind == SectionKind::kNone) continue;
    const bool rela = header.sh_type == SHT_RELA;
    if (header.sh_link != symtab_) return SectionError(i, "does not refer to the symbol table");
    if (header.sh_entsize != (rela ? sizeof(Elf64_Rela) : sizeof(Elf64_Rel)) ||
        header.sh_size % header.sh_entsize != 0) {
      return SectionError(i, "has entries of a wrong size");
    }
    if (!target.relocs.empty()) return SectionError(i, "relocates a section for the second time");
    absl::Status status = rela ? ReadRela(i, target) : ReadRel(i, target);
    if (!status.ok()) return status;
    if (status = CheckRelocations(i, target); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Reader::ReadRela(uint32_t index, InputSection& target) {
  absl::StatusOr<ByteView> bytes = Bytes(index);
  if (!bytes.ok()) return bytes.status();
  target.relocs = absl::MakeConstSpan(reinterpret_cast<const Reloc*>(bytes->data()), bytes->size() / sizeof(Reloc));
  return absl::OkStatus();
}

// The addend of each stands in the field that it relocates.
absl::Status Reader::ReadRel(uint32_t index, InputSection& target) {
  absl::StatusOr<ByteView> bytes = Bytes(index);
  if (!bytes.ok()) return bytes.status();
  const uint64_t count = bytes->size() / sizeof(Elf64_Rel);
  std::unique_ptr<uint8_t[]> buffer(new (std::nothrow) uint8_t[std::max<uint64_t>(count, 1) * sizeof(Reloc)]);
  if (buffer == nullptr) return absl::ResourceExhaustedError(absl::StrCat(object_.DisplayName(), ": no memory"));
  for (uint64_t i = 0; i < count; ++i) {
    const Elf64_Rel rel = Load<Elf64_Rel>(bytes->data() + i * sizeof(Elf64_Rel));
    Reloc reloc;
    reloc.offset = rel.r_offset;
    reloc.type = static_cast<uint32_t>(ELF64_R_TYPE(rel.r_info));
    reloc.symbol = static_cast<uint32_t>(ELF64_R_SYM(rel.r_info));
    reloc.addend = 0;
    const int width = elf_.machine->addend_width(reloc.type);
    if (!InBounds(rel.r_offset, width, target.bytes.size())) {
      return SectionError(index, absl::StrCat("has a relocation at 0x", absl::Hex(rel.r_offset), ", past the section"));
    }
    const uint8_t* field = target.bytes.data() + rel.r_offset;
    if (width == 1) reloc.addend = Load<int8_t>(field);
    if (width == 2) reloc.addend = Load<int16_t>(field);
    if (width == 4) reloc.addend = Load<int32_t>(field);
    if (width == 8) reloc.addend = Load<int64_t>(field);
    Store(buffer.get() + i * sizeof(Reloc), reloc);
  }
  target.relocs = absl::MakeConstSpan(reinterpret_cast<const Reloc*>(buffer.get()), count);
  object_.owned.push_back(std::move(buffer));
  return absl::OkStatus();
}

absl::Status Reader::CheckRelocations(uint32_t index, const InputSection& target) const {
  const uint64_t size = target.bytes.size();  // 0 for NOBITS, which has nothing to relocate
  const uint32_t symbols = static_cast<uint32_t>(object_.symbols.size());
  bool suspect = false;
  for (const Reloc& reloc : target.relocs) suspect |= reloc.offset >= size || reloc.symbol >= symbols;
  if (!suspect) return absl::OkStatus();
  for (const Reloc& reloc : target.relocs) {
    const uint32_t symbol = reloc.symbol;
    const uint64_t offset = reloc.offset;
    if (symbol >= symbols) return SectionError(index, absl::StrCat("refers to symbol ", symbol, ", which does not exist"));
    // Number 0 does nothing on every machine, and may be written at the very end.
    if (offset > size || (offset == size && reloc.type != 0)) {
      return SectionError(index, absl::StrCat("has a relocation at 0x", absl::Hex(offset), ", past the section"));
    }
  }
  return absl::OkStatus();
}

// Leaves kSecMerge only on sections that can be cut into pieces: others are linked whole, as GNU ld does.
void Reader::SettleMergeFlags() {
  for (InputSection& section : object_.sections) {
    if ((section.flags & kSecMerge) == 0) continue;
    const uint64_t width = section.entry_size;
    bool mergeable = width != 0 && section.size != 0 && section.bytes.size() == section.size &&
                     section.size % width == 0 && section.relocs.empty() && (section.flags & kSecWrite) == 0;
    if (mergeable && (section.flags & kSecStrings) != 0) {
      const ByteView last = section.bytes.subspan(section.size - width);
      mergeable = std::all_of(last.begin(), last.end(), [](uint8_t byte) { return byte == 0; });
    }
    if (!mergeable) section.flags &= ~uint32_t{kSecMerge | kSecStrings};
  }
}

}  // namespace

absl::Status ReadElfObject(ObjectFile& object) { return Reader(object).Read(); }

}  // namespace kitlink::elf
