#include "core/verify/emptied.h"

#include <vector>

#include "core/dwarf/padding.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

constexpr const char* kTables[] = {".debug_rnglists", ".debug_loclists", ".debug_loc", ".debug_ranges"};

// Two holes, one after the other, as a section has them that everything has left.
std::vector<uint8_t> Emptied(const char* name, size_t first, size_t second) {
  std::vector<uint8_t> bytes(first + second, 0xff);
  const dwarf::Filler* filler = dwarf::Filler::For(name);
  filler->Fill(absl::MakeSpan(bytes).subspan(0, first), 0, 0);
  filler->Fill(absl::MakeSpan(bytes).subspan(first), first, 0);
  return bytes;
}

TEST(HoldsNoLists, HolesOfAllSizes) {
  for (const char* name : kTables) {
    for (size_t size = 64; size < 600; size += name == kTables[3] ? 16 : 1) {
      EXPECT_TRUE(HoldsNoLists(name, Emptied(name, size, 8192))) << name << " " << size;
    }
  }
}

TEST(HoldsNoLists, AnythingElseIsSomething) {
  for (const char* name : kTables) {
    const std::vector<uint8_t> good = Emptied(name, 96, 160);
    for (size_t at = 0; at < good.size(); ++at) {
      std::vector<uint8_t> bytes = good;
      bytes[at] ^= 0x41;
      EXPECT_FALSE(HoldsNoLists(name, bytes)) << name << " " << at;
    }
    std::vector<uint8_t> cut = good;
    cut.resize(cut.size() - 3);
    EXPECT_FALSE(HoldsNoLists(name, cut)) << name;
  }
  EXPECT_FALSE(HoldsNoLists(".debug_str", std::vector<uint8_t>(16)));
  EXPECT_FALSE(HoldsNoLists(".debug_info", std::vector<uint8_t>()));
}

}  // namespace
}  // namespace kitlink::verify
