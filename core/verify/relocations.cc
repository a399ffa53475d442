#include "core/verify/relocations.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kitlink::verify {
namespace {

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

std::string Name(const DynamicRelocation& r) {
  return absl::StrCat(RelocationName(r.type), " at ", Hex(r.address));
}

// A relocation that no field of an atom asks for. Cells may be left over, for nobody reads them, but a
// resolver is called for each, and nothing else that the linker makes has words for the loader to fill in.
void CheckTableRelocation(Walk& walk, const DynamicRelocation& r) {
  const ImageSection* section = walk.image().image().SectionCovering(r.address, 1, false);
  if (section == nullptr || !absl::StartsWith(section->name, ".got")) {
    walk.Differ(absl::StrCat("a stray ", Name(r),
                             section == nullptr ? "" : absl::StrCat(" in ", section->name),
                             ", where no atom lies"));
  }
  if (r.type != R_X86_64_IRELATIVE) return;
  const AtomOffset resolver = walk.PlacedAt(static_cast<uint64_t>(r.addend), false);
  if (resolver.atom == kNoAtom || !walk.reference().atoms[resolver.atom].executable) {
    walk.Differ(absl::StrCat(Name(r), ": the resolver ", Hex(static_cast<uint64_t>(r.addend)),
                             " is no function of a cold link"));
  }
}

// Words of atoms that the loader fills in without a field that says so; fields are compared by the walk.
void CompareWithoutField(Walk& walk, const DynamicRelocation& r) {
  const AtomOffset at = walk.AtomAt(r.address, false);
  if (at.atom == kNoAtom || Walk::IsTable(walk.reference().atoms[at.atom]) ||
      walk.place(at.atom) == kUnplaced)
    return;
  auto [first, last] = walk.SitesOf(at.atom);
  const auto& sites = walk.reference().sites;
  for (uint32_t i = first; i < last; ++i) {
    if (sites[i].offset == at.offset && sites[i].form != ReferenceSite::Form::kOther) return;
  }
  const uint64_t here = walk.place(at.atom) + at.offset;
  if (walk.image().RelocationAt(here) == nullptr) {
    walk.Differ(
        absl::StrCat(walk.NameOf(at), ": no ", RelocationName(r.type), " here, unlike in a cold link"));
  } else if (!walk.SameValue(walk.cold().Word(r.address), walk.image().Word(here), false)) {
    walk.Differ(absl::StrCat(walk.NameOf(at), ": refers to ", walk.Describe(walk.image().Word(here)),
                             " here, unlike in a cold link"));
  }
}

// By the names of the variables: where each copy goes.
std::map<std::string, uint64_t> Copies(const LoadedImage& image) {
  std::map<std::string, uint64_t> copies;
  for (const DynamicRelocation& r : image.relocations()) {
    if (r.type == R_X86_64_COPY) copies[image.NameOf(r.symbol)] = r.address;
  }
  return copies;
}

void CompareCopies(Walk& walk) {
  const std::map<std::string, uint64_t> cold = Copies(walk.cold()), here = Copies(walk.image());
  if (cold.size() != here.size() || !std::equal(cold.begin(), cold.end(), here.begin(),
                                                [](auto& a, auto& b) { return a.first == b.first; })) {
    walk.Differ("other variables are copied from libraries");
    return;
  }
  for (const auto& [name, address] : cold) {
    const AtomOffset room = walk.AtomAt(address, false);
    const uint64_t place = room.atom == kNoAtom ? kUnplaced : walk.place(room.atom);
    if (place != kUnplaced && place + room.offset != here.at(name)) {
      walk.Differ(absl::StrCat("the copy of ", name, " goes to ", Hex(here.at(name)), ", not to its place ",
                               Hex(place)));
    }
  }
}

}  // namespace

void CompareLayout(Walk& walk) {
  const std::vector<ReferenceAtom>& atoms = walk.reference().atoms;
  struct Range {
    uint64_t start, end;
    uint32_t atom;
  };
  std::vector<Range> ranges, threads;  // zeroed thread variables take no address space of their own
  for (uint32_t i = 0; i < atoms.size(); ++i) {
    if (!atoms[i].alloc || atoms[i].size == 0 || atoms[i].mergeable || walk.place(i) == kUnplaced) continue;
    const Range range{walk.place(i), walk.place(i) + atoms[i].size, i};
    if (atoms[i].tls) threads.push_back(range);
    if (!atoms[i].tls || !atoms[i].nobits) ranges.push_back(range);
  }
  for (const auto& [address, island] : walk.islands())
    ranges.push_back({address, address + island.length, kNoAtom});
  auto name = [&](const Range& r) { return r.atom == kNoAtom ? "an island" : atoms[r.atom].name; };
  for (std::vector<Range>* list : {&ranges, &threads}) {
    std::sort(list->begin(), list->end(), [](const Range& a, const Range& b) { return a.start < b.start; });
    for (size_t i = 1; i < list->size(); ++i) {
      const Range &before = (*list)[i - 1], &range = (*list)[i];
      if (range.start >= before.end) continue;
      walk.Differ(absl::StrCat(name(range), ": overlaps ", name(before), " at ", Hex(range.start)));
    }
  }
  std::set<std::string> sections;
  for (const ReferenceAtom& a : atoms) {
    if (!a.ordered || !sections.insert(a.section).second) continue;
    const ImageSection* cold = walk.cold().image().SectionNamed(a.section);
    const ImageSection* here = walk.image().image().SectionNamed(a.section);
    if (cold != nullptr && here != nullptr && cold->header.sh_size != here->header.sh_size) {
      walk.Differ(absl::StrCat("ordered section ", a.section, " has ", here->header.sh_size, " bytes here, ",
                               cold->header.sh_size, " in a cold link"));
    }
  }
}

void CompareRelocations(Walk& walk) {
  for (const DynamicRelocation& r : walk.image().relocations()) {
    if (r.type == R_X86_64_COPY) continue;
    const AtomOffset at = walk.PlacedAt(r.address, false);
    if (at.atom == kNoAtom) {
      CheckTableRelocation(walk, r);
    } else if (walk.cold().RelocationAt(walk.reference().atoms[at.atom].address + at.offset) == nullptr) {
      walk.Differ(absl::StrCat(walk.NameOf(at), ": a stray ", Name(r), ", none in a cold link"));
    }
  }
  for (const DynamicRelocation& r : walk.cold().relocations()) {
    if (r.type != R_X86_64_COPY) CompareWithoutField(walk, r);
  }
  walk.Run();
  CompareCopies(walk);
}

}  // namespace kitlink::verify
