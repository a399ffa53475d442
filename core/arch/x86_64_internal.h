// What the files of the x86-64 backend share. Nobody else includes this.
#ifndef CORE_ARCH_X86_64_INTERNAL_H_
#define CORE_ARCH_X86_64_INTERNAL_H_

#include <elf.h>

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/arch/arch.h"
#include "core/base/bytes.h"
#include "core/input/model.h"

namespace kitlink::arch {

// Reasons that Scan and Apply give. The caller puts "relocation NAME against `symbol' " before them.
inline constexpr char kErrOutside[] = "lies outside its section";
inline constexpr char kErrUnsupported[] = "is not supported";
inline constexpr char kErrRange[] = "out of range";
inline constexpr char kErrRelaxedRange[] = "out of range after relaxation; link with --no-relax";
inline constexpr char kErrInstruction[] = "unexpected instruction";
inline constexpr char kErrNoCell[] = "lacks the GOT cell that it needs";
inline constexpr char kErrNoPlt[] = "lacks the PLT entry that it needs";

// How a value must fit into its field.
enum class Fit : uint8_t { kAny, kSigned, kUnsigned, kEither };

// The psABI's calculation, in its own letters: S symbol, A addend, P place, G cell, L PLT entry, Z size.
enum class Formula : uint8_t {
  kUnsupported,
  kNone,
  kSA,        // S + A
  kSAP,       // S + A - P
  kLAP,       // L + A - P
  kLAGot,     // L + A - GOT
  kSAGot,     // S + A - GOT
  kGA,        // cell + A - GOT
  kGAP,       // cell + A - P
  kGAPRelax,  // the same, in an instruction that may be relaxed (the X variants)
  kGotAP,     // GOT + A - P
  kZA,        // Z + A
  kDtpOff,
  kTpOff,
  kTlsGd,
  kTlsLd,
  kGotTpOff,
  kTlsDesc,
  kTlsDescCall,
};

struct TypeRow {
  absl::string_view name;
  Formula formula = Formula::kUnsupported;
  Fit fit = Fit::kAny;
  RelocInfo info;
};

// The row of a type; one with Formula::kUnsupported for types that objects must not contain.
const TypeRow& RowOf(uint32_t type);
// The type's name; "unknown (N)" otherwise. Static storage.
absl::string_view NameOf(uint32_t type);

// What becomes of an instruction, or of a sequence of them.
enum class Relaxation : uint8_t {
  kNone,        // stays as the compiler wrote it
  kUnexpected,  // the ABI prescribes an instruction that is not there, and no safe reading is left
  kCall,        // call *cell(%rip)       -> addr32 call S
  kJmp,         // jmp *cell(%rip)        -> jmp S; nop
  kLea,         // mov cell(%rip), %reg   -> lea S(%rip), %reg
  kGdToLe,
  kGdToIe,
  kLdToLe,
  kIeMovToLe,  // mov cell(%rip), %reg   -> mov $tpoff, %reg
  kIeAddToLe,  // add cell(%rip), %reg   -> add $tpoff, %reg
  kDescToLe,
  kDescToIe,
  kDescCall,  // call *(%rax)           -> nop
};

// The one decision that Scan and Apply share: a function of the pristine instruction and the traits only.
// REQUIRES: relocs[0]'s own field lies inside `bytes`. Never reads outside `bytes`.
Relaxation ChooseRelaxation(absl::Span<const Reloc> relocs, ByteView bytes, const TargetTraits& target,
                            const OutputTraits& output);

// How many relocations the rewriting covers.
uint16_t ConsumedBy(Relaxation relaxation);

// Rewrites the instructions at relocs[0] and their field. REQUIRES: `relaxation` is what ChooseRelaxation
// said. On error nothing was written.
ApplyResult ApplyRelaxed(Relaxation relaxation, absl::Span<const Reloc> relocs, MutableBytes bytes,
                         uint64_t address, const TargetValue& target, const ImageValues& image);

// Distance of the symbol plus addend from the thread pointer. A weak symbol left undefined has none: the
// addend.
inline uint64_t TpOffset(const TargetValue& target, const ImageValues& image, uint64_t addend) {
  return target.traits.undefined_weak ? addend : target.address + addend - image.tls_pointer;
}

inline bool FitsSigned32(uint64_t value) {
  return static_cast<int64_t>(value) == static_cast<int32_t>(static_cast<uint32_t>(value));
}

}  // namespace kitlink::arch

#endif  // CORE_ARCH_X86_64_INTERNAL_H_
