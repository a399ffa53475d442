#include "core/base/bytes.h"

#include "gtest/gtest.h"

namespace kitlink {
namespace {

TEST(Bytes, LoadAndStoreAtOddAddresses) {
  uint8_t buffer[16] = {};
  Store<uint32_t>(buffer + 1, 0x04030201u);
  EXPECT_EQ(buffer[1], 1);
  EXPECT_EQ(buffer[4], 4);
  EXPECT_EQ(Load<uint32_t>(buffer + 1), 0x04030201u);
  EXPECT_EQ(Load<uint16_t>(buffer + 3), 0x0403u);
}

TEST(Bytes, AlignUp) {
  EXPECT_EQ(AlignUp(5, 0), 5u);
  EXPECT_EQ(AlignUp(5, 1), 5u);
  EXPECT_EQ(AlignUp(5, 4), 8u);
  EXPECT_EQ(AlignUp(8, 4), 8u);
}

TEST(Bytes, InBoundsNeverOverflows) {
  EXPECT_TRUE(InBounds(0, 0, 0));
  EXPECT_TRUE(InBounds(4, 4, 8));
  EXPECT_FALSE(InBounds(4, 5, 8));
  EXPECT_FALSE(InBounds(9, 0, 8));
  EXPECT_FALSE(InBounds(~0ull, 2, 8));
  EXPECT_FALSE(InBounds(2, ~0ull, 8));
}

}  // namespace
}  // namespace kitlink
