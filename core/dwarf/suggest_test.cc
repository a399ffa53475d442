#include "core/dwarf/suggest.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace kitlink::dwarf {
namespace {

std::string Suggest(absl::string_view wanted, const std::vector<std::string>& candidates) {
  Suggester forward(wanted), backward(wanted);
  for (const std::string& name : candidates) forward.Consider(name);
  for (auto name = candidates.rbegin(); name != candidates.rend(); ++name) backward.Consider(*name);
  EXPECT_EQ(forward.Result(), backward.Result()) << "depends on the order";
  return forward.Result();
}

TEST(Suggest, FindsTheNearestName) {
  EXPECT_EQ(Suggest("print_lien", {"main", "print_line", "print_lines", "sprint"}), "did you mean: print_line");
  EXPECT_EQ(Suggest("fucntion", {"function", "junction"}), "did you mean: function");
  EXPECT_EQ(Suggest("foo_bar", {"foobar", "foobaz"}), "did you mean: foobar");
  EXPECT_EQ(Suggest("bar", {"baz", "bat"}), "did you mean: bat");
}

TEST(Suggest, SaysNothingWhenNothingIsNear) {
  EXPECT_EQ(Suggest("print_line", {"main", "compress", ""}), "");
  EXPECT_EQ(Suggest("ab", {"cb", "b"}), "");
  EXPECT_EQ(Suggest("", {"a"}), "");
  EXPECT_EQ(Suggest("abcd", {"abxy_z", "wxyz"}), "");
}

TEST(Suggest, PrefersAnotherCaseToAnotherName) {
  EXPECT_EQ(Suggest("glBindTexture", {"glbindtexture", "glBindTextures"}), "did you mean: glbindtexture");
}

TEST(Suggest, FindsTheOtherSignature) {
  EXPECT_EQ(Suggest("_Z3fooi", {"_Z3fool", "_Z3goo", "_Z4fooxi"}), "did you mean: foo(long)");
  EXPECT_EQ(Suggest("_ZN1a1b4workEi", {"_ZNK1a1b4workEPKc", "_ZN1c1b4workEi"}),
            "did you mean: a::b::work(char const*) const");
}

TEST(Suggest, FindsMissingExternC) {
  EXPECT_EQ(Suggest("_Z3foov", {"foo", "_Z3fooi"}), "did you mean: extern \"C\" foo");
  EXPECT_EQ(Suggest("foo", {"_Z3fooi", "fop", "_ZN1a3fooEv"}), "did you mean to declare foo(int) as extern \"C\"?");
}

TEST(Suggest, DistanceAgreesWithTheTextbook) {
  // Every word of up to 5 letters over {a, b} against one of 8: an edit distance within the limit (8 / 4 + 1) is found.
  const std::string wanted = "aababbab";
  for (int length = 1; length <= 11; ++length) {
    for (int bits = 0; bits < 1 << length; ++bits) {
      std::string word;
      for (int i = 0; i < length; ++i) word += (bits >> i & 1) != 0 ? 'b' : 'a';
      if (word == wanted) continue;
      std::vector<std::vector<int>> d(length + 1, std::vector<int>(wanted.size() + 1));
      for (int i = 0; i <= length; ++i) {
        for (int j = 0; j <= 8; ++j) {
          d[i][j] = i == 0 ? j : j == 0 ? i : std::min({d[i - 1][j] + 1, d[i][j - 1] + 1,
                                                        d[i - 1][j - 1] + (word[i - 1] == wanted[j - 1] ? 0 : 1)});
        }
      }
      Suggester suggester(wanted);
      suggester.Consider(word);
      ASSERT_EQ(suggester.Result().empty(), d[length][8] > 3) << word << " " << d[length][8];
    }
  }
}

TEST(Suggest, IsFastOnAMillionNames) {
  std::vector<std::string> names;
  for (int i = 0; i < 1000000; ++i) {
    names.push_back(i % 2 != 0 ? absl::StrCat("module_", i, "_operation") : absl::StrCat("_ZN4core6object7methodE", i));
  }
  Suggester c("modul_777777_operation"), cpp("_ZN4core6object9otherthinEv");
  const auto start = std::chrono::steady_clock::now();
  for (const std::string& name : names) {
    c.Consider(name);
    cpp.Consider(name);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(c.Result(), "did you mean: module_777777_operation");
  EXPECT_LT(took.count(), 10) << "unoptimised and sanitized builds included";
  RecordProperty("milliseconds", static_cast<int>(took.count() * 1000));
  std::printf("%.0f ms for two times a million names\n", took.count() * 1000);
}

}  // namespace
}  // namespace kitlink::dwarf
