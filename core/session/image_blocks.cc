#include "core/session/image_blocks.h"

#include <algorithm>

namespace kitlink {

absl::Status ImageBlocks::Read(uint64_t offset, MutableBytes into) {
  if (into.empty()) return absl::OkStatus();
  if (into.size() > kMostKept || offset >= size_) return ReadThrough(offset, into);
  const uint64_t end = offset + into.size();
  if (absl::Status status = Load(offset / kBlock, (end + kBlock - 1) / kBlock); !status.ok()) return status;
  Copy(offset, into);
  return absl::OkStatus();
}

bool ImageBlocks::Known(uint64_t offset, MutableBytes into) const {
  for (uint64_t block = offset / kBlock; block * kBlock < offset + into.size(); ++block) {
    if (!blocks_.contains(block)) return false;
  }
  Copy(offset, into);
  return true;
}

void ImageBlocks::Copy(uint64_t offset, MutableBytes into) const {
  for (uint64_t at = offset, end = offset + into.size(); at < end;) {
    const uint64_t in_block = at % kBlock, length = std::min(kBlock - in_block, end - at);
    std::copy_n(blocks_.at(at / kBlock) + in_block, length, into.begin() + static_cast<ptrdiff_t>(at - offset));
    at += length;
  }
}

// Reads the blocks of [begin, end) that are not there, those that stand together at once.
absl::Status ImageBlocks::Load(uint64_t begin, uint64_t end) {
  while (begin < end) {
    if (blocks_.contains(begin)) {
      ++begin;
      continue;
    }
    uint64_t next = begin + 1;
    while (next < end && !blocks_.contains(next)) ++next;
    const uint64_t length = (next - begin) * kBlock;
    uint8_t* const bytes = Allocate(length);
    if (absl::Status status = ReadThrough(begin * kBlock, MutableBytes(bytes, length)); !status.ok()) return status;
    for (uint64_t block = begin; block < next; ++block) blocks_[block] = bytes + (block - begin) * kBlock;
    begin = next;
  }
  return absl::OkStatus();
}

uint8_t* ImageBlocks::Allocate(uint64_t size) {
  if (size > left_) {
    left_ = std::max(size, kSlab);
    slabs_.emplace_back(new uint8_t[left_]);
    slab_size_ = left_;
  }
  uint8_t* const at = slabs_.back().get() + (slab_size_ - left_);
  left_ -= size;
  return at;
}

absl::Status ImageBlocks::ReadThrough(uint64_t offset, MutableBytes into) const {
  const uint64_t there = offset < size_ ? std::min<uint64_t>(size_ - offset, into.size()) : 0;
  std::fill(into.begin() + static_cast<ptrdiff_t>(there), into.end(), 0);
  return there == 0 ? absl::OkStatus() : read_(offset, into.first(there));
}

}  // namespace kitlink
