// The relocation types of ELF x86-64: System V ABI AMD64 psABI, table 4.9 "Relocation Types".
#include <array>

#include "core/arch/x86_64_internal.h"

namespace kitlink::arch {
namespace {

// The last two come from GNU's virtual table garbage collection and are not in the psABI.
constexpr uint32_t kVtInherit = 250;
constexpr uint32_t kVtEntry = 251;
constexpr uint32_t kTypes = 256;

using Rows = std::array<TypeRow, kTypes>;

constexpr void Set(Rows& rows, uint32_t type, const char* name, Formula formula, Fit fit, RelocForm form,
                   uint8_t width, uint8_t lead = 0, uint8_t trail = 0) {
  rows[type].name = name;
  rows[type].formula = formula;
  rows[type].fit = fit;
  rows[type].info.form = form;
  rows[type].info.width = width;
  rows[type].info.lead = lead;
  rows[type].info.trail = trail;
}

constexpr void SetPlain(Rows& rows) {
  using F = Formula;
  using R = RelocForm;
  Set(rows, R_X86_64_NONE, "R_X86_64_NONE", F::kNone, Fit::kAny, R::kNone, 0);
  Set(rows, kVtInherit, "R_X86_64_GNU_VTINHERIT", F::kNone, Fit::kAny, R::kNone, 0);
  Set(rows, kVtEntry, "R_X86_64_GNU_VTENTRY", F::kNone, Fit::kAny, R::kNone, 0);
  Set(rows, R_X86_64_64, "R_X86_64_64", F::kSA, Fit::kAny, R::kAbsolute, 8);
  Set(rows, R_X86_64_32, "R_X86_64_32", F::kSA, Fit::kUnsigned, R::kAbsolute, 4);
  Set(rows, R_X86_64_32S, "R_X86_64_32S", F::kSA, Fit::kSigned, R::kAbsolute, 4);
  // Compilers and hand-written boot code use these with either signedness.
  Set(rows, R_X86_64_16, "R_X86_64_16", F::kSA, Fit::kEither, R::kAbsolute, 2);
  Set(rows, R_X86_64_8, "R_X86_64_8", F::kSA, Fit::kEither, R::kAbsolute, 1);
  Set(rows, R_X86_64_PC64, "R_X86_64_PC64", F::kSAP, Fit::kAny, R::kPcRelative, 8);
  Set(rows, R_X86_64_PC32, "R_X86_64_PC32", F::kSAP, Fit::kSigned, R::kPcRelative, 4);
  Set(rows, R_X86_64_PC16, "R_X86_64_PC16", F::kSAP, Fit::kSigned, R::kPcRelative, 2);
  Set(rows, R_X86_64_PC8, "R_X86_64_PC8", F::kSAP, Fit::kSigned, R::kPcRelative, 1);
  Set(rows, R_X86_64_PLT32, "R_X86_64_PLT32", F::kLAP, Fit::kSigned, R::kPltPcRelative, 4);
  Set(rows, R_X86_64_PLTOFF64, "R_X86_64_PLTOFF64", F::kLAGot, Fit::kAny, R::kGotRelative, 8);
  Set(rows, R_X86_64_GOTOFF64, "R_X86_64_GOTOFF64", F::kSAGot, Fit::kAny, R::kGotRelative, 8);
  Set(rows, R_X86_64_GOT32, "R_X86_64_GOT32", F::kGA, Fit::kSigned, R::kGotCellOffset, 4);
  Set(rows, R_X86_64_GOT64, "R_X86_64_GOT64", F::kGA, Fit::kAny, R::kGotCellOffset, 8);
  // Once asked for a PLT entry besides; the psABI now treats it as GOT64.
  Set(rows, R_X86_64_GOTPLT64, "R_X86_64_GOTPLT64", F::kGA, Fit::kAny, R::kGotCellOffset, 8);
  Set(rows, R_X86_64_GOTPC32, "R_X86_64_GOTPC32", F::kGotAP, Fit::kSigned, R::kGotBasePcRelative, 4);
  Set(rows, R_X86_64_GOTPC64, "R_X86_64_GOTPC64", F::kGotAP, Fit::kAny, R::kGotBasePcRelative, 8);
  Set(rows, R_X86_64_GOTPCREL, "R_X86_64_GOTPCREL", F::kGAP, Fit::kSigned, R::kGotPcRelative, 4);
  Set(rows, R_X86_64_GOTPCREL64, "R_X86_64_GOTPCREL64", F::kGAP, Fit::kAny, R::kGotPcRelative, 8);
  Set(rows, R_X86_64_GOTPCRELX, "R_X86_64_GOTPCRELX", F::kGAPRelax, Fit::kSigned, R::kGotPcRelative, 4, 2);
  Set(rows, R_X86_64_REX_GOTPCRELX, "R_X86_64_REX_GOTPCRELX", F::kGAPRelax, Fit::kSigned, R::kGotPcRelative,
      4, 3);
  Set(rows, R_X86_64_SIZE32, "R_X86_64_SIZE32", F::kZA, Fit::kUnsigned, R::kSize, 4);
  Set(rows, R_X86_64_SIZE64, "R_X86_64_SIZE64", F::kZA, Fit::kAny, R::kSize, 8);
}

constexpr void SetTls(Rows& rows) {
  using F = Formula;
  using R = RelocForm;
  Set(rows, R_X86_64_DTPOFF32, "R_X86_64_DTPOFF32", F::kDtpOff, Fit::kSigned, R::kDtpOffset, 4);
  Set(rows, R_X86_64_DTPOFF64, "R_X86_64_DTPOFF64", F::kDtpOff, Fit::kAny, R::kDtpOffset, 8);
  Set(rows, R_X86_64_TPOFF32, "R_X86_64_TPOFF32", F::kTpOff, Fit::kSigned, R::kTpOffset, 4);
  Set(rows, R_X86_64_TPOFF64, "R_X86_64_TPOFF64", F::kTpOff, Fit::kAny, R::kTpOffset, 8);
  // Lead and trail: the longest form of each sequence, see x86_64_relax.cc.
  Set(rows, R_X86_64_TLSGD, "R_X86_64_TLSGD", F::kTlsGd, Fit::kSigned, R::kTlsSequence, 4, 4, 8);
  Set(rows, R_X86_64_TLSLD, "R_X86_64_TLSLD", F::kTlsLd, Fit::kSigned, R::kTlsSequence, 4, 3, 6);
  Set(rows, R_X86_64_GOTTPOFF, "R_X86_64_GOTTPOFF", F::kGotTpOff, Fit::kSigned, R::kTlsSequence, 4, 3);
  Set(rows, R_X86_64_GOTPC32_TLSDESC, "R_X86_64_GOTPC32_TLSDESC", F::kTlsDesc, Fit::kSigned, R::kTlsSequence,
      4, 3);
  Set(rows, R_X86_64_TLSDESC_CALL, "R_X86_64_TLSDESC_CALL", F::kTlsDescCall, Fit::kAny, R::kTlsSequence, 0, 0,
      2);
}

constexpr Rows MakeRows() {
  Rows rows{};
  SetPlain(rows);
  SetTls(rows);
  // Types that only a linker writes. Named for messages, not accepted from objects.
  rows[R_X86_64_COPY].name = "R_X86_64_COPY";
  rows[R_X86_64_GLOB_DAT].name = "R_X86_64_GLOB_DAT";
  rows[R_X86_64_JUMP_SLOT].name = "R_X86_64_JUMP_SLOT";
  rows[R_X86_64_RELATIVE].name = "R_X86_64_RELATIVE";
  rows[R_X86_64_DTPMOD64].name = "R_X86_64_DTPMOD64";
  rows[R_X86_64_TLSDESC].name = "R_X86_64_TLSDESC";
  rows[R_X86_64_IRELATIVE].name = "R_X86_64_IRELATIVE";
  rows[R_X86_64_RELATIVE64].name = "R_X86_64_RELATIVE64";
  return rows;
}

constexpr Rows kRows = MakeRows();
constexpr TypeRow kUnsupportedRow{};

// "unknown (77)" for every number of a byte, spelled out when compiling so that names need no allocation.
struct UnknownName {
  char text[16];
  uint8_t length;
};
constexpr std::array<UnknownName, kTypes> MakeUnknownNames() {
  std::array<UnknownName, kTypes> names{};
  for (uint32_t type = 0; type < kTypes; ++type) {
    UnknownName& name = names[type];
    for (const char c : absl::string_view("unknown (")) name.text[name.length++] = c;
    if (type >= 100) name.text[name.length++] = static_cast<char>('0' + type / 100);
    if (type >= 10) name.text[name.length++] = static_cast<char>('0' + type / 10 % 10);
    name.text[name.length++] = static_cast<char>('0' + type % 10);
    name.text[name.length++] = ')';
  }
  return names;
}
constexpr std::array<UnknownName, kTypes> kUnknownNames = MakeUnknownNames();

}  // namespace

const TypeRow& RowOf(uint32_t type) { return type < kTypes ? kRows[type] : kUnsupportedRow; }

absl::string_view NameOf(uint32_t type) {
  if (type >= kTypes) return "unknown (above 255)";
  if (!kRows[type].name.empty()) return kRows[type].name;
  return absl::string_view(kUnknownNames[type].text, kUnknownNames[type].length);
}

}  // namespace kitlink::arch
