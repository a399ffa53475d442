// Shared by the tests of the x86-64 backend.
#ifndef CORE_ARCH_X86_64_TESTING_H_
#define CORE_ARCH_X86_64_TESTING_H_

#include <elf.h>

#include <string>
#include <vector>

#include "core/arch/arch.h"

namespace kitlink::arch {

using Bytes = std::vector<uint8_t>;

inline Reloc Rel(uint32_t type, uint64_t offset, int64_t addend) {
  Reloc reloc;
  reloc.offset = offset;
  reloc.type = type;
  reloc.symbol = 1;
  reloc.addend = addend;
  return reloc;
}

// The four kinds of output.
inline OutputTraits NonPie() { return {}; }
inline OutputTraits Pie() {
  OutputTraits output;
  output.pic = true;
  return output;
}
inline OutputTraits Shared() {
  OutputTraits output = Pie();
  output.shared = true;
  return output;
}
inline OutputTraits Static() {
  OutputTraits output;
  output.is_static = true;
  return output;
}

// Kinds of targets.
inline TargetTraits Local() { return {}; }
inline TargetTraits ImportedFunction() {
  TargetTraits target;
  target.imported = target.function = true;
  return target;
}
inline TargetTraits ImportedObject() {
  TargetTraits target;
  target.imported = true;
  return target;
}
inline TargetTraits ImportedTls() {
  TargetTraits target;
  target.imported = target.tls = true;
  return target;
}
inline TargetTraits Absolute() {
  TargetTraits target;
  target.absolute = true;
  return target;
}
inline TargetTraits UndefinedWeak() {
  TargetTraits target;
  target.absolute = target.undefined_weak = true;
  return target;
}
inline TargetTraits Ifunc() {
  TargetTraits target;
  target.ifunc = target.function = true;
  return target;
}

// A section of 16 zero bytes at 0x1000, an image with its GOT at 0x8000 and TLS from 0x6000 to 0x6100, and a
// target at 0x5000 with every cell. Tests change what they are about.
struct Fixture {
  Bytes bytes = Bytes(16, 0);
  uint64_t address = 0x1000;
  OutputTraits output;
  TargetValue target;
  ImageValues image;

  Fixture() {
    image.got_base = 0x8000;
    image.tls_begin = 0x6000;
    image.tls_pointer = 0x6100;
    image.tlsld = 0x7040;
    target.address = 0x5000;
    target.plt = 0x2000;
    target.got = 0x7000;
    target.gottp = 0x7010;
    target.tlsgd = 0x7020;
    target.tlsdesc = 0x7030;
    target.size = 0x28;
  }

  ScanResult Scan(const std::vector<Reloc>& relocs, bool writable = false) const {
    return X86_64().Scan(relocs, bytes, writable, target.traits, output);
  }
  ApplyResult Apply(const std::vector<Reloc>& relocs) {
    return X86_64().Apply(relocs, absl::MakeSpan(bytes), address, target, image, output);
  }
  template <typename T>
  T Field(size_t offset) const {
    return Load<T>(bytes.data() + offset);
  }
};

inline std::string ErrorOf(const ScanResult& result) { return result.error == nullptr ? "" : result.error; }
inline std::string ErrorOf(const ApplyResult& result) { return result.error == nullptr ? "" : result.error; }

}  // namespace kitlink::arch

#endif  // CORE_ARCH_X86_64_TESTING_H_
