// A good image to damage in one way, and the comparison with what it was.
#ifndef CORE_VERIFY_TESTING_DAMAGE_H_
#define CORE_VERIFY_TESTING_DAMAGE_H_

#include <elf.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/base/bytes.h"
#include "core/verify/image.h"
#include "core/verify/verify.h"
#include "gtest/gtest.h"

namespace kitlink::verify {

// A reference and a copy of its image to damage, with ways to find things in it.
class Damage {
 public:
  explicit Damage(const Reference& reference) : reference_(reference), bytes_(reference.image) {}

  Image image() const { return *Image::Parse("test", reference_.image); }
  uint8_t* At(uint64_t address) {
    const Image parsed = image();
    const Elf64_Phdr* p = parsed.LoadedBy(address, 1);
    EXPECT_NE(p, nullptr);
    return bytes_.data() + p->p_offset + (address - p->p_vaddr);
  }
  uint8_t* Offset(uint64_t offset) { return bytes_.data() + offset; }
  const std::vector<uint8_t>& bytes() const { return bytes_; }
  Elf64_Ehdr* header() { return reinterpret_cast<Elf64_Ehdr*>(bytes_.data()); }
  Elf64_Phdr* Segment(std::function<bool(const Elf64_Phdr&)> which) {
    auto* p = reinterpret_cast<Elf64_Phdr*>(bytes_.data() + header()->e_phoff);
    for (int i = 0; i < header()->e_phnum; ++i) {
      if (which(p[i])) return p + i;
    }
    ADD_FAILURE() << "no such segment";
    return p;
  }
  Elf64_Shdr* Section(const std::string& name) {
    const Image parsed = image();
    const ImageSection* s = parsed.SectionNamed(name);
    EXPECT_NE(s, nullptr) << name;
    return reinterpret_cast<Elf64_Shdr*>(bytes_.data() + header()->e_shoff) + (s == nullptr ? 0 : s->index);
  }
  template <typename T>
  T* Rows(const std::string& section, size_t* count = nullptr) {
    Elf64_Shdr* s = Section(section);
    if (count != nullptr) *count = s->sh_size / sizeof(T);
    return reinterpret_cast<T*>(bytes_.data() + s->sh_offset);
  }
  uint64_t Address(const std::string& symbol) {
    const Image parsed = image();
    const ImageSymbol* s = parsed.FindSymbol(symbol);
    EXPECT_NE(s, nullptr) << symbol;
    return s == nullptr ? 0 : s->symbol.st_value;
  }
  Elf64_Sym* Symbol(const std::string& name, const std::string& table = ".symtab") {
    const Image parsed = image();
    for (const ImageSymbol& s : table == ".symtab" ? parsed.symtab() : parsed.dynsym()) {
      if (s.name == name) return Rows<Elf64_Sym>(table) + s.index;
    }
    ADD_FAILURE() << "no symbol " << name;
    return Rows<Elf64_Sym>(table);
  }
  Elf64_Dyn* Dynamic(int64_t tag, int nth = 0) {
    size_t count = 0;
    auto* d = Rows<Elf64_Dyn>(".dynamic", &count);
    for (size_t i = 0; i < count; ++i) {
      if (d[i].d_tag == tag && nth-- == 0) return d + i;
    }
    ADD_FAILURE() << "no dynamic tag " << tag;
    return d;
  }
  Elf64_Rela* Relocation(uint64_t address) {
    for (const char* table : {".rela.dyn", ".rela.plt"}) {
      size_t count = 0;
      auto* r = Rows<Elf64_Rela>(table, &count);
      for (size_t i = 0; i < count; ++i) {
        if (r[i].r_offset == address) return r + i;
      }
    }
    ADD_FAILURE() << "no relocation at " << address;
    return Rows<Elf64_Rela>(".rela.dyn");
  }
  // The first site in an atom whose name contains `atom`, of a target whose atom's name contains `target`.
  const ReferenceSite& Site(const std::string& atom, const std::string& target) {
    for (const ReferenceSite& s : reference_.sites) {
      if (s.target_atom != kNoAtom && absl::StrContains(reference_.atoms[s.atom].name, atom) &&
          absl::StrContains(reference_.atoms[s.target_atom].name, target)) {
        return s;
      }
    }
    ADD_FAILURE() << "no site in " << atom << " for " << target;
    return reference_.sites.front();
  }
  uint8_t* Field(const ReferenceSite& s) {
    return bytes_.data() + reference_.atoms[s.atom].file_offset + s.offset;
  }
  uint64_t FieldAddress(const ReferenceSite& s) { return reference_.atoms[s.atom].address + s.offset; }
  const ReferenceAtom& Atom(const std::string& name) {
    for (const ReferenceAtom& a : reference_.atoms) {
      if (absl::StrContains(a.name, name)) return a;
    }
    ADD_FAILURE() << "no atom " << name;
    return reference_.atoms.front();
  }

  // All differences, one a line.
  std::string Compare() const {
    absl::StatusOr<VerifyReport> report = CompareImages(reference_, bytes_);
    if (!report.ok()) return absl::StrCat("FAILED: ", report.status().ToString());
    return absl::StrJoin(report->differences, "\n",
                         [](std::string* out, const Difference& d) { *out += d.what; });
  }

 private:
  const Reference& reference_;
  std::vector<uint8_t> bytes_;
};

template <typename T>
void Add(uint8_t* p, T delta) {
  Store<T>(p, Load<T>(p) + delta);
}

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_TESTING_DAMAGE_H_
