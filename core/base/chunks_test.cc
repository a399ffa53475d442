#include "core/base/chunks.h"

#include <cstdint>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

std::string Noise(size_t size) {
  std::string bytes(size, '\0');
  uint64_t state = 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

std::set<std::string> ChunksOf(const std::string& bytes) {
  std::set<std::string> chunks;
  for (ByteView chunk : CutByContent(AsBytes(bytes))) chunks.insert(std::string(AsString(chunk)));
  return chunks;
}

TEST(CutByContent, GivesAllBytesInChunksOfTheRightSize) {
  for (const std::string& bytes : {Noise(1 << 20), std::string(300'000, 'x'), Noise(kLeastChunk), std::string("a"), std::string()}) {
    std::string together;
    const std::vector<ByteView> chunks = CutByContent(AsBytes(bytes));
    for (size_t i = 0; i < chunks.size(); ++i) {
      EXPECT_LE(chunks[i].size(), kMostChunk);
      EXPECT_TRUE(i + 1 == chunks.size() || chunks[i].size() >= kLeastChunk) << chunks[i].size();
      together += std::string(AsString(chunks[i]));
    }
    EXPECT_EQ(together, bytes);
  }
}

TEST(CutByContent, AChangeTouchesFewChunks) {
  const std::string before = Noise(1 << 20);
  const std::set<std::string> known = ChunksOf(before);
  EXPECT_GT(known.size(), 40u);
  std::string after = before;
  after[500'000] ^= 1;
  after.insert(300'000, "some bytes more");
  after.erase(700'000, 3);
  size_t fresh = 0;
  for (const std::string& chunk : ChunksOf(after)) fresh += !known.contains(chunk);
  EXPECT_LE(fresh, 6u);
}

}  // namespace
}  // namespace kitlink
