#include "core/session/users.h"

#include <algorithm>

namespace kitlink {

void Users::Build(uint32_t symbols, const std::vector<std::vector<SymbolId>>& names) {
  begin_.assign(uint64_t{symbols} + 1, 0);
  later_.clear();
  for (const std::vector<SymbolId>& list : names) {
    for (SymbolId id : list) ++begin_[id.value + 1];
  }
  for (size_t i = 1; i < begin_.size(); ++i) begin_[i] += begin_[i - 1];
  units_.resize(begin_.back());
  std::vector<uint32_t> next(begin_.begin(), begin_.end() - 1);
  for (uint32_t u = 0; u < names.size(); ++u) {
    for (SymbolId id : names[u]) units_[next[id.value]++] = UnitId(u);
  }
}

bool Users::Knows(SymbolId symbol, UnitId unit) const {
  if (uint64_t{symbol.value} + 1 < begin_.size() &&
      std::binary_search(units_.begin() + begin_[symbol.value], units_.begin() + begin_[symbol.value + 1], unit)) {
    return true;
  }
  const auto it = later_.find(symbol);
  return it != later_.end() && std::find(it->second.begin(), it->second.end(), unit) != it->second.end();
}

void Users::Add(SymbolId symbol, UnitId unit) {
  if (!Knows(symbol, unit)) later_[symbol].push_back(unit);
}

std::vector<UnitId> Users::Of(SymbolId symbol) const {
  std::vector<UnitId> units;
  if (uint64_t{symbol.value} + 1 < begin_.size()) {
    units.assign(units_.begin() + begin_[symbol.value], units_.begin() + begin_[symbol.value + 1]);
    // A unit may have two COMDAT groups of one name.
    units.erase(std::unique(units.begin(), units.end()), units.end());
  }
  if (const auto it = later_.find(symbol); it != later_.end()) {
    units.insert(units.end(), it->second.begin(), it->second.end());
  }
  return units;
}

size_t Users::Count(SymbolId symbol) const {
  size_t count = 0;
  if (uint64_t{symbol.value} + 1 < begin_.size()) count = begin_[symbol.value + 1] - begin_[symbol.value];
  const auto it = later_.find(symbol);
  return it == later_.end() ? count : count + it->second.size();
}

uint64_t Users::bytes() const {
  uint64_t total = begin_.capacity() * sizeof(uint32_t) + units_.capacity() * sizeof(UnitId);
  for (const auto& [symbol, units] : later_) total += 32 + units.capacity() * sizeof(UnitId);
  return total;
}

}  // namespace kitlink
