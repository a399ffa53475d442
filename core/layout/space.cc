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
  for (auto hole = holes_.begin(); hole != holes_.end(); ++hole) {
    const uint64_t start = AlignUp(address + hole->offset, alignment) - address, lead = start - hole->offset;
    if (lead + size > hole->size || !LegalHole(lead)) continue;
    const uint64_t rest = hole->size - lead - size;
    Room room{start, rest >= least ? size : size + rest};
    const Room before{hole->offset, lead}, after{start + room.size, hole->size - lead - room.size};
    hole = holes_.erase(hole);
    if (after.size != 0) hole = holes_.insert(hole, after);
    if (before.size != 0) holes_.insert(hole, before);
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
  if (min_hole_ != 0) return;
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

}  // namespace kitlink
