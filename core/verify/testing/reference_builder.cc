#include "core/verify/testing/reference_builder.h"

#include <elf.h>

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/verify/image.h"
#include "core/verify/walk.h"

namespace kitlink::verify {
namespace {

using Form = ReferenceSite::Form;

bool IsIdentifier(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
  });
}

bool IsOrdered(absl::string_view section) {
  return absl::StartsWith(section, ".init") || absl::StartsWith(section, ".fini") ||
         section == ".preinit_array" || section == ".ctors" || section == ".dtors" || IsIdentifier(section);
}

class Builder {
 public:
  Builder(const Image& image, Reference& out) : image_(image), out_(out) {}

  void AddMap(absl::string_view map) {
    for (absl::string_view line : absl::StrSplit(map, '\n')) AddLine(line);
    auto key = [](const ReferenceAtom& a) {
      return std::tuple(!a.alloc, a.alloc ? a.address : a.file_offset);
    };
    std::stable_sort(out_.atoms.begin(), out_.atoms.end(),
                     [&](const ReferenceAtom& a, const ReferenceAtom& b) { return key(a) < key(b); });
  }

  void AddRelocations() {
    for (const ImageSection& s : image_.sections()) {
      if (s.header.sh_type != SHT_RELA || (s.header.sh_flags & SHF_ALLOC) != 0) continue;
      const ImageSection& target = image_.sections()[s.header.sh_info];
      const ByteView rows = image_.bytes().subspan(s.header.sh_offset, s.header.sh_size);
      for (size_t at = 0; at + sizeof(Elf64_Rela) <= rows.size(); at += sizeof(Elf64_Rela)) {
        AddSite(target, Load<Elf64_Rela>(rows.data() + at));
      }
    }
    auto key = [](const ReferenceSite& s) { return std::tuple(s.atom, s.offset); };
    std::stable_sort(out_.sites.begin(), out_.sites.end(),
                     [&](const ReferenceSite& a, const ReferenceSite& b) { return key(a) < key(b); });
  }

 private:
  // "VMA LMA Size Align" and then an output section, 8 columns on an input section, 8 more a symbol.
  void AddLine(absl::string_view line) {
    unsigned long long vma = 0, lma = 0, size = 0, align = 0;
    int used = 0;
    const std::string text(line);
    if (std::sscanf(text.c_str(), "%llx %llx %llx %llu%n", &vma, &lma, &size, &align, &used) != 4) return;
    absl::string_view rest = line.substr(used);
    if (!rest.empty()) rest.remove_prefix(1);
    const size_t indent = std::min(rest.find_first_not_of(' '), rest.size());
    rest.remove_prefix(indent);
    if (indent == 0) {
      section_ = image_.SectionNamed(rest);
    } else if (indent == 8 && section_ != nullptr && size != 0) {
      AddInputSection(vma, size, align, rest);
    }
  }

  void AddInputSection(uint64_t vma, uint64_t size, uint64_t align, absl::string_view name) {
    ReferenceAtom atom;
    const Elf64_Shdr& h = section_->header;
    atom.section = std::string(section_->name);
    if (Walk::IsTable(atom) || h.sh_type == SHT_SYMTAB || h.sh_type == SHT_STRTAB || h.sh_type == SHT_RELA)
      return;
    atom.alloc = (h.sh_flags & SHF_ALLOC) != 0;
    atom.writable = (h.sh_flags & SHF_WRITE) != 0;
    atom.executable = (h.sh_flags & SHF_EXECINSTR) != 0;
    atom.tls = (h.sh_flags & SHF_TLS) != 0;
    atom.nobits = h.sh_type == SHT_NOBITS;
    atom.address = atom.alloc ? vma : 0;
    atom.file_offset = atom.nobits ? 0 : h.sh_offset + (vma - h.sh_addr);
    atom.size = size;
    atom.alignment = std::max<uint32_t>(1, static_cast<uint32_t>(align));
    atom.ordered = atom.alloc && IsOrdered(atom.section);
    const size_t slash = name.rfind('/');
    atom.name = std::string(slash == name.npos ? name : name.substr(slash + 1));
    const bool merged = absl::StartsWith(name, "<internal>") && (h.sh_flags & SHF_MERGE) != 0;
    merged ? AddPieces(atom) : out_.atoms.push_back(std::move(atom));
  }

  void AddPieces(const ReferenceAtom& whole) {
    ByteView bytes = image_.bytes().subspan(whole.file_offset, whole.size);
    const uint64_t step = whole.alignment;
    for (uint64_t at = 0; at < bytes.size();) {
      uint64_t size = step;
      if (step == 1) {
        const auto* end = std::find(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.end(), 0);
        size = static_cast<uint64_t>(end - bytes.begin()) - at + 1;
      }
      ReferenceAtom piece = whole;
      piece.size = std::min<uint64_t>(size, bytes.size() - at);
      piece.address += whole.alloc ? at : 0;
      piece.file_offset += at;
      piece.mergeable = true;
      absl::StrAppend(&piece.name, "#", at);
      at += piece.size;
      out_.atoms.push_back(std::move(piece));
    }
  }

  // The atom at an address (loaded) or file offset; at the end of its section, the last one.
  AtomOffset AtomAt(const ImageSection& section, uint64_t offset_in_section) const {
    AtomOffset best;
    const bool alloc = (section.header.sh_flags & SHF_ALLOC) != 0;
    const uint64_t key = (alloc ? section.header.sh_addr : section.header.sh_offset) + offset_in_section;
    auto start = [&](const ReferenceAtom& a) { return a.alloc ? a.address : a.file_offset; };
    auto it =
        std::upper_bound(out_.atoms.begin(), out_.atoms.end(), key, [&](uint64_t k, const ReferenceAtom& a) {
          return std::tuple(!alloc, k) < std::tuple(!a.alloc, start(a));
        });
    while (it != out_.atoms.begin()) {
      --it;
      if (it->alloc != alloc) break;
      if (it->section != section.name) {
        if (start(*it) + 64 < key) break;  // sections may start within the alignment of the one before
        continue;
      }
      best = {static_cast<uint32_t>(it - out_.atoms.begin()), key - start(*it)};
      break;
    }
    return best;
  }

  void AddSite(const ImageSection& section, const Elf64_Rela& r) {
    ReferenceSite site;
    const AtomOffset at = AtomAt(section, r.r_offset - section.header.sh_addr);
    if (at.atom == kNoAtom || !SetForm(site, ELF64_R_TYPE(r.r_info))) return;
    if (!InBounds(at.offset, site.width, out_.atoms[at.atom].size)) return;
    site.atom = at.atom;
    site.offset = at.offset;
    site.addend = r.r_addend;
    const uint32_t index = ELF64_R_SYM(r.r_info);
    if (index != 0 && index < image_.symtab().size()) SetTarget(site, image_.symtab()[index]);
    if (site.form == Form::kTlsSequence) SetWindow(site, ELF64_R_TYPE(r.r_info));
    out_.sites.push_back(site);
  }

  void SetTarget(ReferenceSite& site, const ImageSymbol& symbol) {
    site.symbol = std::string(symbol.name);
    // Linkers put bounds of tables that do not exist anywhere.
    if (!symbol.defined() || absl::StrContains(symbol.name, "init_array_") ||
        absl::StrContains(symbol.name, "fini_array_")) {
      return;
    }
    if (symbol.symbol.st_shndx == SHN_ABS || symbol.symbol.st_shndx >= image_.sections().size()) {
      site.absolute = symbol.symbol.st_value;
      return;
    }
    const ImageSection& section = image_.sections()[symbol.symbol.st_shndx];
    const uint64_t offset = image_.AddressOf(symbol) - section.header.sh_addr;
    if (symbol.type() != STT_SECTION) {
      const AtomOffset t = AtomAt(section, offset);
      site.target_atom = t.atom;
      site.target_offset = t.offset;
      return;
    }
    // The atom is that of symbol plus addend; in code the addend also holds the distance to the instruction's
    // end.
    const bool relative = site.form == Form::kPcRelative || site.form == Form::kPltPcRelative;
    const bool data = !out_.atoms[site.atom].executable;
    const uint64_t wanted = offset + static_cast<uint64_t>(site.addend) + (relative && !data ? 4 : 0);
    AtomOffset t = AtomAt(section, wanted);
    for (uint64_t more = 1; more <= 4 && !SameObject(site, t); ++more) {  // an immediate follows the field
      if (AtomOffset next = AtomAt(section, wanted + more); SameObject(site, next)) t = next;
    }
    if (relative && data && t.atom != kNoAtom) t = JumpTableTarget(site, section, wanted, t);
    if (t.atom == kNoAtom) return;
    const ReferenceAtom& a = out_.atoms[t.atom];
    const uint64_t start =
        (a.alloc ? a.address - section.header.sh_addr : a.file_offset - section.header.sh_offset);
    site.target_atom = t.atom;
    site.target_offset = 0;
    site.addend = static_cast<int64_t>(static_cast<uint64_t>(site.addend) + offset - start);
  }

  static absl::string_view Object(const ReferenceAtom& a) {
    return absl::string_view(a.name).substr(0, a.name.rfind(":("));
  }

  // A section symbol names a section of the object that refers to it, unless it was merged.
  bool SameObject(const ReferenceSite& site, AtomOffset t) const {
    if (t.atom == kNoAtom) return false;
    return out_.atoms[t.atom].mergeable || Object(out_.atoms[t.atom]) == Object(out_.atoms[site.atom]);
  }

  // `.long .L5 - .Ltable`: the distance from the table's start to the row is part of the addend, and only the
  // atom's own start is known. Jump tables refer to code of their own object.
  AtomOffset JumpTableTarget(const ReferenceSite& site, const ImageSection& section, uint64_t wanted,
                             AtomOffset t) {
    for (uint32_t i = t.atom; i < out_.atoms.size(); --i) {
      const ReferenceAtom& a = out_.atoms[i];
      if (a.section != section.name || a.address + a.size + site.offset < section.header.sh_addr + wanted)
        break;
      if (SameObject(site, {i, 0})) return {i, 0};
    }
    return t;
  }

  static void SetWindow(ReferenceSite& site, uint32_t type) {
    switch (type) {
      case R_X86_64_TLSGD:
        site.lead = 4, site.trail = 8;
        break;
      case R_X86_64_TLSLD:
        site.lead = 3, site.trail = 5;
        break;
      default:
        site.lead = 3;
        break;
    }
  }

  static bool SetForm(ReferenceSite& site, uint32_t type) {
    switch (type) {
      case R_X86_64_NONE:
        return false;
      case R_X86_64_64:
        site.form = Form::kAbsolute, site.width = 8;
        return true;
      case R_X86_64_32:
      case R_X86_64_32S:
        site.form = Form::kAbsolute;
        return true;
      case R_X86_64_PC32:
        site.form = Form::kPcRelative;
        return true;
      case R_X86_64_PC64:
        site.form = Form::kPcRelative, site.width = 8;
        return true;
      case R_X86_64_PLT32:
        site.form = Form::kPltPcRelative;
        return true;
      case R_X86_64_GOTPCREL:
      case R_X86_64_GOTPCRELX:
        site.form = Form::kGotPcRelative, site.lead = 2;
        return true;
      case R_X86_64_REX_GOTPCRELX:
        site.form = Form::kGotPcRelative, site.lead = 3;
        return true;
      case R_X86_64_TPOFF32:
        site.form = Form::kTpOffset;
        return true;
      case R_X86_64_TPOFF64:
        site.form = Form::kTpOffset, site.width = 8;
        return true;
      case R_X86_64_DTPOFF32:
        site.form = Form::kDtpOffset;
        return true;
      case R_X86_64_DTPOFF64:
        site.form = Form::kDtpOffset, site.width = 8;
        return true;
      case R_X86_64_TLSGD:
      case R_X86_64_TLSLD:
      case R_X86_64_GOTTPOFF:
      case R_X86_64_GOTPC32_TLSDESC:
        site.form = Form::kTlsSequence;
        return true;
      case R_X86_64_TLSDESC_CALL:
        site.form = Form::kTlsSequence, site.width = 2;
        return true;
      case R_X86_64_SIZE32:
        site.form = Form::kSize;
        return true;
      case R_X86_64_SIZE64:
        site.form = Form::kSize, site.width = 8;
        return true;
      case R_X86_64_GOTOFF64:
        site.form = Form::kGotRelative, site.width = 8;
        return true;
      default:
        site.form = Form::kOther;
        return true;
    }
  }

  const Image& image_;
  Reference& out_;
  const ImageSection* section_ = nullptr;
};

}  // namespace

absl::StatusOr<Reference> ReferenceFromLld(std::vector<uint8_t> image, absl::string_view map) {
  Reference reference;
  reference.image = std::move(image);
  absl::StatusOr<Image> parsed = Image::Parse("lld's image", reference.image);
  if (!parsed.ok()) return parsed.status();
  Builder builder(*parsed, reference);
  builder.AddMap(map);
  builder.AddRelocations();
  return reference;
}

}  // namespace kitlink::verify
