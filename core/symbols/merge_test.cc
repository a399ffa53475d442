#include "core/symbols/merge.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using namespace std::string_literals;

InputSection Strings(const std::string& bytes, uint32_t entry = 1, uint32_t alignment = 1) {
  InputSection section;
  section.name = ".rodata.str";
  section.flags = kSecAlloc | kSecMerge | kSecStrings;
  section.entry_size = entry;
  section.alignment = alignment;
  section.bytes = ByteView(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  section.size = bytes.size();
  return section;
}

TEST(SplitPieces, StringsEndWithTheirZero) {
  std::vector<uint32_t> starts;
  const std::string bytes = "ab\0\0cd\0"s;
  EXPECT_TRUE(SplitPieces(Strings(bytes), &starts));
  EXPECT_THAT(starts, ElementsAre(0, 3, 4));
}

TEST(SplitPieces, WideStringsEndWithAWideZero) {
  std::vector<uint32_t> starts;
  const std::string bytes = "\1\0\0\1\0\0\2\0\0\0"s;
  EXPECT_TRUE(SplitPieces(Strings(bytes, 2), &starts));
  EXPECT_THAT(starts, ElementsAre(0, 6));
}

TEST(SplitPieces, RefusesWhatIsNotWhole) {
  std::vector<uint32_t> starts;
  const std::string open = "ab\0cd"s, odd = "abc\0\0"s;
  EXPECT_FALSE(SplitPieces(Strings(open), &starts));
  EXPECT_FALSE(SplitPieces(Strings(odd, 2), &starts));
}

TEST(MergePieces, EqualPiecesShareAPlaceAndOffsetsFollow) {
  const std::string one = "same\0other\0"s, two = "third\0same\0"s;
  const InputSection a = Strings(one), b = Strings(two);
  MergedInput in_a, in_b;
  ASSERT_TRUE(SplitPieces(a, &in_a.starts) && SplitPieces(b, &in_b.starts));
  MergeSource sources[] = {{AtomId(1), &a, &in_a}, {AtomId(2), &b, &in_b}};
  MergedSection merged;
  merged.alignment = 1;
  MergePieces(absl::MakeSpan(sources), &merged);
  EXPECT_EQ(merged.pieces.size(), 3u);
  EXPECT_EQ(merged.size, 5u + 6u + 6u);
  EXPECT_EQ(in_a.Map(0), in_b.Map(6));
  EXPECT_EQ(in_a.Map(2), in_b.Map(8)) << "an offset into a piece moves with it";
}

TEST(MergePieces, PiecesAreAligned) {
  const std::string bytes = "a\0\0\0bcd\0"s;
  const InputSection section = Strings(bytes, 1, 4);
  MergedInput input;
  ASSERT_TRUE(SplitPieces(section, &input.starts));
  MergeSource sources[] = {{AtomId(1), &section, &input}};
  MergedSection merged;
  merged.alignment = 4;
  MergePieces(absl::MakeSpan(sources), &merged);
  for (const auto& piece : merged.pieces) EXPECT_EQ(piece.offset % 4, 0u);
}

}  // namespace
}  // namespace kitlink
