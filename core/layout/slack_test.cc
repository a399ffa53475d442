#include "core/layout/slack.h"

#include "gtest/gtest.h"

namespace kitlink {
namespace {

OutputSection Section(const std::string& name, uint32_t flags, bool exact) {
  OutputSection section;
  section.name = name;
  section.flags = flags;
  section.exact = exact;
  return section;
}

TEST(Slack, ExactSectionsHaveNone) {
  const OutputSection rows = Section(".init_array", kSecAlloc | kSecWrite, true);
  EXPECT_EQ(SlotCapacity(rows, 8, 0), 8u);
  EXPECT_EQ(TailReserve(rows, 64), 0u);
}

TEST(Slack, FunctionsHaveRoomForACall) {
  const OutputSection text = Section(".text", kSecAlloc | kSecExec, false);
  for (uint64_t size : {1u, 10u, 100u, 10000u}) {
    EXPECT_GE(SlotCapacity(text, size, 0), size + 16) << size;
    EXPECT_LE(SlotCapacity(text, size, 0), size + size / 8 + 64) << size;
    EXPECT_EQ(SlotCapacity(text, size, 0) % 8, 0u);
  }
  EXPECT_EQ(SlotCapacity(text, 0, 0), 0u);
  EXPECT_GT(TailReserve(text, 100), 0u);
}

TEST(Slack, HolesInDebugSectionsAreFillableOrAbsent) {
  const OutputSection info = Section(".debug_info", 0, false);
  for (uint64_t size : {1u, 50u, 1000u}) {
    EXPECT_GE(SlotCapacity(info, size, 100) - size, 100u) << size;
  }
}

TEST(Slack, LongTailsAreForThoseThatNeedNotFillThem) {
  OutputSection info = Section(".debug_info", 0, false);
  const uint64_t used = 40 << 20;
  EXPECT_LE(TailReserve(info, used), 256u << 10);
  info.long_tail = true;
  EXPECT_GE(TailReserve(info, used), 4u << 20);
}

TEST(Slack, RowsAndSetsHaveNoRoom) {
  EXPECT_TRUE(HasRoom(Section(".text", kSecAlloc | kSecExec, false)));
  EXPECT_TRUE(HasRoom(Section(".debug_line", 0, false)));
  for (const char* name : {".init_array", ".init", "rows", ".tdata"}) {
    EXPECT_FALSE(HasRoom(Section(name, kSecAlloc, false))) << name;
  }
}

TEST(Slack, RowsHaveAReserveBehindTheLastOne) {
  for (const char* name : {".init_array", "rows", ".own"}) {
    EXPECT_TRUE(HoldsRows(Section(name, kSecAlloc, true))) << name;
  }
  EXPECT_FALSE(HoldsRows(Section("rows", 0, true)));
  EXPECT_FALSE(HoldsRows(Section(".init", kSecAlloc | kSecExec, true)));
  EXPECT_FALSE(HoldsRows(Section(".tdata", kSecAlloc | kSecTls, true)));
  EXPECT_FALSE(HoldsRows(Section(".data", kSecAlloc | kSecWrite, true)));
  OutputSection note = Section(".note.x", kSecAlloc, true);
  note.kind = SectionKind::kNote;
  EXPECT_FALSE(HoldsRows(note));
  EXPECT_EQ(RowReserve(0), 0u);
  EXPECT_EQ(RowReserve(8), 128u);
  EXPECT_EQ(RowReserve(8000), 1000u);
}

}  // namespace
}  // namespace kitlink
