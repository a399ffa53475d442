#include "core/session/site_list.h"

#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr uint32_t kAbs64 = 1, kPc32 = 2, kPlt32 = 4, kGotPcRelX = 41, kRexGotPcRelX = 42;

Site Make(uint32_t global, uint32_t atom, uint64_t offset, uint32_t type, int64_t addend,
          std::array<uint8_t, Site::kMostLead> lead = {}) {
  Site site;
  site.global = global;
  site.atom = atom;
  site.offset = offset;
  site.type = type;
  site.addend = addend;
  site.lead = lead;
  return site;
}

bool Same(const Site& a, const Site& b) {
  return a.global == b.global && a.atom == b.atom && a.offset == b.offset && a.type == b.type && a.addend == b.addend &&
         a.lead == b.lead;
}

std::vector<Site> Of(const SiteList& list, uint32_t global) {
  std::vector<Site> sites;
  list.ForEach(X86_64(), global, [&](const Site& site) { sites.push_back(site); });
  return sites;
}

TEST(SiteListTest, TellsWhatItWasMadeOf) {
  const std::vector<Site> sites = {
      Make(3, 0, 5, kPlt32, -4),
      Make(3, 0, 90'000, kPc32, -4),
      Make(3, 7, 2, kRexGotPcRelX, -4, {0x48, 0x8b, 0x05}),
      Make(3, 7, 40, kGotPcRelX, -4, {0xff, 0x15}),
      Make(3, 900, uint64_t{5} << 40, kAbs64, 0),
      Make(200, 1, 0, kAbs64, -17),
      Make(200, 1, 8, kPc32, int64_t{1} << 40),
      Make(100'000, 2, 3, kPc32, INT64_MIN),
  };
  std::vector<Site> shuffled(sites.rbegin(), sites.rend());
  const SiteList list(X86_64(), shuffled);
  std::vector<uint32_t> names;
  list.ForEachName([&](uint32_t name) { names.push_back(name); });
  EXPECT_THAT(names, ElementsAre(3, 200, 100'000));
  std::vector<Site> all;
  for (uint32_t name : names) {
    for (const Site& site : Of(list, name)) all.push_back(site);
  }
  ASSERT_EQ(all.size(), sites.size());
  for (size_t i = 0; i < sites.size(); ++i) EXPECT_TRUE(Same(all[i], sites[i])) << i;
}

TEST(SiteListTest, NamesWithoutSitesHaveNone) {
  const SiteList list(X86_64(), {Make(5, 0, 0, kPlt32, -4), Make(9, 0, 5, kPlt32, -4)});
  for (uint32_t global : {0u, 4u, 6u, 8u, 10u}) EXPECT_THAT(Of(list, global), IsEmpty()) << global;
  EXPECT_EQ(Of(list, 5).size(), 1u);
  EXPECT_EQ(Of(list, 9).size(), 1u);
  EXPECT_THAT(Of(SiteList(), 0), IsEmpty());
  EXPECT_TRUE(SiteList().empty());
  EXPECT_FALSE(list.empty());
}

// Calls are what there is most of, and there are millions.
TEST(SiteListTest, CallsTakeFewBytes) {
  std::vector<Site> sites;
  for (uint32_t i = 0; i < 1000; ++i) sites.push_back(Make(i / 10, i % 10 * 3, i * 20 % 9000, kPlt32, -4));
  EXPECT_LT(SiteList(X86_64(), sites).bytes_held(), 5 * sites.size());
}

}  // namespace
}  // namespace kitlink
