#include "core/verify/debug.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/verify/aranges.h"
#include "core/verify/cursor.h"

namespace kitlink::verify {
namespace {

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

// Sections that are a row of units, each starting with its length (DWARF 5, 7.2.2), those with names first.
constexpr absl::string_view kUnitSections[] = {".debug_info",     ".debug_types",       ".debug_line",
                                               ".debug_rnglists", ".debug_loclists",    ".debug_addr",
                                               ".debug_str_offsets", ".debug_names",    ".debug_pubnames",
                                               ".debug_pubtypes"};

struct Unit {
  uint64_t offset = 0;  // in the file
  uint64_t size = 0;    // with its length field
};

// The units of a section; what does not parse ends the list and is told in `error`.
std::vector<Unit> Units(const Image& image, const ImageSection& section, std::string& error) {
  std::vector<Unit> units;
  const uint64_t end = section.header.sh_offset + section.header.sh_size;
  uint64_t at = section.header.sh_offset;
  while (at < end) {
    Cursor in(image.bytes(), at);
    uint64_t length = in.U32();
    if (length == 0xffffffffu) length = in.U64();
    if (!in.ok() || !InBounds(in.offset(), length, end)) {
      error = absl::StrCat(section.name, ": no unit at offset ", Hex(at - section.header.sh_offset));
      return units;
    }
    units.push_back({at, in.offset() + length - at});
    at = in.offset() + length;
  }
  return units;
}

// Whether the entry with `code` in the abbreviations at `offset` is a childless unit of this tag with one
// attribute, a block; `form` is then that attribute's.
bool IsFillerAbbreviation(const Image& image, uint64_t offset, uint64_t code, uint64_t unit_tag, uint64_t& form) {
  const ImageSection* abbrev = image.SectionNamed(".debug_abbrev");
  if (abbrev == nullptr || offset > abbrev->header.sh_size) return false;
  Cursor in(image.bytes().subspan(abbrev->header.sh_offset, abbrev->header.sh_size), offset);
  while (in.ok() && !in.AtEnd()) {
    const uint64_t declared = in.Uleb();
    if (declared == 0) return false;
    const uint64_t tag = in.Uleb();
    const uint8_t children = in.U8();
    int attributes = 0;
    for (;;) {
      const uint64_t name = in.Uleb(), f = in.Uleb();
      if (f == 0x21) in.Sleb();  // DW_FORM_implicit_const
      if (!in.ok() || (name == 0 && f == 0)) break;
      form = f;
      ++attributes;
    }
    if (declared == code)
      return in.ok() && tag == unit_tag && children == 0 && attributes == 1;
  }
  return false;
}

// A unit that stands for a hole: one childless compile_unit (type_unit in .debug_types) whose only attribute is a block
// that fills it. Readers skip it; null entries or zeros make one or another of them stumble.
bool IsFiller(const Image& image, const Unit& unit, bool types) {
  Cursor in(image.bytes(), unit.offset);
  in.Limit(unit.offset + unit.size);
  const uint32_t length = in.U32();
  if (length == 0xffffffffu) return false;
  const uint16_t version = in.U16();
  uint64_t abbrev = 0;
  if (version >= 5) {
    if (in.U8() != 1) return false;  // DW_UT_compile
    in.U8();
    abbrev = in.U32();
  } else {
    abbrev = in.U32();
    in.U8();
  }
  if (types) {
    in.U64();                                            // signature; CheckSignatures
    if (in.U32() != in.offset() - unit.offset) return false;  // where the type's entry is
  }
  const uint64_t code = in.Uleb();
  uint64_t form = 0;
  if (!in.ok() || !IsFillerAbbreviation(image, abbrev, code, types ? 0x41 : 0x11, form)) return false;
  uint64_t size = 0;
  switch (form) {
    case 0x03:
      size = in.U16();
      break;  // DW_FORM_block2
    case 0x04:
      size = in.U32();
      break;  // DW_FORM_block4
    case 0x09:
      size = in.Uleb();
      break;  // DW_FORM_block
    case 0x0a:
      size = in.U8();
      break;  // DW_FORM_block1
    default:
      return false;
  }
  in.Skip(size);
  return in.ok() && in.AtEnd();
}

// Matches one section's atoms with the image's units.
class UnitMatcher {
 public:
  UnitMatcher(Walk& walk, absl::string_view section) : walk_(walk), section_(section) {}

  void Match() {
    std::vector<uint32_t> atoms;
    for (uint32_t i = 0; i < walk_.reference().atoms.size(); ++i) {
      const ReferenceAtom& a = walk_.reference().atoms[i];
      if (!a.alloc && a.section == section_ && a.size != 0) atoms.push_back(i);
    }
    const ImageSection* here = walk_.image().image().SectionNamed(section_);
    if (here == nullptr) {
      if (!atoms.empty()) walk_.Differ(absl::StrCat(section_, ": is missing"));
      return;
    }
    std::string error;
    units_ = Units(walk_.image().image(), *here, error);
    if (!error.empty()) walk_.Differ(error);
    for (const Unit& unit : units_) by_size_[unit.size].push_back(unit.offset);
    for (uint32_t atom : atoms) {
      if (walk_.place(atom) == kUnplaced) TryPlace(atom, true);
    }
    for (uint32_t atom : atoms) {
      if (walk_.place(atom) == kUnplaced && !TryPlace(atom, false)) Missing(atom);
    }
    if (section_ == ".debug_info" || section_ == ".debug_types") CheckLeftOver(atoms);
    if (section_ == ".debug_types") CheckSignatures();
  }

 private:
  std::vector<uint64_t>* Candidates(uint32_t atom) {
    Cursor in(walk_.cold().image().bytes(), walk_.reference().atoms[atom].file_offset);
    uint64_t length = in.U32();
    length = length == 0xffffffffu ? in.U64() + 12 : length + 4;
    auto it = by_size_.find(length);
    return it == by_size_.end() ? nullptr : &it->second;
  }

  // `exact`: only where every reference leads to what is known already; then what is wrong is told as such.
  bool TryPlace(uint32_t atom, bool exact) {
    std::vector<uint64_t>* candidates = Candidates(atom);
    for (size_t i = 0; candidates != nullptr && i < candidates->size(); ++i) {
      const uint64_t place = (*candidates)[i];
      if (walk_.FirstMismatch(atom, place) || (exact && !walk_.SitesFit(atom, place))) continue;
      candidates->erase(candidates->begin() + static_cast<ptrdiff_t>(i));
      walk_.Suggest({atom, 0}, place);
      walk_.Run();
      return true;
    }
    return false;
  }

  void Missing(uint32_t atom) {
    std::vector<uint64_t>* candidates = Candidates(atom);
    uint64_t best = 0;
    for (size_t i = 0; candidates != nullptr && i < candidates->size(); ++i) {
      best = std::max(best, walk_.FirstMismatch(atom, (*candidates)[i]).value_or(0));
    }
    walk_.Differ(
        absl::StrCat(walk_.NameOf({atom, best}), ": no unit of ", section_, " here has these bytes"));
  }

  // No two type units of DWARF 4 may claim one type, those that fill holes included.
  void CheckSignatures() {
    std::set<uint64_t> signatures;
    for (const Unit& unit : units_) {
      Cursor in(walk_.image().image().bytes(), unit.offset);
      in.Skip(in.U32() == 0xffffffffu ? 8 + 2 + 8 + 1 : 2 + 4 + 1);
      if (const uint64_t signature = in.U64(); !signatures.insert(signature).second) {
        walk_.Differ(absl::StrCat(section_, ": two units for the type with the signature ", Hex(signature)));
      }
    }
  }

  void CheckLeftOver(const std::vector<uint32_t>& atoms) {
    std::map<uint64_t, uint64_t> covered;
    for (uint32_t atom : atoms) {
      if (walk_.place(atom) != kUnplaced) covered[walk_.place(atom)] = walk_.reference().atoms[atom].size;
    }
    for (const Unit& unit : units_) {
      auto it = covered.upper_bound(unit.offset);
      if (it != covered.begin() && unit.offset - std::prev(it)->first < std::prev(it)->second) continue;
      if (IsFiller(walk_.image().image(), unit, section_ == ".debug_types")) continue;
      const uint64_t start = walk_.image().image().SectionNamed(section_)->header.sh_offset;
      walk_.Differ(absl::StrCat(section_, "+", Hex(unit.offset - start),
                                ": a unit that a cold link has not, nor filler"));
    }
  }

  Walk& walk_;
  absl::string_view section_;
  std::vector<Unit> units_;
  absl::flat_hash_map<uint64_t, std::vector<uint64_t>> by_size_;
};

bool PlaceByContent(Walk& walk, uint32_t atom) {
  const ReferenceAtom& a = walk.reference().atoms[atom];
  const ImageSection* s = walk.image().image().SectionNamed(a.section);
  if (s == nullptr || s->header.sh_type == SHT_NOBITS || s->header.sh_size < a.size) return false;
  // The same offset first, then anywhere.
  const ImageSection* other = walk.cold().image().SectionNamed(a.section);
  if (other != nullptr) {
    const uint64_t offset = a.file_offset - other->header.sh_offset;
    if (InBounds(offset, a.size, s->header.sh_size) && walk.SitesFit(atom, s->header.sh_offset + offset) &&
        walk.Suggest({atom, 0}, s->header.sh_offset + offset)) {
      return true;
    }
  }
  auto [first, last] = walk.SitesOf(atom);
  const uint64_t length = first == last ? a.size : std::min(a.size, walk.reference().sites[first].offset);
  const ByteView needle = walk.cold().image().bytes().subspan(a.file_offset, length);
  const ByteView hay = walk.image().image().bytes().subspan(s->header.sh_offset, s->header.sh_size);
  for (auto it = hay.begin(); it != hay.end(); ++it) {
    if (length != 0) it = std::search(it, hay.end(), std::default_searcher(needle.begin(), needle.end()));
    if (it == hay.end()) return false;
    const uint64_t offset = static_cast<uint64_t>(it - hay.begin());
    if (InBounds(offset, a.size, hay.size()) && walk.SitesFit(atom, s->header.sh_offset + offset) &&
        walk.Suggest({atom, 0}, s->header.sh_offset + offset)) {
      return true;
    }
  }
  return false;
}

}  // namespace

void CompareDebug(Walk& walk) {
  for (const ImageSection& s : walk.image().image().sections()) {
    if ((s.header.sh_flags & SHF_COMPRESSED) != 0) {
      walk.Differ(absl::StrCat(s.name, ": is compressed, which patching excludes"));
    }
  }
  for (absl::string_view section : kUnitSections) UnitMatcher(walk, section).Match();
  CompareAranges(walk);
  const std::vector<ReferenceAtom>& atoms = walk.reference().atoms;
  std::set<std::string> missing;  // one message a section is enough for merged strings
  for (uint32_t i = 0; i < atoms.size(); ++i) {
    const ReferenceAtom& a = atoms[i];
    if (a.alloc || a.size == 0 || walk.place(i) != kUnplaced || Walk::IsTable(a)) continue;
    if (a.section == ".debug_aranges") continue;  // compared by meaning
    if (std::find(std::begin(kUnitSections), std::end(kUnitSections), a.section) != std::end(kUnitSections))
      continue;
    // Strings that no unit refers to are left over from units that are gone, or from merging.
    if (a.mergeable && absl::StartsWith(a.section, ".debug_") && a.section != ".debug_gdb_scripts") continue;
    if (PlaceByContent(walk, i)) {
      walk.Run();
    } else if (missing.insert(a.section).second) {
      walk.Differ(absl::StrCat(a.name, ": found nowhere in ", a.section, " here"));
    }
  }
}

}  // namespace kitlink::verify
