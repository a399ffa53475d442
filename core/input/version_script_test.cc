#include "core/input/version_script.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(VersionScript, NodesParentsAndLanguages) {
  auto script = ParseVersionScript("v.map", R"map(
    # first
    V1 { global: a; b*; local: *; };
    V2 { c; extern "C++" { ns::f*; "ns::g(int)"; }; } V1;  /* second */
  )map");
  ASSERT_TRUE(script.ok()) << script.status();
  ASSERT_EQ(script->nodes.size(), 2u);
  const VersionNode& v1 = script->nodes[0];
  EXPECT_EQ(v1.name, "V1");
  ASSERT_EQ(v1.globals.size(), 2u);
  EXPECT_TRUE(v1.globals[0].literal);
  EXPECT_FALSE(v1.globals[1].literal);
  EXPECT_TRUE(v1.globals[1].Matches("bcd"));
  EXPECT_EQ(v1.locals.size(), 1u);
  const VersionNode& v2 = script->nodes[1];
  EXPECT_THAT(v2.parents, ElementsAre("V1"));
  ASSERT_EQ(v2.globals.size(), 3u);
  EXPECT_TRUE(v2.globals[1].cxx);
  EXPECT_TRUE(v2.globals[1].Matches("ns::foo()"));
  EXPECT_TRUE(v2.globals[2].literal);
  EXPECT_EQ(v2.globals[2].text, "ns::g(int)");
}

TEST(VersionScript, LabelsInAnySpacing) {
  for (const char* text : {"{global:a;local:*;};", "{ global : a; local : *; };", "{a;local :*;};"}) {
    auto script = ParseVersionScript("v", text);
    ASSERT_TRUE(script.ok()) << text << script.status();
    ASSERT_EQ(script->nodes[0].globals.size(), 1u) << text;
    EXPECT_EQ(script->nodes[0].globals[0].text, "a");
    ASSERT_EQ(script->nodes[0].locals.size(), 1u) << text;
    EXPECT_EQ(script->nodes[0].locals[0].text, "*");
  }
}

TEST(VersionScript, DynamicList) {
  auto list = ParseDynamicList("d", "{ a; b*; };");
  ASSERT_TRUE(list.ok());
  EXPECT_EQ(list->size(), 2u);
  EXPECT_FALSE(ParseDynamicList("d", "{ local: a; };").ok());
}

TEST(VersionScript, ErrorsNameTheLine) {
  EXPECT_THAT(ParseVersionScript("v.map", "V1 {\n a\n b; };").status().message(), HasSubstr("v.map:3:"));
  for (const char* text : {"V1", "V1 {", "V1 { a; }", "{ a; }; V2 { b; };", "V1 { \"a", "/*", "V1 { extern x { a; }; };"}) {
    EXPECT_FALSE(ParseVersionScript("v", text).ok()) << text;
  }
}

TEST(GlobMatches, Wildcards) {
  EXPECT_TRUE(GlobMatches("*", ""));
  EXPECT_TRUE(GlobMatches("a*c*e", "abcde"));
  EXPECT_FALSE(GlobMatches("a*c*e", "abcd"));
  EXPECT_TRUE(GlobMatches("a?c", "abc"));
  EXPECT_FALSE(GlobMatches("a?c", "ac"));
  EXPECT_TRUE(GlobMatches("[a-c]x", "bx"));
  EXPECT_FALSE(GlobMatches("[!a-c]x", "bx"));
  EXPECT_TRUE(GlobMatches("[]]x", "]x"));
  EXPECT_TRUE(GlobMatches("[x", "[x"));
  EXPECT_TRUE(GlobMatches("a\\*", "a*"));
  EXPECT_FALSE(GlobMatches("a\\*", "ab"));
  EXPECT_FALSE(GlobMatches("", "a"));
}

}  // namespace
}  // namespace kitlink
