#include "core/verify/symbols.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "core/verify/dynamic.h"

namespace kitlink::verify {
namespace {

// What two symbols have in common when they may be the same; the target is compared apart.
using Key = std::tuple<absl::string_view, int, int, int, uint64_t, bool>;

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

bool Compared(const ImageSymbol& s) {
  return s.index != 0 && s.type() != STT_SECTION && s.type() != STT_FILE;
}

Key KeyOf(const ImageSymbol& s) {
  return {s.name, s.type(), s.binding(), s.visibility(), s.symbol.st_size, s.defined()};
}

// The atom that a symbol of the cold link lies in: by the section it names, since a label at the end of one
// section has the address of the next.
AtomOffset TargetOf(const Walk& walk, const ImageSymbol& symbol) {
  const Image& cold = walk.cold().image();
  const uint64_t address = cold.AddressOf(symbol);
  const bool tls = symbol.type() == STT_TLS;
  if (symbol.symbol.st_shndx >= cold.sections().size()) return {};
  const absl::string_view section = cold.sections()[symbol.symbol.st_shndx].name;
  for (AtomOffset t : {walk.AtomAt(address, tls), tls ? AtomOffset{} : walk.AtomEndingAt(address)}) {
    if (t.atom != kNoAtom && walk.reference().atoms[t.atom].section == section) return t;
  }
  return {};
}

// Several sections may have one name; a symbol names the one it lies in, or at the end of.
bool InItsSection(const Image& image, const ImageSymbol& symbol) {
  const Elf64_Shdr& h = image.sections()[symbol.symbol.st_shndx].header;
  const uint64_t address = image.AddressOf(symbol);
  return address >= h.sh_addr && address - h.sh_addr <= h.sh_size;
}

// A linker's name for a bound of a section, that is where its name says.
bool NamesBound(const Image& image, const ImageSymbol& symbol) {
  absl::string_view name = symbol.name;
  const bool stop = absl::ConsumePrefix(&name, "__stop_");
  if (!stop && !absl::ConsumePrefix(&name, "__start_")) return false;
  const ImageSection* section = image.SectionNamed(name);
  return section != nullptr &&
         image.AddressOf(symbol) == section->header.sh_addr + (stop ? section->header.sh_size : 0);
}

// A bound of the resolvers' table of a static program, which is where a table of relocations begins or ends.
bool BoundsResolvers(const Image& image, const ImageSymbol& symbol) {
  if (symbol.name != "__rela_iplt_start" && symbol.name != "__rela_iplt_end") return false;
  const uint64_t address = image.AddressOf(symbol);
  return std::any_of(image.sections().begin(), image.sections().end(), [&](const ImageSection& section) {
    const Elf64_Shdr& h = section.header;
    return h.sh_type == SHT_RELA && (address == h.sh_addr || address == h.sh_addr + h.sh_size);
  });
}

bool BeginsAt(const Image& image, uint64_t address) {
  return std::any_of(image.sections().begin(), image.sections().end(), [&](const ImageSection& section) {
    return (section.header.sh_flags & SHF_ALLOC) && section.header.sh_size != 0 && section.header.sh_addr == address;
  });
}

// True when both bounds are said to be in the same section. Where a section begins at the one and none at the other, a
// bound may be said to be in the section that it bounds or in that which begins there.
bool SameBoundSection(const Image& a_image, const ImageSymbol& cold, const Image& b_image, const ImageSymbol& here) {
  if (here.symbol.st_shndx >= b_image.sections().size() || cold.symbol.st_shndx >= a_image.sections().size()) return false;
  const ImageSection& section = b_image.sections()[here.symbol.st_shndx];
  if (section.name == a_image.sections()[cold.symbol.st_shndx].name) return true;
  const uint64_t address = b_image.AddressOf(here);
  if (BeginsAt(a_image, a_image.AddressOf(cold)) == BeginsAt(b_image, address)) return false;
  return section.header.sh_addr == address || absl::EndsWith(here.name, absl::StrCat("_", section.name));
}

// Where the program's code, its data or all of it ends, for the names that linkers give those ends.
std::optional<uint64_t> ProgramEnd(const Image& image, absl::string_view name) {
  const bool code = name == "_etext" || name == "etext" || name == "__etext", data = name == "_edata" || name == "edata";
  if (!code && !data && name != "_end" && name != "end") return std::nullopt;
  uint64_t end = 0;
  for (const ImageSection& section : image.sections()) {
    const Elf64_Shdr& h = section.header;
    if ((h.sh_flags & SHF_ALLOC) == 0 || (h.sh_flags & SHF_TLS) != 0) continue;
    if ((code && (h.sh_flags & SHF_EXECINSTR) == 0) || (data && h.sh_type == SHT_NOBITS)) continue;
    end = std::max(end, h.sh_addr + h.sh_size);
  }
  return end;
}

bool SameTarget(Walk& walk, const ImageSymbol& cold, const ImageSymbol& here) {
  if (!cold.defined()) return true;
  if (const auto end = ProgramEnd(walk.cold().image(), cold.name); end && *end == cold.symbol.st_value) {
    return here.symbol.st_shndx != SHN_ABS && here.symbol.st_value == ProgramEnd(walk.image().image(), here.name);
  }
  if (cold.symbol.st_shndx == SHN_ABS || here.symbol.st_shndx == SHN_ABS) {
    return cold.symbol.st_shndx == here.symbol.st_shndx && cold.symbol.st_value == here.symbol.st_value;
  }
  const Image &a_image = walk.cold().image(), &b_image = walk.image().image();
  // The end of a section is the begin of the next one, if there is no gap.
  if (BoundsResolvers(a_image, cold)) return BoundsResolvers(b_image, here);
  if (NamesBound(a_image, cold)) return NamesBound(b_image, here) && SameBoundSection(a_image, cold, b_image, here);
  if (cold.symbol.st_shndx >= a_image.sections().size() ||
      here.symbol.st_shndx >= b_image.sections().size() ||
      !ContinuesSection(b_image.sections()[here.symbol.st_shndx].name,
                        a_image.sections()[cold.symbol.st_shndx].name)) {
    return false;
  }
  const uint64_t address = b_image.AddressOf(here);
  const AtomOffset target = TargetOf(walk, cold);
  if (target.atom != kNoAtom && !InItsSection(b_image, here)) return false;
  if (target.atom != kNoAtom && !Walk::IsTable(walk.reference().atoms[target.atom])) {
    const ReferenceAtom& a = walk.reference().atoms[target.atom];
    const uint64_t place = walk.place(target.atom);
    if (place != kUnplaced && place + target.offset == address) return true;
    if (a.mergeable && walk.Suggest(target, address)) return true;
    // Nobody refers to it, and it is too small to be found by its content: units of one header share such names.
    if (place == kUnplaced && walk.Suggest(target, address)) {
      walk.Run();
      return true;
    }
    // A label at the border of two atoms belongs to either.
    AtomOffset end = walk.AtomEndingAt(walk.cold().image().AddressOf(cold));
    if (cold.symbol.st_size == 0 && end.atom != kNoAtom && walk.place(end.atom) + end.offset == address)
      return true;
    // Labels that linkers define (_end, __bss_start) often coincide with an atom's start.
    return cold.symbol.st_size == 0 && cold.type() != STT_FUNC &&
           walk.SameBoundary(cold.name, walk.cold().image().AddressOf(cold), address);
  }
  return walk.SameBoundary(cold.name, walk.cold().image().AddressOf(cold), address);
}

// By row: the name of the source file that a local symbol belongs to, that of the last STT_FILE row before it. Rows
// without a name are room for more, behind which another unit begins, perhaps one whose file is not told.
std::vector<absl::string_view> FilesOf(const Image& image) {
  std::vector<absl::string_view> files;
  absl::string_view file;
  for (const ImageSymbol& s : image.symtab()) {
    if (s.type() == STT_FILE) file = s.name;
    files.push_back(s.binding() == STB_LOCAL ? file : absl::string_view());
  }
  return files;
}

void CompareOrder(Walk& walk) {
  const Image& here = walk.image().image();
  for (const ImageSection& s : here.sections()) {
    if (s.header.sh_type != SHT_SYMTAB) continue;
    for (const ImageSymbol& symbol : here.symtab()) {
      if ((symbol.index < s.header.sh_info) != (symbol.binding() == STB_LOCAL)) {
        walk.Differ(absl::StrCat(".symtab: row ", symbol.index, " (", symbol.name, ") is ",
                                 symbol.binding() == STB_LOCAL ? "local" : "global", ", but sh_info is ",
                                 s.header.sh_info));
        return;
      }
    }
  }
}

}  // namespace

void CompareSymbols(Walk& walk) {
  CompareOrder(walk);
  const std::vector<absl::string_view> cold_files = FilesOf(walk.cold().image()), files = FilesOf(walk.image().image());
  std::map<Key, std::vector<const ImageSymbol*>> unmatched;
  for (const ImageSymbol& s : walk.image().image().symtab()) {
    if (Compared(s)) unmatched[KeyOf(s)].push_back(&s);
  }
  for (const ImageSymbol& s : walk.cold().image().symtab()) {
    if (!Compared(s)) continue;
    auto it = unmatched.find(KeyOf(s));
    bool found = false;
    // Local names that files share are each file's own, in whatever order the files' rows stand.
    if (it != unmatched.end()) {
      std::stable_partition(it->second.begin(), it->second.end(),
                            [&](const ImageSymbol* candidate) { return files[candidate->index] == cold_files[s.index]; });
    }
    for (size_t i = 0; it != unmatched.end() && i < it->second.size() && !found; ++i) {
      if (!SameTarget(walk, s, *it->second[i])) continue;
      const absl::string_view cold_file = cold_files[s.index], file = files[it->second[i]->index];
      if (file != cold_file) {
        walk.Differ(absl::StrCat(".symtab: ", s.name, " belongs to the file ", file, " here, to ", cold_file,
                                 " in a cold link"));
      }
      it->second.erase(it->second.begin() + static_cast<ptrdiff_t>(i));
      found = true;
    }
    if (found) continue;
    const AtomOffset target = TargetOf(walk, s);
    const std::string where = target.atom == kNoAtom ? Hex(s.symbol.st_value) : walk.NameOf(target);
    if (it == unmatched.end() || it->second.empty()) {
      walk.Differ(absl::StrCat(".symtab: no symbol ", s.name, " (type ", s.type(), ", binding ", s.binding(),
                               ", size ", s.symbol.st_size, ") as in a cold link, for ", where));
    } else {
      const ImageSymbol& other = *it->second.front();
      walk.Differ(absl::StrCat(".symtab: ", s.name, " is ",
                               walk.Describe(walk.image().image().AddressOf(other), other.type() == STT_TLS),
                               " here, ", where, " in a cold link"));
      it->second.erase(it->second.begin());  // said once
    }
  }
  const std::set<std::string> idle = IdleImports(walk);
  for (const auto& [key, symbols] : unmatched) {
    for (const ImageSymbol* s : symbols) {
      if (!s->defined() && s->symbol.st_value == 0 && idle.count(std::string(s->name)) != 0) continue;
      walk.Differ(absl::StrCat(".symtab: ", s->name, " (type ", s->type(), ", binding ", s->binding(),
                               ", size ", s->symbol.st_size, ", ", Hex(s->symbol.st_value),
                               "), which a cold link has not"));
    }
  }
}

}  // namespace kitlink::verify
