#include "core/session/piece_index.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/codec.h"
#include "core/base/memory_blobs.h"
#include "core/base/page_source.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

PieceDigest Digest(uint32_t i) { return DigestPiece(AsBytes(absl::StrCat("piece ", i))); }

void ExpectPieces(const PieceIndex& index, uint32_t count) {
  EXPECT_EQ(index.size(), count);
  for (uint32_t i = 0; i < count; ++i) ASSERT_EQ(index.Find(Digest(i)), i * 7) << i;
  for (uint32_t i = count; i < count + 200; ++i) ASSERT_EQ(index.Find(Digest(i)), std::nullopt) << i;
}

TEST(PieceIndex, IsEmptyAtFirst) {
  PieceIndex index;
  index.Expect(Digest(0));
  EXPECT_EQ(index.Find(Digest(0)), std::nullopt);
  EXPECT_EQ(index.size(), 0u);
}

TEST(PieceIndex, GrowsWithItsPieces) {
  PieceIndex index;
  for (uint32_t i = 0; i < 5000; ++i) index.Add(Digest(i), i * 7);
  ExpectPieces(index, 5000);
  EXPECT_LE(index.bytes(), 5000u * 20 * 3);
}

TEST(PieceIndex, KeepsTheFirstPlaceOfAPiece) {
  PieceIndex index;
  index.Add(Digest(1), 10);
  index.Add(Digest(1), 20);
  EXPECT_EQ(index.Find(Digest(1)), 10u);
  EXPECT_EQ(index.size(), 1u);
}

TEST(PieceIndex, TakesLittleMoreThanItNeeds) {
  PieceIndex index;
  index.Reserve(70000);
  EXPECT_LE(index.bytes(), 70000u * 20 * 3 / 2);
  const uint64_t bytes = index.bytes();
  for (uint32_t i = 0; i < 75000; ++i) index.Add(Digest(i), i * 7);
  EXPECT_EQ(index.bytes(), bytes) << "some more fit";
  ExpectPieces(index, 75000);
}

TEST(PieceIndex, EndsOfItsRangesAreFound) {
  PieceIndex index;
  index.Reserve(100);
  const PieceDigest first{0, 1}, last{~uint64_t{0}, 1}, other{~uint64_t{0}, 2};
  index.Add(last, 1);
  index.Add(other, 2);  // goes on at the front
  index.Add(first, 0xfffffffe);
  EXPECT_EQ(index.Find(last), 1u);
  EXPECT_EQ(index.Find(other), 2u);
  EXPECT_EQ(index.Find(first), 0xfffffffeu);
  index.Add({1, 1}, 0xffffffff);  // cannot be told from a free place
  EXPECT_EQ(index.Find({1, 1}), std::nullopt);
}

TEST(PieceIndex, IsReadAsItWasWritten) {
  PieceIndex index;
  for (uint32_t i = 0; i < 3000; ++i) index.Add(Digest(i), i * 7);
  MemoryBlobs blobs;
  Encoder encoder(&blobs);
  index.Encode(encoder);
  ASSERT_TRUE(encoder.status().ok());
  auto source = std::make_shared<PageSource>(&blobs);
  Decoder decoder(AsBytes(encoder.bytes()), source);
  PieceIndex read;
  ASSERT_TRUE(read.Decode(decoder));
  EXPECT_TRUE(decoder.Done());
  ExpectPieces(read, 3000);
  read.Add(Digest(3000), 21000);
  ExpectPieces(read, 3001);
}

}  // namespace
}  // namespace kitlink
