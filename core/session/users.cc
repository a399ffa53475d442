#include "core/session/users.h"

#include <algorithm>

namespace kitlink {

void Users::Build(uint32_t symbols, const std::vector<std::vector<SymbolId>>& names) {
  std::vector<uint32_t> begin(uint64_t{symbols} + 1);
  later_.clear();
  for (const std::vector<SymbolId>& list : names) {
    for (SymbolId id : list) ++begin[id.value + 1];
  }
  for (size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  units_.clear();
  units_.resize(begin.back());
  begin_.clear();
  begin_.resize(begin.size());
  for (size_t i = 0; i < begin.size(); ++i) begin_[i] = begin[i];
  for (uint32_t u = 0; u < names.size(); ++u) {
    for (SymbolId id : names[u]) units_[begin[id.value]++] = UnitId(u);
  }
}

std::pair<uint64_t, uint64_t> Users::RangeOf(SymbolId symbol) const {
  if (uint64_t{symbol.value} + 1 >= begin_.size()) return {0, 0};
  const uint64_t begin = begin_[symbol.value], end = begin_[uint64_t{symbol.value} + 1];
  return begin <= end && end <= units_.size() ? std::make_pair(begin, end) : std::make_pair(uint64_t{0}, uint64_t{0});
}

bool Users::Knows(SymbolId symbol, UnitId unit) const {
  auto [begin, end] = RangeOf(symbol);
  while (begin < end) {
    const uint64_t middle = begin + (end - begin) / 2;
    if (units_[middle] == unit) return true;
    if (units_[middle] < unit) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  const auto it = later_.find(symbol);
  return it != later_.end() && std::find(it->second.begin(), it->second.end(), unit) != it->second.end();
}

void Users::Add(SymbolId symbol, UnitId unit) {
  if (!Knows(symbol, unit)) later_[symbol].push_back(unit);
}

std::vector<UnitId> Users::Of(SymbolId symbol) const {
  std::vector<UnitId> units;
  const auto [begin, end] = RangeOf(symbol);
  for (uint64_t i = begin; i < end; ++i) {
    // A unit may have two COMDAT groups of one name.
    if (units.empty() || units.back() != units_[i]) units.push_back(units_[i]);
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
  uint64_t total = begin_.bytes() + units_.bytes();
  // any order: a sum.
  for (const auto& [symbol, units] : later_) total += 32 + units.capacity() * sizeof(UnitId);
  return total;
}

}  // namespace kitlink
