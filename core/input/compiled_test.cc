// What a real compiler writes, as opposed to what obj_builder thinks it does.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "core/base/memory_files.h"
#include "core/input/elf_shared.h"
#include "core/input/inputs.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

// Compiles `source` with `arguments` ("OUT" stands for the output) and returns the output's bytes.
std::vector<uint8_t> Compile(const std::string& source, std::string arguments, const std::string& script = "") {
  char folder[] = "/tmp/kitlink_compiled_XXXXXX";
  EXPECT_NE(mkdtemp(folder), nullptr);
  const std::string base(folder);
  std::ofstream(base + "/s.c") << source;
  std::ofstream(base + "/s.map") << script;
  const std::string command = "cd " + base + " && gcc s.c " + arguments + " -o out";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::ifstream in(base + "/out", std::ios::binary);
  std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  for (const char* name : {"/s.c", "/s.map", "/out"}) unlink((base + name).c_str());
  rmdir(folder);
  return bytes;
}

constexpr char kSource[] =
    "int shared = 3; const int fixed[9] = {1}; static int helper(int x) { return x + shared; }\n"
    "__thread int t; extern int other(int); int f(int x) { return helper(x) + other(t); }\n"
    "int old_g(void) { return 1; } int new_g(void) { return 2; }\n";

TEST(CompiledObject, SurvivesTruncationAtEveryByte) {
  const std::vector<uint8_t> whole = Compile(kSource, "-c -g -gz -ffunction-sections -fdata-sections");
  auto file = std::make_shared<MemoryBytes>(whole);
  auto object = ReadObject("s.o", "", file, file->bytes());
  ASSERT_TRUE(object.ok()) << object.status();
  const bool has_debug = std::any_of((*object)->sections.begin(), (*object)->sections.end(), [](const InputSection& s) {
    return s.name == ".debug_info" && s.size != 0 && !s.relocs.empty();
  });
  EXPECT_TRUE(has_debug);
  for (size_t length = 0; length < whole.size(); ++length) {
    auto cut = std::make_shared<MemoryBytes>(std::vector<uint8_t>(whole.begin(), whole.begin() + length));
    EXPECT_FALSE(ReadObject("s.o", "", cut, cut->bytes()).ok()) << length;
  }
}

TEST(CompiledObject, LinkTimeOptimisation) {
  auto slim = std::make_shared<MemoryBytes>(Compile(kSource, "-c -flto"));
  EXPECT_THAT(ReadObject("s.o", "", slim, slim->bytes()).status().message(), HasSubstr("-flto"));
  auto fat = std::make_shared<MemoryBytes>(Compile(kSource, "-c -flto -ffat-lto-objects"));
  EXPECT_TRUE(ReadObject("s.o", "", fat, fat->bytes()).ok());
}

const SharedSymbol* Find(const SharedFile& library, absl::string_view name, absl::string_view version) {
  for (const SharedSymbol& symbol : library.defined) {
    if (symbol.name == name && symbol.version == version) return &symbol;
  }
  return nullptr;
}

TEST(CompiledLibrary, VersionsAndNames) {
  const std::vector<uint8_t> whole =
      Compile(std::string("__asm__(\".symver old_g,g@V1\"); __asm__(\".symver new_g,g@@V2\");\n") + kSource,
              "-shared -fPIC -Wl,--no-as-needed,-soname,libs.so.1,--version-script=s.map,-z,norelro",
              "V1 { global: f; g; shared; fixed; t; local: *; }; V2 { g; } V1;");
  auto library = elf::ReadSharedFile("/x/libs.so", "libs.so", std::make_shared<MemoryBytes>(whole));
  ASSERT_TRUE(library.ok()) << library.status();
  EXPECT_EQ((*library)->soname, "libs.so.1");
  EXPECT_THAT((*library)->needed, Contains("libc.so.6"));
  EXPECT_THAT((*library)->undefined, Contains("other"));
  ASSERT_NE(Find(**library, "g", "V1"), nullptr);
  EXPECT_FALSE(Find(**library, "g", "V1")->default_version);
  ASSERT_NE(Find(**library, "g", "V2"), nullptr);
  EXPECT_TRUE(Find(**library, "g", "V2")->default_version);
  EXPECT_FALSE(Find(**library, "shared", "V1")->readonly);
  EXPECT_TRUE(Find(**library, "fixed", "V1")->readonly);
  EXPECT_GE(Find(**library, "fixed", "V1")->alignment, 16u);
  EXPECT_EQ(Find(**library, "t", "V1")->type, SymbolType::kTls);
  EXPECT_EQ(Find(**library, "helper", ""), nullptr);

  // Without section headers the program headers must say the same.
  std::vector<uint8_t> bare = whole;
  for (int at : {0x28, 0x29, 0x2a, 0x2b, 0x2c, 0x2d, 0x2e, 0x2f, 0x3c, 0x3d, 0x3e, 0x3f}) bare[at] = 0;
  auto again = elf::ReadSharedFile("/x/libs.so", "libs.so", std::make_shared<MemoryBytes>(bare));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->soname, (*library)->soname);
  EXPECT_EQ((*again)->undefined, (*library)->undefined);
  ASSERT_EQ((*again)->defined.size(), (*library)->defined.size());
  for (size_t i = 0; i < (*again)->defined.size(); ++i) {
    EXPECT_EQ((*again)->defined[i].name, (*library)->defined[i].name);
    EXPECT_EQ((*again)->defined[i].version, (*library)->defined[i].version);
  }
  // A prefix is an error or, when only the program headers' part is asked for, a library; never a crash.
  for (size_t length = 0; length < whole.size(); length += 7) {
    std::vector<uint8_t> cut(whole.begin(), whole.begin() + length);
    (void)elf::ReadSharedFile("s.so", "s.so", std::make_shared<MemoryBytes>(cut));
    std::vector<uint8_t> cut_bare(bare.begin(), bare.begin() + length);
    (void)elf::ReadSharedFile("s.so", "s.so", std::make_shared<MemoryBytes>(cut_bare));
  }
}

}  // namespace
}  // namespace kitlink
