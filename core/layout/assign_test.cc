#include "core/layout/assign.h"

#include "core/symbols/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using testing::ObjBuilder;
using testing::ProgramBuilder;
using testing::Spec;

HoleShape NoHoles(absl::string_view) { return {}; }

struct Assigned {
  std::optional<Program> program;
  Placement placement;

  const OutputSection* Find(absl::string_view name) const {
    for (const OutputSection& section : placement.sections) {
      if (section.name == name) return &section;
    }
    return nullptr;
  }
  std::vector<std::string> Inputs(absl::string_view name) const {
    std::vector<std::string> inputs;
    for (AtomId id : Find(name)->atoms) inputs.emplace_back(program->section(id).name);
    return inputs;
  }
};

Assigned Assign(ProgramBuilder& builder) {
  Assigned result;
  result.program = builder.Resolve();
  EXPECT_TRUE(result.program.has_value()) << builder.messages;
  if (result.program.has_value()) result.placement = AssignSections(builder.options, {NoHoles}, &*result.program);
  return result;
}

TEST(OutputSectionName, Prefixes) {
  LinkOptions options;
  auto name = [&](absl::string_view text) {
    InputSection section;
    section.name = text;
    return std::string(OutputSectionName(options, section));
  };
  EXPECT_EQ(name(".text.main"), ".text");
  EXPECT_EQ(name(".data.rel.ro.local"), ".data.rel.ro");
  EXPECT_EQ(name(".data.rel"), ".data");
  EXPECT_EQ(name(".ctors.00001"), ".init_array");
  EXPECT_EQ(name(".text_other"), ".text_other");
  EXPECT_EQ(name("COMMON"), ".bss");
  EXPECT_EQ(name("rows"), "rows");
  EXPECT_EQ(name(".text.hot.f"), ".text");
  options.z_keep_text_section_prefix = true;
  EXPECT_EQ(name(".text.hot.f"), ".text.hot");
}

TEST(AssignSections, InitRowsGoByPriorityThenInLinkOrder) {
  const testing::SectionSpec rows = Spec(SHT_INIT_ARRAY, SHF_ALLOC | SHF_WRITE, 8);
  ProgramBuilder builder;
  builder.Object("a.o", ObjBuilder()
                            .Section(".text", "1")
                            .Symbol("main", ".text")
                            .Section(".init_array", "11111111", rows)
                            .Section(".init_array.200", "22222222", rows))
      .Object("b.o", ObjBuilder().Section(".init_array", "33333333", rows).Section(".init_array.00101", "44444444", rows));
  const Assigned assigned = Assign(builder);
  EXPECT_THAT(assigned.Inputs(".init_array"),
              ElementsAre(".init_array.00101", ".init_array.200", ".init_array", ".init_array"));
  EXPECT_EQ(assigned.Find(".init_array")->used, 32u) << "rows lie side by side";
  EXPECT_EQ(assigned.Find(".init_array")->size, 32u + 128u) << "and have a reserve behind them";
}

TEST(AssignSections, SlotsAreAlignedAndDoNotOverlap) {
  ProgramBuilder builder;
  ObjBuilder object;
  object.Section(".text", "1").Symbol("main", ".text");
  for (int i = 0; i < 40; ++i) {
    object.Section(".text.f" + std::to_string(i), std::string(1 + i * 7, 'x'),
                   Spec(SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, uint64_t{1} << (i % 7)));
  }
  builder.Object("a.o", object);
  const Assigned assigned = Assign(builder);
  uint64_t end = 0;
  for (AtomId id : assigned.Find(".text")->atoms) {
    const Place& place = assigned.placement.places[id.value];
    const InputSection& input = assigned.program->section(id);
    EXPECT_GE(place.offset, end);
    EXPECT_EQ(place.offset % input.alignment, 0u);
    EXPECT_GE(place.capacity, input.size);
    end = place.offset + place.capacity;
  }
  EXPECT_GE(assigned.Find(".text")->size, end);
}

TEST(AssignSections, BatchLinksHaveNoSlack) {
  ProgramBuilder builder;
  builder.options.incremental = false;
  builder.Object("a.o", ObjBuilder().Section(".text", "12345").Symbol("main", ".text").Section(".data", "123"));
  const Assigned assigned = Assign(builder);
  EXPECT_EQ(assigned.Find(".text")->size, 5u);
  EXPECT_EQ(assigned.Find(".data")->size, 3u);
}

TEST(AssignSections, BitsTurnAZeroedSectionIntoOneWithBits) {
  ProgramBuilder builder;
  builder.Object("a.o", ObjBuilder().Section(".text", "1").Symbol("main", ".text").Bss(".data.x", 8).Section(".data", "1"));
  EXPECT_FALSE(Assign(builder).Find(".data")->nobits());
}

}  // namespace
}  // namespace kitlink
