// A cold link is equivalent to itself by its own description: every field that it describes leads where it says.
#include <sys/stat.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/memory_files.h"
#include "core/input/command_line.h"
#include "core/session/cold_link.h"
#include "core/verify/testing/programs.h"
#include "core/verify/verify.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

// The files of this machine, read whole.
class DiskFiles : public FileSource {
 public:
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override {
    absl::StatusOr<FileStamp> stamp = Stat(path);
    if (!stamp.ok()) return stamp.status();
    return std::shared_ptr<InputBytes>(std::make_shared<MemoryBytes>(ReadBytes(std::string(path)), *stamp));
  }
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override {
    struct stat st;
    if (stat(std::string(path).c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return absl::NotFoundError(path);
    FileStamp stamp;
    stamp.device = st.st_dev;
    stamp.inode = st.st_ino;
    stamp.size = static_cast<uint64_t>(st.st_size);
    return stamp;
  }
};

// What the compiler driver would pass to a linker: a stand-in for `ld` writes its arguments down.
std::vector<std::string> DriverArguments(Objects& objects) {
  std::ofstream(objects.folder() + "/ld") << "#!/bin/sh\nfor a; do echo \"$a\"; done > arguments\n";
  EXPECT_TRUE(objects.Run("chmod +x ld && cp ld ld.bfd"));  // -fuse-ld=bfd looks for the latter
  objects.Link("bfd", absl::StrCat("-B", objects.folder()));
  std::ifstream in(objects.folder() + "/arguments");
  std::vector<std::string> arguments;
  for (std::string line; std::getline(in, line);) {
    const bool object = line.size() > 2 && line.substr(line.size() - 2) == ".o" && line[0] != '/';
    arguments.push_back(object ? absl::StrCat(objects.folder(), "/", line) : line);
  }
  return arguments;
}

class ColdLink : public testing::TestWithParam<Variant> {};

TEST_P(ColdLink, IsEquivalentToItself) {
  Objects objects(GetParam(), "main.c data.c tls.c exceptions.cc");
  ASSERT_TRUE(objects.ok());
  std::vector<std::string> arguments = DriverArguments(objects);
  ASSERT_GT(arguments.size(), 5u);
  for (const char* incremental : {"--incremental=on", "--incremental=off"}) {
    std::vector<std::string> all = arguments;
    all.push_back(incremental);
    DiskFiles files;
    Diagnostics diagnostics;
    absl::StatusOr<LinkOptions> options = ParseCommandLine(all, files, diagnostics);
    ASSERT_TRUE(options.ok()) << options.status();
    absl::StatusOr<Reference> reference = LinkReference(*options, files, diagnostics);
    for (const Diagnostic& d : diagnostics.Take()) ADD_FAILURE() << FormatDiagnostic(d);
    ASSERT_TRUE(reference.ok()) << reference.status();
    absl::StatusOr<VerifyReport> report = CompareImages(*reference, reference->image);
    ASSERT_TRUE(report.ok()) << report.status();
    for (const Difference& d : report->differences) ADD_FAILURE() << d.what;
    EXPECT_GT(report->sites_compared, 100u);

    // And the comparison can fail: one byte of code, another program.
    std::vector<uint8_t> other = reference->image;
    for (const ReferenceAtom& atom : reference->atoms) {
      if (atom.executable && !atom.nobits && atom.size > 8 && atom.section == ".text") {
        other[atom.file_offset] ^= 1;
        break;
      }
    }
    report = CompareImages(*reference, other);
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_FALSE(report->equivalent());
  }
}

std::vector<Variant> Variants() {
  std::vector<Variant> variants;
  for (const char* compiler : {"gcc", "clang"}) {
    variants.push_back({absl::StrCat(compiler, "_pie"), compiler, "-O1 -fPIE", "-pie"});
    variants.push_back({absl::StrCat(compiler, "_fixed"), compiler, "-O2 -fno-pie", "-no-pie"});
    variants.push_back({absl::StrCat(compiler, "_static"), compiler, "-O1 -fno-pie", "-static"});
    variants.push_back({absl::StrCat(compiler, "_static_pie"), compiler, "-O1 -fPIE", "-static-pie"});
    variants.push_back({absl::StrCat(compiler, "_shared"), compiler, "-O2 -fPIC", "-shared"});
    variants.push_back({absl::StrCat(compiler, "_collected"), compiler, "-O0 -fPIE", "-pie -Wl,--gc-sections"});
  }
  return variants;
}

INSTANTIATE_TEST_SUITE_P(All, ColdLink, testing::ValuesIn(Variants()),
                         [](const testing::TestParamInfo<Variant>& info) { return info.param.name; });

}  // namespace
}  // namespace kitlink::verify
