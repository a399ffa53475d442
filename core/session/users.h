// Which units name a symbol: the reverse of what units say of their globals.
#ifndef CORE_SESSION_USERS_H_
#define CORE_SESSION_USERS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "core/base/fields.h"
#include "core/base/ids.h"
#include "core/base/paged_table.h"

namespace kitlink {

// Built once after a full link; relinks add to it and never take away, so what it lists may be stale: whoever asks looks
// into the unit. Not thread safe.
class Users {
 public:
  // `names[u]` are the symbols that unit u names, in any order.
  void Build(uint32_t symbols, const std::vector<std::vector<SymbolId>>& names);
  void Add(SymbolId symbol, UnitId unit);
  // The units that have named `symbol`, in no order, each once.
  std::vector<UnitId> Of(SymbolId symbol) const;
  // How many there are, or a few more. O(1).
  size_t Count(SymbolId symbol) const;
  uint64_t bytes() const;

  KITLINK_ALL_FIELDS(begin_, units_, later_)

 private:
  bool Knows(SymbolId symbol, UnitId unit) const;

  // Of units_, those that name a symbol when Build was called.
  std::pair<uint64_t, uint64_t> RangeOf(SymbolId symbol) const;

  PagedTable<uint32_t, 4096> begin_;  // by SymbolId, one more: into units_
  PagedTable<UnitId, 4096> units_;    // ascending for each symbol
  absl::flat_hash_map<SymbolId, std::vector<UnitId>> later_;
};

}  // namespace kitlink

#endif  // CORE_SESSION_USERS_H_
