// Free stretches of a table, handed out first fit.
#ifndef CORE_OUTPUT_ELF_FREE_ROOMS_H_
#define CORE_OUTPUT_ELF_FREE_ROOMS_H_

#include <cstdint>

#include "absl/container/btree_map.h"
#include "core/base/fields.h"

namespace kitlink::elf {

// Rows, cells or bytes: the unit is the caller's. Copied to stage a plan; neighbours join, so the copy is small.
class FreeRooms {
 public:
  static constexpr uint64_t kNone = ~uint64_t{0};

  // The first of `count` free ones in a row, kNone when there are none. A count of 0 gets kNone, too.
  uint64_t Take(uint64_t count) { return TakeBehind(0, count); }

  // The same among the rooms that begin at `from` or behind it.
  uint64_t TakeBehind(uint64_t from, uint64_t count) {
    for (auto it = rooms_.lower_bound(from); count != 0 && it != rooms_.end(); ++it) {
      if (it->second < count) continue;
      const uint64_t first = it->first, rest = it->second - count;
      rooms_.erase(it);
      if (rest != 0) rooms_.emplace(first + count, rest);
      return first;
    }
    return kNone;
  }

  // REQUIRES: none of them is free.
  void Give(uint64_t first, uint64_t count) {
    if (count == 0) return;
    auto next = rooms_.lower_bound(first);
    if (next != rooms_.end() && next->first == first + count) {
      count += next->second;
      next = rooms_.erase(next);
    }
    if (next != rooms_.begin()) {
      auto previous = next;
      --previous;
      if (previous->first + previous->second == first) {
        previous->second += count;
        return;
      }
    }
    rooms_.emplace(first, count);
  }

  uint64_t total() const {
    uint64_t sum = 0;
    for (const auto& [first, count] : rooms_) sum += count;
    return sum;
  }
  uint64_t bytes_held() const { return rooms_.size() * 18; }

  KITLINK_ALL_FIELDS(rooms_)

 private:
  absl::btree_map<uint64_t, uint64_t> rooms_;  // first -> count
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_FREE_ROOMS_H_
