#include "core/base/diagnostics.h"

#include "gtest/gtest.h"

namespace kitlink {
namespace {

TEST(Diagnostics, KeepsOrderAndCountsErrors) {
  Diagnostics diagnostics;
  EXPECT_TRUE(diagnostics.ToStatus().ok());
  diagnostics.Warning("w");
  diagnostics.Error("undefined symbol: f\n>>> referenced by main.o");
  diagnostics.Note("n");
  EXPECT_EQ(diagnostics.error_count(), 1u);
  EXPECT_EQ(diagnostics.ToStatus().message(), "link failed: 1 error");
  const auto list = diagnostics.Take();
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(FormatDiagnostic(list[0]), "warning: w");
  EXPECT_EQ(FormatDiagnostic(list[1]), "error: undefined symbol: f\n>>> referenced by main.o");
  EXPECT_EQ(FormatDiagnostic(list[2]), "note: n");
}

TEST(Diagnostics, LimitCutsErrorsOnly) {
  Diagnostics diagnostics(2);
  for (int i = 0; i < 5; ++i) diagnostics.Error("e");
  diagnostics.Warning("late");
  EXPECT_EQ(diagnostics.error_count(), 5u);
  const auto list = diagnostics.Take();
  ASSERT_EQ(list.size(), 4u);
  EXPECT_EQ(list[2].text, "late");
  EXPECT_EQ(list[3].severity, Severity::kError);
  EXPECT_NE(list[3].text.find("3 more"), std::string::npos);
}

TEST(Diagnostics, ZeroKeepsAll) {
  Diagnostics diagnostics(0);
  for (int i = 0; i < 100; ++i) diagnostics.Error("e");
  EXPECT_EQ(diagnostics.Take().size(), 100u);
}

}  // namespace
}  // namespace kitlink
