// ELF x86-64 (LP64). System V ABI AMD64 psABI, chapter 4.4 "Relocation".
//
// Peculiarities:
// * Every PC-relative addend carries the distance from the field to the end of its instruction, mostly -4.
// * The compiler assumes less than the linker must deliver: in executables, position-independent ones too, it
//   addresses other modules' data directly (copy relocations) and takes functions' addresses directly
//   (canonical PLT entries).
// * A weak symbol left undefined is 0 even where the image's base is not known, and so is a distance to it.
#include "core/arch/arch.h"
#include "core/arch/x86_64_internal.h"
#include "core/arch/x86_64_plt.h"

namespace kitlink {
namespace arch {
namespace {

constexpr char kErrPie[] = "cannot be used in a position-independent output; recompile with -fPIE";
constexpr char kErrPic[] = "cannot be used in a shared library; recompile with -fPIC";
constexpr char kErrPreemptible[] =
    "cannot refer to a symbol that may be bound at run time; recompile with -fPIC";
constexpr char kErrNoCopy[] = "needs a copy relocation, which -z nocopyreloc forbids; recompile with -fPIC";
constexpr char kErrImportedTls[] =
    "cannot refer to a thread-local symbol of another module; recompile with -fPIC";
constexpr char kErrReadOnly[] =
    "needs a dynamic relocation in a read-only section; recompile with -fPIC or link with -z notext";
constexpr char kErrAbsolute[] =
    "cannot hold the distance to an absolute symbol in a position-independent output";

ScanResult Needs(unsigned needs) {
  ScanResult result;
  result.needs = static_cast<uint16_t>(needs);
  return result;
}

ScanResult Refuse(const char* error) {
  ScanResult result;
  result.error = error;
  return result;
}

const char* PicError(const OutputTraits& output) { return output.shared ? kErrPic : kErrPie; }

bool IsLocalIfunc(const TargetTraits& target) { return target.ifunc && !target.imported; }
bool IsAbsolute(const TargetTraits& target) { return target.absolute || target.undefined_weak; }
bool CallsThroughPlt(const TargetTraits& target) { return target.imported || target.ifunc; }

// A field that no dynamic relocation can help: the symbol must have its address within this image.
ScanResult ScanFixed(const TargetTraits& target, const OutputTraits& output) {
  if (!target.imported) return Needs(target.ifunc ? kNeedPlt : 0);
  if (output.shared) return Refuse(kErrPreemptible);
  if (target.tls) return Refuse(kErrImportedTls);
  if (target.function) return Needs(kNeedPlt | kNeedCanonicalPlt);
  return output.copy_relocs ? Needs(kNeedCopy) : Refuse(kErrNoCopy);
}

// A distance within the image, which absolute symbols have only while the image's base is known.
ScanResult ScanDistance(const TargetTraits& target, const OutputTraits& output) {
  const bool absolute = target.absolute && !target.undefined_weak && !target.imported;
  return absolute && output.pic ? Refuse(kErrAbsolute) : ScanFixed(target, output);
}

// A whole word, the only field that dynamic relocations can fill.
ScanResult ScanWord(bool writable, const TargetTraits& target, const OutputTraits& output) {
  const bool may_relocate = writable || output.text_relocs;
  if (target.imported) {
    if (writable || (output.pic && output.text_relocs)) return Needs(kNeedSymbolic);
    if (output.pic) return Refuse(kErrReadOnly);
    const ScanResult fixed = ScanFixed(target, output);
    return fixed.error != nullptr && output.text_relocs ? Needs(kNeedSymbolic) : fixed;
  }
  if (IsAbsolute(target)) return Needs(0);
  if (output.pic && !may_relocate) return Refuse(kErrReadOnly);
  return Needs((target.ifunc ? kNeedPlt : 0) | (output.pic ? kNeedRelative : 0));
}

// A field narrower than an address.
ScanResult ScanNarrow(const TargetTraits& target, const OutputTraits& output) {
  if (!target.imported && IsAbsolute(target)) return Needs(0);
  return output.pic ? Refuse(PicError(output)) : ScanFixed(target, output);
}

ScanResult ScanPlt(const TargetTraits& target, const OutputTraits& output) {
  return CallsThroughPlt(target) ? Needs(kNeedPlt) : ScanDistance(target, output);
}

ScanResult ScanTpOff(const TargetTraits& target, const OutputTraits& output) {
  if (output.shared) return Refuse(kErrPic);
  return target.imported ? Refuse(kErrImportedTls) : Needs(0);
}

ScanResult Also(ScanResult result, unsigned needs) {
  result.needs = static_cast<uint16_t>(result.needs | needs);
  return result;
}

ScanResult ScanUnrelaxed(const TypeRow& row, bool writable, const TargetTraits& target,
                         const OutputTraits& output) {
  switch (row.formula) {
    case Formula::kUnsupported:
      return Refuse(kErrUnsupported);
    case Formula::kNone:
    case Formula::kZA:
    case Formula::kTlsDescCall:
      return Needs(0);
    case Formula::kSA:
      return row.info.width == 8 ? ScanWord(writable, target, output) : ScanNarrow(target, output);
    case Formula::kSAP:
      return ScanDistance(target, output);
    case Formula::kLAP:
      return ScanPlt(target, output);
    case Formula::kLAGot:
      return Also(ScanPlt(target, output), kNeedGotBase);
    case Formula::kSAGot:
      return Also(ScanDistance(target, output), kNeedGotBase);
    case Formula::kGA:
      return Needs(kNeedGot | kNeedGotBase | (IsLocalIfunc(target) ? kNeedPlt : 0));
    case Formula::kGAP:
    case Formula::kGAPRelax:
      return Needs(kNeedGot | (IsLocalIfunc(target) ? kNeedPlt : 0));
    case Formula::kGotAP:
      return Needs(kNeedGotBase);
    case Formula::kDtpOff:
      return target.imported ? Refuse(kErrImportedTls) : Needs(0);
    case Formula::kTpOff:
      return ScanTpOff(target, output);
    case Formula::kTlsGd:
      return Needs(kNeedTlsGd);
    case Formula::kTlsLd:
      return Needs(kNeedTlsLd);
    case Formula::kGotTpOff:
      return Needs(kNeedGotTp | (output.shared ? kNeedStaticTls : 0));
    case Formula::kTlsDesc:
      return Needs(kNeedTlsDesc);
  }
  return Refuse(kErrUnsupported);
}

// What a relaxed sequence still needs.
ScanResult ScanRelaxed(Relaxation relaxation) {
  if (relaxation == Relaxation::kUnexpected) return Refuse(kErrInstruction);
  const bool ie = relaxation == Relaxation::kGdToIe || relaxation == Relaxation::kDescToIe;
  ScanResult result = Needs(ie ? kNeedGotTp : 0);
  result.consumed = ConsumedBy(relaxation);
  return result;
}

bool Fits(Fit fit, uint8_t width, uint64_t value) {
  if (fit == Fit::kAny || width == 0 || width >= 8) return true;
  const unsigned bits = width * 8u;
  const bool as_unsigned = value >> bits == 0;
  // Shifted so that the signed range becomes [0, 2^bits).
  const bool as_signed = (value + (uint64_t{1} << (bits - 1))) >> bits == 0;
  switch (fit) {
    case Fit::kSigned:
      return as_signed;
    case Fit::kUnsigned:
      return as_unsigned;
    default:
      return as_signed || as_unsigned;
  }
}

// REQUIRES: [offset, offset + width) lies inside `bytes`.
void StoreField(MutableBytes bytes, uint64_t offset, uint8_t width, uint64_t value) {
  std::memcpy(bytes.data() + offset, &value, width);  // little-endian on both sides, see core/base/bytes.h
}

struct Value {
  uint64_t value = 0;
  const char* error = nullptr;
};

// `known`: an address that must not be 0, of a cell or an entry that Scan asked for.
Value Known(uint64_t known, uint64_t value, const char* error) {
  return known == 0 ? Value{0, error} : Value{value, nullptr};
}

// The psABI's calculation without relaxation.
Value Calculate(Formula formula, uint64_t addend, uint64_t place, const TargetValue& target,
                const ImageValues& image) {
  const bool plt = CallsThroughPlt(target.traits);
  const uint64_t callee = plt ? target.plt : target.address;
  const uint64_t callee_known = plt ? target.plt : 1;
  switch (formula) {
    case Formula::kSA:
      return {target.address + addend, nullptr};
    case Formula::kSAP:
      return {target.address + addend - place, nullptr};
    case Formula::kLAP:
      return Known(callee_known, callee + addend - place, kErrNoPlt);
    case Formula::kLAGot:
      return Known(callee_known, callee + addend - image.got_base, kErrNoPlt);
    case Formula::kSAGot:
      return {target.address + addend - image.got_base, nullptr};
    case Formula::kGA:
      return Known(target.got, target.got + addend - image.got_base, kErrNoCell);
    case Formula::kGAP:
    case Formula::kGAPRelax:
      return Known(target.got, target.got + addend - place, kErrNoCell);
    case Formula::kGotAP:
      return {image.got_base + addend - place, nullptr};
    case Formula::kZA:
      return {target.size + addend, nullptr};
    case Formula::kDtpOff:
      return {target.traits.undefined_weak ? addend : target.address + addend - image.tls_begin, nullptr};
    case Formula::kTpOff:
      return {TpOffset(target, image, addend), nullptr};
    case Formula::kTlsGd:
      return Known(target.tlsgd, target.tlsgd + addend - place, kErrNoCell);
    case Formula::kTlsLd:
      return Known(image.tlsld, image.tlsld + addend - place, kErrNoCell);
    case Formula::kGotTpOff:
      return Known(target.gottp, target.gottp + addend - place, kErrNoCell);
    case Formula::kTlsDesc:
      return Known(target.tlsdesc, target.tlsdesc + addend - place, kErrNoCell);
    case Formula::kUnsupported:
    case Formula::kNone:
    case Formula::kTlsDescCall:
      break;
  }
  return {0, kErrUnsupported};
}

// Distances to a weak symbol left undefined mean nothing: programs test it first. One that does not fit is no
// reason to fail, and becomes 0.
bool MayIgnoreRange(Formula formula, const TargetTraits& target) {
  return target.undefined_weak && !target.imported && (formula == Formula::kSAP || formula == Formula::kLAP);
}

// Where a type has no field of its own, what it stands for must be inside all the same; hints may lie
// anywhere.
bool FieldInside(const TypeRow& row, uint64_t offset, uint64_t size) {
  if (row.formula == Formula::kNone || row.formula == Formula::kUnsupported) return true;
  const uint64_t length = row.formula == Formula::kTlsDescCall ? 2 : row.info.width;
  return InBounds(offset, length, size);
}

class X86_64Arch final : public Arch {
 public:
  absl::string_view name() const override { return "x86-64"; }
  uint16_t elf_machine() const override { return EM_X86_64; }

  const DynamicTypes& dynamic_types() const override {
    static constexpr DynamicTypes kTypes = {
        R_X86_64_NONE,     R_X86_64_64,        R_X86_64_GLOB_DAT, R_X86_64_JUMP_SLOT,
        R_X86_64_RELATIVE, R_X86_64_IRELATIVE, R_X86_64_COPY,     R_X86_64_DTPMOD64,
        R_X86_64_DTPOFF64, R_X86_64_TPOFF64,   R_X86_64_TLSDESC,
    };
    return kTypes;
  }

  RelocInfo Info(uint32_t type) const override { return RowOf(type).info; }
  absl::string_view RelocName(uint32_t type) const override { return NameOf(type); }

  ScanResult Scan(absl::Span<const Reloc> relocs, ByteView bytes, bool writable, const TargetTraits& target,
                  const OutputTraits& output) const override {
    if (relocs.empty()) return {};
    const TypeRow& row = RowOf(relocs[0].type);
    if (!FieldInside(row, relocs[0].offset, bytes.size())) return Refuse(kErrOutside);
    const Relaxation relaxation = ChooseRelaxation(relocs, bytes, target, output);
    if (relaxation != Relaxation::kNone) return ScanRelaxed(relaxation);
    return ScanUnrelaxed(row, writable, target, output);
  }

  ApplyResult Apply(absl::Span<const Reloc> relocs, MutableBytes bytes, uint64_t address,
                    const TargetValue& target, const ImageValues& image,
                    const OutputTraits& output) const override {
    if (relocs.empty()) return {};
    const Reloc& reloc = relocs[0];
    const TypeRow& row = RowOf(reloc.type);
    if (row.formula == Formula::kUnsupported) return {1, kErrUnsupported};
    if (!FieldInside(row, reloc.offset, bytes.size())) return {1, kErrOutside};
    const Relaxation relaxation = ChooseRelaxation(relocs, bytes, target.traits, output);
    if (relaxation != Relaxation::kNone) {
      return ApplyRelaxed(relaxation, relocs, bytes, address, target, image);
    }
    if (row.info.width == 0) return {};
    Value result =
        Calculate(row.formula, static_cast<uint64_t>(reloc.addend), address + reloc.offset, target, image);
    if (result.error != nullptr) return {1, result.error};
    if (!Fits(row.fit, row.info.width, result.value)) {
      if (!MayIgnoreRange(row.formula, target.traits)) return {1, kErrRange};
      result.value = 0;
    }
    StoreField(bytes, reloc.offset, row.info.width, result.value);
    return {};
  }

  ApplyResult ApplyUnloaded(const Reloc& reloc, MutableBytes bytes, uint64_t value, bool tombstone,
                            const ImageValues& image) const override {
    const TypeRow& row = RowOf(reloc.type);
    if (row.formula == Formula::kNone) return {};
    if (row.formula != Formula::kSA && row.formula != Formula::kDtpOff) return {1, kErrUnsupported};
    if (!FieldInside(row, reloc.offset, bytes.size())) return {1, kErrOutside};
    if (!tombstone) {
      value += static_cast<uint64_t>(reloc.addend);
      if (row.formula == Formula::kDtpOff) value -= image.tls_begin;
      if (!Fits(row.fit, row.info.width, value)) return {1, kErrRange};
    }
    // A tombstone is as wide as the field: -1 is all ones in any.
    StoreField(bytes, reloc.offset, row.info.width, value);
    return {};
  }

  int64_t ImplicitAddend(uint32_t type, ByteView field) const override {
    const uint8_t width = RowOf(type).info.width;
    if (width == 0 || field.size() < width) return 0;
    uint64_t value = 0;
    std::memcpy(&value, field.data(), width);
    const unsigned unused = 64u - width * 8u;
    return static_cast<int64_t>(value << unused) >> unused;
  }

  uint32_t plt_header_size() const override { return kPltEntrySize; }
  uint32_t plt_entry_size() const override { return kPltEntrySize; }
  void WritePltHeader(MutableBytes at, uint64_t plt, uint64_t got_plt) const override {
    arch::WritePltHeader(at, plt, got_plt);
  }
  void WritePltEntry(MutableBytes at, uint64_t entry, uint64_t cell, uint32_t index,
                     uint64_t plt) const override {
    arch::WritePltEntry(at, entry, cell, index, plt);
  }
  uint64_t LazyPltTarget(uint64_t entry) const override { return entry + kPltPushOffset; }
  void WritePltGotEntry(MutableBytes at, uint64_t entry, uint64_t cell) const override {
    arch::WritePltGotEntry(at, entry, cell);
  }

  uint32_t island_size(bool landing_pad) const override { return IslandSize(landing_pad); }
  bool WriteIsland(MutableBytes at, uint64_t from, uint64_t to, bool landing_pad) const override {
    return arch::WriteIsland(at, from, to, landing_pad);
  }
  void FillTraps(MutableBytes at) const override { arch::FillTraps(at); }
  void FillNops(MutableBytes at) const override { arch::FillNops(at); }
};

}  // namespace
}  // namespace arch

const Arch& X86_64() {
  static const arch::X86_64Arch kArch;
  return kArch;
}

}  // namespace kitlink
