// Nothing in an image is trusted: damaged anywhere, it gives differences, never a crash. Run under ASan to
// mean it.
#include <random>
#include <vector>

#include "core/base/bytes.h"
#include "core/verify/image.h"
#include "core/verify/testing/programs.h"
#include "core/verify/verify.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

class Malformed : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    reference_ =
        new Reference(Objects({"pie", "gcc", "-O2 -fPIE", "-pie"}, "main.c data.c tls.c exceptions.cc")
                          .LinkReference("-Wl,--hash-style=both"));
  }
  static void TearDownTestSuite() { delete reference_; }
  static VerifyReport Compare(ByteView image) {
    absl::StatusOr<VerifyReport> report = CompareImages(*reference_, image);
    // Another image cannot make the reference nonsense.
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : VerifyReport();
  }
  static Reference* reference_;
};
Reference* Malformed::reference_ = nullptr;

TEST_F(Malformed, Truncated) {
  for (size_t size = 0; size < reference_->image.size(); size += 64) {
    EXPECT_FALSE(Compare(ByteView(reference_->image).subspan(0, size)).equivalent()) << size;
  }
}

TEST_F(Malformed, HeadersFlipped) {
  std::vector<uint8_t> image = reference_->image;
  const Elf64_Ehdr header = Load<Elf64_Ehdr>(image.data());
  const size_t headers = header.e_phoff + size_t{header.e_phnum} * header.e_phentsize;
  for (size_t i = 0; i < headers; ++i) {
    const uint8_t flip = i % 2 == 0 ? 0x81 : 0xff;
    image[i] ^= flip;
    Compare(image);
    image[i] ^= flip;
  }
  for (size_t i = header.e_shoff; i < image.size(); i += 7) {
    image[i] ^= 0xff;
    Compare(image);
    image[i] ^= 0xff;
  }
}

TEST_F(Malformed, TablesFlipped) {
  std::mt19937 random(1);
  for (const char* name : {".dynamic", ".dynsym", ".gnu.hash", ".hash", ".gnu.version", ".gnu.version_r",
                           ".rela.dyn", ".rela.plt", ".eh_frame", ".eh_frame_hdr", ".symtab", ".debug_info",
                           ".debug_abbrev", ".debug_line", ".debug_aranges", ".got", ".plt"}) {
    std::vector<uint8_t> image = reference_->image;
    absl::StatusOr<Image> parsed = Image::Parse("reference", reference_->image);
    const ImageSection* section = parsed->SectionNamed(name);
    if (section == nullptr) continue;
    for (int round = 0; round < 30; ++round) {
      std::vector<uint8_t> damaged = image;
      for (int i = 0; i < 1 + round % 4; ++i) {
        damaged[section->header.sh_offset + random() % section->header.sh_size] =
            static_cast<uint8_t>(random());
      }
      Compare(damaged);
    }
  }
}

TEST_F(Malformed, FlippedAnywhere) {
  std::mt19937 random(2);
  for (int round = 0; round < 100; ++round) {
    std::vector<uint8_t> damaged = reference_->image;
    for (int i = 0; i < 20; ++i) damaged[random() % damaged.size()] = static_cast<uint8_t>(random());
    Compare(damaged);
  }
}

TEST_F(Malformed, Noise) {
  std::mt19937 random(3);
  std::vector<uint8_t> noise(4096);
  for (uint8_t& b : noise) b = static_cast<uint8_t>(random());
  EXPECT_FALSE(Compare(noise).equivalent());
  EXPECT_FALSE(Compare({}).equivalent());
}

}  // namespace
}  // namespace kitlink::verify
