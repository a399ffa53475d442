// Resolves the names that a change touches, and only those.
#ifndef CORE_SESSION_NAME_CHANGES_H_
#define CORE_SESSION_NAME_CHANGES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/base/ids.h"
#include "core/session/diff.h"
#include "core/session/gate_reason.h"
#include "core/session/memory.h"
#include "core/symbols/exports.h"

namespace kitlink {

// What resolving the touched names anew has come to.
struct NameChanges {
  struct Added {
    SymbolId symbol;
    UnitId unit;         // that defines it
    uint32_t index = 0;  // in its object's symbols
    Publicity publicity;
  };
  std::vector<Added> added;       // definitions of names that meant nothing before
  std::vector<SymbolId> removed;  // definitions that are gone, with all that referred to them
  std::vector<SymbolId> rebound;  // what was meant by them is elsewhere now: everybody who refers to them must follow
  std::vector<Added> redeclared;  // definitions that are another unit's now, of another kind, or seen in another way
  // With --gc-sections (DecideLiveness); none of the lists above but `rebound` has them.
  std::vector<Added> woken;       // definitions that were there, but not in the image
  std::vector<Added> dormant;     // definitions that are not in the image, and were, or were not there
  struct Common {
    SymbolId symbol;
    uint64_t size = 0, alignment = 1;  // the largest of all
  };
  std::vector<Common> commons;     // COMMON symbols that are new, or whose size or alignment is another
  std::vector<SymbolId> uncommon;  // that are COMMON no longer: among `redeclared` or `removed` as well
  std::vector<std::pair<SymbolId, uint64_t>> absolutes;  // absolute symbols that have another value: everybody must follow
  struct Imported {
    SymbolId symbol;
    bool weak = false;  // nobody refers to it strongly
    bool open = false;  // no library has it: run time may, or it is 0
    bool dormant = false;  // with --gc-sections: only what is left out refers to it, so that it is not looked up
  };
  std::vector<Imported> imported;  // names that shared libraries define from now on (Memory::library_offers), or nobody
  std::vector<SymbolId> unimported;  // of `added`, `removed` and `imported`, those that were imports
  std::vector<SymbolId> idle;     // imports that nobody refers to any more; they stay
  std::vector<SymbolId> revived;  // idle imports that somebody refers to again
  struct Ifunc {
    SymbolId symbol;
    bool entry = false;  // it needs a PLT entry, or one that it has; else none
  };
  std::vector<Ifunc> ifuncs;  // IFUNCs, before or after, that changed units define or refer to (SettleIfuncs)
  std::vector<std::pair<SymbolId, UnitId>> users;  // units that name a symbol which they did not name before
};

// Compares what the changed units say of global names with what they said, and decides each touched name as a full link
// would. Refuses where the answer is not one of: the name means what it meant; it is new, and one unit defines it; another
// of the changed units defines it now; its definition is of another kind, or others see it in another way; a shared library that is needed anyway defines it; nobody names it
// any more. `reconsider`: names that libraries say something else of, though no unit may; those who define them here are
// among `diffs`. Costs O(touched names and those who name them). Sets GlobalMemory::owner in `diffs`.
std::variant<NameChanges, GateRefusal> ResolveNames(const Memory& memory, std::vector<UnitDiff>* diffs,
                                                    const std::vector<SymbolId>& reconsider = {});

// Archive members that take no part offer these names from now on. Refuses when a full link might take one for it; else
// notes that they are offered, which is true whatever becomes of the relink.
// `defines` says whether a unit that takes part defines a name as it is now.
std::optional<GateRefusal> CheckOffers(const std::vector<std::string>& names, Memory* memory,
                                       absl::FunctionRef<bool(UnitId, absl::string_view)> defines);

// True of names that the options mention, or that the loader goes by: what they stand for is known outside of the units.
bool IsRootName(const Memory& memory, SymbolId id);

// The refusal for one entry that differs; both are about the same symbol.
GateRefusal RefuseGlobal(const Memory& memory, const GlobalMemory& was, const GlobalMemory& is);

}  // namespace kitlink

#endif  // CORE_SESSION_NAME_CHANGES_H_
