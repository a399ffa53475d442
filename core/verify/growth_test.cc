// Segments and sections that a cold link has not, as an engine that lets images grow could get them wrong.
#include <string>

#include "core/verify/image.h"
#include "core/verify/testing/damage.h"
#include "core/verify/testing/own_link.h"
#include "core/verify/testing/programs.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

using testing::HasSubstr;

class Growth : public testing::Test {
 protected:
  void SetUp() override {
    Objects objects({"pie", "gcc", "-O0 -fPIE", "-pie"}, "main.c data.c tls.c exceptions.cc");
    ASSERT_TRUE(objects.ok());
    absl::StatusOr<Reference> linked = LinkOwn(DriverArguments(objects), "--incremental=on");
    ASSERT_TRUE(linked.ok()) << linked.status();
    reference_ = *std::move(linked);
    const Image image = *Image::Parse("cold", reference_.image);
    for (const Elf64_Phdr& p : image.segments()) {
      if (p.p_type == PT_LOAD) end_ = (p.p_vaddr + p.p_memsz + 0xfff) & ~uint64_t{0xfff};
    }
  }

  // The first spare header as a segment of one page of zeros behind all others.
  Elf64_Phdr* AddSegment(Damage& d, uint32_t flags) {
    Elf64_Phdr* p = d.Segment([](const Elf64_Phdr& s) { return s.p_type == PT_NULL; });
    *p = Elf64_Phdr{};
    p->p_type = PT_LOAD;
    p->p_flags = flags;
    p->p_offset = 0x1000;
    p->p_vaddr = p->p_paddr = end_;
    p->p_memsz = p->p_align = 0x1000;
    return p;
  }

  // The section header behind the last one, of that page.
  Elf64_Shdr* AddSection(Damage& d, uint64_t flags) {
    Elf64_Ehdr* header = d.header();
    auto* s = reinterpret_cast<Elf64_Shdr*>(d.Offset(header->e_shoff)) + header->e_shnum++;
    *s = *d.Section(".bss");
    s->sh_flags = flags;
    s->sh_addr = end_;
    s->sh_offset = 0x1000;
    s->sh_size = 0x1000;
    return s;
  }

  Reference reference_;
  uint64_t end_ = 0;
};

TEST_F(Growth, OfZerosIsNoDifference) {
  Damage d(reference_);
  AddSegment(d, PF_R | PF_W);
  AddSection(d, SHF_ALLOC | SHF_WRITE);
  EXPECT_EQ(d.Compare(), "");
}

TEST_F(Growth, NeedsASection) {
  Damage d(reference_);
  AddSegment(d, PF_R | PF_W);
  EXPECT_THAT(d.Compare(), HasSubstr("holds no section"));
}

TEST_F(Growth, NeedsASegment) {
  Damage d(reference_);
  AddSection(d, SHF_ALLOC | SHF_WRITE);
  EXPECT_THAT(d.Compare(), HasSubstr("section header .bss: is not loaded"));
}

TEST_F(Growth, IsNotWritableAndExecutable) {
  Damage d(reference_);
  AddSegment(d, PF_R | PF_W | PF_X);
  AddSection(d, SHF_ALLOC | SHF_WRITE);
  EXPECT_THAT(d.Compare(), HasSubstr("is writable and executable"));
}

TEST_F(Growth, DoesNotOverlap) {
  Damage d(reference_);
  AddSegment(d, PF_R | PF_W)->p_vaddr -= 0x1000;
  EXPECT_THAT(d.Compare(), HasSubstr("overlap or are out of order"));
}

TEST_F(Growth, HasFlagsOfTheSectionThatItContinues) {
  Damage d(reference_);
  AddSegment(d, PF_R | PF_W);
  AddSection(d, SHF_ALLOC);
  EXPECT_THAT(d.Compare(), HasSubstr("sections: .bss has type"));
}

}  // namespace
}  // namespace kitlink::verify
