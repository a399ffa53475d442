// Imports that get an address in the image: who names them, by cell, entry or hash, finds what a loader is to make of them.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/output/elf/testing/hot_image.h"
#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

using testing::HotElfTest;
using testing::Loaded;

class HotImportsTest : public HotElfTest {
 protected:
  SymbolId Id(absl::string_view name) const { return linked_.program->names.Find(name); }

  absl::Status Fix(absl::string_view name, bool copy) {
    FixedImport import;
    import.symbol = Id(name);
    import.name = name;
    import.copy = copy;
    if (copy) {
      import.address = 0x5550;
      import.size = 12;
      import.output_section = data_;
    }
    return hot_->FixImport(import, &mutations_);
  }

  // Those that stay what they were, though their rows may have other numbers.
  void CheckOthers(const Loaded& loaded) const {
    EXPECT_EQ(loaded.PltTarget(CellsOf(Id("f0")).plt), "f0@V1");
    EXPECT_EQ(loaded.irelative(), 2u);
    const Elf64_Shdr dynsym = loaded.Section(".dynsym");
    for (uint32_t row = 0; row < dynsym.sh_size / sizeof(Elf64_Sym); ++row) {
      EXPECT_EQ(ELF64_ST_BIND(loaded.Symbol(row).st_info) == STB_LOCAL, row < dynsym.sh_info) << row;
    }
  }
};

TEST_P(HotImportsTest, AnEntryBecomesTheAddressOfItsFunction) {
  const uint32_t hashed = Loaded(linked_.file).hashed();
  hot_->Begin();
  ASSERT_TRUE(Fix("f1", false).ok());
  const uint64_t entry = CellsOf(Id("f1")).plt;
  ASSERT_NE(entry, 0u) << "within the plan as well";
  Commit();
  const Loaded loaded(linked_.file);
  const uint32_t row = loaded.Find("f1");
  ASSERT_NE(row, 0u) << "other modules look it up";
  EXPECT_EQ(loaded.Name(row), "f1@V2");
  EXPECT_EQ(loaded.Symbol(row).st_value, entry);
  EXPECT_EQ(loaded.Symbol(row).st_shndx, SHN_UNDEF);
  EXPECT_EQ(loaded.Symbol(row).st_size, 0u);
  EXPECT_EQ(loaded.hashed(), hashed + 1);
  EXPECT_EQ(loaded.PltTarget(entry), "f1@V2");
  EXPECT_EQ(loaded.Meaning(CellsOf(Id("f1")).got), absl::StrCat("type ", R_X86_64_GLOB_DAT, " f1@V2 + 0"));
  CheckOthers(loaded);
}

TEST_P(HotImportsTest, AVariableIsCopied) {
  hot_->Begin();
  ASSERT_TRUE(Fix("f1", true).ok());
  Commit();
  const Loaded loaded(linked_.file);
  const uint32_t row = loaded.Find("f1");
  ASSERT_NE(row, 0u) << "its library looks it up";
  EXPECT_EQ(loaded.Name(row), "f1@V2");
  EXPECT_EQ(loaded.Symbol(row).st_value, 0x5550u);
  EXPECT_EQ(loaded.Symbol(row).st_shndx, data_ + 1);
  EXPECT_EQ(loaded.Symbol(row).st_size, 12u);
  EXPECT_EQ(loaded.Meaning(CellsOf(Id("f1")).got), absl::StrCat("type ", R_X86_64_GLOB_DAT, " f1@V2 + 0"));
  EXPECT_EQ(loaded.Meaning(0x5550), absl::StrCat("type ", R_X86_64_COPY, " f1@V2 + 0"));
  CheckOthers(loaded);
}

TEST_P(HotImportsTest, WhatWasImportedInTheSamePlan) {
  hot_->Begin();
  const SymbolId id(5000);
  ASSERT_TRUE(Import(id, 9).ok());
  FixedImport import;
  import.symbol = id;
  import.name = "f9";
  ASSERT_TRUE(hot_->FixImport(import, &mutations_).ok());
  EXPECT_FALSE(hot_->FixImport(import, &mutations_).ok()) << "it is no import any more";
  Commit();
  const Loaded loaded(linked_.file);
  EXPECT_EQ(loaded.Name(loaded.Find("f9")), "f9@V1");
  EXPECT_EQ(loaded.PltTarget(CellsOf(id).plt), "f9@V1");
  EXPECT_EQ(loaded.Meaning(CellsOf(Id("f1")).got), absl::StrCat("type ", R_X86_64_GLOB_DAT, " f1@V2 + 0"));
  CheckOthers(loaded);
}

TEST_P(HotImportsTest, OnlyImportsAndOnlyWhenThePlanIsAccepted) {
  hot_->Begin();
  EXPECT_FALSE(Fix("here", true).ok());
  ASSERT_TRUE(Fix("f1", false).ok());
  mutations_.clear();
  hot_->Begin();
  const std::vector<uint8_t> before = linked_.file;
  Commit();
  EXPECT_EQ(linked_.file, before);
  EXPECT_EQ(CellsOf(Id("f1")).plt, 0u);
  Check();
}

TEST_P(HotImportsTest, IfuncsComeAndGo) {
  const SymbolId first = Id("chosen"), second = Id("other_chosen"), fresh(6000);
  hot_->Begin();
  EXPECT_TRUE(hot_->HasIfunc(first));
  EXPECT_FALSE(hot_->HasIfunc(fresh));
  const absl::StatusOr<uint64_t> entry = hot_->AddIfunc(fresh, 0x1234, &mutations_);
  ASSERT_TRUE(entry.ok()) << entry.status();
  ASSERT_TRUE(Import(SymbolId(5000), 7).ok());
  ASSERT_TRUE(Need(SymbolId(5000), {"f7@V2", true, 0, kNeedPlt}, kNeedPlt).ok());  // its row goes before theirs
  Commit();
  EXPECT_EQ(Loaded(linked_.file).irelative(), 3u);
  EXPECT_EQ(CellsOf(fresh).plt, *entry);
  hot_->Begin();
  hot_->RemoveIfunc(first, &mutations_);
  hot_->RemoveIfunc(second, &mutations_);
  Commit();
  EXPECT_EQ(Loaded(linked_.file).irelative(), 1u);
  EXPECT_EQ(CellsOf(first).plt, 0u);
  EXPECT_EQ(linked_.file[EI_OSABI], ELFOSABI_GNU);
  hot_->Begin();
  hot_->RemoveIfunc(fresh, &mutations_);
  Commit();
  EXPECT_EQ(Loaded(linked_.file).irelative(), 0u);
  EXPECT_EQ(linked_.file[EI_OSABI], ELFOSABI_NONE);
  hot_->Begin();
  for (uint32_t i = 0; i < 18; ++i) ASSERT_TRUE(hot_->AddIfunc(SymbolId(6000 + i), 0x1000 + i, &mutations_).ok()) << i;
  EXPECT_EQ(hot_->AddIfunc(SymbolId(6100), 0x1000, &mutations_).status().code(), absl::StatusCode::kResourceExhausted);
  Commit();
  EXPECT_EQ(Loaded(linked_.file).irelative(), 18u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, HotImportsTest, ::testing::Values(OutputKind::kExecutable, OutputKind::kPie));

}  // namespace
}  // namespace kitlink::elf
