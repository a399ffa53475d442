#include "core/verify/instructions.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kitlink::verify {
namespace {

using Form = ReferenceSite::Form;

// Reads around a field without ever leaving the piece.
class Code {
 public:
  Code(const FieldView& view, const ReferenceSite& site)
      : view_(view), field_(site.offset), addend_(site.addend), width_(site.width) {}

  // Byte at `delta` from the field; 0x100 outside of the piece.
  int At(int delta) const {
    const uint64_t at = field_ + static_cast<int64_t>(delta);
    return at < view_.bytes.size() ? view_.bytes[at] : 0x100;
  }
  // Compares from `delta`; -1 matches anything.
  bool Is(int delta, std::initializer_list<int> pattern) const {
    for (int expected : pattern) {
      if (const int byte = At(delta++); expected >= 0 ? byte != expected : byte == 0x100) return false;
    }
    return true;
  }
  bool Has(int delta, uint64_t size) const {
    return InBounds(field_ + static_cast<int64_t>(delta), size, view_.bytes.size());
  }
  int64_t Signed32(int delta) const { return Has(delta, 4) ? Load<int32_t>(Pointer(delta)) : 0; }
  uint64_t Address(int delta) const { return view_.address + field_ + static_cast<int64_t>(delta); }
  const uint8_t* Pointer(int delta) const {
    return view_.bytes.data() + field_ + static_cast<int64_t>(delta);
  }

  // The field, sign-extended.
  uint64_t Number() const {
    if (!Has(0, width_)) return 0;
    switch (width_) {
      case 1:
        return static_cast<uint64_t>(static_cast<int64_t>(Load<int8_t>(Pointer(0))));
      case 2:
        return static_cast<uint64_t>(static_cast<int64_t>(Load<int16_t>(Pointer(0))));
      case 4:
        return static_cast<uint64_t>(static_cast<int64_t>(Load<int32_t>(Pointer(0))));
      default:
        return Load<uint64_t>(Pointer(0));
    }
  }
  uint64_t addend() const { return static_cast<uint64_t>(addend_); }
  const LoadedImage& image() const { return *view_.image; }
  // Where a 4-byte distance at `delta`, which ends its instruction, leads.
  uint64_t Destination(int delta) const {
    return Address(delta + 4) + static_cast<uint64_t>(Signed32(delta));
  }

  // Register that the modrm byte at `delta` names in its reg field (or rm field), with the rex byte before
  // the opcode.
  uint16_t Reg(int delta) const { return ((At(delta) >> 3) & 7) | ((Rex(delta - 2) & 4) != 0 ? 8 : 0); }
  uint16_t Rm(int delta) const { return (At(delta) & 7) | ((Rex(delta - 2) & 1) != 0 ? 8 : 0); }
  // Whether the instruction has the REX prefix that its relocation promises, with 64-bit operands.
  bool Wide(const ReferenceSite& site) const { return site.lead < 3 || (Rex(-3) & 8) != 0; }
  int Rex(int delta) const {
    const int byte = At(delta);
    return byte >= 0x40 && byte <= 0x4f ? byte : 0;
  }

 private:
  const FieldView& view_;
  uint64_t field_;
  int64_t addend_;
  uint8_t width_;
};

bool RipRelative(int modrm) { return (modrm & 0xc7) == 0x05; }
bool RegisterForm(int modrm) { return (modrm & 0xc0) == 0xc0 && modrm < 0x100; }

Operand Make(Operation operation, Value target, uint32_t detail = 0) {
  return {operation, detail, std::move(target), false};
}

// A piece of an absolute address in `width` bytes; only programs at a fixed address have one narrower than 8.
Operand DecodeAbsolute(const Code& code, const FieldView& view, const ReferenceSite& site) {
  if (site.width == 8 && view.loaded) {
    return Make(Operation::kValue, code.image().Word(code.Address(0), site.addend));
  }
  const uint64_t mask = site.width >= 8 ? ~uint64_t{0} : (uint64_t{1} << (site.width * 8)) - 1;
  const uint64_t value = (code.Number() - code.addend()) & mask;
  if (!view.loaded) return Make(Operation::kValue, Value::Address(value));
  if (code.image().image().relocatable()) return Make(Operation::kValue, Value::Constant(value));
  return Make(Operation::kValue, code.image().Canonical(value));
}

Operand DecodeRelative(const Code& code) {
  const int before = code.At(-1);
  const bool transfer = before == 0xe8 || before == 0xe9 || (code.At(-2) == 0x0f && (before & 0xf0) == 0x80);
  const uint64_t target = code.Address(0) + code.Number() - code.addend();
  return Make(transfer ? Operation::kTransfer : Operation::kValue, code.image().Canonical(target));
}

uint16_t BinaryDetail(int operation, uint16_t reg) { return static_cast<uint16_t>(operation << 8 | reg); }

// In Operand::detail: the operand is the target's lower half.
constexpr uint16_t kNarrow = 0x8000;

// What the cell at an address holds. Any zero word would do for an undefined weak symbol, but not for long.
Value Cell(const LoadedImage& image, uint64_t address) {
  const ImageSection* section = image.image().SectionCovering(address, 8, false);
  if (section == nullptr || section->name.substr(0, 4) != ".got" || address % 8 != 0) {
    return Value::Bad(absl::StrCat("a cell at 0x", absl::Hex(address), ", where no GOT is"));
  }
  return image.Word(address);
}

// R_X86_64_GOTPCREL, GOTPCRELX, REX_GOTPCRELX and what they may be relaxed to (psABI, B.2).
Operand DecodeGot(const Code& code, const ReferenceSite& site) {
  const LoadedImage& image = code.image();
  const uint64_t cell = code.Address(0) + code.Number() - code.addend();
  const uint64_t near = code.Address(0) + code.Number() - code.addend();
  if (site.lead == 0 || site.width != 4) return Make(Operation::kCell, Cell(image, cell));
  const int opcode = code.At(-2), modrm = code.At(-1);
  // clang hashes the lower halves of addresses: a narrow operand is another one than a wide one. Only mov $near may lose
  // its width, because it clears the upper half.
  const bool narrow = site.lead >= 3 && !code.Wide(site);
  if (narrow && code.Rex(-3) == 0) return {};
  const uint16_t width = narrow && opcode != 0xc7 ? kNarrow : 0;
  if (opcode == 0xff && modrm == 0x15) return Make(Operation::kCall, Cell(image, cell));  // call *cell(%rip)
  if (opcode == 0xff && modrm == 0x25) return Make(Operation::kJump, Cell(image, cell));  // jmp *cell(%rip)
  if (modrm == 0xe8 && (opcode == 0x67 || opcode == 0x90)) {  // addr32/nop call near
    return Make(Operation::kCall, image.Canonical(near));
  }
  if (opcode == 0xe8 && code.At(3) == 0x90) {  // call near; nop
    return Make(Operation::kCall, image.Canonical(code.Destination(-1)));
  }
  if (opcode == 0xe9 && code.At(3) == 0x90) {  // jmp near; nop
    return Make(Operation::kJump, image.Canonical(code.Destination(-1)));
  }
  if (modrm == 0xe9 && opcode == 0x90) return Make(Operation::kJump, image.Canonical(near));  // nop; jmp near
  if (RipRelative(modrm)) {
    if (opcode == 0x8b)
      return Make(Operation::kLoadAddress, Cell(image, cell), code.Reg(-1) | width);  // mov cell, reg
    if (opcode == 0x8d)
      return Make(Operation::kLoadAddress, image.Canonical(near), code.Reg(-1) | width);  // lea near, reg
    if (opcode == 0x85)
      return Make(Operation::kBinary, Cell(image, cell), BinaryDetail(8, code.Reg(-1)) | width);  // test
    if ((opcode & 0xc7) == 0x03) {  // add or adc sbb and sub xor cmp cell, reg
      return Make(Operation::kBinary, Cell(image, cell), BinaryDetail(opcode >> 3, code.Reg(-1)) | width);
    }
    const int prefix = site.lead >= 3 ? code.At(-3) : 0;
    return Make(Operation::kCell, Cell(image, cell),
                static_cast<uint32_t>(prefix << 16 | opcode << 8 | modrm));
  }
  if (RegisterForm(modrm)) {  // an immediate; only programs at a fixed address have them
    const uint64_t immediate = code.Number() - (code.addend() + 4);
    const Value target =
        image.image().relocatable() ? Value::Constant(immediate) : image.Canonical(immediate);
    if (opcode == 0xc7) return Make(Operation::kLoadAddress, target, code.Rm(-1));  // mov $near, reg
    if (opcode == 0x81) return Make(Operation::kBinary, target, BinaryDetail((modrm >> 3) & 7, code.Rm(-1)) | width);
    if (opcode == 0xf7) return Make(Operation::kBinary, target, BinaryDetail(8, code.Rm(-1)) | width);
  }
  return {};
}

Value TpNumber(const Code& code, int delta) {
  return Value::Tls(code.image().image().ThreadPointer() + static_cast<uint64_t>(code.Signed32(delta)));
}

// mov %fs:0, %rax, the start of every relaxed general-dynamic sequence.
bool IsLoadThreadPointer(const Code& code, int delta) {
  return code.Is(delta, {0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0});
}

// General dynamic: data16 lea x@tlsgd(%rip), %rdi; data16 data16 rex.W call __tls_get_addr; 16 bytes in all,
// with the field 4 bytes in.
bool DecodeGeneralDynamic(const Code& code, Operand& out) {
  if (code.Is(-4, {0x66, 0x48, 0x8d, 0x3d})) {
    out = Make(Operation::kTlsAddress, code.image().TlsPair(code.Destination(0)));
    return true;
  }
  if (!IsLoadThreadPointer(code, -4)) return false;
  out.operation = Operation::kTlsAddress;
  out.relaxed = true;
  if (code.Is(5, {0x48, 0x8d, 0x80})) {  // lea x@tpoff(%rax), %rax
    out.target = TpNumber(code, 8);
    return true;
  }
  if (code.Is(5, {0x48, 0x03, 0x05})) {  // add x@gottpoff(%rip), %rax
    out.target = code.image().TpWord(code.Destination(8));
    return true;
  }
  if (code.Is(5, {0x48, 0x81, 0xc0})) {  // add $x@tpoff, %rax
    out.target = TpNumber(code, 8);
    return true;
  }
  return false;
}

// Local dynamic: lea x@tlsld(%rip), %rdi; call __tls_get_addr; the field is 3 bytes in.
bool DecodeLocalDynamic(const Code& code, Operand& out) {
  if (code.Is(-3, {0x48, 0x8d, 0x3d}) &&
      (code.At(4) == 0xe8 || code.Is(4, {0xff, 0x15}) || code.Is(4, {0x67, 0xe8}))) {
    out = Make(Operation::kTlsBlock, code.image().TlsPair(code.Destination(0)));
    if (out.target.kind == Value::Kind::kTls) out.target = Value::TlsModule("");
    return true;
  }
  int at = -3;
  while (at < 2 && code.At(at) == 0x66) ++at;
  const bool zero_first =
      code.Is(-3, {0x31, 0xc0, 0x64, 0x48, 0x8b, 0x00});  // xor %eax, %eax; mov %fs:(%rax), %rax
  if (!zero_first && !IsLoadThreadPointer(code, at)) return false;
  out = Make(Operation::kTlsBlock, Value::TlsModule(""));
  out.relaxed = true;
  return true;
}

// Initial exec and descriptors: one instruction, whose result is the offset from the thread pointer. Calling
// through a descriptor gives that offset too, so its lea is the same operation.
Operand DecodeOffset(const Code& code, const ReferenceSite& site) {
  const int opcode = code.At(-2), modrm = code.At(-1);
  // The call has no field; that of the others may hold any bytes, also those of a call.
  if (site.width != 4) {
    const bool call = code.Is(0, {0xff, 0x10}) || code.Is(0, {0x66, 0x90});
    return call ? Make(Operation::kTlsDescriptorCall, Value()) : Operand();
  }
  if (!code.Wide(site)) return {};
  if (RipRelative(modrm)) {
    if (opcode == 0x8b)
      return Make(Operation::kTlsOffset, code.image().TpWord(code.Destination(0)), code.Reg(-1));
    if (opcode == 0x03)
      return Make(Operation::kTlsAddOffset, code.image().TpWord(code.Destination(0)), code.Reg(-1));
    if (opcode == 0x8d) {  // lea x@tlsdesc(%rip), %rax
      return Make(Operation::kTlsOffset, code.image().TlsDescriptor(code.Destination(0)), code.Reg(-1));
    }
    return {};
  }
  if (RegisterForm(modrm)) {
    if (opcode == 0xc7)
      return Make(Operation::kTlsOffset, TpNumber(code, 0), code.Rm(-1));  // mov $x@tpoff, reg
    if (opcode == 0x81)
      return Make(Operation::kTlsAddOffset, TpNumber(code, 0), code.Rm(-1));  // add $x@tpoff, reg
  }
  // lea x@tpoff(reg), reg
  if (opcode == 0x8d && (modrm & 0xc0) == 0x80 && code.Reg(-1) == code.Rm(-1)) {
    return Make(Operation::kTlsAddOffset, TpNumber(code, 0), code.Rm(-1));
  }
  return {};
}

Operand DecodeTls(const Code& code, const ReferenceSite& site) {
  Operand out;
  if (DecodeGeneralDynamic(code, out) || DecodeLocalDynamic(code, out)) return out;
  return DecodeOffset(code, site);
}

Operand DecodeTpOffset(const Code& code, const FieldView& view, const ReferenceSite& site) {
  const LoadedImage& image = code.image();
  if (site.width == 8 && view.loaded && image.RelocationAt(code.Address(0)) != nullptr) {
    return Make(Operation::kValue, image.TpWord(code.Address(0)).Plus(-code.addend()));
  }
  return Make(Operation::kValue, Value::Tls(image.image().ThreadPointer() + code.Number() - code.addend()));
}

// In a program, local dynamic code is relaxed so that these too count from the thread pointer, which lies at
// the end of the block: the sign tells which.
Operand DecodeDtpOffset(const Code& code, const FieldView& view, const ReferenceSite& site) {
  const LoadedImage& image = code.image();
  if (site.width == 8 && view.loaded && image.RelocationAt(code.Address(0)) != nullptr) {
    return Make(Operation::kValue, image.Word(code.Address(0), site.addend));
  }
  const Elf64_Phdr* tls = image.image().Segment(PT_TLS);
  const uint64_t start = tls == nullptr ? 0 : tls->p_vaddr;
  const bool from_end = static_cast<int64_t>(code.Number()) < 0 && view.loaded;
  const uint64_t base = from_end ? image.image().ThreadPointer() : start;
  return Make(Operation::kValue, Value::Tls(base + code.Number() - code.addend()));
}

// The size of a symbol that others may define is for the loader to fill in.
Operand DecodeSize(const Code& code, const FieldView& view, const ReferenceSite& site) {
  if (view.loaded && code.image().RelocationAt(code.Address(0)) != nullptr) {
    return Make(Operation::kValue, code.image().Word(code.Address(0), site.addend));
  }
  const uint64_t mask = site.width >= 8 ? ~uint64_t{0} : (uint64_t{1} << (site.width * 8)) - 1;
  return Make(Operation::kValue, Value::Constant((code.Number() - code.addend()) & mask));
}

Operand DecodeGotRelative(const Code& code) {
  const std::optional<uint64_t> got = code.image().got();
  if (!got) return Make(Operation::kValue, Value::Bad("a distance to a GOT that is not there"));
  return Make(Operation::kValue, code.image().Canonical(*got + code.Number() - code.addend()));
}

}  // namespace

Operand DecodeField(const FieldView& view, const ReferenceSite& site) {
  const Code code(view, site);
  if (!code.Has(0, site.width)) return {};
  switch (site.form) {
    case Form::kAbsolute:
      return DecodeAbsolute(code, view, site);
    case Form::kPcRelative:
    case Form::kPltPcRelative:
      return DecodeRelative(code);
    case Form::kGotPcRelative:
      return DecodeGot(code, site);
    case Form::kTpOffset:
      return DecodeTpOffset(code, view, site);
    case Form::kDtpOffset:
      return DecodeDtpOffset(code, view, site);
    case Form::kTlsSequence:
      return DecodeTls(code, site);
    case Form::kGotRelative:
      return DecodeGotRelative(code);
    case Form::kSize:
      return DecodeSize(code, view, site);
    case Form::kOther:
      break;
  }
  return {};
}

std::pair<uint64_t, uint64_t> RewrittenBytes(const ReferenceSite& site) {
  if (site.form == Form::kOther) return {site.offset, 0};
  if (site.form != Form::kGotPcRelative && site.form != Form::kTlsSequence) return {site.offset, site.width};
  const uint64_t lead = std::min<uint64_t>(site.lead, site.offset);
  return {site.offset - lead, lead + site.width + site.trail};
}

}  // namespace kitlink::verify
