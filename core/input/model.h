// The one model of relocatable objects that every format's reader fills and every later step uses.
//
// Views (names, bytes, relocations) point into the file's InputBytes or into buffers owned by the ObjectFile;
// they live as long as the ObjectFile.
#ifndef CORE_INPUT_MODEL_H_
#define CORE_INPUT_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/base/bytes.h"
#include "core/base/file_source.h"
#include "core/base/ids.h"

namespace kitlink {

// Section attributes that matter to linking, whatever the format calls them.
enum SectionFlag : uint32_t {
  kSecAlloc = 1u << 0,
  kSecWrite = 1u << 1,
  kSecExec = 1u << 2,
  kSecTls = 1u << 3,
  kSecMerge = 1u << 4,      // pieces of entry_size bytes, or strings, that may be shared
  kSecStrings = 1u << 5,    // with kSecMerge: NUL-terminated, characters of entry_size bytes
  kSecRetain = 1u << 6,     // garbage collection keeps it
  kSecLinkOrder = 1u << 7,  // goes where `link` goes
  kSecExclude = 1u << 8,    // never in the output
};

enum class SectionKind : uint8_t {
  kNone,       // nothing to link: symbol tables, group headers, empty slots of the section table
  kProgbits,
  kNobits,
  kNote,
  kInitArray,
  kFiniArray,
  kPreinitArray,
  kEhFrame,    // .eh_frame, by name and by SHT_X86_64_UNWIND
};

// A relocation in its durable, symbolic form; `type` is the machine's own number, which only core/arch reads.
// The layout is that of a little-endian Elf64_Rela, so that ELF readers need not copy, and packed, because archive
// members are only two-byte aligned.
struct __attribute__((packed)) Reloc {
  uint64_t offset;  // in the section
  uint32_t type;
  uint32_t symbol;  // index into ObjectFile::symbols
  int64_t addend;
};
static_assert(sizeof(Reloc) == 24);

struct InputSection {
  absl::string_view name;
  SectionKind kind = SectionKind::kNone;
  uint32_t flags = 0;  // SectionFlag
  uint32_t alignment = 1;
  uint32_t entry_size = 0;
  uint32_t link = 0;    // the section that kSecLinkOrder names
  int32_t group = -1;   // index into ObjectFile::groups
  uint64_t size = 0;    // uncompressed
  ByteView bytes;       // uncompressed; empty for kNobits
  absl::Span<const Reloc> relocs;  // in order of offset where the compiler wrote them so; not checked
};

enum class SymbolBinding : uint8_t { kLocal, kGlobal, kWeak, kUnique };
enum class SymbolType : uint8_t { kNone, kObject, kFunction, kSection, kFile, kCommon, kTls, kIfunc };
enum class Visibility : uint8_t { kDefault, kProtected, kHidden, kInternal };  // ever stricter

inline constexpr uint32_t kSectionUndefined = 0xffffffffu;
inline constexpr uint32_t kSectionAbsolute = 0xfffffffeu;
inline constexpr uint32_t kSectionCommon = 0xfffffffdu;  // value is the alignment

struct InputSymbol {
  absl::string_view name;
  uint64_t value = 0;  // offset in the section
  uint64_t size = 0;
  uint32_t section = kSectionUndefined;  // index into ObjectFile::sections, or one of the constants above
  SymbolBinding binding = SymbolBinding::kLocal;
  SymbolType type = SymbolType::kNone;
  Visibility visibility = Visibility::kDefault;

  bool undefined() const { return section == kSectionUndefined; }
  bool common() const { return section == kSectionCommon; }
  bool defined() const { return !undefined(); }
};

// Sections that are linked together or not at all.
struct SectionGroup {
  absl::string_view signature;
  bool comdat = true;  // one group a signature wins; otherwise the group only matters to garbage collection
  std::vector<uint32_t> members;
};

// Facts about the whole object that are merged over all inputs.
struct UnitTraits {
  bool has_stack_note = false;  // .note.GNU-stack present
  bool exec_stack = false;      // ... and executable
  uint32_t x86_feature_1_and = 0;  // from .note.gnu.property; 0 without one
  bool has_feature_note = false;
  uint32_t machine_flags = 0;   // e_flags
};

// A relocatable object, parsed. Immutable after reading; thread safe to read.
struct ObjectFile {
  std::string path;    // of the file, as opened
  std::string member;  // name in the archive, empty for a plain object
  std::shared_ptr<InputBytes> file;  // keeps the views alive
  ByteView image;                    // the object's own bytes within the file

  std::vector<InputSection> sections;  // indices as in the file; slot 0 is always kNone
  std::vector<InputSymbol> symbols;    // indices as in the file; slot 0 is the null symbol
  uint32_t first_global = 0;           // symbols before it are local
  std::vector<SectionGroup> groups;
  UnitTraits traits;
  std::vector<std::unique_ptr<uint8_t[]>> owned;  // decompressed or converted bytes
  std::vector<SymbolId> ids;           // of the global symbols, beside them, where a session has looked them up

  // "main.o" or "libx.a(member.o)".
  std::string DisplayName() const;
};

// One version of one symbol that a shared library defines, or a name that it needs.
struct SharedSymbol {
  absl::string_view name;
  absl::string_view version;  // empty: unversioned
  bool default_version = true;  // name@@version; otherwise only name@version refers to it
  uint64_t value = 0;
  uint64_t size = 0;
  SymbolBinding binding = SymbolBinding::kGlobal;
  SymbolType type = SymbolType::kNone;
  Visibility visibility = Visibility::kDefault;
  bool readonly = false;   // lies in a segment without write permission (a copy of it belongs in RELRO)
  uint32_t alignment = 1;  // of the section it lies in, limited by its address; what a copy needs
};

// A shared library, parsed. Immutable after reading.
struct SharedFile {
  std::string path;
  std::shared_ptr<InputBytes> file;
  std::string soname;  // DT_SONAME, else the name it was given by
  std::vector<SharedSymbol> defined;
  std::vector<absl::string_view> undefined;
  std::vector<absl::string_view> undefined_strong;  // of them, those that must be found at run time
  std::vector<std::string> needed;
};

}  // namespace kitlink

#endif  // CORE_INPUT_MODEL_H_
