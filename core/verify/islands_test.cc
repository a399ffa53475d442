// A function may be entered through a jump at another address, provided that everybody agrees on it.
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/verify/image.h"
#include "core/verify/testing/programs.h"
#include "core/verify/verify.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

using testing::HasSubstr;

struct Pair {
  Reference reference;
  std::vector<uint8_t> image;
};

// The plain program, and one in which all but the body itself say helper_island instead of helper.
Pair Link(const std::string& island) {
  Pair pair;
  Objects objects({"pie", "gcc", "-O2 -fPIE -fcf-protection", "-pie"}, "island_user.c island_body.c");
  if (!objects.ok()) return pair;
  pair.reference = objects.LinkReference();
  EXPECT_TRUE(
      objects.Run(absl::StrCat("gcc -c $OLDPWD/core/verify/testing/fixture/", island,
                               " -o island.o && objcopy --redefine-sym helper=helper_island island_user.o")));
  pair.image = objects.Link("lld", "-Wl,-q island.o");
  EXPECT_FALSE(pair.image.empty());
  return pair;
}

// All differences but the island's own symbol.
std::string Compare(const Pair& pair) {
  absl::StatusOr<VerifyReport> report = CompareImages(pair.reference, pair.image);
  if (!report.ok()) return report.status().ToString();
  std::string all;
  for (const Difference& d : report->differences) {
    if (!absl::StrContains(d.what, ".symtab: helper_island")) absl::StrAppend(&all, d.what, "\n");
  }
  return all;
}

TEST(Islands, AreEntries) { EXPECT_EQ(Compare(Link("island.s")), ""); }

TEST(Islands, NeedUnwindInformation) {
  EXPECT_THAT(Compare(Link("island_without_fde.s")), HasSubstr("island_body.o:(.text.helper) has no FDE"));
}

TEST(Islands, PointersMustAgree) {
  Pair pair = Link("island.s");
  const Image image = *Image::Parse("image", pair.image);
  const uint64_t pointer = image.FindSymbol("pointer")->symbol.st_value;
  const ImageSection* table = image.SectionNamed(".rela.dyn");
  bool changed = false;
  for (uint64_t at = 0; at < table->header.sh_size; at += sizeof(Elf64_Rela)) {
    auto* row = reinterpret_cast<Elf64_Rela*>(pair.image.data() + table->header.sh_offset + at);
    if (row->r_offset != pointer) continue;
    row->r_addend = static_cast<int64_t>(image.FindSymbol("helper")->symbol.st_value);
    changed = true;
  }
  ASSERT_TRUE(changed);
  EXPECT_THAT(Compare(pair),
              HasSubstr("for the address of island_body.o:(.text.helper), another reference takes"));
}

TEST(Islands, MustLeadToTheBody) {
  Pair pair = Link("island.s");
  const Image image = *Image::Parse("image", pair.image);
  const uint64_t island = image.FindSymbol("helper_island")->symbol.st_value;
  const Elf64_Phdr* p = image.LoadedBy(island, 9);
  pair.image[p->p_offset + (island - p->p_vaddr) + 5] += 1;  // endbr64; e9 rel32
  EXPECT_THAT(Compare(pair), HasSubstr("helper_island"));
}

// Call frame information and debug information mean the body.
TEST(Islands, DoNotStandForTheBody) {
  Pair pair = Link("island.s");
  const Image image = *Image::Parse("image", pair.image);
  const uint64_t island = image.FindSymbol("helper_island")->symbol.st_value;
  for (const ReferenceSite& s : pair.reference.sites) {
    const ReferenceAtom& a = pair.reference.atoms[s.atom];
    if (a.alloc || s.target_atom == kNoAtom || s.width != 8) continue;
    if (!absl::StrContains(pair.reference.atoms[s.target_atom].name, "(.text.helper)")) continue;
    const uint64_t offset =
        a.file_offset - Image::Parse("cold", pair.reference.image)->SectionNamed(a.section)->header.sh_offset;
    uint8_t* field = pair.image.data() + image.SectionNamed(a.section)->header.sh_offset + offset + s.offset;
    if (Load<uint64_t>(field) == image.FindSymbol("helper")->symbol.st_value) Store<uint64_t>(field, island);
  }
  EXPECT_THAT(Compare(pair), HasSubstr("island_body.o:(.debug_info)"));
}

}  // namespace
}  // namespace kitlink::verify
