#include "core/verify/aranges.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/verify/cursor.h"

namespace kitlink::verify {
namespace {

struct Range {
  uint64_t address = 0;
  uint64_t length = 0;
  friend bool operator==(const Range& a, const Range& b) { return a.address == b.address && a.length == b.length; }
  friend bool operator<(const Range& a, const Range& b) {
    return std::make_pair(a.address, a.length) < std::make_pair(b.address, b.length);
  }
};

// What a patch fills tables with that have no range: it covers nothing.
constexpr Range kFiller{1, 0};

struct Set {
  uint16_t version = 0;
  uint64_t info = 0;  // offset of the unit in .debug_info
  std::vector<Range> ranges;  // sorted, each once
};

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

// The sets of an image in order. Nothing after the first that does not parse, which `error` names.
std::vector<Set> ReadSets(const Image& image, std::string& error) {
  std::vector<Set> sets;
  const ImageSection* section = image.SectionNamed(".debug_aranges");
  if (section == nullptr) return sets;
  const ByteView bytes = image.bytes().subspan(section->header.sh_offset, section->header.sh_size);
  for (uint64_t at = 0; at < bytes.size();) {
    Cursor in(bytes, at);
    const uint64_t length = in.U32();
    const uint64_t end = at + 4 + length;
    Set set;
    set.version = in.U16();
    set.info = in.U32();
    const uint8_t address_size = in.U8(), segment_size = in.U8();
    uint8_t padding = 0;  // up to the first range, which is aligned to its size
    while (in.ok() && (in.offset() - at) % 16 != 0) padding |= in.U8();
    in.Limit(end);
    if (!in.ok() || padding != 0 || length == 0 || length >= 0xfffffff0u || address_size != 8 || segment_size != 0) {
      error = absl::StrCat(".debug_aranges: no set at offset ", Hex(at));
      return sets;
    }
    bool ended = false;
    while (!in.AtEnd()) {
      const Range range{in.U64(), in.U64()};
      if (range == Range{}) {
        ended = true;
        break;
      }
      if (!(range == kFiller)) set.ranges.push_back(range);
    }
    if (!in.ok() || !ended) error = absl::StrCat(".debug_aranges: the set at offset ", Hex(at), " has no end");
    std::sort(set.ranges.begin(), set.ranges.end());
    set.ranges.erase(std::unique(set.ranges.begin(), set.ranges.end()), set.ranges.end());
    sets.push_back(std::move(set));
    at = end;
  }
  return sets;
}

// Where the cold link's range lies here; ranges of code that is gone stay what they are.
Range Translate(const Walk& walk, const Range& range) {
  const AtomOffset target = walk.AtomAt(range.address, false);
  if (target.atom == kNoAtom || walk.place(target.atom) == kUnplaced) return range;
  return {walk.place(target.atom) + target.offset, range.length};
}

}  // namespace

void CompareAranges(Walk& walk) {
  const Image& cold = walk.cold().image();
  const Image& here = walk.image().image();
  const ImageSection* cold_info = cold.SectionNamed(".debug_info");
  const ImageSection* here_info = here.SectionNamed(".debug_info");
  std::string cold_error, here_error;
  const std::vector<Set> wanted = ReadSets(cold, cold_error), found = ReadSets(here, here_error);
  if (!here_error.empty()) walk.Differ(here_error);
  if (wanted.empty() || cold_info == nullptr || here_info == nullptr) {
    if (!wanted.empty() || !found.empty()) walk.Differ(".debug_aranges: without .debug_info");
    return;
  }
  std::map<uint64_t, uint32_t> info_atoms;  // file offset in the cold link -> atom
  for (uint32_t i = 0; i < walk.reference().atoms.size(); ++i) {
    const ReferenceAtom& atom = walk.reference().atoms[i];
    if (!atom.alloc && atom.section == ".debug_info") info_atoms[atom.file_offset] = i;
  }
  std::map<uint64_t, const Set*> by_unit;
  for (const Set& set : found) {
    if (!by_unit.emplace(set.info, &set).second) {
      walk.Differ(absl::StrCat(".debug_aranges: two sets for the unit at ", Hex(set.info)));
    }
  }
  for (const Set& set : wanted) {
    const uint64_t offset = cold_info->header.sh_offset + set.info;
    auto atom = info_atoms.upper_bound(offset);
    if (atom == info_atoms.begin()) continue;  // a padding unit's of the cold link
    --atom;
    const ReferenceAtom& unit = walk.reference().atoms[atom->second];
    if (offset - unit.file_offset >= unit.size || walk.place(atom->second) == kUnplaced) continue;
    const uint64_t info = walk.place(atom->second) + (offset - unit.file_offset) - here_info->header.sh_offset;
    const auto it = by_unit.find(info);
    if (it == by_unit.end()) {
      walk.Differ(absl::StrCat(".debug_aranges: no set for ", unit.name));
      continue;
    }
    std::vector<Range> ranges;
    for (const Range& range : set.ranges) ranges.push_back(Translate(walk, range));
    std::sort(ranges.begin(), ranges.end());
    if (ranges != it->second->ranges || set.version != it->second->version) {
      walk.Differ(absl::StrCat(".debug_aranges: the set for ", unit.name, " names other ranges than in a cold link"));
    }
    by_unit.erase(it);
  }
  for (const auto& [info, set] : by_unit) {
    if (!set->ranges.empty()) {
      walk.Differ(absl::StrCat(".debug_aranges: a set for the unit at ", Hex(info), " that a cold link has not"));
    }
  }
}

}  // namespace kitlink::verify
