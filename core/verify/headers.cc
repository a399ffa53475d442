#include "core/verify/headers.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "core/verify/cursor.h"
#include "core/verify/emptied.h"

namespace kitlink::verify {
namespace {

constexpr uint64_t kPage = 4096;

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

// Segments of which an image has at most one; what the loader takes when there are two differs from one to
// the next.
struct Special {
  uint32_t type;
  const char* name;
  bool mapped;  // lies in a PT_LOAD, where its offset in the file says
  bool whole;   // has the same size in the file and in memory
};
constexpr Special kSpecial[] = {
    {PT_PHDR, "PT_PHDR", true, true},
    {PT_INTERP, "PT_INTERP", true, true},
    {PT_DYNAMIC, "PT_DYNAMIC", true, true},
    {PT_GNU_EH_FRAME, "PT_GNU_EH_FRAME", true, true},
    {PT_TLS, "PT_TLS", true, false},
    {PT_GNU_RELRO, "PT_GNU_RELRO", true, false},
    {PT_GNU_STACK, "PT_GNU_STACK", false, false},
    {PT_GNU_PROPERTY, "PT_GNU_PROPERTY", true, true},
};

std::string Interpreter(const Image& image) {
  const Elf64_Phdr* p = image.Segment(PT_INTERP);
  return p == nullptr ? "" : std::string(AsString(image.bytes().subspan(p->p_offset, p->p_filesz)));
}

// (owner, type, content) of every note, sorted; a build-id's content is what tells two links apart, so only
// its size counts.
std::vector<std::string> Notes(const Image& image) {
  std::vector<std::string> notes;
  for (const Elf64_Phdr& p : image.segments()) {
    if (p.p_type != PT_NOTE) continue;
    Cursor in(image.bytes().subspan(p.p_offset, p.p_filesz), 0);
    const uint64_t alignment = p.p_align == 8 ? 8 : 4;
    while (in.ok() && !in.AtEnd()) {
      const uint32_t name_size = in.U32(), size = in.U32(), type = in.U32();
      const std::string name(AsString(in.Take(name_size)));
      in.Skip(AlignUp(in.offset(), alignment) - in.offset());
      const absl::string_view content = AsString(in.Take(size));
      if (!in.ok()) break;
      const bool build_id = type == NT_GNU_BUILD_ID && name == std::string("GNU\0", 4);
      notes.push_back(absl::StrCat(name.c_str(), " ", type, " of ", size, " bytes",
                                   build_id ? "" : absl::StrCat(": ", absl::BytesToHexString(content))));
      const uint64_t padding = AlignUp(in.offset(), alignment) - in.offset();
      in.Skip(padding);
    }
  }
  std::sort(notes.begin(), notes.end());
  return notes;
}

void CompareNotes(Walk& walk) {
  const std::vector<std::string> cold = Notes(walk.cold().image()), here = Notes(walk.image().image());
  std::vector<std::string> only;
  std::set_difference(cold.begin(), cold.end(), here.begin(), here.end(), std::back_inserter(only));
  for (const std::string& note : only) walk.Differ(absl::StrCat("notes: ", note, " is missing"));
  only.clear();
  std::set_difference(here.begin(), here.end(), cold.begin(), cold.end(), std::back_inserter(only));
  for (const std::string& note : only)
    walk.Differ(absl::StrCat("notes: ", note, ", which a cold link has not"));
  // gdb and readelf look for them by section.
  for (const ImageSection& s : walk.image().image().sections()) {
    if (s.header.sh_type != SHT_NOTE || (s.header.sh_flags & SHF_ALLOC) == 0 || s.header.sh_size == 0)
      continue;
    bool covered = false;
    for (const Elf64_Phdr& p : walk.image().image().segments()) {
      covered = covered || (p.p_type == PT_NOTE && s.header.sh_offset >= p.p_offset &&
                            InBounds(s.header.sh_offset - p.p_offset, s.header.sh_size, p.p_filesz));
    }
    if (!covered) walk.Differ(absl::StrCat("notes: ", s.name, " lies in no PT_NOTE"));
  }
}

// Whether the bytes that a process sees at `address` are those at `offset` of the file.
bool MapsTo(const Image& image, uint64_t address, uint64_t offset, uint64_t size) {
  std::optional<ByteView> bytes = image.FileBytes(address, size);
  return bytes && static_cast<uint64_t>(bytes->data() - image.bytes().data()) == offset;
}

void CheckMapped(Walk& walk, const Special& special, const Elf64_Phdr& p) {
  const Image& here = walk.image().image();
  if (special.whole && p.p_filesz != p.p_memsz) {
    walk.Differ(
        absl::StrCat(special.name, " has ", p.p_filesz, " bytes in the file, ", p.p_memsz, " in memory"));
  }
  if (p.p_filesz != 0 && !MapsTo(here, p.p_vaddr, p.p_offset, p.p_filesz)) {
    walk.Differ(absl::StrCat(special.name, " has an offset that is not where its address ", Hex(p.p_vaddr),
                             " is loaded from"));
  }
  if (p.p_memsz != 0 && special.type != PT_TLS && here.LoadedBy(p.p_vaddr, p.p_memsz) == nullptr &&
      special.type != PT_GNU_RELRO) {
    walk.Differ(absl::StrCat(special.name, " is not loaded"));
  }
  if (special.type != PT_PHDR) return;
  if (p.p_offset != here.header().e_phoff ||
      p.p_filesz != uint64_t{here.header().e_phnum} * sizeof(Elf64_Phdr)) {
    walk.Differ("PT_PHDR is not where the program headers are");  // ld.so finds its base by it
  }
}

void CompareSpecial(Walk& walk, const Special& special) {
  const Elf64_Phdr *a = walk.cold().image().Segment(special.type),
                   *b = walk.image().image().Segment(special.type);
  if ((a == nullptr) != (b == nullptr)) {
    walk.Differ(absl::StrCat(special.name, a == nullptr ? ", which a cold link has not" : " is missing"));
  }
  if (a == nullptr || b == nullptr) return;
  const auto& all = walk.image().image().segments();
  if (std::count_if(all.begin(), all.end(), [&](const Elf64_Phdr& p) { return p.p_type == special.type; }) >
      1) {
    walk.Differ(absl::StrCat("more than one ", special.name));
  }
  if (a->p_flags != b->p_flags)
    walk.Differ(absl::StrCat(special.name, " has other flags than in a cold link"));
  if (special.mapped) CheckMapped(walk, special, *b);
  if (special.type == PT_GNU_STACK && a->p_memsz != b->p_memsz) {
    walk.Differ(absl::StrCat("PT_GNU_STACK asks for ", b->p_memsz, " bytes here, for ", a->p_memsz,
                             " in a cold link"));
  }
  if (special.type != PT_TLS) return;
  // More than needed does no harm: a variable that asked for it may have gone.
  const bool aligned = b->p_align >= a->p_align && (a->p_align == 0 || b->p_align % a->p_align == 0);
  if (!aligned) {
    walk.Differ(
        absl::StrCat("PT_TLS is aligned to ", b->p_align, " here, to ", a->p_align, " in a cold link"));
  } else if (b->p_align != 0 && a->p_align != 0 && b->p_vaddr % a->p_align != a->p_vaddr % a->p_align) {
    walk.Differ("PT_TLS does not start at a multiple of its alignment");
  }
}

// What may be done to memory is what some segment of a cold link allows; and a segment is there for the headers or for some
// section: growth that nobody can name would be of no use, or a mistake.
void CheckLoad(Walk& walk, const Elf64_Phdr& p) {
  const auto &wanted = walk.cold().image().segments();
  const bool known = std::any_of(wanted.begin(), wanted.end(),
                                 [&](const Elf64_Phdr& c) { return c.p_type == PT_LOAD && c.p_flags == p.p_flags; });
  if (!known && (p.p_flags & PF_W) != 0 && (p.p_flags & PF_X) != 0) {
    walk.Differ(absl::StrCat("the PT_LOAD at ", Hex(p.p_vaddr), " is writable and executable"));
  }
  const auto& sections = walk.image().image().sections();
  const bool holds = p.p_offset == 0 || p.p_memsz == 0 || std::any_of(sections.begin(), sections.end(), [&](const ImageSection& s) {
    return (s.header.sh_flags & SHF_ALLOC) != 0 && s.header.sh_size != 0 && s.header.sh_addr >= p.p_vaddr &&
           s.header.sh_addr - p.p_vaddr < p.p_memsz;
  });
  if (!holds) walk.Differ(absl::StrCat("the PT_LOAD at ", Hex(p.p_vaddr), " holds no section"));
}

uint64_t LargestAlignment(const Image& image) {
  uint64_t most = 0;
  for (const Elf64_Phdr& p : image.segments()) {
    if (p.p_type == PT_LOAD) most = std::max(most, p.p_align);
  }
  return most;
}

void CompareLoads(Walk& walk) {
  const Image &cold = walk.cold().image(), &here = walk.image().image();
  uint64_t end = 0;  // of everything that may be loaded, with as much again for reserves
  for (const ImageSection& s : here.sections()) {
    if ((s.header.sh_flags & SHF_ALLOC) != 0) end = std::max(end, s.header.sh_addr + s.header.sh_size);
  }
  end += std::max<uint64_t>(end, uint64_t{16} << 20);
  bool same_physical = true;
  for (const Elf64_Phdr& p : cold.segments())
    same_physical = same_physical && (p.p_type != PT_LOAD || p.p_paddr == p.p_vaddr);
  for (const Elf64_Phdr& p : here.segments()) {
    if (p.p_type != PT_LOAD) continue;
    CheckLoad(walk, p);
    if ((p.p_vaddr - p.p_offset) % kPage != 0 || p.p_align % kPage != 0) {
      walk.Differ(absl::StrCat("the PT_LOAD at ", Hex(p.p_vaddr), " cannot be mapped in pages"));
    }
    if (p.p_memsz > end - std::min(end, p.p_vaddr)) {
      walk.Differ(
          absl::StrCat("the PT_LOAD at ", Hex(p.p_vaddr), " has far more bytes in memory than its sections"));
    }
    if (same_physical && p.p_paddr != p.p_vaddr) {
      walk.Differ(
          absl::StrCat("the PT_LOAD at ", Hex(p.p_vaddr), " has the physical address ", Hex(p.p_paddr)));
    }
  }
  if (LargestAlignment(here) < LargestAlignment(cold)) {
    walk.Differ(absl::StrCat("PT_LOAD is aligned to ", LargestAlignment(here), " here, to ",
                             LargestAlignment(cold), " in a cold link"));
  }
}

// Bytes at the start of the section that only the loader writes, before it protects anything: GNU ld ends
// what becomes read-only behind these.
uint64_t LoaderCells(const Image& image, const Elf64_Shdr& h) {
  return image.DynamicValue(DT_PLTGOT).value_or(0) == h.sh_addr ? 24 : 0;
}

// Tables must become read-only where a cold link's do, and nothing else may: the loader protects whole pages.
void CompareRelro(Walk& walk) {
  const Image &cold = walk.cold().image(), &here = walk.image().image();
  const Elf64_Phdr* p = here.Segment(PT_GNU_RELRO);
  if (p == nullptr) return;
  const uint64_t start = p->p_vaddr & ~(kPage - 1), end = (p->p_vaddr + p->p_memsz) & ~(kPage - 1);
  for (const ImageSection& s : here.sections()) {
    const Elf64_Shdr& h = s.header;
    const bool template_only = (h.sh_flags & SHF_TLS) != 0 && h.sh_type == SHT_NOBITS;
    if ((h.sh_flags & SHF_ALLOC) == 0 || (h.sh_flags & SHF_WRITE) == 0 || h.sh_size == 0 || template_only)
      continue;
    const ImageSection* other = cold.SectionNamed(s.name);
    if (other == nullptr || other->header.sh_size == 0 || h.sh_size <= LoaderCells(here, h)) continue;
    const bool wanted = cold.InRelro(other->header.sh_addr, other->header.sh_size);
    if (here.InRelro(h.sh_addr, h.sh_size) != wanted) {
      walk.Differ(absl::StrCat("section header ", s.name, ": ", wanted ? "not " : "",
                               "read-only after relocation here, unlike in a cold link"));
    } else if (!wanted && h.sh_addr + LoaderCells(here, h) < end && h.sh_addr + h.sh_size > start) {
      walk.Differ(absl::StrCat("section header ", s.name, ": shares a page with what becomes read-only"));
    }
  }
}

void CompareElfHeader(Walk& walk) {
  const Image &cold = walk.cold().image(), &here = walk.image().image();
  const Elf64_Ehdr &a = cold.header(), &b = here.header();
  if (a.e_type != b.e_type) walk.Differ("the image is of another type (program or library)");
  if (a.e_flags != b.e_flags) walk.Differ("the ELF header's flags differ");
  if (a.e_ident[EI_OSABI] != b.e_ident[EI_OSABI] || a.e_ident[EI_ABIVERSION] != b.e_ident[EI_ABIVERSION]) {
    walk.Differ("the ELF header names another ABI");
  }
  if (b.e_version != EV_CURRENT || b.e_ident[EI_VERSION] != EV_CURRENT || b.e_ehsize != sizeof(Elf64_Ehdr) ||
      b.e_phentsize != sizeof(Elf64_Phdr) || b.e_phoff % 8 != 0) {
    walk.Differ("the ELF header is not as the loader wants it");
  }
}

// What tells the reader of a section how to read it.
std::string KindOf(const Image& image, const Elf64_Shdr& h) {
  const bool linked = h.sh_link != 0 && h.sh_link < image.sections().size();
  // That the pieces of a loaded section could be merged says something to linkers only, and depends on all inputs.
  const bool bytes = h.sh_type == SHT_PROGBITS && (h.sh_flags & SHF_ALLOC) != 0;
  const uint64_t ignored = SHF_INFO_LINK | (bytes ? SHF_MERGE | SHF_STRINGS : 0);
  return absl::StrCat("type ", h.sh_type, ", flags ", Hex(h.sh_flags & ~ignored),
                      ", entries of ", bytes ? 0 : h.sh_entsize, ", link ",
                      linked ? image.sections()[h.sh_link].name : absl::string_view("none"));
}

void CompareSectionKinds(Walk& walk) {
  const Image &cold = walk.cold().image(), &here = walk.image().image();
  std::map<absl::string_view, std::set<std::string>> wanted;
  for (const ImageSection& s : cold.sections()) {
    if (s.header.sh_type != SHT_NULL && s.header.sh_size != 0) wanted[s.name].insert(KindOf(cold, s.header));
  }
  for (const ImageSection& s : here.sections()) {
    if (s.header.sh_type == SHT_NULL || s.header.sh_size == 0) continue;
    absl::string_view name = s.name;  // or the one that it continues
    while (wanted.count(name) == 0 && name.rfind('.') != name.npos && name.rfind('.') != 0) {
      name = name.substr(0, name.rfind('.'));
    }
    auto it = wanted.find(name);
    if (it == wanted.end()) {
      // What refers to lists is compared with what refers to them in a cold link, so nobody refers to these.
      const bool loaded = (s.header.sh_flags & SHF_ALLOC) != 0;
      if (!loaded && HoldsNoLists(s.name, here.bytes().subspan(s.header.sh_offset, s.header.sh_size))) continue;
      walk.Differ(absl::StrCat("sections: ", s.name, ", which a cold link has not"));
    } else if (it->second.count(KindOf(here, s.header)) == 0) {
      walk.Differ(absl::StrCat("sections: ", s.name, " has ", KindOf(here, s.header), " here, ",
                               *it->second.begin(), " in a cold link"));
    }
  }
  for (const auto& [name, kinds] : wanted) {
    if (here.SectionNamed(name) == nullptr) walk.Differ(absl::StrCat("sections: ", name, " is missing"));
  }
}

void CheckSectionPlaces(Walk& walk) {
  const Image& here = walk.image().image();
  std::vector<const ImageSection*> by_address, by_offset;
  for (const ImageSection& s : here.sections()) {
    const Elf64_Shdr& h = s.header;
    if (h.sh_type == SHT_NULL || h.sh_size == 0) continue;
    const bool alloc = (h.sh_flags & SHF_ALLOC) != 0, in_file = h.sh_type != SHT_NOBITS;
    const bool template_only = (h.sh_flags & SHF_TLS) != 0 && !in_file;
    if (alloc && in_file && !MapsTo(here, h.sh_addr, h.sh_offset, h.sh_size)) {
      walk.Differ(absl::StrCat("section header ", s.name, ": its offset is not where its address ",
                               Hex(h.sh_addr), " is loaded from"));
    }
    if (!alloc && h.sh_addr != 0)
      walk.Differ(absl::StrCat("section header ", s.name, ": has an address, but is not loaded"));
    if (alloc && !in_file && !template_only && here.LoadedBy(h.sh_addr, h.sh_size) == nullptr) {
      walk.Differ(absl::StrCat("section header ", s.name, ": is not loaded"));
    }
    if (h.sh_addralign > 1 &&
        ((h.sh_addralign & (h.sh_addralign - 1)) != 0 || h.sh_addr % h.sh_addralign != 0)) {
      walk.Differ(absl::StrCat("section header ", s.name, ": does not start at a multiple of its alignment"));
    }
    if (alloc && !template_only) by_address.push_back(&s);
    if (in_file) by_offset.push_back(&s);
  }
  auto overlaps = [&](std::vector<const ImageSection*>& sorted, Elf64_Addr Elf64_Shdr::*start) {
    std::stable_sort(sorted.begin(), sorted.end(), [&](const ImageSection* a, const ImageSection* b) {
      return a->header.*start < b->header.*start;
    });
    for (size_t i = 1; i < sorted.size(); ++i) {
      const Elf64_Shdr &before = sorted[i - 1]->header, &after = sorted[i]->header;
      if (after.*start - before.*start >= before.sh_size) continue;
      walk.Differ(absl::StrCat("section header ", sorted[i]->name, ": overlaps ", sorted[i - 1]->name));
    }
  };
  overlaps(by_address, &Elf64_Shdr::sh_addr);
  overlaps(by_offset, &Elf64_Shdr::sh_offset);
}

// What a section header and a program header or dynamic tag say of one table must agree: tools read either.
void CompareStarts(Walk& walk) {
  const Image &cold = walk.cold().image(), &here = walk.image().image();
  auto compare = [&](uint64_t cold_address, uint64_t address, absl::string_view what) {
    for (const ImageSection& s : cold.sections()) {
      if ((s.header.sh_flags & SHF_ALLOC) == 0 || s.header.sh_addr != cold_address || s.header.sh_size == 0)
        continue;
      if (!Walk::IsTable({.name = {}, .section = std::string(s.name)})) continue;
      const ImageSection* same = here.SectionNamed(s.name);
      if (same != nullptr && same->header.sh_addr != address) {
        walk.Differ(absl::StrCat(what, " and the section header of ", s.name, " disagree"));
      }
      return;
    }
  };
  for (uint32_t type : {PT_INTERP, PT_DYNAMIC, PT_GNU_EH_FRAME}) {
    const Elf64_Phdr *a = cold.Segment(type), *b = here.Segment(type);
    if (a != nullptr && b != nullptr) compare(a->p_vaddr, b->p_vaddr, absl::StrCat("program header ", type));
  }
  for (auto [tag, name] :
       {std::pair(DT_STRTAB, "DT_STRTAB"), std::pair(DT_SYMTAB, "DT_SYMTAB"), std::pair(DT_HASH, "DT_HASH"),
        std::pair(DT_GNU_HASH, "DT_GNU_HASH"), std::pair(DT_VERSYM, "DT_VERSYM"),
        std::pair(DT_VERNEED, "DT_VERNEED"), std::pair(DT_VERDEF, "DT_VERDEF"), std::pair(DT_RELA, "DT_RELA"),
        std::pair(DT_JMPREL, "DT_JMPREL"), std::pair(DT_PLTGOT, "DT_PLTGOT")}) {
    const auto a = cold.DynamicValue(tag), b = here.DynamicValue(tag);
    if (a && b) compare(*a, *b, name);
  }
  const ImageSection* strings = here.SectionNamed(".dynstr");
  if (strings != nullptr && here.DynamicValue(DT_STRSZ).value_or(0) > strings->header.sh_size) {
    walk.Differ("DT_STRSZ is more than .dynstr has");
  }
}

}  // namespace

void CompareHeaders(Walk& walk) {
  CompareElfHeader(walk);
  if (Interpreter(walk.cold().image()) != Interpreter(walk.image().image()))
    walk.Differ("the interpreter differs");
  CompareNotes(walk);
  for (const Special& special : kSpecial) CompareSpecial(walk, special);
  for (const Elf64_Phdr& p : walk.image().image().segments()) {
    if (p.p_type == PT_NOTE) CheckMapped(walk, {PT_NOTE, "PT_NOTE", true, true}, p);
  }
  CompareLoads(walk);
  CompareRelro(walk);
  CompareSectionKinds(walk);
  CheckSectionPlaces(walk);
  CompareStarts(walk);
}

}  // namespace kitlink::verify
