// The GOT and PLT: who has which cell.
#ifndef CORE_OUTPUT_ELF_CELLS_H_
#define CORE_OUTPUT_ELF_CELLS_H_

#include <cstdint>
#include <vector>

#include "core/arch/arch.h"
#include "core/base/ids.h"
#include "core/input/options.h"
#include "core/symbols/program.h"
#include "core/symbols/scan.h"

namespace kitlink::elf {

// What a symbol owns. Indices count 8-byte cells of .got, entries of .plt or .iplt; -1 for none.
struct CellSet {
  int32_t got = -1;
  int32_t gottp = -1;
  int32_t tlsgd = -1;    // first of two
  int32_t tlsdesc = -1;  // first of two
  int32_t plt = -1;      // lazily bound entry; its row in .rela.plt and, after the header, its cell in .got.plt
  int32_t iplt = -1;     // entry of an IFUNC defined here; its cell follows those of .plt (and their reserve) in .got.plt
  bool canonical_plt = false;  // the PLT entry is the function's address
  uint32_t dynsym = 0;   // row in .dynsym, 0 for none
};

// One .got cell (or the first of a pair), in order.
struct GotCell {
  enum Kind : uint8_t { kAddress, kTpOffset, kTlsGd, kTlsDesc, kTlsLd } kind = kAddress;
  SymbolId symbol;  // invalid for kTlsLd
  uint32_t index = 0;
};

struct Cells {
  std::vector<int32_t> set_of;  // by SymbolId: index in `sets`, -1 for none
  std::vector<CellSet> sets;
  std::vector<GotCell> got;
  uint32_t got_count = 0;    // cells in use
  uint32_t got_reserve = 0;  // cells behind them
  int32_t tlsld = -1;
  std::vector<SymbolId> plt;
  uint32_t plt_reserve = 0;  // entries behind them, with their cells in .got.plt
  std::vector<SymbolId> iplt;
  uint32_t iplt_reserve = 0;  // the same

  const CellSet* Find(SymbolId id) const {
    if (!id.valid() || id.value >= set_of.size() || set_of[id.value] < 0) return nullptr;
    return &sets[set_of[id.value]];
  }
  CellSet& Get(SymbolId id);
  uint32_t plt_capacity() const { return static_cast<uint32_t>(plt.size()) + plt_reserve; }
  uint32_t iplt_capacity() const { return static_cast<uint32_t>(iplt.size()) + iplt_reserve; }
  // Number of cells in .got.plt, the three that the loader owns included.
  uint32_t got_plt_count() const { return 3 + plt_capacity() + iplt_capacity(); }
};

inline constexpr uint32_t kGotPltHeader = 3;  // _DYNAMIC, link map, resolver

// True when a later patch may want to refer to libraries' symbols that the image does not know yet.
bool ReservesImports(const LinkOptions& options);

Cells AllocateCells(const LinkOptions& options, const Program& program, const Demands& demands);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_CELLS_H_
