#include "core/dwarf/padding.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink::dwarf {
namespace {

constexpr const char* kHeadered[] = {".debug_info",        ".debug_types",   ".debug_line",     ".debug_rnglists",
                                     ".debug_loclists",    ".debug_addr",    ".debug_frame",    ".debug_str_offsets",
                                     ".debug_pubnames",    ".debug_pubtypes", ".debug_gnu_pubnames",
                                     ".debug_gnu_pubtypes"};

TEST(Padding, UnitLengthCoversEveryHole) {
  for (const char* section : kHeadered) {
    const Filler* filler = Filler::For(section);
    ASSERT_NE(filler, nullptr) << section;
    for (uint64_t k = 0; k < 40000; k += k < 600 ? 1 : 997) {
      const uint64_t size = filler->min_hole() + k * filler->granularity();
      std::vector<uint8_t> bytes(size + 16, 0xee);
      filler->Fill(MutableBytes(bytes.data() + 8, size), 1234, 77);
      ASSERT_EQ(Load<uint32_t>(bytes.data() + 8), size - 4) << section << " " << size;
      for (int i = 0; i < 8; ++i) {
        ASSERT_EQ(bytes[i], 0xee) << section << " " << size;
        ASSERT_EQ(bytes[size + 8 + i], 0xee) << section << " " << size;
      }
    }
  }
}

TEST(Padding, HeadsAreTheStartOfWhatFillsAHole) {
  for (const char* section : {".debug_info", ".debug_types", ".debug_line", ".debug_rnglists", ".debug_addr", ".debug_frame",
                              ".debug_str_offsets", ".debug_abbrev", ".debug_str", ".debug_loclists", ".debug_loc",
                              ".debug_ranges", ".debug_macro", ".debug_pubnames"}) {
    const Filler* filler = Filler::For(section);
    for (uint64_t size = filler->min_hole(); size < 100000; size += size < 300 ? filler->granularity() : 160 * 97) {
      std::vector<uint8_t> whole(size), head(std::min(size, Filler::kHead) + 8, 0xee);
      filler->Fill(absl::MakeSpan(whole), 48, 77);
      filler->FillHead(MutableBytes(head.data(), head.size() - 8), size, 48, 77);
      ASSERT_TRUE(std::equal(head.begin(), head.end() - 8, whole.begin())) << section << " " << size;
      ASSERT_EQ(head[head.size() - 8], 0xee) << section << " " << size;
      if (!filler->zeros_behind_head() || size <= Filler::kHead) continue;
      ASSERT_TRUE(std::all_of(whole.begin() + Filler::kHead, whole.end(), [](uint8_t b) { return b == 0; })) << section << " " << size;
    }
  }
}

TEST(Padding, BlockOfInfoEndsWithTheUnit) {
  const Filler* filler = Filler::For(".debug_info");
  for (uint64_t size : {14, 15, 267, 268, 269, 270, 271, 272, 300, 1 << 24}) {
    std::vector<uint8_t> hole(size);
    filler->Fill(absl::MakeSpan(hole), 0, 0x1234);
    EXPECT_EQ(Load<uint16_t>(&hole[4]), 4);
    EXPECT_EQ(Load<uint32_t>(&hole[6]), 0x1234u);
    EXPECT_EQ(hole[10], 8);
    if (hole[11] == 1) {
      EXPECT_EQ(13u + hole[12], size);
    } else {
      ASSERT_EQ(hole[11], 2);
      EXPECT_EQ(16u + Load<uint32_t>(&hole[12]), size);
    }
  }
}

TEST(Padding, LineProgramsEndWithTheUnit) {
  const Filler* filler = Filler::For(".debug_line");
  for (uint64_t size = filler->min_hole(); size < 20000; ++size) {
    std::vector<uint8_t> hole(size);
    filler->Fill(absl::MakeSpan(hole), 0, 0);
    uint64_t at = 10 + Load<uint32_t>(&hole[6]);
    while (at < size) {
      if (hole[at++] == 7) continue;
      uint64_t length = 0, shift = 0;
      do length |= uint64_t{hole[at] & 0x7fu} << shift, shift += 7;
      while (hole[at++] & 0x80);
      ASSERT_EQ(hole[at], 0xff) << size;
      at += length;
    }
    ASSERT_EQ(at, size);
  }
}

TEST(Padding, LocationListsEndWithTheUnit) {
  const Filler* filler = Filler::For(".debug_loclists");
  for (uint64_t size = filler->min_hole(); size < 20000; ++size) {
    std::vector<uint8_t> hole(size);
    filler->Fill(absl::MakeSpan(hole), 0, 0);
    uint64_t at = 16;
    ASSERT_EQ(hole[at++], 4);
    uint64_t values[3] = {};
    for (uint64_t& value : values) {
      int shift = 0;
      do value |= uint64_t{hole[at] & 0x7fu} << shift, shift += 7;
      while (hole[at++] & 0x80);
    }
    ASSERT_EQ(values[0], 0u);
    ASSERT_EQ(values[1], 0u);
    ASSERT_EQ(at + values[2] + 1, size);
    ASSERT_EQ(hole.back(), 0);
  }
}

TEST(Padding, OldLocationListsEndWithTheHole) {
  const Filler* filler = Filler::For(".debug_loc");
  for (uint64_t size : {34, 35, 99, 65569, 65570, 65587, 65588, 65589, 131088, 200000}) {
    std::vector<uint8_t> hole(size);
    filler->Fill(absl::MakeSpan(hole), 0, 0);
    uint64_t at = 0;
    while (Load<uint64_t>(&hole[at]) != 0) at += 18 + Load<uint16_t>(&hole[at + 16]);
    EXPECT_EQ(at + 16, size);
  }
}

TEST(Padding, TypeSignaturesDiffer) {
  std::vector<uint8_t> a(40), b(40);
  Filler::For(".debug_types")->Fill(absl::MakeSpan(a), 0, 0);
  Filler::For(".debug_types")->Fill(absl::MakeSpan(b), 40, 0);
  EXPECT_NE(Load<uint64_t>(&a[11]), Load<uint64_t>(&b[11]));
}

TEST(Padding, EmptyHolesAreFine) {
  for (const char* section : kHeadered) Filler::For(section)->Fill({}, 5, 6);
  EXPECT_EQ(Filler::For(".gdb_index"), nullptr);
  EXPECT_EQ(Filler::For(".debug_names"), nullptr);
  EXPECT_EQ(Filler::For(".debug_aranges"), nullptr);
  EXPECT_EQ(Filler::For(".text"), nullptr);
}

TEST(Padding, ArangesRepeatTheLastTuple) {
  std::vector<uint8_t> slot(80, 0xee);
  std::memset(slot.data(), 0, 48);
  Store<uint32_t>(&slot[0], 44);
  Store<uint16_t>(&slot[4], 2);
  slot[10] = 8;
  Store<uint64_t>(&slot[16], 0x401000);
  Store<uint64_t>(&slot[24], 0x20);
  EXPECT_FALSE(PadInPlace(".debug_aranges", MutableBytes(slot.data(), 72), 48)) << "not a whole tuple";
  EXPECT_FALSE(PadInPlace(".debug_aranges", MutableBytes(slot.data(), 80), 44)) << "not one table";
  EXPECT_FALSE(PadInPlace(".debug_info", MutableBytes(slot.data(), 80), 48));
  EXPECT_EQ(Load<uint32_t>(&slot[0]), 44u);
  ASSERT_TRUE(PadInPlace(".debug_aranges", absl::MakeSpan(slot), 48));
  EXPECT_EQ(Load<uint32_t>(&slot[0]), 76u);
  for (int at : {16, 32, 48}) EXPECT_EQ(Load<uint64_t>(&slot[at]), 0x401000u);
  EXPECT_EQ(Load<uint64_t>(&slot[64]), 0u);
  EXPECT_EQ(Load<uint64_t>(&slot[72]), 0u);
}

TEST(Padding, ArangesOfAUnitWithoutCode) {
  std::vector<uint8_t> slot(64, 0xee);
  std::memset(slot.data(), 0, 32);
  Store<uint32_t>(&slot[0], 28);
  Store<uint16_t>(&slot[4], 2);
  slot[10] = 8;
  EXPECT_FALSE(PadInPlace(".debug_aranges", MutableBytes(slot.data(), 64), 16)) << "no end";
  ASSERT_TRUE(PadInPlace(".debug_aranges", MutableBytes(slot.data(), 48), 32));
  ASSERT_TRUE(PadInPlace(".debug_aranges", absl::MakeSpan(slot), 48)) << "once more";
  EXPECT_EQ(Load<uint32_t>(&slot[0]), 60u);
  for (int at : {16, 32}) {
    EXPECT_EQ(Load<uint64_t>(&slot[at]), 1u);
    EXPECT_EQ(Load<uint64_t>(&slot[at + 8]), 0u);
  }
  EXPECT_EQ(Load<uint64_t>(&slot[48]), 0u);
  EXPECT_EQ(Load<uint64_t>(&slot[56]), 0u);
}

}  // namespace
}  // namespace kitlink::dwarf
