// What a relocated field means, however the linker chose to write the instruction around it.
//
// x86-64 linkers rewrite instructions when the target turns out to be near (psABI, "Linker Optimization", and
// the ELF TLS ABI): a load from the GOT becomes lea or mov, a call through the GOT a direct one, a
// thread-local access of one model another. All variants decode to the same Operand.
#ifndef CORE_VERIFY_INSTRUCTIONS_H_
#define CORE_VERIFY_INSTRUCTIONS_H_

#include <cstdint>

#include "core/base/bytes.h"
#include "core/output/reference.h"
#include "core/verify/loader.h"

namespace kitlink::verify {

enum class Operation : uint8_t {
  kUnknown,      // no known instruction
  kValue,        // a plain field: data, or an operand that no linker rewrites
  kTransfer,     // call, jmp or jcc, direct: may go through an island or a PLT entry without anybody noticing
  kLoadAddress,  // the target's address to register `detail`
  kCall,         // call of a target named through the GOT
  kJump,
  kBinary,  // `detail`: operation and register, with the target's address as operand
  kCell,    // another instruction that reads the target's GOT cell; `detail`: its prefix, opcode and operand
            // byte
  kTlsAddress,         // %rax = address of the thread variable
  kTlsBlock,           // %rax = start of this module's thread block (or the thread pointer, in a program)
  kTlsOffset,          // register `detail` = offset from the thread pointer
  kTlsAddOffset,       // ... added to the register
  kTlsDescriptorCall,  // nothing to compare
};

struct Operand {
  Operation operation = Operation::kUnknown;
  uint32_t detail = 0;
  Value target;          // of the symbol: the addend is taken off
  bool relaxed = false;  // a thread-local call that is gone, with its relocation
};

// One field in place: `bytes` are the file bytes of the piece it lies in, which starts at `address`.
struct FieldView {
  const LoadedImage* image = nullptr;
  ByteView bytes;
  uint64_t address = 0;
  bool loaded = true;  // false: debug sections and the like, to which no dynamic relocation applies
};

// Decodes the field of `site`. Never fails: what makes no sense is kUnknown or a kBad value.
Operand DecodeField(const FieldView& view, const ReferenceSite& site);

// Bytes of the piece that relaxation may have rewritten for `site`: [first, first + second). For most forms
// the field alone.
std::pair<uint64_t, uint64_t> RewrittenBytes(const ReferenceSite& site);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_INSTRUCTIONS_H_
