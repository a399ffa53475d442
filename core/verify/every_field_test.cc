// Whatever is there counts: each relocated field, each dynamic relocation, each symbol, each byte of an atom
// and each row of unwinding, changed by itself, is noticed. In images of our own linker and of another.
#include <algorithm>
#include <map>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/base/bytes.h"
#include "core/verify/image.h"
#include "core/verify/loader.h"
#include "core/verify/testing/damage.h"
#include "core/verify/testing/own_link.h"
#include "core/verify/testing/programs.h"
#include "core/verify/verify.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

using Form = ReferenceSite::Form;

const char kSources[] = "main.c data.c tls.c exceptions.cc absolute.s numbers.s size.s";

struct Subject {
  Variant variant;
  bool own = true;
  size_t step = 1;  // every how many of each kind are tried
};

void PrintTo(const Subject& subject, std::ostream* out) { *out << subject.variant.name; }

class EveryField : public testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    Objects objects(GetParam().variant, kSources);
    ASSERT_TRUE(objects.ok());
    if (GetParam().own) {
      absl::StatusOr<Reference> linked = LinkOwn(DriverArguments(objects), "--incremental=on");
      ASSERT_TRUE(linked.ok()) << linked.status();
      reference_ = *std::move(linked);
    } else {
      reference_ = objects.LinkReference();
    }
    bytes_ = reference_.image;
    ASSERT_TRUE(Noticed().empty()) << Noticed();
    image_ = std::make_unique<Image>(*Image::Parse("cold", reference_.image));
    loaded_ = std::make_unique<LoadedImage>(LoadedImage::Load(*image_));
  }

  // What is said of the image as it is now; empty when nothing is.
  std::string Noticed() const {
    const absl::StatusOr<VerifyReport> report = CompareImages(reference_, bytes_);
    if (!report.ok()) return absl::StrCat("FAILED ", report.status().ToString());
    return report->equivalent() ? "" : report->differences.front().what;
  }

  // Flips `bits` of the byte at `offset` of the file and wants that to be noticed; leaves the image as it
  // was.
  void Flip(uint64_t offset, uint8_t bits, const std::string& what) {
    ASSERT_LT(offset, bytes_.size());
    bytes_[offset] ^= bits;
    const std::string noticed = Noticed();
    bytes_[offset] ^= bits;
    EXPECT_NE(noticed, "") << what << ", bits " << int{bits} << " at " << offset << " of the file";
    EXPECT_NE(noticed.substr(0, 6), "FAILED") << what << ": " << noticed;
    ++tried_;
  }

  // Whether the loader writes over this byte, so that what the file has there means nothing.
  bool Overwritten(const ReferenceAtom& atom, uint64_t offset) const {
    if (!atom.alloc) return false;
    for (const DynamicRelocation& r : loaded_->relocations()) {
      const uint64_t at = atom.address + offset;
      if (at >= r.address && at < r.address + 8) return true;
    }
    return false;
  }

  // They have no bytes, or what they say is known to be beyond the comparison.
  static bool Exempt(const ReferenceAtom& atom) {
    return atom.nobits || atom.size == 0 || (atom.mergeable && atom.section.substr(0, 7) == ".debug_");
  }

  // Strings that a field leads to. Others may say anything: clang, which moves short ones with immediates, leaves them.
  absl::flat_hash_set<uint32_t> Referred() const {
    absl::flat_hash_set<uint32_t> atoms;
    for (const ReferenceSite& site : reference_.sites) atoms.insert(site.target_atom);
    return atoms;
  }

  // Zeros that nobody refers to: they can be anywhere.
  static bool Unused(absl::string_view name) { return name == "sized_here" || name == "__dso_handle"; }

  Reference reference_;
  std::vector<uint8_t> bytes_;
  std::unique_ptr<Image> image_;
  std::unique_ptr<LoadedImage> loaded_;
  size_t tried_ = 0;
};

TEST_P(EveryField, OfAtoms) {
  size_t number = 0;
  for (const ReferenceSite& s : reference_.sites) {
    const ReferenceAtom& a = reference_.atoms[s.atom];
    if (number++ % GetParam().step != 0 || Exempt(a) || Overwritten(a, s.offset)) continue;
    const uint64_t field = a.file_offset + s.offset;
    for (uint8_t bits : {0x01, 0x10})
      Flip(field, bits, absl::StrCat(a.name, "+", s.offset, " [", s.symbol, "]"));
    Flip(field + s.width - 1, 0x40, absl::StrCat(a.name, "+", s.offset, " [", s.symbol, "]"));
  }
  EXPECT_GT(tried_, 500u);
}

TEST_P(EveryField, BytesOfAtoms) {
  size_t number = 0;
  const absl::flat_hash_set<uint32_t> referred = Referred();
  for (uint32_t i = 0; i < reference_.atoms.size(); ++i) {
    const ReferenceAtom& a = reference_.atoms[i];
    if (Exempt(a) || (a.mergeable && !referred.contains(i))) continue;
    for (uint64_t at = number++ % 7; at < a.size; at += 1 + GetParam().step * (a.alloc ? 8 : 64)) {
      // Length of a table that may be longer than it needs to be.
      if (at < 4 && (a.section == ".debug_addr" || a.section == ".debug_str_offsets")) continue;
      if (Overwritten(a, at)) continue;
      Flip(a.file_offset + at, 0x20, absl::StrCat(a.name, "+", at));
    }
  }
  EXPECT_GT(tried_, 200u);
}

TEST_P(EveryField, OfDynamicRelocations) {
  size_t number = 0;
  for (const char* name : {".rela.dyn", ".rela.plt", ".rela.iplt"}) {
    const ImageSection* table = image_->SectionNamed(name);
    if (table == nullptr) continue;
    for (uint64_t at = 0; at + sizeof(Elf64_Rela) <= table->header.sh_size; at += sizeof(Elf64_Rela)) {
      const uint64_t row = table->header.sh_offset + at;
      const Elf64_Rela r = Load<Elf64_Rela>(bytes_.data() + row);
      if (ELF64_R_TYPE(r.r_info) == R_X86_64_NONE || number++ % GetParam().step != 0) continue;
      const std::string what = absl::StrCat(name, "+", at, " ", RelocationName(ELF64_R_TYPE(r.r_info)));
      Flip(row, 0x08, absl::StrCat(what, ": address"));
      Flip(row + 8, 0x21, absl::StrCat(what, ": type"));
      if (ELF64_R_SYM(r.r_info) != 0) Flip(row + 12, 0x01, absl::StrCat(what, ": symbol"));
      Flip(row + 16, 0x10, absl::StrCat(what, ": addend"));
    }
  }
  EXPECT_GT(tried_, image_->relocatable() ? 40u : 0u);
}

TEST_P(EveryField, OfSymbols) {
  size_t number = 0;
  for (const char* name : {".symtab", ".dynsym"}) {
    const ImageSection* table = image_->SectionNamed(name);
    if (table == nullptr) continue;
    const bool dynamic = table->name == ".dynsym";
    for (const ImageSymbol& s : dynamic ? image_->dynsym() : image_->symtab()) {
      if (s.name.empty() || s.type() == STT_SECTION || s.type() == STT_FILE ||
          number++ % GetParam().step != 0)
        continue;
      const uint64_t row = table->header.sh_offset + s.index * sizeof(Elf64_Sym);
      const std::string what = absl::StrCat(name, ": ", s.name);
      Flip(row, 0x01, absl::StrCat(what, ": name"));
      if (s.defined() || !dynamic) Flip(row + 4, 0x01, absl::StrCat(what, ": type"));
      Flip(row + 4, 0x30, absl::StrCat(what, ": binding"));
      Flip(row + 5, 0x02, absl::StrCat(what, ": visibility"));
      if (!s.defined()) continue;
      Flip(row + 6, 0x01, absl::StrCat(what, ": section"));
      if (!Unused(s.name)) Flip(row + 8, 0x08, absl::StrCat(what, ": value"));
      Flip(row + 16, 0x04, absl::StrCat(what, ": size"));
    }
  }
  EXPECT_GT(tried_, 100u);
}

// Every way in which .eh_frame and the table that leads to it are read, for each function.
TEST_P(EveryField, OfUnwinding) {
  const ImageSection *frames = image_->SectionNamed(".eh_frame"),
                     *table = image_->SectionNamed(".eh_frame_hdr");
  ASSERT_TRUE(frames != nullptr && table != nullptr);
  const uint8_t* header = bytes_.data() + table->header.sh_offset;
  const uint32_t count = Load<uint32_t>(header + 8);
  for (uint32_t i = 0; i < count; i += static_cast<uint32_t>(GetParam().step)) {
    const uint64_t row = table->header.sh_offset + 12 + 8 * i;
    if (i != 0 && Load<uint64_t>(bytes_.data() + row) == Load<uint64_t>(bytes_.data() + row - 8))
      continue;  // filler
    Flip(row, 0x08, absl::StrCat(".eh_frame_hdr row ", i, ": function"));
    Flip(row + 4, 0x08, absl::StrCat(".eh_frame_hdr row ", i, ": FDE"));
    const uint64_t distance = static_cast<uint64_t>(int64_t{Load<int32_t>(bytes_.data() + row + 4)});
    const uint64_t fde =
        frames->header.sh_offset + (table->header.sh_addr + distance - frames->header.sh_addr);
    Flip(fde, 0x08, absl::StrCat("FDE ", i, ": length"));
    Flip(fde + 4, 0x08, absl::StrCat("FDE ", i, ": CIE"));
    Flip(fde + 8, 0x08, absl::StrCat("FDE ", i, ": function"));
    Flip(fde + 12, 0x08, absl::StrCat("FDE ", i, ": size"));
    Flip(fde + 16, 0x40, absl::StrCat("FDE ", i, ": size of augmentation"));
  }
  Flip(table->header.sh_offset + 4, 0x08, ".eh_frame_hdr: where .eh_frame is");
  EXPECT_GT(tried_, 20u);
}

std::vector<Subject> Subjects() {
  std::vector<Subject> subjects = {
      {{"own_pie", "gcc", "-O2 -fPIE", "-pie"}, true, 3},
      {{"own_fixed", "gcc", "-O0 -fno-pie -gdwarf-4 -fdebug-types-section", "-no-pie -Wl,-z,now"}, true, 3},
      {{"own_shared", "gcc", "-O1 -fPIC -mtls-dialect=gnu2", "-shared -Wl,--hash-style=both"}, true, 3},
      {{"own_clang", "clang", "-O1 -fPIC -gdwarf-5", "-pie -Wl,--gc-sections"}, true, 3},
      {{"lld_pie", "gcc", "-O0 -fPIE", "-pie"}, false, 5},
      {{"lld_shared", "gcc", "-O2 -fPIC -fcf-protection", "-shared"}, false, 5},
  };
  return subjects;
}

INSTANTIATE_TEST_SUITE_P(Images, EveryField, testing::ValuesIn(Subjects()),
                         [](const testing::TestParamInfo<Subject>& info) { return info.param.variant.name; });

}  // namespace
}  // namespace kitlink::verify
