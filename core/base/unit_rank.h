// Where a unit stands in the order of the link: what a full link goes by wherever the first, or the order, counts.
#ifndef CORE_BASE_UNIT_RANK_H_
#define CORE_BASE_UNIT_RANK_H_

#include <cstdint>
#include <utility>

namespace kitlink {

// A UnitId tells when a unit was met, its rank where it stands: units that come later may stand between others. Two units
// that take part never have the same rank, and the rank of one that stays where it was does not change, whatever comes and
// goes around it. Ranks mean something by comparison only, and among units of one session.
struct UnitRank {
  // Inputs stand this far apart at first, so that others find room between two of them. What one argument of the command
  // line brings (a linker script names several files) is numbered from the argument's own number on.
  static constexpr uint64_t kStride = uint64_t{1} << 40;
  static constexpr uint64_t kMostOfOne = uint64_t{1} << 16;

  uint64_t input = ~uint64_t{0};  // units that the linker makes up stand behind all others
  uint32_t member = 0;            // place in an archive

  friend bool operator==(const UnitRank& a, const UnitRank& b) { return a.input == b.input && a.member == b.member; }
  friend bool operator<(const UnitRank& a, const UnitRank& b) {
    return std::make_pair(a.input, a.member) < std::make_pair(b.input, b.member);
  }
};

}  // namespace kitlink

#endif  // CORE_BASE_UNIT_RANK_H_
