#include "core/session/trim.h"

#include <algorithm>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

Mutation At(uint64_t offset, std::vector<uint8_t> bytes) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.bytes = std::move(bytes);
  return mutation;
}

ImageReader Reader(const std::vector<uint8_t>& image) {
  return [&image](uint64_t offset, MutableBytes into) {
    if (!InBounds(offset, into.size(), image.size())) return absl::OutOfRangeError("outside");
    std::copy_n(image.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return absl::OkStatus();
  };
}

TEST(TrimTest, DropsWhatIsThereAlready) {
  const std::vector<uint8_t> image(100, 7);
  const auto trimmed = TrimMutations({At(10, {7, 7, 7}), At(50, {})}, Reader(image));
  ASSERT_TRUE(trimmed.ok());
  EXPECT_TRUE(trimmed->empty());
}

TEST(TrimTest, KeepsOnlyTheDifference) {
  const std::vector<uint8_t> image(100, 7);
  const auto trimmed = TrimMutations({At(10, {7, 8, 7, 7})}, Reader(image));
  ASSERT_TRUE(trimmed.ok());
  ASSERT_EQ(trimmed->size(), 1u);
  EXPECT_EQ(trimmed->front().offset, 11u);
  EXPECT_EQ(trimmed->front().bytes, std::vector<uint8_t>({8}));
}

TEST(TrimTest, TheLastWins) {
  const std::vector<uint8_t> image(100, 7);
  const auto trimmed = TrimMutations({At(10, {1, 1}), At(11, {2}), At(10, {7})}, Reader(image));
  ASSERT_TRUE(trimmed.ok());
  ASSERT_EQ(trimmed->size(), 1u);
  EXPECT_EQ(trimmed->front().offset, 11u);
  EXPECT_EQ(trimmed->front().bytes, std::vector<uint8_t>({2}));
}

TEST(TrimTest, SaysWhyItCannotRead) {
  const std::vector<uint8_t> image(10, 7);
  EXPECT_EQ(TrimMutations({At(9, {1, 2})}, Reader(image)).status().code(), absl::StatusCode::kOutOfRange);
}

TEST(TrimTest, GivesTheSameImage) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    std::vector<uint8_t> image(20000);
    for (uint8_t& byte : image) byte = static_cast<uint8_t>(random() % 2);
    std::vector<uint8_t> wanted = image;
    std::vector<Mutation> mutations;
    for (int m = 0; m < 12; ++m) {
      std::vector<uint8_t> bytes(random() % 300);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random() % 2);
      const uint64_t offset = random() % 2 ? random() % 600 : random() % (image.size() - 300);
      std::copy(bytes.begin(), bytes.end(), wanted.begin() + static_cast<ptrdiff_t>(offset));
      mutations.push_back(At(offset, std::move(bytes)));
    }
    const auto trimmed = TrimMutations(mutations, Reader(image));
    ASSERT_TRUE(trimmed.ok());
    uint64_t end = 0;
    for (const Mutation& mutation : *trimmed) {
      ASSERT_GE(mutation.offset, end);
      ASSERT_FALSE(mutation.bytes.empty());
      end = mutation.offset + mutation.bytes.size();
      ASSERT_NE(mutation.bytes.front(), image[mutation.offset]);
      ASSERT_NE(mutation.bytes.back(), image[end - 1]);
      std::copy(mutation.bytes.begin(), mutation.bytes.end(), image.begin() + static_cast<ptrdiff_t>(mutation.offset));
    }
    ASSERT_EQ(image, wanted);
  }
}

}  // namespace
}  // namespace kitlink
