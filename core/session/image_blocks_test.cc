#include "core/session/image_blocks.h"

#include <algorithm>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

class ImageBlocksTest : public ::testing::Test {
 protected:
  ImageBlocksTest() : image_(200'000) {
    for (size_t i = 0; i < image_.size(); ++i) image_[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  }

  std::vector<uint8_t> Read(ImageBlocks* blocks, uint64_t offset, size_t length) {
    std::vector<uint8_t> bytes(length, 0xee);
    EXPECT_TRUE(blocks->Read(offset, absl::MakeSpan(bytes)).ok());
    return bytes;
  }

  std::vector<uint8_t> Expected(uint64_t offset, size_t length) const {
    std::vector<uint8_t> bytes(length);
    for (size_t i = 0; i < length && offset + i < image_.size(); ++i) bytes[i] = image_[offset + i];
    return bytes;
  }

  std::vector<uint8_t> image_;
  int reads_ = 0;
  uint64_t bytes_read_ = 0;
  bool fails_ = false;
  const ImageReader reader_ = [this](uint64_t offset, MutableBytes into) {
    ++reads_;
    bytes_read_ += into.size();
    if (fails_) return absl::DataLossError("gone");
    if (offset + into.size() > image_.size()) return absl::OutOfRangeError("behind the end");
    std::copy_n(image_.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return absl::OkStatus();
  };
};

TEST_F(ImageBlocksTest, GivesTheImageWhereverItIsCut) {
  ImageBlocks blocks(reader_, image_.size());
  for (uint64_t offset : {0ull, 1ull, 4095ull, 4096ull, 10'000ull, 150'000ull, 3000ull, 199'990ull}) {
    for (size_t length : {0u, 1u, 10u, 4096u, 9000u, 70'000u}) {
      EXPECT_EQ(Read(&blocks, offset, length), Expected(offset, length)) << offset << " " << length;
    }
  }
}

TEST_F(ImageBlocksTest, BehindTheEndThereAreZeros) {
  ImageBlocks blocks(reader_, image_.size());
  EXPECT_EQ(Read(&blocks, image_.size() - 3, 8000), Expected(image_.size() - 3, 8000));
  EXPECT_EQ(Read(&blocks, image_.size() + 5000, 20), std::vector<uint8_t>(20));
  EXPECT_EQ(Read(&blocks, ~uint64_t{0} - 3, 20), std::vector<uint8_t>(20));
}

TEST_F(ImageBlocksTest, ReadsEachBlockOnce) {
  ImageBlocks blocks(reader_, image_.size());
  Read(&blocks, 5000, 10);
  Read(&blocks, 4096, 4096);
  Read(&blocks, 8191, 1);
  EXPECT_EQ(reads_, 1);
  EXPECT_EQ(bytes_read_, 4096u);
  Read(&blocks, 0, 5 * 4096);  // before it one, behind it three
  EXPECT_EQ(reads_, 3);
  EXPECT_EQ(bytes_read_, 5 * 4096u);
}

TEST_F(ImageBlocksTest, KnowsWhatItHasReadAndNoMore) {
  ImageBlocks blocks(reader_, image_.size());
  std::vector<uint8_t> bytes(5000, 0xee);
  Read(&blocks, 4096, 8192);
  EXPECT_TRUE(blocks.Known(5000, absl::MakeSpan(bytes)));
  EXPECT_EQ(bytes, Expected(5000, 5000));
  const std::vector<uint8_t> same = bytes;
  for (uint64_t offset : {4095ull, 8000ull, 20'000ull, 199'999ull, 1ull << 40}) {
    EXPECT_FALSE(blocks.Known(offset, absl::MakeSpan(bytes))) << offset;
  }
  EXPECT_EQ(bytes, same);
  EXPECT_EQ(reads_, 1);
}

TEST_F(ImageBlocksTest, AFailureIsNotKept) {
  ImageBlocks blocks(reader_, image_.size());
  fails_ = true;
  std::vector<uint8_t> bytes(10);
  EXPECT_EQ(blocks.Read(100, absl::MakeSpan(bytes)).code(), absl::StatusCode::kDataLoss);
  fails_ = false;
  EXPECT_EQ(Read(&blocks, 100, 10), Expected(100, 10));
}

}  // namespace
}  // namespace kitlink
