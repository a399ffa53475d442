// Hashes, string tables, frame tables and build ids, without a whole image.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/output/elf/build_id.h"
#include "core/output/elf/build_id_tree.h"
#include "core/output/elf/dynamic_tables.h"
#include "core/output/elf/frames.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

TEST(Hashes, KnownValues) {
  // As `readelf` and the loader compute them.
  EXPECT_EQ(GnuHash("printf"), 0x156b2bb8u);
  EXPECT_EQ(GnuHash(""), 5381u);
  EXPECT_EQ(SysvHash("printf"), 0x077905a6u);
  EXPECT_EQ(SysvHash("GLIBC_2.2.5"), 0x09691a75u);
}

TEST(StringTableBuilder, EqualStringsShareAPlace) {
  StringTableBuilder table;
  EXPECT_EQ(table.Add(""), 0u);
  const uint32_t a = table.Add("abc"), b = table.Add("def");
  EXPECT_EQ(table.Add("abc"), a);
  EXPECT_EQ(table.bytes().substr(a, 4), std::string("abc\0", 4));
  EXPECT_EQ(b, a + 4);
}

int32_t Word(const std::vector<uint8_t>& bytes, size_t at) { return Load<int32_t>(&bytes[at]); }

TEST(FrameHeader, RowsAreSortedCountedAndDistinct) {
  std::vector<uint8_t> bytes(kFrameHeaderSize + 4 * 8);
  WriteFrameHeader(absl::MakeSpan(bytes), 0x1000, 0x2000,
                   {{0x5000, 0x2030}, {0x4000, 0x2010}, {0x5000, 0x2020}});
  EXPECT_EQ(bytes[0], 1);
  EXPECT_EQ(Word(bytes, 4), 0x2000 - 0x1004);
  EXPECT_EQ(Word(bytes, 8), 2) << "one row a function";
  EXPECT_EQ(Word(bytes, 12), 0x4000 - 0x1000);
  EXPECT_EQ(Word(bytes, 16), 0x2010 - 0x1000);
  EXPECT_EQ(Word(bytes, 20), 0x5000 - 0x1000);
  EXPECT_EQ(Word(bytes, 24), 0x2020 - 0x1000);
}

TEST(FrameHeader, AFunctionWithoutCodeDoesNotHideTheOneBehindIt) {
  // Whichever comes first, and however many.
  for (const std::vector<FrameRow>& rows : std::vector<std::vector<FrameRow>>{
           {{0x5000, 0x2010, true}, {0x5000, 0x2020, false}, {0x5000, 0x2030, true}},
           {{0x5000, 0x2030, true}, {0x5000, 0x2020, false}, {0x5000, 0x2010, true}},
           {{0x5000, 0x2020, false}, {0x5000, 0x2010, true}}}) {
    std::vector<uint8_t> bytes(kFrameHeaderSize + 4 * 8);
    WriteFrameHeader(absl::MakeSpan(bytes), 0x1000, 0x2000, rows);
    EXPECT_EQ(Word(bytes, 8), 1);
    EXPECT_EQ(Word(bytes, 16), 0x2020 - 0x1000);
  }
}

TEST(FrameHeader, AFunctionWithoutCodeAloneHasARow) {
  std::vector<uint8_t> bytes(kFrameHeaderSize + 2 * 8);
  WriteFrameHeader(absl::MakeSpan(bytes), 0x1000, 0x2000, {{0x5000, 0x2010, true}, {0x5000, 0x2030, true}});
  EXPECT_EQ(Word(bytes, 8), 1);
  EXPECT_EQ(Word(bytes, 16), 0x2010 - 0x1000);
}

// Rows that come later find a place near by.
TEST(FrameHeader, WhereThereIsRoomEachSixteenthRowIsThereTwice) {
  std::vector<FrameRow> rows;
  for (uint64_t i = 0; i < 100; ++i) rows.push_back({0x5000 + 16 * i, 0x2000 + 24 * i, false});
  for (const auto& [spare, twice] : {std::make_pair(0, 0), std::make_pair(7, 3), std::make_pair(256, 6)}) {
    std::vector<uint8_t> bytes(kFrameHeaderSize + (rows.size() + static_cast<size_t>(spare)) * 8);
    WriteFrameHeader(absl::MakeSpan(bytes), 0x1000, 0x2000, rows);
    ASSERT_EQ(Word(bytes, 8), 100 + twice);
    int copies = 0;
    for (int i = 0; i + 1 < 100 + twice; ++i) {
      const int at = kFrameHeaderSize + 8 * i;
      EXPECT_LE(Word(bytes, at), Word(bytes, at + 8)) << i;
      if (Word(bytes, at) != Word(bytes, at + 8)) continue;
      EXPECT_EQ(Word(bytes, at + 4), Word(bytes, at + 12)) << i;
      ++copies;
    }
    EXPECT_EQ(copies, twice);
  }
}

TEST(FrameHeader, NoCodeMeansALengthOfZero) {
  std::vector<uint8_t> record(24, 0xff);
  std::fill(record.begin() + 12, record.begin() + 16, uint8_t{0});
  EXPECT_TRUE(DescribesNoCode(record, 8, 4));
  EXPECT_FALSE(DescribesNoCode(record, 8, 8)) << "address and length have eight bytes each";
  record[15] = 1;
  EXPECT_FALSE(DescribesNoCode(record, 8, 4));
  EXPECT_FALSE(DescribesNoCode(ByteView(record).first(14), 8, 4)) << "cut short";
  EXPECT_FALSE(DescribesNoCode(record, ~uint64_t{0} - 3, 4));
}

TEST(FrameHeader, AHoleIsOneRecordThatDescribesNothing) {
  for (size_t size : {16u, 24u, 2048u}) {
    std::vector<uint8_t> bytes(size, 0xff);
    FillFrameHole(absl::MakeSpan(bytes), bytes.size());
    EXPECT_EQ(static_cast<size_t>(Word(bytes, 0)) + 4, size) << "it ends where the hole ends";
    EXPECT_EQ(Word(bytes, 4), 0) << "it is a CIE";
    EXPECT_EQ(bytes[8], 1);
  }
}

TEST(BuildId, DependsOnEveryByte) {
  LinkOptions options;
  std::vector<uint64_t> leaves;
  std::vector<uint8_t> image(200000, 1);
  const std::vector<uint8_t> before = MakeBuildId(options, image, 20, &leaves);
  EXPECT_EQ(before.size(), 20u);
  EXPECT_EQ(leaves.size(), (image.size() + BuildIdTree::kLeaf - 1) / BuildIdTree::kLeaf);
  for (size_t at : {size_t{0}, size_t{4095}, size_t{4096}, image.size() - 1}) {
    image[at] = 2;
    EXPECT_NE(MakeBuildId(options, image, 20, &leaves), before) << at;
    image[at] = 1;
  }
  EXPECT_EQ(MakeBuildId(options, image, 20, &leaves), before);
}

// A CIE with a personality, and a description with an exception table: distances from their own place, but for what is absent.
std::vector<uint8_t> Records(uint8_t code) {
  std::vector<uint8_t> bytes = {28, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'P', 'L', 'R', 0, 1, 0x78, 16, 7, 0x9b, 0, 0, 0, 0, 0x1b, code};
  bytes.resize(32);
  Store(&bytes[19], int32_t{5000});
  std::vector<uint8_t> fde(32);
  Store(&fde[0], uint32_t{28});
  Store(&fde[4], uint32_t{36});
  Store(&fde[8], int32_t{-3000});
  Store(&fde[12], uint32_t{77});
  fde[16] = 4;
  bytes.insert(bytes.end(), fde.begin(), fde.end());
  return bytes;
}

TEST(FrameRecords, DistancesFollowAMove) {
  std::vector<uint8_t> bytes = Records(0x1b);
  const std::vector<uint8_t> before = bytes;
  ASSERT_TRUE(MoveFrameRecords(absl::MakeSpan(bytes), 0x1000, 0x3000, true).ok());
  EXPECT_EQ(Load<int32_t>(&bytes[19]), 5000 - 0x2000);
  EXPECT_EQ(Load<int32_t>(&bytes[40]), -3000 - 0x2000);
  EXPECT_EQ(Load<uint32_t>(&bytes[44]), 77u) << "a length";
  EXPECT_EQ(Load<int32_t>(&bytes[49]), 0) << "no exception table";
  ASSERT_TRUE(MoveFrameRecords(absl::MakeSpan(bytes), 0x3000, 0x1000, true).ok());
  EXPECT_EQ(bytes, before);
}

TEST(FrameRecords, WhatIsNotUnderstoodStays) {
  std::vector<uint8_t> absolute = Records(0x00), relative = Records(0x3b), far = Records(0x1b), letter = Records(0x1b), torn = Records(0x1b);
  EXPECT_TRUE(MoveFrameRecords(absl::MakeSpan(absolute), 0x1000, 0x3000, false).ok()) << "addresses that nobody relocates";
  EXPECT_FALSE(MoveFrameRecords(absl::MakeSpan(absolute), 0x1000, 0x3000, true).ok());
  EXPECT_FALSE(MoveFrameRecords(absl::MakeSpan(relative), 0x1000, 0x3000, false).ok());
  EXPECT_FALSE(MoveFrameRecords(absl::MakeSpan(far), 0x1000, 0x90001000, true).ok());
  letter[10] = 'Q';
  EXPECT_FALSE(MoveFrameRecords(absl::MakeSpan(letter), 0x1000, 0x3000, true).ok());
  torn.resize(40);
  EXPECT_FALSE(MoveFrameRecords(absl::MakeSpan(torn), 0x1000, 0x3000, true).ok());
}

TEST(BuildId, StylesOfBatchLinks) {
  LinkOptions options;
  options.incremental = false;
  options.build_id = BuildIdStyle::kHex;
  options.build_id_hex = "00ff1a";
  std::vector<uint64_t> leaves;
  const std::vector<uint8_t> image(100, 3);
  EXPECT_THAT(MakeBuildId(options, image, 3, &leaves), ::testing::ElementsAre(0x00, 0xff, 0x1a));
  options.build_id = BuildIdStyle::kMd5;
  EXPECT_EQ(MakeBuildId(options, image, 16, &leaves).size(), 16u);
  EXPECT_EQ(MakeBuildId(options, image, 16, &leaves), MakeBuildId(options, image, 16, &leaves));
}

}  // namespace
}  // namespace kitlink::elf
