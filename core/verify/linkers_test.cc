// One program linked by two linkers is the same program.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/verify/testing/programs.h"
#include "core/verify/verify.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

const char kSources[] = "main.c data.c tls.c exceptions.cc";

// What linkers are free to do differently, and do. Our own linker gets none of this tolerance.
const std::vector<std::string>& Conventions(const std::string& linker) {
  // Symbol tables: undefined names with or without version, hidden symbols local or hidden, names of tables
  // and bounds. Notes: build-id style, merging of properties. Copied variables: section names; weak alias or
  // not. lld's mark in .comment. DT_JMPREL for thread variables or IFUNCs alone. The end of an empty table. Which
  // sections tables are in and what their headers say; GNU as the ABI of programs with IFUNCs.
  static const std::vector<std::string> all = {".symtab",
                                               "sections: ",
                                               "names another ABI",
                                               "notes: ",
                                               "PT_GNU_PROPERTY",
                                               "bss.rel.ro",
                                               "_ZTI",
                                               "#39: found nowhere in .comment",
                                               "dynamic tag 0x2 ",
                                               "dynamic tag 0x14 ",
                                               "dynamic tag 0x17 ",
                                               "__TMC_END__"};
  // gold puts read-only data into the executable segment, writes a version of its own, exports more.
  static const std::vector<std::string> gold = {"its segment is r-x here, r-- in a cold link",
                                                "PT_GNU_RELRO has other",
                                                "dynamic tag 0x6ffffffc, which",
                                                "dynamic tag 0x6ffffffd, which",
                                                "versions: defines 1",
                                                "exports: ",
                                                "imports: "};
  // mold 1 resolves undefined weak names of programs to zero and has no DT_RELACOUNT.
  static const std::vector<std::string> mold = {"dynamic tag 0x6ffffff9 is missing",
                                                "(weak)",
                                                "__cxa_finalize",
                                                "the constant 0x0 here",
                                                "[maybe]",
                                                "no PLT entry of its own",
                                                "__start_rows",
                                                "__stop_rows"};
  // GNU ld as well in programs at a fixed address; its libraries have no PT_PHDR.
  static const std::vector<std::string> bfd = {"(weak) is missing", "[maybe]", "PT_PHDR is missing"};
  static const std::vector<std::string> none;
  if (linker == "all") return all;
  if (linker == "gold") return gold;
  if (linker == "mold") return mold;
  if (linker == "bfd") return bfd;
  return none;
}

bool Explained(const std::string& linker, const std::string& what) {
  auto any = [&](const std::vector<std::string>& list) {
    return std::any_of(list.begin(), list.end(),
                       [&](const std::string& s) { return absl::StrContains(what, s); });
  };
  return any(Conventions("all")) || any(Conventions(linker));
}

class Linkers : public testing::TestWithParam<Variant> {};

TEST_P(Linkers, Agree) {
  Objects objects(GetParam(), kSources);
  ASSERT_TRUE(objects.ok());
  const Reference reference = objects.LinkReference();
  for (const std::string linker : {"bfd", "gold", "mold"}) {
    const std::vector<uint8_t> image = objects.Link(linker);
    if (image.empty()) continue;  // not installed, or refuses the variant
    absl::StatusOr<VerifyReport> report = CompareImages(reference, image);
    ASSERT_TRUE(report.ok()) << report.status();
    for (const Difference& d : report->differences) {
      EXPECT_TRUE(Explained(linker, d.what)) << linker << ": " << d.what;
    }
    EXPECT_GT(report->atoms_compared, 500u);
    EXPECT_GT(report->sites_compared, 1000u);
  }
}

// The same linker leaves nothing to tolerate, wherever it puts the functions.
TEST_P(Linkers, OrderOfFunctionsDoesNotMatter) {
  Objects objects(GetParam(), kSources);
  ASSERT_TRUE(objects.ok());
  const Reference reference = objects.LinkReference();
  for (const char* order : {"", "-Wl,--shuffle-sections=.text*=7", "-Wl,--shuffle-sections=.data*=3",
                            "-Wl,-z,now", "-Wl,-z,separate-code"}) {
    const std::vector<uint8_t> image = objects.Link("lld", absl::StrCat("-Wl,-q ", order));
    ASSERT_FALSE(image.empty()) << order;
    absl::StatusOr<VerifyReport> report = CompareImages(reference, image);
    ASSERT_TRUE(report.ok()) << report.status();
    for (const Difference& d : report->differences) {
      const bool flags = absl::StrContains(order, "now") && absl::StrContains(d.what, "dynamic tag");
      const bool sections = absl::StrContains(order, "now") && absl::StrContains(d.what, ".got");
      EXPECT_TRUE(flags || sections) << order << ": " << d.what;
    }
  }
}

// Constructors in another order are another program.
TEST_P(Linkers, OrderOfConstructorsMatters) {
  Objects objects(GetParam(), kSources);
  ASSERT_TRUE(objects.ok());
  const Reference reference = objects.LinkReference();
  absl::StatusOr<VerifyReport> report =
      CompareImages(reference, objects.Link("lld", "-Wl,-q -Wl,--shuffle-sections=.init_array=7"));
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->equivalent());
}

INSTANTIATE_TEST_SUITE_P(Variants, Linkers,
                         testing::Values(Variant{"pie", "gcc", "-O0 -fPIE", "-pie"},
                                         Variant{"pie_optimized", "gcc", "-O2 -fPIE", "-pie"},
                                         Variant{"fixed", "gcc", "-O2 -fno-pie", "-no-pie"},
                                         Variant{"shared", "gcc", "-O2 -fPIC", "-shared"},
                                         Variant{"noplt", "gcc", "-O2 -fPIC -fno-plt", "-pie"},
                                         Variant{"clang_pie", "clang", "-O2 -fPIE", "-pie"}),
                         [](const auto& info) { return info.param.name; });

// A static program relocates itself; archives of libraries are taken in another order by other linkers.
TEST(StaticPrograms, OrderOfFunctionsDoesNotMatter) {
  for (const char* mode : {"-static", "-static-pie"}) {
    Objects objects({"static", "gcc", "-O2 -fPIE", mode}, kSources);
    ASSERT_TRUE(objects.ok());
    const Reference reference = objects.LinkReference();
    absl::StatusOr<VerifyReport> report =
        CompareImages(reference, objects.Link("lld", "-Wl,-q -Wl,--shuffle-sections=.text*=7"));
    ASSERT_TRUE(report.ok()) << report.status();
    for (const Difference& d : report->differences) {
      // Which of several jump tables in one section a row belongs to is lost once it is linked.
      EXPECT_TRUE(absl::StrContains(d.what, "(.rodata")) << d.what;
    }
    EXPECT_GT(report->sites_compared, 10000u);
  }
}

}  // namespace
}  // namespace kitlink::verify
