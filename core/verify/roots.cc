#include "core/verify/roots.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace kitlink::verify {
namespace {

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

// Defined symbols of an image whose name occurs once among those that `take` accepts.
template <typename Take>
absl::flat_hash_map<absl::string_view, const ImageSymbol*> UniqueNames(const Image& image, Take take) {
  absl::flat_hash_map<absl::string_view, const ImageSymbol*> names;
  for (const ImageSymbol& s : image.symtab()) {
    if (!s.defined() || s.symbol.st_shndx == SHN_ABS || s.name.empty()) continue;
    if (s.type() == STT_FILE || s.type() == STT_SECTION || !take(s)) continue;
    auto [it, added] = names.try_emplace(s.name, &s);
    if (!added) it->second = nullptr;
  }
  return names;
}

AtomOffset TargetOf(const Walk& walk, const ImageSymbol& symbol) {
  const Image& cold = walk.cold().image();
  AtomOffset t = walk.AtomAt(cold.AddressOf(symbol), symbol.type() == STT_TLS);
  if (t.atom == kNoAtom || symbol.symbol.st_shndx >= cold.sections().size()) return {};
  // A label at the end of its section looks like the start of the next one.
  if (cold.sections()[symbol.symbol.st_shndx].name != walk.reference().atoms[t.atom].section) return {};
  return t;
}

// Takes what has the same name in both for the same thing, where bytes agree. `insist`: they must.
template <typename Take>
void SuggestByName(Walk& walk, bool insist, Take take) {
  const auto cold = UniqueNames(walk.cold().image(), take);
  const auto here = UniqueNames(walk.image().image(), [](const ImageSymbol&) { return true; });
  for (const ImageSymbol& s : walk.cold().image().symtab()) {  // in order of the table, to be deterministic
    auto it = cold.find(s.name);
    auto other = here.find(s.name);
    if (it == cold.end() || it->second != &s || other == here.end() || other->second == nullptr) continue;
    if ((s.type() == STT_TLS) != (other->second->type() == STT_TLS)) continue;
    AtomOffset t = TargetOf(walk, s);
    if (t.atom == kNoAtom || walk.place(t.atom) != kUnplaced || Walk::IsTable(walk.reference().atoms[t.atom])) continue;
    const uint64_t address = walk.image().image().AddressOf(*other->second);
    if (insist) {
      walk.Expect(t, address, false, absl::StrCat(".symtab: ", s.name, " is "));
      walk.Run();
    } else {
      walk.Suggest(t, address);
    }
  }
  walk.Run();
}

void ExpectAddress(Walk& walk, uint64_t cold, uint64_t here, absl::string_view what) {
  AtomOffset t = walk.AtomAt(cold, false);
  if (t.atom != kNoAtom && !Walk::IsTable(walk.reference().atoms[t.atom])) {
    walk.Expect(t, here, false, what);
  } else if (!walk.SameBoundary("", cold, here)) {
    walk.Differ(absl::StrCat(what, Hex(here), " here, ", Hex(cold), " in a cold link"));
  }
}

void PlaceOrdered(Walk& walk) {
  const Reference& reference = walk.reference();
  for (uint32_t i = 0; i < reference.atoms.size(); ++i) {
    const ReferenceAtom& a = reference.atoms[i];
    if (!a.ordered || !a.alloc || a.size == 0) continue;
    const ImageSection* cold = walk.cold().image().SectionNamed(a.section);
    const ImageSection* here = walk.image().image().SectionNamed(a.section);
    if (here == nullptr || cold == nullptr) {
      walk.Differ(absl::StrCat(a.name, ": there is no section ", a.section, " here"));
      continue;
    }
    walk.Expect({i, 0}, here->header.sh_addr + (a.address - cold->header.sh_addr), true,
                absl::StrCat("ordered section ", a.section, ": holds "));
  }
  walk.Run();
}

// Whether nothing that was found overlaps [place, place + size).
bool Free(const Walk& walk, uint64_t place, uint64_t size, bool tls) {
  return walk.PlacedAt(place, tls).atom == kNoAtom && walk.PlacedAt(place + size - 1, tls).atom == kNoAtom;
}

// The longest run of bytes that no relocated field touches.
std::pair<uint64_t, uint64_t> LongestRun(const Walk& walk, uint32_t atom) {
  std::vector<std::pair<uint64_t, uint64_t>> windows;
  auto [first, last] = walk.SitesOf(atom);
  for (uint32_t i = first; i < last; ++i) windows.push_back(RewrittenBytes(walk.reference().sites[i]));
  windows.push_back({walk.reference().atoms[atom].size, 0});
  std::sort(windows.begin(), windows.end());
  uint64_t at = 0;
  std::pair<uint64_t, uint64_t> best{0, 0};
  for (auto [start, length] : windows) {
    if (start > at && start - at > best.second) best = {at, start - at};
    at = std::max(at, start + length);
  }
  return best;
}

// The section itself, or one that a relink has made for its growth (".text.1"); not ".data.rel.ro" for ".data".
bool IsSameOrGrowth(absl::string_view here, absl::string_view cold) {
  if (here == cold) return true;
  if (!absl::ConsumePrefix(&here, cold) || !absl::ConsumePrefix(&here, ".") || here.empty()) return false;
  return std::all_of(here.begin(), here.end(), [](unsigned char c) { return absl::ascii_isdigit(c); });
}

// `fields`: only where those lead to what the cold link's do. Of several copies of a function, one does.
bool PlaceByContent(Walk& walk, uint32_t atom, bool fields) {
  const ReferenceAtom& a = walk.reference().atoms[atom];
  const auto [offset, length] = LongestRun(walk, atom);
  if (length < 4) return false;
  const ByteView needle = walk.cold().image().bytes().subspan(a.file_offset + offset, length);
  for (const ImageSection& s : walk.image().image().sections()) {
    if (s.header.sh_type == SHT_NOBITS || (s.header.sh_flags & SHF_ALLOC) == 0) continue;
    if (!IsSameOrGrowth(s.name, a.section) || !walk.image().image().FileBytes(s.header.sh_addr, s.header.sh_size)) continue;
    const ByteView hay = walk.image().image().bytes().subspan(s.header.sh_offset, s.header.sh_size);
    for (auto it = hay.begin(); it != hay.end(); ++it) {
      it = std::search(it, hay.end(), std::default_searcher(needle.begin(), needle.end()));
      if (it == hay.end()) break;
      const uint64_t place = s.header.sh_addr + static_cast<uint64_t>(it - hay.begin()) - offset;
      if (place % a.alignment != 0 || !Free(walk, place, a.size, a.tls) || (fields && !walk.SitesFit(atom, place))) continue;
      if (walk.Suggest({atom, 0}, place)) return true;
    }
  }
  return false;
}

// Places `atom` as far from `neighbour` as it is in the cold link, if all agrees.
void PlaceBeside(Walk& walk, uint32_t atom, uint32_t neighbour) {
  const ReferenceAtom &a = walk.reference().atoms[atom], &other = walk.reference().atoms[neighbour];
  if (walk.place(atom) != kUnplaced || walk.place(neighbour) == kUnplaced) return;
  if (a.mergeable || other.mergeable || a.section != other.section || Walk::IsTable(a)) return;
  const uint64_t place = walk.place(neighbour) + (a.address - other.address);
  if (Free(walk, place, a.size, a.tls) && walk.SitesFit(atom, place) && walk.Suggest({atom, 0}, place)) walk.Run();
}

// What was linked side by side mostly still is.
void PlaceNeighbours(Walk& walk) {
  const std::vector<ReferenceAtom>& atoms = walk.reference().atoms;
  std::vector<uint32_t> in_order;
  for (uint32_t i = 0; i < atoms.size(); ++i) {
    if (atoms[i].alloc && atoms[i].size != 0) in_order.push_back(i);
  }
  for (size_t i = 1; i < in_order.size(); ++i) PlaceBeside(walk, in_order[i], in_order[i - 1]);
  for (size_t i = in_order.size(); i-- > 1;) PlaceBeside(walk, in_order[i - 1], in_order[i]);
}

// A pointer that nobody refers to, and whose neighbours have gone elsewhere, is where a relocation is that nothing explains.
void PlaceByRelocation(Walk& walk) {
  const Image& here = walk.image().image();
  std::vector<std::pair<uint64_t, const ImageSection*>> stray;
  for (const DynamicRelocation& r : walk.image().relocations()) {
    const ImageSection* section = here.SectionCovering(r.address, 8, false);
    if (section == nullptr || walk.PlacedAt(r.address, false).atom != kNoAtom) continue;
    if (!Walk::IsTable({.name = {}, .section = std::string(section->name)})) stray.push_back({r.address, section});
  }
  if (stray.empty()) return;
  const std::vector<ReferenceAtom>& atoms = walk.reference().atoms;
  for (uint32_t i = 0; i < atoms.size(); ++i) {
    const ReferenceAtom& a = atoms[i];
    if (!a.alloc || a.size == 0 || a.nobits || a.mergeable || walk.place(i) != kUnplaced || Walk::IsTable(a)) continue;
    const auto [first, last] = walk.SitesOf(i);
    if (first == last || walk.reference().sites[first].form != ReferenceSite::Form::kAbsolute) continue;
    for (const auto& [address, section] : stray) {
      const uint64_t place = address - walk.reference().sites[first].offset;
      if (place % a.alignment != 0 || !IsSameOrGrowth(section->name, a.section) || !Free(walk, place, a.size, a.tls)) continue;
      if (!walk.SitesFit(i, place) || !walk.Suggest({i, 0}, place)) continue;
      walk.Run();
      break;
    }
  }
}

}  // namespace

void WalkFromRoots(Walk& walk) {
  const Image& cold = walk.cold().image();
  const Image& here = walk.image().image();
  PlaceOrdered(walk);
  SuggestByName(walk, false, [](const ImageSymbol& s) { return s.binding() != STB_LOCAL; });
  if (cold.header().e_entry != 0) {
    ExpectAddress(walk, cold.header().e_entry, here.header().e_entry, "the entry point is ");
  }
  for (auto [tag, name] : {std::pair(DT_INIT, "DT_INIT is "), std::pair(DT_FINI, "DT_FINI is ")}) {
    if (cold.DynamicValue(tag) && here.DynamicValue(tag)) {
      ExpectAddress(walk, *cold.DynamicValue(tag), *here.DynamicValue(tag), name);
    }
  }
  walk.Run();
  absl::flat_hash_map<std::string, const ImageSymbol*> exports;
  for (const ImageSymbol& s : here.dynsym()) {
    if (s.defined()) exports[walk.image().NameOf(s.index)] = &s;
  }
  for (const ImageSymbol& s : cold.dynsym()) {
    auto it = exports.find(walk.cold().NameOf(s.index));
    if (!s.defined() || it == exports.end()) continue;
    if (AtomOffset t = TargetOf(walk, s); t.atom != kNoAtom) walk.Suggest(t, here.AddressOf(*it->second));
  }
  walk.Run();
}

void WalkTheRest(Walk& walk) {
  SuggestByName(walk, false, [](const ImageSymbol& s) { return s.binding() == STB_LOCAL; });
  SuggestByName(walk, true, [](const ImageSymbol&) { return true; });
  const std::vector<ReferenceAtom>& atoms = walk.reference().atoms;
  PlaceNeighbours(walk);
  for (uint32_t i = 0; i < atoms.size(); ++i) {
    const ReferenceAtom& a = atoms[i];
    if (!a.alloc || a.size == 0 || a.nobits || a.mergeable || walk.place(i) != kUnplaced || Walk::IsTable(a))
      continue;
    if (PlaceByContent(walk, i, true) || PlaceByContent(walk, i, false)) {
      walk.Run();
    } else if (LongestRun(walk, i).second >= 4) {
      walk.Differ(absl::StrCat(a.name, ": found nowhere here"));
    }
  }
  // A pointer that nobody refers to has nothing but its neighbours that says where it is.
  PlaceNeighbours(walk);
  PlaceByRelocation(walk);
}

}  // namespace kitlink::verify
