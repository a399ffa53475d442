// What a cold link can say of its own image: every atom and every relocated field. Written for verification only.
#ifndef CORE_OUTPUT_REFERENCE_H_
#define CORE_OUTPUT_REFERENCE_H_

#include <cstdint>
#include <string>
#include <vector>

namespace kitlink {

// One piece of the reference image that moves as a whole: an input section, a merged string, a COMMON.
struct ReferenceAtom {
  std::string name;        // "main.o:.text.f"
  std::string section;     // output section, ".text"
  uint64_t address = 0;    // in the reference image; 0 for atoms that are not loaded
  uint64_t file_offset = 0;
  uint64_t size = 0;
  uint32_t alignment = 1;
  bool alloc = true, writable = false, executable = false, nobits = false, tls = false;
  bool mergeable = false;  // content matters, identity does not: several of them may share a place
  bool ordered = false;    // init rows, sets, .init fragments: must keep their order and be adjacent
};

// One relocated field of the reference image: bytes in an atom whose value depends on where something is.
struct ReferenceSite {
  enum class Form : uint8_t {
    kAbsolute,    // the field holds target + addend (and has a dynamic relocation where the image is relocatable)
    kPcRelative,  // ... minus the field's address
    kGotPcRelative,  // PC-relative distance to a cell that holds the target (or relaxed to a direct reference)
    kPltPcRelative,  // PC-relative distance to the target or to a PLT entry that jumps to it
    kTpOffset,    // offset from the thread pointer
    kDtpOffset,   // offset in the module's TLS block
    kTlsSequence,  // part of a general/local-dynamic, initial-exec or descriptor sequence that may be relaxed
    kGotRelative,  // target minus the GOT's address
    kSize,        // the symbol's size plus addend
    kOther,       // not modelled; compared byte for byte
  };
  uint32_t atom = 0;    // index of the atom that holds the field
  uint64_t offset = 0;  // of the field in the atom
  uint8_t width = 4;    // bytes of the field
  uint8_t lead = 0;     // bytes before the field that relaxation may rewrite with it
  uint8_t trail = 0;    // bytes after it
  Form form = Form::kAbsolute;
  // What it refers to: an atom (index) plus offset; or, target_atom == kNoAtom, a symbol of a shared library or an
  // undefined weak one by name, or an absolute value.
  uint32_t target_atom = 0xffffffffu;
  uint64_t target_offset = 0;  // of the symbol in target_atom, without the addend
  int64_t addend = 0;
  std::string symbol;          // name for messages, and the identity of imports
  uint64_t absolute = 0;
};
inline constexpr uint32_t kNoAtom = 0xffffffffu;

// The cold link's word on itself.
struct Reference {
  std::vector<uint8_t> image;
  std::vector<ReferenceAtom> atoms;  // sorted by (alloc first, address or file offset)
  std::vector<ReferenceSite> sites;  // sorted by (atom, offset)
};

}  // namespace kitlink

#endif  // CORE_OUTPUT_REFERENCE_H_
