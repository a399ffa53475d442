// A cold link is equivalent to itself by its own description: every field that it describes leads where it says.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/verify/testing/own_link.h"
#include "core/verify/testing/programs.h"
#include "core/verify/verify.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

class ColdLink : public testing::TestWithParam<Variant> {};

TEST_P(ColdLink, IsEquivalentToItself) {
  Objects objects(GetParam(), "main.c data.c tls.c exceptions.cc absolute.s numbers.s size.s inline_one.cc inline_two.cc");
  ASSERT_TRUE(objects.ok());
  std::vector<std::string> arguments = DriverArguments(objects);
  ASSERT_GT(arguments.size(), 5u);
  for (const char* incremental : {"--incremental=on", "--incremental=off"}) {
    const absl::StatusOr<Reference> reference = LinkOwn(arguments, incremental);
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
    variants.push_back({absl::StrCat(compiler, "_types"), compiler, "-O0 -fPIE -gdwarf-4 -fdebug-types-section", "-pie"});
    variants.push_back({absl::StrCat(compiler, "_macros"), compiler, "-O2 -fno-pie -g3", "-no-pie -Wl,-z,now"});
  }
  return variants;
}

INSTANTIATE_TEST_SUITE_P(All, ColdLink, testing::ValuesIn(Variants()),
                         [](const testing::TestParamInfo<Variant>& info) { return info.param.name; });

}  // namespace
}  // namespace kitlink::verify
