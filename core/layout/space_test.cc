#include "core/layout/space.h"

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

TEST(SpaceTest, TakesFromTheTailInOrder) {
  Space space(100, 200, 0);
  const auto first = space.Take(10, 16);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->offset, 112u);
  EXPECT_EQ(first->size, 10u);
  EXPECT_EQ(space.tail().offset, 122u);
  EXPECT_FALSE(space.Take(100, 1));
  EXPECT_TRUE(space.Take(78, 1));
  EXPECT_FALSE(space.Take(64, 1));
}

TEST(SpaceTest, AlignmentCountsFromTheAddress) {
  Space space(0, 200, 0);
  const auto room = space.Take(16, 16, 0x1008);
  ASSERT_TRUE(room);
  EXPECT_EQ((0x1008 + room->offset) % 16, 0u);
}

TEST(SpaceTest, ReusesWhatWasGiven) {
  Space space(100, 100, 0);
  EXPECT_FALSE(space.Take(40, 1));
  space.Give({20, 40});
  const auto room = space.Take(40, 1);
  ASSERT_TRUE(room);
  EXPECT_EQ(room->offset, 20u);
  EXPECT_FALSE(space.Take(1, 1));
}

TEST(SpaceTest, JoinsNeighbours) {
  for (uint64_t min_hole : {0u, 16u}) {
    Space space(100, 100, min_hole);
    space.Give({0, 40});
    space.Give({40, 40});
    EXPECT_TRUE(space.Take(80, 1));
  }
}

TEST(SpaceTest, TakesTheShortestHole) {
  Space space(300, 300, 0);
  space.Give({0, 90});
  space.Give({100, 50});
  space.Give({200, 60});
  const auto room = space.Take(45, 1);
  ASSERT_TRUE(room);
  EXPECT_EQ(room->offset, 100u);
}

TEST(SpaceTest, LengthensASlotIntoWhatIsFree) {
  Space space(300, 400, 0);
  space.Give({50, 100});
  EXPECT_FALSE(space.Lengthen({0, 50}, 151, 200));  // what follows is too short
  auto slot = space.Lengthen({0, 50}, 60, 80);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->offset, 0u);
  EXPECT_EQ(slot->size, 80u);
  slot = space.Lengthen(*slot, 100, 1000);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->size, 150u);
  EXPECT_TRUE(space.holes().empty());
  EXPECT_FALSE(space.Lengthen(*slot, 151, 200));  // a slot that is taken follows
  EXPECT_FALSE(space.Lengthen({250, 50}, 60, 90));  // the tail follows
}

TEST(SpaceTest, WhatAnExtensionLeavesIsALegalHole) {
  Space space(300, 300, 24);
  space.Give({100, 40});
  const auto slot = space.Lengthen({50, 50}, 60, 70);
  ASSERT_TRUE(slot);
  EXPECT_EQ(slot->size, 90u);
  EXPECT_TRUE(space.holes().empty());
}

// Whatever is taken and given: rooms never overlap, lie inside, are aligned; holes have a legal length.
TEST(SpaceTest, RandomUse) {
  std::mt19937 random(1);
  for (uint64_t min_hole : {0u, 24u}) {
    constexpr uint64_t kSize = 4096, kAddress = 0x5028;
    Space space(256, kSize, min_hole);
    std::vector<Room> taken;
    std::vector<bool> used(kSize, false);
    for (uint64_t i = 0; i < 256; ++i) used[i] = true;
    for (int step = 0; step < 1500; ++step) {
      if (random() % 4 == 0 && !taken.empty()) {
        Room& slot = taken[random() % taken.size()];
        const uint64_t least = slot.size + 1 + random() % 60;
        const auto longer = space.Lengthen(slot, least, least + random() % 60);
        if (!longer) continue;
        ASSERT_EQ(longer->offset, slot.offset);
        ASSERT_GE(longer->size, least);
        for (uint64_t i = slot.offset + slot.size; i < longer->offset + longer->size; ++i) {
          ASSERT_FALSE(used[i]) << "step " << step;
          used[i] = true;
        }
        slot = *longer;
      } else if (random() % 2 == 0 || taken.empty()) {
        const uint64_t size = 24 + random() % 200, alignment = uint64_t{1} << (random() % 6);
        const auto room = space.Take(size, alignment, kAddress);
        if (!room) continue;
        ASSERT_GE(room->size, size);
        ASSERT_EQ((kAddress + room->offset) % alignment, 0u);
        ASSERT_LE(room->offset + room->size, kSize);
        for (uint64_t i = 0; i < room->size; ++i) {
          ASSERT_FALSE(used[room->offset + i]) << "step " << step;
          used[room->offset + i] = true;
        }
        taken.push_back(*room);
      } else {
        const size_t k = random() % taken.size();
        for (uint64_t i = 0; i < taken[k].size; ++i) used[taken[k].offset + i] = false;
        space.Give(taken[k]);
        taken.erase(taken.begin() + static_cast<ptrdiff_t>(k));
      }
      uint64_t free = space.tail().size;
      for (const Room& hole : space.holes()) {
        ASSERT_GE(hole.size, min_hole);
        for (uint64_t i = 0; i < hole.size; ++i) ASSERT_FALSE(used[hole.offset + i]);
        free += hole.size;
      }
      ASSERT_EQ(free, static_cast<uint64_t>(std::count(used.begin(), used.end(), false)));
    }
  }
}

}  // namespace
}  // namespace kitlink
