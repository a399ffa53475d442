#include "core/input/elf_section_kind.h"

#include "absl/strings/match.h"

namespace kitlink::elf {
namespace {

// Younger than glibc 2.36's <elf.h>, or LLVM's own (llvm/docs/Extensions.rst).
constexpr uint32_t kLlvmFirst = 0x6fff4c00;
constexpr uint32_t kLlvmLast = 0x6fff4cff;
constexpr uint32_t kGnuAttributes = 0x6ffffff5;
constexpr uint64_t kGnuRetain = uint64_t{1} << 21;
constexpr uint64_t kExclude = uint64_t{1} << 31;

KindOrError Kind(SectionKind kind) {
  KindOrError result;
  result.kind = kind;
  return result;
}

// Sections that compilers leave for other tools, or for link-time optimisation.
bool IsForOtherTools(const Elf64_Shdr& header, absl::string_view name) {
  if (header.sh_type >= kLlvmFirst && header.sh_type <= kLlvmLast) return true;
  if (header.sh_type == kGnuAttributes) return true;
  if (absl::StartsWith(name, ".gnu.lto_") || absl::StartsWith(name, ".gnu.debuglto_")) return true;
  // Text that GNU ld prints when the named symbol is used.
  if (absl::StartsWith(name, ".gnu.warning.")) return true;
  return name == ".llvm.lto" || name == ".llvmbc" || name == ".llvmcmd";
}

}  // namespace

KindOrError KindOfSection(const MachineTraits& machine, const Elf64_Shdr& header, absl::string_view name) {
  if (name == ".note.GNU-stack" || name == ".note.gnu.property") {
    KindOrError note;
    note.note = header.sh_type == SHT_PROGBITS || header.sh_type == SHT_NOTE;
    return note;
  }
  if (IsForOtherTools(header, name)) return Kind(SectionKind::kNone);
  if (machine.unwind_type != 0 && header.sh_type == machine.unwind_type) return Kind(SectionKind::kEhFrame);
  const bool allocated = (header.sh_flags & SHF_ALLOC) != 0;
  switch (header.sh_type) {
    case SHT_NULL:
    case SHT_SYMTAB:
    case SHT_STRTAB:
    case SHT_RELA:
    case SHT_REL:
    case SHT_GROUP:
    case SHT_SYMTAB_SHNDX:
      return Kind(SectionKind::kNone);
    case SHT_PROGBITS:
      return Kind(name == ".eh_frame" ? SectionKind::kEhFrame : SectionKind::kProgbits);
    case SHT_NOBITS:
      return Kind(SectionKind::kNobits);
    case SHT_NOTE:
      return Kind(SectionKind::kNote);
    case SHT_INIT_ARRAY:
      return Kind(SectionKind::kInitArray);
    case SHT_FINI_ARRAY:
      return Kind(SectionKind::kFiniArray);
    case SHT_PREINIT_ARRAY:
      return Kind(SectionKind::kPreinitArray);
    default:
      break;
  }
  if (header.sh_type >= SHT_LOUSER) return Kind(SectionKind::kProgbits);
  // A type that we do not know may ask for treatment that we do not give; in memory that matters.
  if (!allocated) return Kind(SectionKind::kNone);
  KindOrError unknown;
  unknown.error = "is of a type that kitlink does not know";
  return unknown;
}

uint32_t MapSectionFlags(uint64_t flags) {
  uint32_t mapped = 0;
  if (flags & SHF_ALLOC) mapped |= kSecAlloc;
  if (flags & SHF_WRITE) mapped |= kSecWrite;
  if (flags & SHF_EXECINSTR) mapped |= kSecExec;
  if (flags & SHF_TLS) mapped |= kSecTls;
  if (flags & SHF_MERGE) mapped |= kSecMerge;
  if (flags & SHF_STRINGS) mapped |= kSecStrings;
  if (flags & SHF_LINK_ORDER) mapped |= kSecLinkOrder;
  if (flags & kGnuRetain) mapped |= kSecRetain;
  if (flags & kExclude) mapped |= kSecExclude;
  return mapped;
}

SymbolType MapSymbolType(unsigned type) {
  switch (type) {
    case STT_OBJECT:
      return SymbolType::kObject;
    case STT_FUNC:
      return SymbolType::kFunction;
    case STT_SECTION:
      return SymbolType::kSection;
    case STT_FILE:
      return SymbolType::kFile;
    case STT_COMMON:
      return SymbolType::kCommon;
    case STT_TLS:
      return SymbolType::kTls;
    case STT_GNU_IFUNC:
      return SymbolType::kIfunc;
    default:
      return SymbolType::kNone;
  }
}

bool MapSymbolBinding(unsigned bind, SymbolBinding* binding) {
  switch (bind) {
    case STB_LOCAL:
      *binding = SymbolBinding::kLocal;
      return true;
    case STB_GLOBAL:
      *binding = SymbolBinding::kGlobal;
      return true;
    case STB_WEAK:
      *binding = SymbolBinding::kWeak;
      return true;
    case STB_GNU_UNIQUE:
      *binding = SymbolBinding::kUnique;
      return true;
    default:
      return false;
  }
}

Visibility MapVisibility(unsigned char other) {
  switch (ELF64_ST_VISIBILITY(other)) {
    case STV_PROTECTED:
      return Visibility::kProtected;
    case STV_HIDDEN:
      return Visibility::kHidden;
    case STV_INTERNAL:
      return Visibility::kInternal;
    default:
      return Visibility::kDefault;
  }
}

}  // namespace kitlink::elf
