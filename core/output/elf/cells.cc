#include "core/output/elf/cells.h"

#include <algorithm>

namespace kitlink::elf {

CellSet& Cells::Get(SymbolId id) {
  if (id.value >= set_of.size()) set_of.resize(id.value + 1, -1);
  if (set_of[id.value] < 0) {
    set_of[id.value] = static_cast<int32_t>(sets.size());
    sets.emplace_back();
  }
  return sets[set_of[id.value]];
}

bool ReservesImports(const LinkOptions& options) {
  return options.incremental && !options.is_static && !options.no_dynamic_linker;
}

Cells AllocateCells(const LinkOptions& options, const Program& program, const Demands& demands) {
  Cells cells;
  cells.set_of.assign(program.symbols.size(), -1);
  auto take = [&](GotCell::Kind kind, SymbolId symbol, uint32_t count) {
    const uint32_t index = cells.got_count;
    cells.got.push_back({kind, symbol, index});
    cells.got_count += count;
    return static_cast<int32_t>(index);
  };
  if (demands.tls_ld) cells.tlsld = take(GotCell::kTlsLd, SymbolId(), 2);
  for (SymbolId id : demands.ordered) {
    const uint16_t needs = demands.needs[id.value];
    const Symbol& symbol = program.symbols[id.value];
    CellSet& set = cells.Get(id);
    if (needs & kNeedGot) set.got = take(GotCell::kAddress, id, 1);
    if (needs & kNeedGotTp) set.gottp = take(GotCell::kTpOffset, id, 1);
    if (needs & kNeedTlsGd) set.tlsgd = take(GotCell::kTlsGd, id, 2);
    if (needs & kNeedTlsDesc) set.tlsdesc = take(GotCell::kTlsDesc, id, 2);
    const bool ifunc_here = symbol.type == SymbolType::kIfunc && symbol.kind == SymbolKind::kDefined && !symbol.imported;
    if (ifunc_here && needs != 0) {
      set.iplt = static_cast<int32_t>(cells.iplt.size());
      cells.iplt.push_back(id);
    } else if (needs & (kNeedPlt | kNeedCanonicalPlt)) {
      set.plt = static_cast<int32_t>(cells.plt.size());
      set.canonical_plt = (needs & kNeedCanonicalPlt) != 0;
      cells.plt.push_back(id);
    }
  }
  if (options.incremental) cells.got_reserve = std::max<uint32_t>(cells.got_count / 8, 32);
  // Whether there is a first one must not be a question of room: sections and dynamic tags cannot come later.
  if (options.incremental) cells.iplt_reserve = std::max<uint32_t>(static_cast<uint32_t>(cells.iplt.size()) / 8, 16);
  if (ReservesImports(options) && !cells.plt.empty()) {
    cells.plt_reserve = std::max<uint32_t>(static_cast<uint32_t>(cells.plt.size()) / 8, 16);
  }
  return cells;
}

}  // namespace kitlink::elf
