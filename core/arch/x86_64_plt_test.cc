// Code that the linker writes itself, byte by byte.
#include "core/arch/x86_64_testing.h"
#include "gtest/gtest.h"

namespace kitlink::arch {
namespace {

TEST(Plt, Header) {
  ASSERT_EQ(X86_64().plt_header_size(), 16u);
  Bytes code(16);
  X86_64().WritePltHeader(absl::MakeSpan(code), 0x1000, 0x4000);
  EXPECT_EQ(code, (Bytes{0xff, 0x35, 0x02, 0x30, 0x00, 0x00,  // push 0x4008(%rip's base): 0x4008 - 0x1006
                         0xff, 0x25, 0x04, 0x30, 0x00, 0x00,  // jmp *0x4010: 0x4010 - 0x100c
                         0x0f, 0x1f, 0x40, 0x00}));           // nopl 0(%rax)
}

TEST(Plt, LazyEntry) {
  ASSERT_EQ(X86_64().plt_entry_size(), 16u);
  Bytes code(16);
  X86_64().WritePltEntry(absl::MakeSpan(code), 0x1020, 0x4020, 0x01020304, 0x1000);
  EXPECT_EQ(code, (Bytes{0xff, 0x25, 0xfa, 0x2f, 0x00, 0x00,  // jmp *0x4020: 0x4020 - 0x1026
                         0x68, 0x04, 0x03, 0x02, 0x01,        // push $0x1020304
                         0xe9, 0xd0, 0xff, 0xff, 0xff}));     // jmp 0x1000: -0x30
  EXPECT_EQ(X86_64().LazyPltTarget(0x1020), 0x1026u);         // the push
}

TEST(Plt, EntryThatOnlyJumps) {
  Bytes code(18, 0xaa);
  X86_64().WritePltGotEntry(absl::MakeSpan(code), 0x1020, 0x4020);
  EXPECT_EQ(code, (Bytes{0xff, 0x25, 0xfa, 0x2f, 0x00, 0x00,                          // jmp *0x4020
                         0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc,  // int3
                         0xaa, 0xaa}));                                               // the next entry's
}

TEST(Plt, NothingIsWrittenIntoShortSpans) {
  Bytes code(15, 0xaa);
  X86_64().WritePltHeader(absl::MakeSpan(code), 0, 0);
  X86_64().WritePltEntry(absl::MakeSpan(code), 0, 0, 0, 0);
  X86_64().WritePltGotEntry(absl::MakeSpan(code), 0, 0);
  EXPECT_EQ(code, Bytes(15, 0xaa));
}

TEST(Island, Jump) {
  ASSERT_EQ(X86_64().island_size(false), 5u);
  Bytes code(6, 0xaa);
  EXPECT_TRUE(X86_64().WriteIsland(absl::MakeSpan(code), 0x1000, 0x3000, false));
  EXPECT_EQ(code, (Bytes{0xe9, 0xfb, 0x1f, 0x00, 0x00, 0xaa}));  // jmp 0x3000
}

TEST(Island, WithLandingPad) {
  ASSERT_EQ(X86_64().island_size(true), 9u);
  Bytes code(9);
  EXPECT_TRUE(X86_64().WriteIsland(absl::MakeSpan(code), 0x3000, 0x1000, true));
  EXPECT_EQ(code, (Bytes{0xf3, 0x0f, 0x1e, 0xfa,           // endbr64
                         0xe9, 0xf7, 0xdf, 0xff, 0xff}));  // jmp 0x1000
}

TEST(Island, ReachesExactlyTwoGigabytes) {
  for (uint64_t distance :
       {uint64_t{0x7fffffff}, uint64_t{0x80000000}, -uint64_t{0x80000000}, -uint64_t{0x80000001}}) {
    const bool fits = distance == 0x7fffffff || distance == -uint64_t{0x80000000};
    Bytes code(5, 0xaa);
    EXPECT_EQ(X86_64().WriteIsland(absl::MakeSpan(code), 0x1000, 0x1005 + distance, false), fits);
    EXPECT_EQ(code == Bytes(5, 0xaa), !fits);
  }
  Bytes code(8);
  EXPECT_FALSE(X86_64().WriteIsland(absl::MakeSpan(code), 0x1000, 0x1000, true));
}

TEST(Fill, Traps) {
  Bytes code(5);
  X86_64().FillTraps(absl::MakeSpan(code));
  EXPECT_EQ(code, Bytes(5, 0xcc));
}

// Length of the nop at `code`, by Intel's table; 0 when it is none.
size_t NopLength(ByteView code) {
  size_t at = 0;
  while (at < code.size() && code[at] == 0x66) ++at;
  if (at < code.size() && code[at] == 0x90) return at + 1;
  if (at + 2 >= code.size() || code[at] != 0x0f || code[at + 1] != 0x1f) return 0;
  const uint8_t modrm = code[at + 2];
  const size_t sib = (modrm & 7) == 4 ? 1 : 0;
  const size_t displacement = modrm >> 6 == 0 ? 0 : modrm >> 6 == 1 ? 1 : 4;
  return at + 3 + sib + displacement;
}

TEST(Fill, NopsOfEveryLengthDecode) {
  for (size_t length = 0; length < 40; ++length) {
    Bytes code(length, 0xaa);
    X86_64().FillNops(absl::MakeSpan(code));
    ByteView rest = code;
    while (!rest.empty()) {
      const size_t nop = NopLength(rest);
      ASSERT_NE(nop, 0u);
      ASSERT_LE(nop, rest.size());
      rest.remove_prefix(nop);
    }
  }
}

}  // namespace
}  // namespace kitlink::arch
