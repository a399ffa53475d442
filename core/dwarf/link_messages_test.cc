#include "core/dwarf/link_messages.h"

#include <string>
#include <vector>

#include "core/dwarf/compiled_object.h"
#include "core/dwarf/suggest.h"
#include "gtest/gtest.h"

namespace kitlink::dwarf {
namespace {

constexpr char kCalls[] = R"(int foo(int);
int main() {
  return foo(1)
      + foo(2)
      + foo(3)
      + foo(4)
      + foo(5);
}
)";

TEST(LinkMessages, UndefinedSymbol) {
  for (const char* compiler : {"gcc -g", "clang -g"}) {
    auto object = ParseObject("main.o", CompileToBytes(compiler, kCalls, "cc"));
    ASSERT_NE(object, nullptr);
    const std::vector<SymbolUse> uses = UsesOf(*object, "_Z3fooi");
    ASSERT_EQ(uses.size(), 5u);
    Suggester suggester("_Z3fooi");
    suggester.Consider("_Z3fool");
    EXPECT_EQ(UndefinedSymbolText("_Z3fooi", uses, uses.size(), suggester.Result()),
              "undefined symbol: foo(int)\n"
              ">>> referenced by unit.cc:3 (main.o:main)\n"
              ">>> referenced by unit.cc:4 (main.o:main)\n"
              ">>> referenced by unit.cc:5 (main.o:main)\n"
              ">>> referenced 2 more times\n"
              ">>> did you mean: foo(long)");
    EXPECT_EQ(UndefinedSymbolText("_Z3fooi", absl::MakeSpan(uses).first(3), 4, ""),
              "undefined symbol: foo(int)\n"
              ">>> referenced by unit.cc:3 (main.o:main)\n"
              ">>> referenced by unit.cc:4 (main.o:main)\n"
              ">>> referenced by unit.cc:5 (main.o:main)\n"
              ">>> referenced 1 more time");
  }
}

TEST(LinkMessages, WithoutDebugInformation) {
  auto object = ParseObject("libx.a", CompileToBytes("gcc", "extern int gone; int *cell = &gone;"));
  ASSERT_NE(object, nullptr);
  object->member = "m.o";
  EXPECT_EQ(UndefinedSymbolText("gone", UsesOf(*object, "gone"), 1, ""),
            "undefined symbol: gone\n>>> referenced by libx.a(m.o):cell");
  object->symbols.clear();
  uint32_t data = 0;
  while (object->sections[data].name != ".data") ++data;
  SymbolUse use{object.get(), data, 8};
  EXPECT_EQ(DescribePlace(use), "libx.a(m.o):(.data+0x8)");
}

TEST(LinkMessages, UsesOutsideOfObjects) {
  EXPECT_EQ(UndefinedSymbolText("entry", {SymbolUse{}}, 1, ""), "undefined symbol: entry");
}

TEST(LinkMessages, DuplicateSymbol) {
  auto first = ParseObject("a.o", CompileToBytes("gcc -g", "int x;\n\nint foo(void) { return 1; }\n"));
  auto second = ParseObject("libx.a", CompileToBytes("clang -g", "\nint foo(void) { return 2; }\n"));
  auto third = ParseObject("c.o", CompileToBytes("gcc", "int foo(void) { return 2; }\n"));
  ASSERT_TRUE(first != nullptr && second != nullptr && third != nullptr);
  second->member = "b.o";
  EXPECT_EQ(DuplicateSymbolText(
                "foo", {DefinitionOf(*first, "foo"), DefinitionOf(*second, "foo"), DefinitionOf(*third, "foo")}),
            "duplicate symbol: foo\n"
            ">>> defined at unit.c:3 (a.o)\n"
            ">>> defined at unit.c:2 (libx.a(b.o))\n"
            ">>> defined at c.o");
}

}  // namespace
}  // namespace kitlink::dwarf
