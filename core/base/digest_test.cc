#include "core/base/digest.h"

#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

TEST(ContentId, KnownAnswer) {
  // b2sum -l 256 of "abc" and of nothing.
  EXPECT_EQ(HashContent(AsBytes("abc")).ToHex(), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
  EXPECT_EQ(HashContent({}).ToHex(), "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
}

TEST(ContentId, HexRoundTrip) {
  const ContentId id = HashContent(AsBytes("x"));
  EXPECT_EQ(*ContentId::FromHex(id.ToHex()), id);
  EXPECT_TRUE(id.known());
  EXPECT_FALSE(ContentId().known());
  EXPECT_FALSE(ContentId::FromHex("").ok());
  EXPECT_FALSE(ContentId::FromHex(std::string(63, 'a')).ok());
  EXPECT_FALSE(ContentId::FromHex(std::string(63, 'a') + "g").ok());
}

TEST(ContentHasher, PiecesEqualTheWhole) {
  ContentHasher hasher;
  hasher.Update("a");
  hasher.Update("");
  hasher.Update("bc");
  EXPECT_EQ(hasher.Finish(), HashContent(AsBytes("abc")));
}

TEST(ContentHasher, SizedTextsDoNotRunTogether) {
  ContentHasher one, two;
  one.UpdateSized("ab");
  one.UpdateSized("c");
  two.UpdateSized("a");
  two.UpdateSized("bc");
  EXPECT_NE(one.Finish(), two.Finish());
}

TEST(ContentHasher, IntegersAreLittleEndian) {
  ContentHasher one, two;
  one.UpdateInteger(0x0807060504030201ull);
  two.Update(absl::string_view("\1\2\3\4\5\6\7\10", 8));
  EXPECT_EQ(one.Finish(), two.Finish());
}

// What is on disk, and build ids, are made of it: it must not become another one.
TEST(HashQuickly, IsXxh3) {
  EXPECT_EQ(HashQuickly(ByteView()), 0x2d06800538d394c2u);
  EXPECT_NE(HashQuickly(AsBytes("a")), HashQuickly(AsBytes("b")));
}

TEST(FnvWords, FollowsTheDefinition) {
  const uint64_t prime = 0x100000001b3ull;
  uint64_t expected = 0xcbf29ce484222325ull;
  for (uint64_t word : {0x6867666564636261ull, 0x69ull, 9ull}) {  // "abcdefgh", "i", padded, and the length
    expected = (expected ^ word) * prime;
    expected ^= expected >> 32;
  }
  EXPECT_EQ(FnvWords(AsBytes("abcdefghi")), expected);
}

TEST(FnvWords, LastBytesOfWordsDoNotMeet) {
  // Any two of these differ in the last byte of one or two words.
  std::set<uint64_t> hashes;
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      std::vector<uint8_t> bytes(32);
      bytes[7] = static_cast<uint8_t>(first);
      bytes[23] = static_cast<uint8_t>(second);
      hashes.insert(FnvWords(bytes));
    }
  }
  EXPECT_EQ(hashes.size(), 65536u);
}

TEST(FnvWords, PaddingAndSeedMatter) {
  EXPECT_NE(FnvWords(AsBytes("a")), FnvWords(AsBytes(absl::string_view("a\0", 2))));
  EXPECT_NE(FnvWords({}), FnvWords(AsBytes(absl::string_view("\0", 1))));
  EXPECT_NE(FnvWords(AsBytes("a"), 1), FnvWords(AsBytes("a"), 2));
}

}  // namespace
}  // namespace kitlink
