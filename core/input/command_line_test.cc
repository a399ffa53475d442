#include "core/input/command_line.h"

#include "core/base/memory_files.h"
#include "core/input/response_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CommandLine : public ::testing::Test {
 protected:
  absl::StatusOr<LinkOptions> TryParse(std::vector<std::string> args) {
    return ParseCommandLine(args, files_, diagnostics_);
  }
  LinkOptions Parse(std::vector<std::string> args) {
    absl::StatusOr<LinkOptions> options = TryParse(std::move(args));
    EXPECT_TRUE(options.ok()) << options.status();
    return options.ok() ? *std::move(options) : LinkOptions();
  }
  std::string Error(std::vector<std::string> args) {
    return std::string(TryParse(std::move(args)).status().message());
  }
  MemoryFiles files_;
  Diagnostics diagnostics_;
};

TEST_F(CommandLine, WhatGccPasses) {
  const LinkOptions o = Parse({"-plugin", "/x/liblto_plugin.so", "-plugin-opt=/x/lto-wrapper",
                               "-plugin-opt=-fresolution=/tmp/cc.res", "--build-id", "--eh-frame-hdr", "-m", "elf_x86_64",
                               "--hash-style=gnu", "--as-needed", "-dynamic-linker", "/lib64/ld-linux-x86-64.so.2",
                               "-pie", "-z", "now", "-z", "relro", "-o", "prog", "Scrt1.o", "-L/a", "-L", "/b", "main.o",
                               "-lgcc", "--push-state", "--no-as-needed", "-lgcc_s", "--pop-state", "-lc", "crtn.o"});
  EXPECT_EQ(o.kind, OutputKind::kPie);
  EXPECT_EQ(o.output, "prog");
  EXPECT_EQ(o.build_id, BuildIdStyle::kFast);
  EXPECT_EQ(o.hash_style, HashStyle::kGnu);
  EXPECT_TRUE(o.eh_frame_hdr);
  EXPECT_TRUE(o.z_now);
  EXPECT_EQ(o.dynamic_linker, "/lib64/ld-linux-x86-64.so.2");
  ASSERT_EQ(o.inputs.size(), 6u);
  EXPECT_EQ(o.inputs[0].name, "Scrt1.o");
  EXPECT_TRUE(o.inputs[2].library);
  EXPECT_TRUE(o.inputs[2].flags.as_needed);
  EXPECT_FALSE(o.inputs[3].flags.as_needed);
  EXPECT_TRUE(o.inputs[4].flags.as_needed);
  EXPECT_EQ(o.library_paths[0], "/a");
  EXPECT_EQ(o.library_paths[1], "/b");
}

TEST_F(CommandLine, OneDashLongOptionsAndShortOnes) {
  LinkOptions o = Parse({"-soname", "libx.so.1", "-ofile", "-export-dynamic", "-nostdlib", "-init=i", "-fini", "f",
                         "-Map=m", "-static", "-rpath=/r:/s", "-rpath", "/r", "-znow", "-uname", "-estart", "-O2", "-S"});
  EXPECT_EQ(o.soname, "libx.so.1");
  EXPECT_EQ(o.output, "file");
  EXPECT_TRUE(o.export_dynamic);
  EXPECT_EQ(o.init, "i");
  EXPECT_EQ(o.fini, "f");
  EXPECT_EQ(o.map_file, "m");
  EXPECT_TRUE(o.is_static);
  EXPECT_THAT(o.rpaths, ElementsAre("/r", "/s"));
  EXPECT_THAT(o.undefined, ElementsAre("name"));
  EXPECT_EQ(o.entry, "start");
  EXPECT_EQ(o.strip, Strip::kDebug);
  EXPECT_TRUE(o.library_paths.empty());
  // GNU ld: what begins with "o" needs two dashes, because it is -o otherwise.
  EXPECT_EQ(Parse({"-omagic"}).output, "magic");
  EXPECT_EQ(Parse({"-output=x"}).output, "utput=x");
  EXPECT_EQ(Parse({"--output=x"}).output, "x");
  EXPECT_THAT(Error({"--omagic"}), HasSubstr("--omagic is not supported"));
}

TEST_F(CommandLine, PositionalState) {
  const LinkOptions o = Parse({"--start-group", "a.a", "--end-group", "-(", "b.a", "-)", "--whole-archive", "c.a",
                               "--no-whole-archive", "--start-lib", "d.o", "--end-lib", "-Bstatic", "-lx", "-Bdynamic",
                               "-l:libz.so.1"});
  EXPECT_EQ(o.inputs[0].flags.group, 1);
  EXPECT_EQ(o.inputs[1].flags.group, 2);
  EXPECT_EQ(o.inputs[2].flags.group, 0);
  EXPECT_TRUE(o.inputs[2].flags.whole_archive);
  EXPECT_TRUE(o.inputs[3].flags.lazy);
  EXPECT_TRUE(o.inputs[4].flags.link_static);
  EXPECT_FALSE(o.inputs[5].flags.link_static);
  EXPECT_EQ(o.inputs[5].name, ":libz.so.1");
  EXPECT_THAT(Error({"--end-group"}), HasSubstr("--end-group"));
  EXPECT_THAT(Error({"--pop-state"}), HasSubstr("--pop-state"));
  EXPECT_THAT(Error({"-(", "-("}), HasSubstr("nested"));
}

TEST_F(CommandLine, UnknownAndUnsupported) {
  EXPECT_EQ(Error({"--foo"}), "unknown option: --foo");
  EXPECT_EQ(Error({"--foo=bar"}), "unknown option: --foo=bar");
  EXPECT_EQ(Error({"-sfoo"}), "unknown option: -sfoo");
  EXPECT_EQ(Error({"--"}), "unknown option: --");
  EXPECT_THAT(Error({"-T", "x.ld"}), HasSubstr("not supported"));
  EXPECT_THAT(Error({"-Ttext=0x1000"}), HasSubstr("-Ttext is not supported"));
  EXPECT_THAT(Error({"-r"}), HasSubstr("not supported"));
  EXPECT_THAT(Error({"-m", "elf_i386"}), HasSubstr("elf_i386"));
  EXPECT_THAT(Error({"-o"}), HasSubstr("needs a value"));
  EXPECT_THAT(Error({"--gc-sections=1"}), HasSubstr("takes no value"));
  EXPECT_THAT(Error({"--hash-style=x"}), HasSubstr("invalid value 'x'"));
  EXPECT_THAT(Error({"-z", "max-page-size=5"}), HasSubstr("max-page-size"));
}

TEST_F(CommandLine, UnknownKeywordsAreWarnedOf) {
  Parse({"-z", "frobnicate"});
  const auto list = diagnostics_.Take();
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(FormatDiagnostic(list[0]), "warning: -z frobnicate ignored");
}

TEST_F(CommandLine, Values) {
  const LinkOptions o = Parse({"--build-id=0xAB-cd", "--defsym", "a=b+1", "--wrap=malloc", "--exclude-libs", "a.a,b.a:ALL",
                               "--sysroot=/base/", "-L=/lib", "-L$SYSROOT/usr", "-z", "stack-size=0x100000",
                               "--incremental=off", "--move=thunk", "--gate=exact", "--publish=exchange",
                               "--session-key=k", "--session-salt=cc 3", "--image-base=0x10000", "--unresolved-symbols=ignore-all",
                               "--threads=3", "-no-pie", "--demangle=gnu-v3"});
  EXPECT_EQ(o.build_id, BuildIdStyle::kHex);
  EXPECT_EQ(o.build_id_hex, "abcd");
  EXPECT_THAT(o.defsym, ElementsAre(std::make_pair("a", "b+1")));
  EXPECT_EQ(o.exclude_libs.size(), 3u);
  EXPECT_EQ(o.library_paths[0], "/base/lib");
  EXPECT_EQ(o.library_paths[1], "/base/usr");
  EXPECT_EQ(o.stack_size, 0x100000u);
  EXPECT_FALSE(o.incremental);
  EXPECT_EQ(o.move, MovePolicy::kThunk);
  EXPECT_EQ(o.gate, GatePolicy::kExact);
  EXPECT_EQ(o.publish, PublishPolicy::kExchange);
  EXPECT_EQ(o.session_key, "k");
  EXPECT_EQ(o.session_salt, "cc 3");
  EXPECT_EQ(o.image_base, 0x10000u);
  EXPECT_EQ(o.unresolved, UnresolvedPolicy::kIgnore);
  EXPECT_EQ(o.threads, 3);
}

TEST_F(CommandLine, ResponseFiles) {
  EXPECT_THAT(SplitResponseFile("a 'b c'\n\"d\\\"e\" f\\ g '' \\\\"), ElementsAre("a", "b c", "d\"e", "f g", "", "\\"));
  files_.Put("outer", "x.o @inner -o 'a b'");
  files_.Put("inner", "y.o");
  files_.Put("loop", "@loop");
  const LinkOptions o = Parse({"@outer"});
  EXPECT_EQ(o.inputs[1].name, "y.o");
  EXPECT_EQ(o.output, "a b");
  EXPECT_THAT(o.response_files, ElementsAre("outer", "inner"));
  EXPECT_EQ(TryParse({"@missing"}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Error({"@loop"}), HasSubstr("without end"));
}

TEST_F(CommandLine, SameLink) {
  EXPECT_TRUE(SameLinkOptions(Parse({"a.o", "-o", "x", "-plugin-opt=1"}), Parse({"b.o", "-o", "y", "--threads=2"})));
  EXPECT_FALSE(SameLinkOptions(Parse({"a.o"}), Parse({"a.o", "-pie"})));
  EXPECT_FALSE(SameLinkOptions(Parse({"a.o"}), Parse({"a.o", "--gc-sections"})));
  EXPECT_FALSE(SameLinkOptions(Parse({"a.o"}), Parse({"a.o", "-z", "now"})));
}

}  // namespace
}  // namespace kitlink
