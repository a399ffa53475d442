#include "core/dwarf/source_location.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/dwarf/compiled_object.h"
#include "gtest/gtest.h"

namespace kitlink::dwarf {
namespace {

constexpr char kC[] = R"(extern int missing(int);
extern int gone;
int table[4] = {1, 2, 3, 4};
int *cell = &gone;
static int *inner_cell[2] = {0, &gone};
static int quiet(int v) { return v + 1; }

int caller(int v) {
  v = quiet(v);
  return missing(v)
      + **inner_cell;
}
int second(int v) {
  static int *counter = &gone;
  return *counter + v;
}
)";

constexpr char kCpp[] = R"(namespace a {
struct Box { int value; int sum() const; static int *last; };
int missing(long);
extern int gone;
int *Box::last = &gone;
int Box::sum() const {
  return
      missing(value);
}
template <typename T> T twice(T v) { return missing(v) * 2; }
int use() { return static_cast<int>(twice<short>(3)); }
}
)";

SourceLocation At(const SymbolUse& use) { return Locate(*use.object, use.section, use.offset); }

std::string Text(const SourceLocation& location) {
  return absl::StrCat(location.file, ":", location.line, ":", location.function);
}

class Located : public testing::TestWithParam<const char*> {};

TEST_P(Located, C) {
  auto object = ParseObject("unit.o", CompileToBytes(GetParam(), kC));
  ASSERT_NE(object, nullptr);
  const std::vector<SymbolUse> calls = UsesOf(*object, "missing");
  ASSERT_EQ(calls.size(), 1u);
  EXPECT_EQ(Text(At(calls[0])), "unit.c:10:caller");
  std::vector<std::string> data;
  for (const SymbolUse& use : UsesOf(*object, "gone")) data.push_back(Text(At(use)));
  std::sort(data.begin(), data.end());
  ASSERT_EQ(data.size(), 3u);
  EXPECT_TRUE(absl::StartsWith(data[0], "unit.c:14:")) << data[0];  // counter.0 or second.counter
  EXPECT_EQ(data[1], "unit.c:4:cell");
  EXPECT_EQ(data[2], "unit.c:5:inner_cell");
  EXPECT_EQ(Text(At(DefinitionOf(*object, "second"))), "unit.c:13:second");
  EXPECT_EQ(Text(At(DefinitionOf(*object, "table"))), "unit.c:3:table");
}

TEST_P(Located, Cpp) {
  auto object = ParseObject("unit.o", CompileToBytes(GetParam(), kCpp, "cc"));
  ASSERT_NE(object, nullptr);
  std::vector<std::string> calls;
  for (const SymbolUse& use : UsesOf(*object, "_ZN1a7missingEl")) calls.push_back(Text(At(use)));
  std::sort(calls.begin(), calls.end());
  ASSERT_EQ(calls.size(), 2u);
  EXPECT_EQ(calls[0], "unit.cc:10:short a::twice<short>(short)");
  EXPECT_EQ(calls[1], "unit.cc:8:a::Box::sum() const");
  const std::vector<SymbolUse> data = UsesOf(*object, "_ZN1a4goneE");
  ASSERT_EQ(data.size(), 1u);
  EXPECT_EQ(At(data[0]).function, "a::Box::last");
  EXPECT_EQ(At(data[0]).file, "unit.cc");
}

INSTANTIATE_TEST_SUITE_P(Compilers, Located,
                         testing::Values("gcc -g -gdwarf-5", "gcc -g -gdwarf-4 -ffunction-sections -fdata-sections",
                                         "gcc -g -gz -ffunction-sections", "gcc -g -fno-pic -mcmodel=large",
                                         "clang -g -gdwarf-5", "clang -g -gdwarf-4 -ffunction-sections -fdata-sections",
                                         "clang -g -gdwarf-5 -ffunction-sections"));

TEST(SourceLocation, NamesTheFunctionWithoutDebugInformation) {
  auto object = ParseObject("unit.o", CompileToBytes("gcc -O0", kC));
  ASSERT_NE(object, nullptr);
  const SourceLocation location = At(UsesOf(*object, "missing").at(0));
  EXPECT_EQ(location.function, "caller");
  EXPECT_EQ(location.file, "");
}

TEST(SourceLocation, WhatIsNotThereIsEmpty) {
  auto object = ParseObject("unit.o", CompileToBytes("gcc -g", kC));
  ASSERT_NE(object, nullptr);
  EXPECT_EQ(Text(Locate(*object, 12345, 0)), ":0:");
  EXPECT_EQ(Text(Locate(*object, kSectionUndefined, 0)), ":0:");
  EXPECT_EQ(Text(Locate(*object, kSectionCommon, 0)), ":0:");
  for (uint32_t i = 0; i < object->sections.size(); ++i) EXPECT_EQ(Locate(*object, i, ~uint64_t{0}).line, 0);
}

TEST(SourceLocation, SurvivesBrokenDebugInformation) {
  for (const char* command : {"gcc -g -gdwarf-5", "clang -g -gdwarf-4"}) {
    const std::vector<uint8_t> good = CompileToBytes(command, kC);
    std::mt19937 random(7);
    int read = 0;
    for (int round = 0; round < 400; ++round) {
      std::vector<uint8_t> bytes = good;
      for (const char* name : {".debug_info", ".debug_abbrev", ".debug_line"}) {
        const MutableBytes section = FindSection(bytes, name);
        if (section.empty()) continue;
        for (int i = 0; i <= round % 5; ++i) section[random() % section.size()] = static_cast<uint8_t>(random());
      }
      auto object = ParseObject("unit.o", bytes);
      if (object == nullptr) continue;
      ++read;
      for (const SymbolUse& use : UsesOf(*object, "missing")) EXPECT_EQ(At(use).function, "caller");
      for (const SymbolUse& use : UsesOf(*object, "gone")) At(use);
    }
    EXPECT_GT(read, 20);
  }
}

TEST(Demangle, KnowsCppAndRust) {
  EXPECT_EQ(Demangle("_ZN1a3Box3sumEv"), "a::Box::sum()");
  EXPECT_EQ(Demangle("_RNvCs1234_7mycrate3foo"), "mycrate::foo");
  EXPECT_EQ(Demangle("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE"), "core::fmt::Write::write_fmt");
  EXPECT_EQ(Demangle("main"), "main");
  EXPECT_EQ(Demangle("_Zbroken"), "_Zbroken");
  EXPECT_EQ(Demangle(""), "");
}

}  // namespace
}  // namespace kitlink::dwarf
