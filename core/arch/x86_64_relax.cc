// Relaxation for ELF x86-64.
//
// Sources: System V ABI AMD64 psABI, "Optimize GOTPCRELX Relocations" and the appendix on linker
// optimisation; Ulrich Drepper, "ELF Handling For Thread-Local Storage", section 5 (x86-64); Alexandre Oliva,
// "Thread-Local Storage Descriptors for IA32 and AMD64/EM64T".
//
// Peculiarities:
// * A relaxation is decided before addresses exist, so none depends on whether a value fits. That excludes
// the
//   forms with an immediate (test, add, ... $S), and anything about absolute symbols.
// * Local dynamic becomes "thread pointer minus size of the TLS block", that is the block's start, which is
// what
//   __tls_get_addr would have returned. The ABI's form returns the thread pointer instead, and then every
//   DTPOFF in code changes its meaning, although nothing ties it to the TLSLD before it; where one sequence
//   in an object cannot be matched that gives a wrong program. Here DTPOFF always counts from the block's
//   start.
#include <cstring>

#include "core/arch/x86_64_internal.h"

namespace kitlink::arch {
namespace {

// `length` bytes that begin `before` bytes ahead of `offset`; empty when they are not all there.
ByteView Around(ByteView bytes, uint64_t offset, uint64_t before, uint64_t length) {
  if (offset < before || !InBounds(offset - before, length, bytes.size())) return ByteView();
  return bytes.subspan(offset - before, length);
}

// mod = 00, rm = 101: a displacement from %rip.
bool IsRipRelative(uint8_t modrm) { return (modrm & 0xc7) == 0x05; }

bool IsDirectCall(uint32_t type) { return type == R_X86_64_PLT32 || type == R_X86_64_PC32; }
bool IsIndirectCall(uint32_t type) {
  return type == R_X86_64_GOTPCRELX || type == R_X86_64_REX_GOTPCRELX || type == R_X86_64_GOTPCREL;
}

Relaxation ChooseGot(const Reloc& reloc, ByteView bytes, const TargetTraits& target,
                     const OutputTraits& output) {
  if (!output.relax || target.imported || target.ifunc || target.absolute || target.undefined_weak ||
      (output.keep_cells && !target.local) || reloc.addend != -4) {
    return Relaxation::kNone;
  }
  const ByteView op = Around(bytes, reloc.offset, 2, 6);
  if (op.empty()) return Relaxation::kNone;
  if (reloc.type == R_X86_64_REX_GOTPCRELX) {
    if (reloc.offset < 3 || (bytes[reloc.offset - 3] & 0xf0) != 0x40) return Relaxation::kNone;
    return op[0] == 0x8b && IsRipRelative(op[1]) ? Relaxation::kLea : Relaxation::kNone;
  }
  if (op[0] == 0xff && op[1] == 0x15) return Relaxation::kCall;
  if (op[0] == 0xff && op[1] == 0x25) return Relaxation::kJmp;
  return op[0] == 0x8b && IsRipRelative(op[1]) ? Relaxation::kLea : Relaxation::kNone;
}

// 66 48 8d 3d <x@tlsgd>    data16 lea x@tlsgd(%rip), %rdi
// 66 66 48 e8 <plt32>      data16 data16 rex.W call __tls_get_addr@plt
// or
// 66 48 ff 15 <gotpcrelx>  data16 rex.W call *__tls_get_addr@gotpcrel(%rip)
bool IsGdSequence(absl::Span<const Reloc> relocs, ByteView bytes) {
  static constexpr uint8_t kLea[] = {0x66, 0x48, 0x8d, 0x3d};
  static constexpr uint8_t kDirect[] = {0x66, 0x66, 0x48, 0xe8};
  static constexpr uint8_t kIndirect[] = {0x66, 0x48, 0xff, 0x15};
  const uint64_t offset = relocs[0].offset;
  const ByteView code = Around(bytes, offset, 4, 16);
  if (code.empty() || relocs.size() < 2 || relocs[1].offset != offset + 8) return false;
  if (std::memcmp(code.data(), kLea, sizeof kLea) != 0) return false;
  const uint32_t type = relocs[1].type;
  if (IsDirectCall(type)) return std::memcmp(code.data() + 8, kDirect, sizeof kDirect) == 0;
  return IsIndirectCall(type) && std::memcmp(code.data() + 8, kIndirect, sizeof kIndirect) == 0;
}

// Length of the sequence that begins three bytes before the field; 0 when it is not there.
// 48 8d 3d <x@tlsld>  lea x@tlsld(%rip), %rdi
// e8 <plt32>          call __tls_get_addr@plt
// or
// ff 15 <gotpcrelx>   call *__tls_get_addr@gotpcrel(%rip)
uint64_t LdSequenceLength(absl::Span<const Reloc> relocs, ByteView bytes) {
  static constexpr uint8_t kLea[] = {0x48, 0x8d, 0x3d};
  const uint64_t offset = relocs[0].offset;
  if (relocs.size() < 2) return 0;
  const uint32_t type = relocs[1].type;
  const uint64_t length = IsDirectCall(type) ? 12 : 13;
  const ByteView code = Around(bytes, offset, 3, length);
  if (code.empty() || std::memcmp(code.data(), kLea, sizeof kLea) != 0) return 0;
  if (relocs[1].offset != offset + length - 7) return 0;
  if (IsDirectCall(type)) return code[7] == 0xe8 ? length : 0;
  return IsIndirectCall(type) && code[7] == 0xff && code[8] == 0x15 ? length : 0;
}

// Descriptors have two relocations that nothing ties together, so that one without the other must not be
// relaxed alone: what does not match is an error.
Relaxation ChooseDesc(const Reloc& reloc, ByteView bytes, bool imported) {
  if (reloc.type == R_X86_64_TLSDESC_CALL) {
    const ByteView call = Around(bytes, reloc.offset, 0, 2);
    const bool matches = !call.empty() && call[0] == 0xff && call[1] == 0x10;  // call *(%rax)
    return matches ? Relaxation::kDescCall : Relaxation::kUnexpected;
  }
  const ByteView lea = Around(bytes, reloc.offset, 3, 7);  // 48 8d 05: lea x@tlsdesc(%rip), %rax
  if (lea.empty() || lea[0] != 0x48 || lea[1] != 0x8d || lea[2] != 0x05) return Relaxation::kUnexpected;
  return imported ? Relaxation::kDescToIe : Relaxation::kDescToLe;
}

Relaxation ChooseIe(const Reloc& reloc, ByteView bytes) {
  const ByteView code = Around(bytes, reloc.offset, 3, 7);
  // REX.W, and REX.R for %r8 to %r15.
  if (code.empty() || (code[0] != 0x48 && code[0] != 0x4c) || !IsRipRelative(code[2]))
    return Relaxation::kNone;
  if (code[1] == 0x8b) return Relaxation::kIeMovToLe;
  if (code[1] == 0x03) return Relaxation::kIeAddToLe;
  return Relaxation::kNone;
}

ApplyResult Failed(const char* error) { return {1, error}; }

void Put(MutableBytes bytes, uint64_t at, std::initializer_list<uint8_t> code) {
  std::memcpy(bytes.data() + at, code.begin(), code.size());
}

void PutField(MutableBytes bytes, uint64_t at, uint64_t value) {
  Store<uint32_t>(bytes.data() + at, static_cast<uint32_t>(value));
}

ApplyResult ApplyGot(Relaxation relaxation, const Reloc& reloc, MutableBytes bytes, uint64_t place,
                     uint64_t symbol) {
  const uint64_t at = reloc.offset;
  // The jump is one byte shorter than what it replaces, and its field begins a byte earlier.
  const uint64_t value = symbol + reloc.addend - place + (relaxation == Relaxation::kJmp ? 1 : 0);
  if (!FitsSigned32(value)) return Failed(kErrRelaxedRange);
  if (relaxation == Relaxation::kCall) {
    Put(bytes, at - 2, {0x67, 0xe8});  // addr32 call S
    PutField(bytes, at, value);
  } else if (relaxation == Relaxation::kJmp) {
    Put(bytes, at - 2, {0xe9});  // jmp S
    PutField(bytes, at - 1, value);
    Put(bytes, at + 3, {0x90});  // nop
  } else {
    Put(bytes, at - 2, {0x8d});  // lea S(%rip), %reg: only the opcode differs from mov
    PutField(bytes, at, value);
  }
  return {};
}

ApplyResult ApplyGd(Relaxation relaxation, const Reloc& reloc, MutableBytes bytes, uint64_t place,
                    const TargetValue& target, const ImageValues& image) {
  const uint64_t at = reloc.offset;
  const bool to_le = relaxation == Relaxation::kGdToLe;
  if (!to_le && target.gottp == 0) return Failed(kErrNoCell);
  // The addend carries -4 for the distance between field and next instruction; the new field lies 8 bytes on.
  const uint64_t value =
      to_le ? TpOffset(target, image, reloc.addend + 4) : target.gottp + reloc.addend - (place + 8);
  if (!FitsSigned32(value)) return Failed(kErrRange);
  Put(bytes, at - 4, {0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0});  // mov %fs:0, %rax
  if (to_le) {
    Put(bytes, at + 5, {0x48, 0x8d, 0x80});  // lea x@tpoff(%rax), %rax
  } else {
    Put(bytes, at + 5, {0x48, 0x03, 0x05});  // add x@gottpoff(%rip), %rax
  }
  PutField(bytes, at + 8, value);
  return {ConsumedBy(relaxation), nullptr};
}

ApplyResult ApplyLd(absl::Span<const Reloc> relocs, MutableBytes bytes, const ImageValues& image) {
  const uint64_t at = relocs[0].offset;
  const uint64_t length = LdSequenceLength(relocs, bytes);
  const uint64_t block = image.tls_pointer - image.tls_begin;
  if (length == 0) return Failed(kErrInstruction);
  if (!FitsSigned32(block)) return Failed(kErrRange);
  Put(bytes, at - 3, {0x31, 0xc0});              // xor %eax, %eax
  Put(bytes, at - 1, {0x64, 0x48, 0x8b, 0x00});  // mov %fs:(%rax), %rax
  Put(bytes, at + 3, {0x48, 0x2d});              // sub $block, %rax
  PutField(bytes, at + 5, block);
  if (length == 13) Put(bytes, at + 9, {0x90});  // nop
  return {ConsumedBy(Relaxation::kLdToLe), nullptr};
}

ApplyResult ApplyIeToLe(Relaxation relaxation, const Reloc& reloc, MutableBytes bytes,
                        const TargetValue& target, const ImageValues& image) {
  const uint64_t at = reloc.offset;
  const uint64_t value = TpOffset(target, image, reloc.addend + 4);
  if (!FitsSigned32(value)) return Failed(kErrRange);
  // The register moves from ModRM.reg to ModRM.rm, and its high bit from REX.R to REX.B.
  const uint8_t rex = bytes[at - 3] == 0x4c ? 0x49 : 0x48;
  const uint8_t modrm = static_cast<uint8_t>(0xc0 | (bytes[at - 1] >> 3 & 7));
  const uint8_t opcode = relaxation == Relaxation::kIeMovToLe ? 0xc7   // mov $x@tpoff, %reg
                                                              : 0x81;  // add $x@tpoff, %reg
  Put(bytes, at - 3, {rex, opcode, modrm});
  PutField(bytes, at, value);
  return {};
}

ApplyResult ApplyDesc(Relaxation relaxation, const Reloc& reloc, MutableBytes bytes, uint64_t place,
                      const TargetValue& target, const ImageValues& image) {
  const uint64_t at = reloc.offset;
  if (relaxation == Relaxation::kDescCall) {
    Put(bytes, at, {0x66, 0x90});  // xchg %ax, %ax
    return {};
  }
  const bool to_le = relaxation == Relaxation::kDescToLe;
  if (!to_le && target.gottp == 0) return Failed(kErrNoCell);
  const uint64_t value =
      to_le ? TpOffset(target, image, reloc.addend + 4) : target.gottp + reloc.addend - place;
  if (!FitsSigned32(value)) return Failed(kErrRange);
  if (to_le) {
    Put(bytes, at - 3, {0x48, 0xc7, 0xc0});  // mov $x@tpoff, %rax
  } else {
    Put(bytes, at - 3, {0x48, 0x8b, 0x05});  // mov x@gottpoff(%rip), %rax
  }
  PutField(bytes, at, value);
  return {};
}

}  // namespace

Relaxation ChooseRelaxation(absl::Span<const Reloc> relocs, ByteView bytes, const TargetTraits& target,
                            const OutputTraits& output) {
  const Formula formula = RowOf(relocs[0].type).formula;
  if (formula == Formula::kGAPRelax) return ChooseGot(relocs[0], bytes, target, output);
  // Libraries cannot know where their block lies. Static programs have nobody to fill TLS cells in, so that
  // --no-relax does not hold there.
  if (output.shared || (!output.relax && !output.is_static)) return Relaxation::kNone;
  switch (formula) {
    case Formula::kTlsGd:
      if (!IsGdSequence(relocs, bytes)) return Relaxation::kNone;
      return target.imported ? Relaxation::kGdToIe : Relaxation::kGdToLe;
    case Formula::kTlsLd:
      return LdSequenceLength(relocs, bytes) != 0 ? Relaxation::kLdToLe : Relaxation::kNone;
    case Formula::kGotTpOff:
      return target.imported ? Relaxation::kNone : ChooseIe(relocs[0], bytes);
    case Formula::kTlsDesc:
    case Formula::kTlsDescCall:
      return ChooseDesc(relocs[0], bytes, target.imported);
    default:
      return Relaxation::kNone;
  }
}

uint16_t ConsumedBy(Relaxation relaxation) {
  switch (relaxation) {
    case Relaxation::kGdToLe:
    case Relaxation::kGdToIe:
    case Relaxation::kLdToLe:
      return 2;  // the call of __tls_get_addr goes with it
    default:
      return 1;
  }
}

ApplyResult ApplyRelaxed(Relaxation relaxation, absl::Span<const Reloc> relocs, MutableBytes bytes,
                         uint64_t address, const TargetValue& target, const ImageValues& image) {
  const Reloc& reloc = relocs[0];
  const uint64_t place = address + reloc.offset;
  switch (relaxation) {
    case Relaxation::kCall:
    case Relaxation::kJmp:
    case Relaxation::kLea:
      return ApplyGot(relaxation, reloc, bytes, place, target.address);
    case Relaxation::kGdToLe:
    case Relaxation::kGdToIe:
      return ApplyGd(relaxation, reloc, bytes, place, target, image);
    case Relaxation::kLdToLe:
      return ApplyLd(relocs, bytes, image);
    case Relaxation::kIeMovToLe:
    case Relaxation::kIeAddToLe:
      return ApplyIeToLe(relaxation, reloc, bytes, target, image);
    case Relaxation::kDescToLe:
    case Relaxation::kDescToIe:
    case Relaxation::kDescCall:
      return ApplyDesc(relaxation, reloc, bytes, place, target, image);
    case Relaxation::kNone:
    case Relaxation::kUnexpected:
      break;
  }
  return Failed(kErrInstruction);
}

}  // namespace kitlink::arch
