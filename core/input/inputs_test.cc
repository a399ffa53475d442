#include "core/input/inputs.h"

#include "core/base/memory_files.h"
#include "core/input/linker_script.h"
#include "core/input/testing/obj_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::HasSubstr;
using testing::BuildArchive;
using testing::ObjBuilder;

class ReadInputsTest : public ::testing::Test {
 protected:
  ReadInputsTest() {
    const std::vector<uint8_t> object = ObjBuilder().Section(".text", "\xc3").Symbol("f", ".text").Build();
    files_.Put("main.o", object);
    files_.Put("/l1/libx.a", BuildArchive({{"m.o", object, {"f"}}}));
    files_.Put("/l2/libx.a", BuildArchive({}));
    files_.Put("/l1/liby.a", BuildArchive({{"arm.o", ObjBuilder().Machine(EM_AARCH64).Build(), {}}}));
    files_.Put("/l2/liby.a", BuildArchive({{"m.o", object, {"f"}}}));
    options_.library_paths = {"/l1", "/l2"};
  }
  void Add(std::string name, bool library = false, InputFlags flags = {}) {
    InputArgument argument;
    argument.name = std::move(name);
    argument.library = library;
    argument.flags = flags;
    options_.inputs.push_back(argument);
  }
  absl::StatusOr<Inputs> Read() { return ReadInputs(options_, files_, diagnostics_); }
  std::string Errors() {
    std::string text;
    EXPECT_FALSE(Read().ok());
    for (const Diagnostic& diagnostic : diagnostics_.Take()) text += FormatDiagnostic(diagnostic) + "\n";
    return text;
  }
  MemoryFiles files_;
  LinkOptions options_;
  Diagnostics diagnostics_;
};

TEST_F(ReadInputsTest, SearchesInOrderAndSkipsOtherMachines) {
  Add("main.o");
  Add("x", true);
  Add("y", true);
  Add("x", true);
  auto inputs = Read();
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  ASSERT_EQ(inputs->order.size(), 4u);
  EXPECT_EQ(inputs->order[0].kind, InputEntry::Kind::kObject);
  EXPECT_EQ(inputs->archives[inputs->order[1].index]->path, "/l1/libx.a");
  EXPECT_EQ(inputs->archives[inputs->order[2].index]->path, "/l2/liby.a");
  EXPECT_EQ(inputs->order[3].index, inputs->order[1].index);
  EXPECT_EQ(inputs->opened.size(), 3u);
  EXPECT_THAT(diagnostics_.Take()[0].text, HasSubstr("skipping incompatible /l1/liby.a"));
}

TEST_F(ReadInputsTest, Scripts) {
  files_.Put("/l1/libc.so", "/* GNU ld script */ OUTPUT_FORMAT(elf64-x86-64)\n"
                            "GROUP ( -lx beside.o AS_NEEDED ( \"main.o\" ) )");
  files_.Put("/l1/beside.o", ObjBuilder().Build());
  files_.Put("/l1/libz.so", "OUTPUT_FORMAT(elf32-i386) INPUT(x)");
  files_.Put("/l2/libz.so", "INPUT(main.o)");
  Add("c", true);
  Add("z", true);
  auto inputs = Read();
  ASSERT_TRUE(inputs.ok()) << inputs.status();
  ASSERT_EQ(inputs->order.size(), 4u);
  EXPECT_EQ(inputs->order[0].flags.group, 1);
  EXPECT_EQ(inputs->objects[inputs->order[1].index]->path, "/l1/beside.o");
  EXPECT_FALSE(inputs->order[1].flags.as_needed);
  EXPECT_TRUE(inputs->order[2].flags.as_needed);
  EXPECT_EQ(inputs->order[3].flags.group, 0);
}

TEST_F(ReadInputsTest, EveryErrorIsReported) {
  files_.Put("loop", "INPUT(loop)");
  files_.Put("text.c", "int main;\nx");
  files_.Put("garbage", std::vector<uint8_t>{0, 1, 2});
  files_.Put("empty", "");
  for (const char* name : {"absent.o", "loop", "text.c", "garbage", "empty"}) Add(name);
  Add("nowhere", true);
  Add(":exact.a", true);
  const std::string errors = Errors();
  EXPECT_THAT(errors, HasSubstr("error: cannot find absent.o: no such file"));
  EXPECT_THAT(errors, HasSubstr("without end"));
  EXPECT_THAT(errors, HasSubstr("text.c:1:"));
  EXPECT_THAT(errors, HasSubstr("garbage: file format not recognized"));
  EXPECT_THAT(errors, HasSubstr("empty: is empty"));
  EXPECT_THAT(errors, HasSubstr("cannot find -lnowhere"));
  EXPECT_THAT(errors, HasSubstr("cannot find -l:exact.a"));
}

TEST_F(ReadInputsTest, NoInputs) { EXPECT_THAT(Errors(), HasSubstr("no input files")); }

TEST(LinkerScript, MalformedScripts) {
  for (const char* text : {"GROUP", "GROUP (", "GROUP ( a", "INPUT(AS_NEEDED(AS_NEEDED(x)))", "SECTIONS { }", "\"x", "/*"}) {
    EXPECT_FALSE(ParseLinkerScript("s", text).ok()) << text;
  }
  EXPECT_THAT(ParseLinkerScript("s", "INPUT(a)\n\nSECTIONS{}").status().message(), HasSubstr("s:3:"));
  EXPECT_TRUE(ParseLinkerScript("s", "").ok());
}

}  // namespace
}  // namespace kitlink
