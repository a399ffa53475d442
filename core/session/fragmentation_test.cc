#include "core/session/fragmentation.h"

#include <cstdint>
#include <string>

#include "core/session/growth.h"
#include "core/session/testing/hot_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::HotMemory;
using testing::ObjBuilder;

constexpr uint64_t kMegabyte = 1 << 20;

class FragmentationTest : public ::testing::Test {
 protected:
  FragmentationTest() {
    hot_.files.Put("a.o", ObjBuilder()
                              .Section(".text._start", std::string(64, '\x90'))
                              .Symbol("_start", ".text._start")
                              .Section(".data.d", std::string(4 * kMegabyte, 'd'))
                              .StackNote()
                              .Build());
    hot_.Link({"a.o"});
    hot_.memory->idle_at_first = IdleBytes(*hot_.memory);
  }

  SectionId Find(const std::string& name) const {
    for (uint32_t s = 0; s < hot_.memory->sections.size(); ++s) {
      if (hot_.memory->sections[s].name == name) return SectionId(s);
    }
    return SectionId();
  }
  SectionMemory& section(SectionId id) { return hot_.memory->sections[id.value]; }

  // Until there are no segments left; a section's room is not smaller for it.
  int GrowAll(const std::string& name) {
    int grown = 0;
    while (!hot_.memory->tables->OutOfSegments() && GrowSection(Find(name), 1000, hot_.memory.get())) ++grown;
    AdoptGrowth(hot_.memory.get());
    return grown;
  }

  HotMemory hot_;
};

TEST_F(FragmentationTest, FullLinksLeaveNothingToBeDesired) { EXPECT_EQ(WhyFragmented(*hot_.memory), ""); }

TEST_F(FragmentationTest, HolesCountOnceTheyAreHalfOfTheFile) {
  Space& space = section(Find(".data")).space;
  space.Give({0, kMegabyte});
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
  space.Give({kMegabyte, 2 * kMegabyte});
  EXPECT_THAT(WhyFragmented(*hot_.memory), HasSubstr("are holes"));
  ASSERT_TRUE(space.Take(2 * kMegabyte, 1));
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
}

TEST_F(FragmentationTest, PlacesThatWereLeftCount) {
  hot_.memory->image_size += 3 * kMegabyte;
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
  hot_.memory->image_size += 3 * kMegabyte;
  EXPECT_THAT(WhyFragmented(*hot_.memory), HasSubstr("places that were left"));
}

// What a link from scratch leaves between segments, another one would leave as well.
TEST_F(FragmentationTest, LargePagesAreNoReason) {
  hot_.Link({"-z", "max-page-size=0x800000", "a.o"});
  hot_.memory->idle_at_first = IdleBytes(*hot_.memory);
  ASSERT_GT(hot_.memory->idle_at_first, hot_.memory->image_size / 2);
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
  hot_.memory->image_size += 64 * kMegabyte;
  EXPECT_THAT(WhyFragmented(*hot_.memory), HasSubstr("places that were left"));
}

TEST_F(FragmentationTest, SmallFilesMayBeAnything) {
  hot_.files.Put("a.o", ObjBuilder().Section(".text._start", std::string(64, '\x90')).Symbol("_start", ".text._start").StackNote().Build());
  hot_.Link({"a.o"});
  hot_.memory->image_size += kMegabyte / 2;
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
}

TEST_F(FragmentationTest, LittleRoomMattersOnceThereAreNoSegmentsLeft) {
  const SectionId text = Find(".text"), data = Find(".data");
  ASSERT_TRUE(text.valid() && data.valid());
  Space& space = section(text).space;
  ASSERT_TRUE(space.Take(space.tail().size, 1));
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
  EXPECT_EQ(GrowAll(".data"), 4);
  EXPECT_THAT(WhyFragmented(*hot_.memory), AllOf(HasSubstr(".text has 0 of "), HasSubstr("no segment")));
  section(text).space.Give({0, 16 << 10});
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
}

TEST_F(FragmentationTest, RoomElsewhereInTheSameSectionIsRoom) {
  const SectionId text = Find(".text");
  Space& space = section(text).space;
  ASSERT_TRUE(space.Take(space.tail().size, 1));
  EXPECT_EQ(GrowAll(".text"), 4);
  EXPECT_EQ(WhyFragmented(*hot_.memory), "");
  for (SectionMemory& other : hot_.memory->sections) {
    if (other.growth_of != text) continue;
    ASSERT_TRUE(other.space.Take(other.space.tail().size - 64, 1));
  }
  EXPECT_THAT(WhyFragmented(*hot_.memory), HasSubstr(".text has 256 of "));
}

}  // namespace
}  // namespace kitlink
