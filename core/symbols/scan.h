// The ScanRelocations step: what the references ask for besides their fields.
#ifndef CORE_SYMBOLS_SCAN_H_
#define CORE_SYMBOLS_SCAN_H_

#include <cstdint>
#include <vector>

#include "core/arch/arch.h"
#include "core/base/diagnostics.h"
#include "core/input/options.h"
#include "core/symbols/program.h"

namespace kitlink {

// An imported object that lives in this image, at the size and alignment that its library gives it.
struct CopiedObject {
  uint32_t library = 0;
  uint64_t value = 0;            // in the library
  AtomId atom;                   // of its room here
  std::vector<SymbolId> names;   // every name of the library for that address, the requested one first
};

struct Demands {
  std::vector<uint16_t> needs;      // Need bits, by SymbolId
  std::vector<SymbolId> ordered;    // symbols with needs, in an order that depends on the inputs alone
  std::vector<CopiedObject> copies;
  bool tls_ld = false;
  bool static_tls = false;
  bool got_base = false;
};

// What a relocation against symbol `index` of `unit` refers to, for Arch::Scan and Arch::Apply.
TargetTraits TraitsOf(const Program& program, const Unit& unit, uint32_t index);

// The same for a global symbol.
TargetTraits TraitsOf(const Symbol& symbol);

// The output as Arch sees it.
OutputTraits TraitsOf(const LinkOptions& options);

// Looks at every relocation of every live, loaded section. Reports undefined symbols and relocations that the output
// cannot hold. Adds copies as atoms of a new unit, and promotes local symbols that need cells.
Demands ScanRelocations(const LinkOptions& options, const Arch& arch, Program* program, Diagnostics& diagnostics);

// True when a reference that nobody satisfies is an error.
bool UndefinedIsError(const LinkOptions& options, const Symbol& symbol);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_SCAN_H_
