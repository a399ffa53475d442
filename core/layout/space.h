// The free room of one output section of a hot image: a tail and a list of holes. Nothing is ever compacted, because
// addresses that were published do not move.
#ifndef CORE_LAYOUT_SPACE_H_
#define CORE_LAYOUT_SPACE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "core/base/fields.h"

namespace kitlink {

// Offsets and sizes are bytes within the section.
struct Room {
  uint64_t offset = 0;
  uint64_t size = 0;

  KITLINK_FIELDS(offset, size)
};

// Value type: a plan works on a copy. Not thread safe.
class Space {
 public:
  Space() = default;
  // `used` bytes are taken, the rest up to `size` is free. With min_hole != 0 every hole must be 0 or at least that
  // long, since it is filled with something legal.
  Space(uint64_t used, uint64_t size, uint64_t min_hole) : used_(used), size_(size), min_hole_(min_hole) {}

  // Room for `size` bytes whose address is a multiple of `alignment`, the section starting at `address`: the shortest
  // hole that is long enough, else the tail. May give more than was asked for, when the remainder could not be a hole.
  // Nothing when there is no such room.
  std::optional<Room> Take(uint64_t size, uint64_t alignment, uint64_t address = 0);
  // Joins what is given with the holes on either side of it.
  void Give(Room room);
  // The section has `size` bytes now, no fewer than before.
  void Extend(uint64_t size) { size_ = size; }
  // Makes `slot`, which is taken, longer by the hole behind it: to `wanted` bytes, or as many as there are, but at least
  // `least`. Nothing when there are not so many. The tail is everybody's. REQUIRES: slot.size < least <= wanted.
  std::optional<Room> Lengthen(Room slot, uint64_t least, uint64_t wanted);

  const std::vector<Room>& holes() const { return holes_; }
  Room tail() const { return {used_, size_ - used_}; }

  KITLINK_ALL_FIELDS(used_, size_, min_hole_, holes_)

 private:
  bool LegalHole(uint64_t size) const { return size == 0 || size >= min_hole_; }

  uint64_t used_ = 0, size_ = 0, min_hole_ = 0;
  std::vector<Room> holes_;  // sorted by offset
};

}  // namespace kitlink

#endif  // CORE_LAYOUT_SPACE_H_
