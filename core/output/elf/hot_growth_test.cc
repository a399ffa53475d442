#include "core/output/elf/hot_growth.h"

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

constexpr uint64_t kHeaders = 0x1800;  // of sections

// Two segments, two spare headers, and a section with the names.
class HotGrowthTest : public ::testing::Test {
 protected:
  HotGrowthTest() {
    image_.headers.resize(5);
    image_.headers[0].p_type = image_.headers[1].p_type = PT_LOAD;
    image_.headers[0].p_memsz = 0x500;
    image_.headers[1].p_vaddr = 0x2000;
    image_.headers[1].p_memsz = 0x3010;
    image_.headers[2].p_type = PT_GNU_STACK;
    image_.placement.sections.resize(2);
    image_.placement.sections[1].offset = 0x1700;
    image_.synthetic[kShstrtab] = SectionId(1);
    image_.spare_names = 30;
    image_.spare_sections = 2;
    image_.section_headers = kHeaders;
    image_.file_size = kHeaders + 5 * sizeof(Elf64_Shdr);
    growth_.emplace(image_, 4096);
  }

  static GrowthRequest Text(uint64_t size) {
    GrowthRequest request;
    request.name = ".text";
    request.flags = kSecAlloc | kSecExec;
    request.size = size;
    request.alignment = 64;
    return request;
  }

  template <typename T>
  static std::optional<T> At(const std::vector<Mutation>& mutations, uint64_t offset) {
    for (const Mutation& mutation : mutations) {
      if (mutation.offset == offset && mutation.bytes.size() >= sizeof(T)) return Load<T>(mutation.bytes.data());
    }
    return std::nullopt;
  }

  ElfImage image_;
  std::optional<HotGrowth> growth_;
};

TEST_F(HotGrowthTest, GoesBehindEverything) {
  const auto first = growth_->Announce(Text(0x1800));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->address, 0x6000u);
  EXPECT_EQ(first->offset, 0x2000u);
  const auto second = growth_->Announce(Text(0x1000));
  ASSERT_TRUE(second);
  EXPECT_EQ(second->address, 0x8000u);
  EXPECT_EQ(second->offset, 0x4000u);
  EXPECT_FALSE(growth_->Announce(Text(0x1000))) << "no header is left";
}

TEST_F(HotGrowthTest, IsInTheImageOnceItIsPublished) {
  growth_->Announce(Text(0x1800));
  growth_->Begin();
  EXPECT_EQ(growth_->image_size(), image_.file_size);
  std::vector<Mutation> mutations;
  growth_->Publish(&mutations);
  EXPECT_EQ(growth_->image_size(), 0x3800u);
  const auto segment = At<Elf64_Phdr>(mutations, sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr));
  ASSERT_TRUE(segment);
  EXPECT_EQ(segment->p_type, uint32_t{PT_LOAD});
  EXPECT_EQ(segment->p_flags, uint32_t{PF_R | PF_X});
  EXPECT_EQ(segment->p_filesz, 0x1800u);
  const auto section = At<Elf64_Shdr>(mutations, kHeaders + 3 * sizeof(Elf64_Shdr));
  ASSERT_TRUE(section);
  EXPECT_EQ(section->sh_addr, 0x6000u);
  EXPECT_EQ(section->sh_name, 30u);
  EXPECT_EQ(At<Elf64_Half>(mutations, offsetof(Elf64_Ehdr, e_shnum)), Elf64_Half{4});
  bool named = false;
  for (const Mutation& mutation : mutations) {
    named |= mutation.offset == 0x1700 + 30 && std::strcmp(reinterpret_cast<const char*>(mutation.bytes.data()), ".text.1") == 0;
  }
  EXPECT_TRUE(named);

  growth_->Begin();  // it was not committed
  EXPECT_EQ(growth_->image_size(), image_.file_size);
  growth_->Publish(&mutations);
  growth_->Accept();
  growth_->Begin();
  mutations.clear();
  growth_->Publish(&mutations);
  EXPECT_TRUE(mutations.empty());
  EXPECT_EQ(growth_->image_size(), 0x3800u);
}

TEST_F(HotGrowthTest, ZerosTakeNoRoomInTheFile) {
  GrowthRequest zeros = Text(0x10000);
  zeros.nobits = true;
  const auto place = growth_->Announce(zeros);
  ASSERT_TRUE(place);
  EXPECT_LE(place->offset, image_.file_size);
  EXPECT_EQ(place->offset % 4096, place->address % 4096);
  growth_->Begin();
  std::vector<Mutation> mutations;
  growth_->Publish(&mutations);
  EXPECT_EQ(growth_->image_size(), image_.file_size);
}

TEST_F(HotGrowthTest, WhatIsNotLoadedMoves) {
  GrowthRequest debug;
  debug.output_section = 0;
  debug.name = ".debug_info";
  debug.size = 0x5000;
  const auto place = growth_->Announce(debug);
  ASSERT_TRUE(place);
  EXPECT_EQ(place->address, 0u);
  EXPECT_EQ(place->offset, 0x2000u);
  growth_->Begin();
  std::vector<Mutation> mutations;
  growth_->Publish(&mutations);
  EXPECT_EQ(At<uint64_t>(mutations, kHeaders + sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_offset)), uint64_t{0x2000});
  EXPECT_EQ(At<uint64_t>(mutations, kHeaders + sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_size)), uint64_t{0x5000});
  EXPECT_EQ(growth_->image_size(), 0x7000u);
}

TEST_F(HotGrowthTest, ALoadedTableTakesItsSectionHeaderAlong) {
  GrowthRequest table;
  table.output_section = 0;
  table.name = ".rela.dyn";
  table.flags = kSecAlloc;
  table.moves = true;
  table.size = 0x3000;
  const auto first = growth_->Announce(table);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->address, 0x6000u);
  const auto code = growth_->Announce(Text(0x1000));
  ASSERT_TRUE(code) << "the last header";
  EXPECT_EQ(code->address, 0x9000u);
  table.size = 0x5000;
  const auto second = growth_->Announce(table);
  ASSERT_TRUE(second) << "its former segment is free";
  EXPECT_EQ(second->address, 0xa000u);
  EXPECT_FALSE(growth_->Announce(Text(0x1000)));
  growth_->Begin();
  std::vector<Mutation> mutations;
  growth_->Publish(&mutations);
  const uint64_t headers = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Phdr);
  const auto one = At<Elf64_Phdr>(mutations, headers), two = At<Elf64_Phdr>(mutations, headers + sizeof(Elf64_Phdr));
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->p_vaddr, code->address) << "in order of address";
  EXPECT_EQ(two->p_vaddr, second->address);
  EXPECT_EQ(two->p_flags, uint32_t{PF_R});
  std::optional<uint64_t> address;
  for (const Mutation& mutation : mutations) {
    if (mutation.offset == kHeaders + sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_addr)) address = Load<uint64_t>(mutation.bytes.data());
  }
  EXPECT_EQ(address, second->address) << "later mutations win";
  const auto section = At<Elf64_Shdr>(mutations, kHeaders + 3 * sizeof(Elf64_Shdr));
  ASSERT_TRUE(section) << "the first new section, whatever its segment";
  EXPECT_EQ(section->sh_addr, code->address);
  EXPECT_EQ(At<Elf64_Half>(mutations, offsetof(Elf64_Ehdr, e_shnum)), Elf64_Half{4});
}

}  // namespace
}  // namespace kitlink::elf
