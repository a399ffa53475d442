#include "core/layout/space.h"

#include <algorithm>
#include <iterator>

#include "core/base/bytes.h"

namespace kitlink {
namespace {

constexpr uint64_t kWorthKeeping = 32;  // a shorter remainder goes with the slot

}  // namespace

std::optional<Room> Space::Take(uint64_t size, uint64_t alignment, uint64_t address) {
  const uint64_t least = std::max(min_hole_, kWorthKeeping);
  auto best = holes_.end();
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    const uint64_t lead = AlignUp(address + hole->offset, alignment) - address - hole->offset;
    if (lead + size > hole->size || !LegalHole(lead)) continue;
    if (best == holes_.end() || hole->size < best->size) best = hole;
  }
  if (best != holes_.end()) {
    const uint64_t start = AlignUp(address + best->offset, alignment) - address, lead = start - best->offset;
    const uint64_t rest = best->size - lead - size;
    Room room{start, rest >= least ? size : size + rest};
    const Room before{best->offset, lead}, after{start + room.size, best->size - lead - room.size};
    best = holes_.erase(best);
    if (after.size != 0) best = holes_.insert(best, after);
    if (before.size != 0) holes_.insert(best, before);
    return room;
  }
  const uint64_t start = AlignUp(address + used_, alignment) - address, lead = start - used_;
  if (start > size_ || size > size_ - start || !LegalHole(lead)) return std::nullopt;
  const uint64_t rest = size_ - start - size;
  const Room room{start, LegalHole(rest) ? size : size + rest};
  if (lead != 0) holes_.push_back({used_, lead});
  used_ = room.offset + room.size;
  return room;
}

void Space::Give(Room room) {
  if (room.size == 0) return;
  auto at = std::lower_bound(holes_.begin(), holes_.end(), room.offset,
                             [](const Room& hole, uint64_t offset) { return hole.offset < offset; });
  at = holes_.insert(at, room);
  if (auto next = std::next(at); next != holes_.end() && at->offset + at->size == next->offset) {
    at->size += next->size;
    holes_.erase(next);
  }
  if (at != holes_.begin()) {
    auto before = std::prev(at);
    if (before->offset + before->size == at->offset) {
      before->size += at->size;
      holes_.erase(at);
    }
  }
}

std::optional<Room> Space::Lengthen(Room slot, uint64_t least, uint64_t wanted) {
  const uint64_t end = slot.offset + slot.size;
  const auto hole = std::lower_bound(holes_.begin(), holes_.end(), end,
                                     [](const Room& room, uint64_t offset) { return room.offset < offset; });
  if (hole == holes_.end() || hole->offset != end || slot.size + hole->size < least) return std::nullopt;
  uint64_t more = std::min(wanted - slot.size, hole->size);
  // What is left over must be worth keeping.
  if (hole->size - more < std::max(min_hole_, kWorthKeeping)) more = hole->size;
  if (more == hole->size) {
    holes_.erase(hole);
  } else {
    hole->offset += more;
    hole->size -= more;
  }
  return Room{slot.offset, slot.size + more};
}

}  // namespace kitlink
