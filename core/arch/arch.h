// The narrow interface that a machine implements. A backend is one file that opens with its ABI's peculiarities.
//
// Relocating is split in two, because the first half decides what else the image must contain:
//   Scan  looks at a relocation and says what it needs (a GOT cell, a PLT entry, a dynamic relocation, ...);
//   Apply writes the field when every address is known.
// Both derive relaxation from the same facts (the instruction, the target's traits, the output's traits), never
// from which cells happen to exist, so that cold and warm links relax alike.
#ifndef CORE_ARCH_ARCH_H_
#define CORE_ARCH_ARCH_H_

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/base/bytes.h"
#include "core/input/model.h"

namespace kitlink {

// What a relocation needs besides its field. A symbol's needs are the union over its references.
enum Need : uint16_t {
  kNeedGot = 1u << 0,           // a GOT cell with the symbol's address
  kNeedPlt = 1u << 1,           // a PLT entry that jumps to the symbol
  kNeedGotTp = 1u << 2,         // a GOT cell with the symbol's offset from the thread pointer (initial exec)
  kNeedTlsGd = 1u << 3,         // a pair of cells: module, offset (general dynamic)
  kNeedTlsLd = 1u << 4,         // the image's one pair of cells: this module, 0 (local dynamic)
  kNeedTlsDesc = 1u << 5,       // a pair of cells for a TLS descriptor
  kNeedCopy = 1u << 6,          // the imported object's own copy in this image (copy relocation)
  kNeedCanonicalPlt = 1u << 7,  // the PLT entry becomes the imported function's address everywhere
  kNeedSymbolic = 1u << 8,      // this word: a dynamic relocation against the symbol
  kNeedRelative = 1u << 9,      // this word: a dynamic relocation that adds the load address
  kNeedStaticTls = 1u << 10,    // the output must be loaded at start-up (DF_STATIC_TLS)
  kNeedGotBase = 1u << 11,      // the GOT must exist even if empty (_GLOBAL_OFFSET_TABLE_-relative fields)
};

// What a symbol has to have for all who refer to it: cells, or a row that dynamic relocations name.
constexpr uint16_t LastingNeeds(uint16_t needs) {
  return needs & static_cast<uint16_t>(~(kNeedRelative | kNeedTlsLd | kNeedStaticTls | kNeedGotBase));
}

// What matters about the symbol that a relocation refers to.
struct TargetTraits {
  bool imported = false;        // bound at run time: a shared library's symbol, or our own that others may preempt
  bool absolute = false;        // its value does not move with the image (SHN_ABS, or a weak symbol left undefined)
  bool undefined_weak = false;  // absolute with value 0
  bool ifunc = false;           // defined here; its address is its PLT entry's
  bool tls = false;
  bool local = false;           // only its own object can refer to it
  bool function = false;        // STT_FUNC; decides between a copy and a canonical PLT entry for imports
};

// What matters about the output.
struct OutputTraits {
  bool pic = false;         // loaded at any address (PIE, shared)
  bool shared = false;      // a library: TLS offsets are not known when linking
  bool is_static = false;   // no dynamic linker does relocations for us (static-pie relocates itself)
  bool relax = true;        // --no-relax switches optional relaxations off
  bool keep_cells = false;  // what goes through a global symbol's cell still does when its address is known
  bool copy_relocs = true;  // -z nocopyreloc
  bool text_relocs = false;  // -z notext: dynamic relocations in read-only sections are allowed
};

// Where the target is and which cells it has; 0 for none. Addresses are the image's virtual addresses.
struct TargetValue {
  uint64_t address = 0;  // S: the symbol itself, its copy, or its canonical PLT entry; 0 when undefined weak
  uint64_t plt = 0;      // PLT entry, if calls go through one
  uint64_t got = 0;
  uint64_t gottp = 0;
  uint64_t tlsgd = 0;
  uint64_t tlsdesc = 0;
  uint64_t size = 0;     // Z: st_size
  TargetTraits traits;
};

// Addresses that belong to the image as a whole.
struct ImageValues {
  uint64_t got_base = 0;    // _GLOBAL_OFFSET_TABLE_
  // Start of the TLS segment, and the value that _TLS_MODULE_BASE_ must have. DTPOFF counts from here in every
  // output, relaxed local dynamic included.
  uint64_t tls_begin = 0;
  uint64_t tls_pointer = 0;  // the address that offsets from the thread pointer count from (x86-64: its aligned end)
  uint64_t tlsld = 0;       // the pair of cells for local dynamic, 0 for none
};

struct ScanResult {
  uint16_t needs = 0;
  // How many relocations were looked at: more than one where a sequence is relaxed as a whole (a TLS call).
  uint16_t consumed = 1;
  // Set when the output cannot hold this relocation: "relocation R_X86_64_32 against `x' cannot be used in a
  // position-independent output; recompile with -fPIE" is made from it by the caller.
  const char* error = nullptr;
};

struct ApplyResult {
  uint16_t consumed = 1;
  const char* error = nullptr;  // "out of range", "unexpected instruction", ...: the field was not written
};

// How Apply, verification and diffing see a relocation type, without its instruction.
enum class RelocForm : uint8_t {
  kNone,  // no field (R_*_NONE, vtable garbage collection hints)
  kAbsolute, kPcRelative, kPltPcRelative, kGotPcRelative, kGotRelative, kGotBasePcRelative, kTpOffset, kDtpOffset,
  kTlsSequence,  // GD, LD, IE, descriptors: what the bytes become depends on relaxation
  kSize,
  kGotCellOffset,  // of the target's GOT cell, from _GLOBAL_OFFSET_TABLE_
  kUnknown,
};
struct RelocInfo {
  RelocForm form = RelocForm::kUnknown;
  uint8_t width = 0;  // bytes of the field
  uint8_t lead = 0;   // bytes before the field that relaxation may rewrite along with it
  uint8_t trail = 0;  // bytes after it
};

// Dynamic relocation numbers of the machine.
struct DynamicTypes {
  uint32_t none, absolute, glob_dat, jump_slot, relative, irelative, copy, dtpmod, dtpoff, tpoff, tlsdesc;
};

// Stateless; thread safe.
class Arch {
 public:
  virtual ~Arch() = default;

  virtual absl::string_view name() const = 0;  // "x86-64"
  virtual uint16_t elf_machine() const = 0;
  virtual const DynamicTypes& dynamic_types() const = 0;
  virtual RelocInfo Info(uint32_t type) const = 0;
  virtual absl::string_view RelocName(uint32_t type) const = 0;  // "R_X86_64_PC32"; "unknown (77)" never allocates twice

  // What relocs[0] needs in an allocated section whose pristine bytes are `bytes`. `writable`: the section is.
  // Looks at following relocs where the ABI prescribes a sequence. Any offset is checked against `bytes`.
  virtual ScanResult Scan(absl::Span<const Reloc> relocs, ByteView bytes, bool writable, const TargetTraits& target,
                          const OutputTraits& output) const = 0;

  // Applies relocs[0] of an allocated section loaded at `address`; `bytes` start out pristine. Where the word has a
  // dynamic relocation, writes the value that a loader starts from (the link-time address for kNeedRelative, 0 or
  // the addend for kNeedSymbolic).
  virtual ApplyResult Apply(absl::Span<const Reloc> relocs, MutableBytes bytes, uint64_t address,
                            const TargetValue& target, const ImageValues& image,
                            const OutputTraits& output) const = 0;

  // Applies one relocation of a section that is not loaded (debug information): absolute and TLS-block-relative
  // fields only. `value` is S, or the tombstone; the addend is added unless `tombstone`.
  virtual ApplyResult ApplyUnloaded(const Reloc& reloc, MutableBytes bytes, uint64_t value, bool tombstone,
                                    const ImageValues& image) const = 0;

  // The addend stored in the field itself, for SHT_REL inputs.
  virtual int64_t ImplicitAddend(uint32_t type, ByteView field) const = 0;

  // PLT. The header is entry 0 of a lazily bound PLT; `got_plt` is the address of .got.plt.
  virtual uint32_t plt_header_size() const = 0;
  virtual uint32_t plt_entry_size() const = 0;
  virtual void WritePltHeader(MutableBytes at, uint64_t plt, uint64_t got_plt) const = 0;
  // A lazily bound entry at `entry` that jumps through `cell`; `index` is its row in .rela.plt, `plt` the header.
  virtual void WritePltEntry(MutableBytes at, uint64_t entry, uint64_t cell, uint32_t index, uint64_t plt) const = 0;
  // The address within the entry that the cell of a not yet bound import holds.
  virtual uint64_t LazyPltTarget(uint64_t entry) const = 0;
  // An entry that only jumps through `cell` (.plt.got, .iplt): plt_entry_size() bytes as well.
  virtual void WritePltGotEntry(MutableBytes at, uint64_t entry, uint64_t cell) const = 0;

  // A jump from `from` to `to`, put where a function used to be. `landing_pad`: indirect calls need one (IBT, BTI).
  virtual uint32_t island_size(bool landing_pad) const = 0;
  virtual bool WriteIsland(MutableBytes at, uint64_t from, uint64_t to, bool landing_pad) const = 0;  // false: too far

  // Fills executable space that nobody should reach with trapping instructions.
  virtual void FillTraps(MutableBytes at) const = 0;
  // Fills executable space that is fallen through (gaps between .init fragments).
  virtual void FillNops(MutableBytes at) const = 0;
};

const Arch& X86_64();
// nullptr when the machine is not supported. `elf_machine` is e_machine.
const Arch* ArchFor(uint16_t elf_machine);

}  // namespace kitlink

#endif  // CORE_ARCH_ARCH_H_
