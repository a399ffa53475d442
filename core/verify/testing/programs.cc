#include "core/verify/testing/programs.h"

#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/base/bytes.h"
#include "core/verify/testing/reference_builder.h"
#include "gtest/gtest.h"

namespace kitlink::verify {

std::vector<uint8_t> ReadBytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return std::vector<uint8_t>(std::istreambuf_iterator<char>(in), {});
}

Objects::Objects(const Variant& variant, const std::string& sources) : variant_(variant) {
  char pattern[] = "/tmp/kitlink-verify-XXXXXX";
  folder_ = mkdtemp(pattern);
  char cwd[4096];
  const std::string fixture = absl::StrCat(getcwd(cwd, sizeof(cwd)), "/core/verify/testing/fixture/");
  for (absl::string_view source : absl::StrSplit(sources, ' ')) {
    const std::string object = absl::StrCat(source.substr(0, source.rfind('.')), ".o");
    ok_ = ok_ &&
          // Debug information names no folder of this run: every run compares the same bytes.
          Run(absl::StrCat(variant.compiler, " -g -ffunction-sections -fdata-sections -ffile-prefix-map=", folder_,
                           "=/objects -ffile-prefix-map=", fixture, "=/fixture/ ", variant.compile_flags, " -I", fixture, " -c ", fixture, source, " -o ", object));
    absl::StrAppend(&objects_, " ", object);
  }
  EXPECT_TRUE(ok_) << "cannot compile " << sources;
}

Objects::~Objects() { Run(absl::StrCat("rm -rf ", folder_)); }

bool Objects::Run(const std::string& command) const {
  return system(absl::StrCat("cd ", folder_, " && { ", command, "; } > log 2>&1").c_str()) == 0;
}

std::vector<uint8_t> Objects::Link(const std::string& linker, const std::string& more) {
  // The C++ driver of gcc for both: what matters here are the objects.
  if (!Run(absl::StrCat("g++ -fuse-ld=", linker, " ", variant_.link_flags, objects_, " ", more, " -o out")))
    return {};
  return ReadBytes(absl::StrCat(folder_, "/out"));
}

Reference Objects::LinkReference(const std::string& more) {
  std::vector<uint8_t> image = Link("lld", absl::StrCat("-Wl,-q -Wl,-Map,map ", more));
  EXPECT_FALSE(image.empty()) << "cannot link with lld";
  const std::vector<uint8_t> map = ReadBytes(absl::StrCat(folder_, "/map"));
  absl::StatusOr<Reference> reference = ReferenceFromLld(std::move(image), AsString(map));
  EXPECT_TRUE(reference.ok()) << reference.status();
  return reference.ok() ? *std::move(reference) : Reference();
}

}  // namespace kitlink::verify
