#include "core/symbols/export_rules.h"

#include "core/base/memory_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;

ExportRules Read(const std::string& script) {
  MemoryFiles files;
  files.Put("s", script);
  LinkOptions options;
  options.version_script = "s";
  std::vector<OpenedFile> opened;
  absl::StatusOr<ExportRules> rules = ReadExportRules(options, files, &opened);
  EXPECT_TRUE(rules.ok()) << rules.status();
  EXPECT_EQ(opened.size(), 1u) << "a change of the script is a change of the link";
  return rules.ok() ? *std::move(rules) : ExportRules();
}

TEST(ExportRules, TheMostPreciseMatchDecides) {
  const ExportRules rules = Read("V1 { global: f*; exact; local: *; }; V2 { global: foo; g*; local: g_hidden; };");
  EXPECT_EQ(rules.VersionOf("foo"), 1) << "a whole name beats a pattern";
  EXPECT_EQ(rules.VersionOf("fob"), 0);
  EXPECT_EQ(rules.VersionOf("exact"), 0);
  EXPECT_EQ(rules.VersionOf("g1"), 1);
  EXPECT_EQ(rules.VersionOf("g_hidden"), ExportRules::kLocal);
  EXPECT_EQ(rules.VersionOf("anything"), ExportRules::kLocal);
}

TEST(ExportRules, NamesNotMentionedStayAsTheyAre) {
  const ExportRules rules = Read("{ local: hidden_*; };");
  EXPECT_EQ(rules.VersionOf("hidden_x"), ExportRules::kLocal);
  EXPECT_EQ(rules.VersionOf("x"), PatternSet::kNoMatch);
}

TEST(ExportRules, CxxPatternsMatchDemangledNames) {
  const ExportRules rules = Read("V { global: extern \"C++\" { ns::f*; \"ns::g(int)\"; }; local: *; };");
  EXPECT_EQ(rules.VersionOf("_ZN2ns3fooEv"), 0);
  EXPECT_EQ(rules.VersionOf("_ZN2ns1gEi"), 0);
  EXPECT_EQ(rules.VersionOf("_ZN2ns1gEl"), ExportRules::kLocal);
}

TEST(ExportRules, ListsAndMissingFiles) {
  MemoryFiles files;
  files.Put("list", "{ a; b*; };");
  LinkOptions options;
  options.dynamic_lists = {"list"};
  options.export_symbols = {"c?"};
  std::vector<OpenedFile> opened;
  absl::StatusOr<ExportRules> rules = ReadExportRules(options, files, &opened);
  ASSERT_TRUE(rules.ok());
  for (const char* name : {"a", "bee", "c1"}) EXPECT_NE(rules->dynamic.Find(name), PatternSet::kNoMatch) << name;
  EXPECT_EQ(rules->dynamic.Find("c12"), PatternSet::kNoMatch);
  EXPECT_TRUE(rules->has_dynamic_list);
  options.dynamic_lists = {"gone"};
  EXPECT_THAT(std::string(ReadExportRules(options, files, &opened).status().message()), HasSubstr("gone"));
}

}  // namespace
}  // namespace kitlink
