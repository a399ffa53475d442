// What a cold link says of its own image, for verification: its atoms and its relocated fields.
#include <algorithm>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/output/elf/write.h"
#include "core/output/relocate.h"
#include "core/symbols/linker_symbols.h"

namespace kitlink::elf {
namespace {

using Form = ReferenceSite::Form;

Form FormOf(RelocForm form) {
  switch (form) {
    case RelocForm::kAbsolute:
      return Form::kAbsolute;
    case RelocForm::kPcRelative:
      return Form::kPcRelative;
    case RelocForm::kGotBasePcRelative:
      return Form::kPcRelative;  // to _GLOBAL_OFFSET_TABLE_
    case RelocForm::kPltPcRelative:
      return Form::kPltPcRelative;
    case RelocForm::kGotPcRelative:
      return Form::kGotPcRelative;
    case RelocForm::kGotRelative:
      return Form::kGotRelative;
    case RelocForm::kTpOffset:
      return Form::kTpOffset;
    case RelocForm::kDtpOffset:
      return Form::kDtpOffset;
    case RelocForm::kTlsSequence:
      return Form::kTlsSequence;
    case RelocForm::kSize:
      return Form::kSize;
    case RelocForm::kNone:
    case RelocForm::kGotCellOffset:
    case RelocForm::kUnknown:
      break;
  }
  return Form::kOther;
}

// Sections whose pieces run or are walked in the order of the link.
bool IsOrdered(const OutputSection& section) {
  if (!section.alloc()) return false;
  switch (section.kind) {
    case SectionKind::kInitArray:
    case SectionKind::kFiniArray:
    case SectionKind::kPreinitArray:
      return true;
    default:
      break;
  }
  return absl::StartsWith(section.name, ".init") || absl::StartsWith(section.name, ".fini") ||
         section.name == ".ctors" || section.name == ".dtors" || IsCIdentifier(section.name);
}

class Describer {
 public:
  Describer(const Program& program, const ElfImage& image, const Arch& arch, Reference* reference)
      : program_(program), image_(image), arch_(arch), out_(*reference) {}

  void Run() {
    AddAtoms();
    AddPieces();
    SortAtoms();
    for (size_t i = 0; i < owners_.size(); ++i) {
      if (owners_[i].valid()) AddSites(owners_[i], static_cast<uint32_t>(i));
    }
  }

 private:
  ReferenceAtom Fill(const OutputSection& section, uint64_t offset, uint64_t size, uint32_t alignment) const {
    ReferenceAtom atom;
    atom.section = section.name;
    atom.alloc = section.alloc();
    atom.writable = (section.flags & kSecWrite) != 0;
    atom.executable = (section.flags & kSecExec) != 0;
    atom.tls = (section.flags & kSecTls) != 0;
    atom.nobits = section.nobits();
    atom.address = atom.alloc ? section.address + offset : 0;
    atom.file_offset = atom.nobits ? 0 : section.offset + offset;
    atom.size = size;
    atom.alignment = std::max<uint32_t>(alignment, 1);
    atom.ordered = IsOrdered(section);
    return atom;
  }

  void AddAtoms() {
    for (const Unit& unit : program_.units) {
      for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
        const AtomId id(unit.first_atom + s);
        const Place& place = image_.placement.places[id.value];
        if (!place.valid()) continue;
        const InputSection& input = unit.object->sections[s];
        ReferenceAtom atom =
            Fill(image_.placement.section(place.section), place.offset, input.size, input.alignment);
        atom.name = absl::StrCat(unit.object->DisplayName(), ":", input.name);
        out_.atoms.push_back(std::move(atom));
        owners_.push_back(id);
      }
    }
  }

  // Every string or constant of a merged section is an atom of its own.
  void AddPieces() {
    for (size_t m = 0; m < program_.merged.size(); ++m) {
      const MergedSection& merged = program_.merged[m];
      const OutputSection& section = image_.placement.section(image_.merged_section[m]);
      first_piece_.push_back(static_cast<uint32_t>(out_.atoms.size()));
      for (const MergedPiece& piece : merged.pieces) {
        ReferenceAtom atom = Fill(section, piece.offset, piece.size, merged.alignment);
        atom.name = absl::StrCat(merged.name, "#", piece.offset);
        atom.mergeable = true;
        out_.atoms.push_back(std::move(atom));
        owners_.push_back(AtomId());
      }
    }
  }

  void SortAtoms() {
    std::vector<uint32_t> order(out_.atoms.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    auto key = [&](uint32_t i) {
      const ReferenceAtom& a = out_.atoms[i];
      return std::make_tuple(!a.alloc, a.alloc ? a.address : a.file_offset);
    };
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return key(a) < key(b); });
    std::vector<ReferenceAtom> atoms(order.size());
    std::vector<AtomId> owners(order.size());
    sorted_.resize(order.size());
    index_.assign(program_.atoms.size(), kNoAtom);
    for (uint32_t i = 0; i < order.size(); ++i) {
      atoms[i] = std::move(out_.atoms[order[i]]);
      owners[i] = owners_[order[i]];
      sorted_[order[i]] = i;
      if (owners[i].valid()) index_[owners[i].value] = i;
    }
    out_.atoms = std::move(atoms);
    owners_ = std::move(owners);
  }

  void AddSites(AtomId id, uint32_t index) {
    if (out_.atoms[index].nobits) return;
    const Unit& unit = program_.units[program_.atoms[id.value].unit.value];
    const size_t first = out_.sites.size();
    for (const Reloc& reloc : program_.section(id).relocs) {
      const RelocInfo info = arch_.Info(reloc.type);
      if (info.form == RelocForm::kNone) continue;
      ReferenceSite site;
      site.atom = index;
      site.offset = reloc.offset;
      site.width = info.width;
      site.lead = info.lead;
      site.trail = info.trail;
      site.form = FormOf(info.form);
      site.addend = reloc.addend;
      SetTarget(unit, reloc, out_.atoms[index].alloc, &site);
      if (info.form == RelocForm::kGotBasePcRelative) {
        site.target_atom = kNoAtom;
        site.symbol = "_GLOBAL_OFFSET_TABLE_";
      }
      out_.sites.push_back(std::move(site));
    }
    std::stable_sort(out_.sites.begin() + static_cast<ptrdiff_t>(first), out_.sites.end(),
                     [](const ReferenceSite& a, const ReferenceSite& b) { return a.offset < b.offset; });
  }

  void SetTarget(const Unit& unit, const Reloc& reloc, bool loaded, ReferenceSite* site) const {
    const InputSymbol& symbol = unit.object->symbols[reloc.symbol];
    site->symbol = std::string(symbol.name);
    if (symbol.section < kSectionCommon && symbol.name.empty()) {
      site->symbol = std::string(unit.object->sections[symbol.section].name);
    }
    // A field of a section that is not loaded speaks of its own object's code, even when another object's
    // copy of a COMDAT group is in the image: then it holds a tombstone.
    if (!loaded && symbol.section < kSectionCommon &&
        program_.atoms[unit.first_atom + symbol.section].state != Atom::kLive) {
      site->absolute = Tombstone(program_.section(owners_[site->atom]).name);
      return;
    }
    const SymbolId id = program_.GlobalOf(unit, reloc.symbol);
    if (id.valid()) {
      SetGlobalTarget(program_.symbols[id.value], site);
    } else if (symbol.section == kSectionAbsolute) {
      site->absolute = symbol.value;
    } else if (symbol.section < kSectionCommon) {
      const AtomId atom(unit.first_atom + symbol.section);
      if (symbol.type == SymbolType::kSection && program_.atoms[atom.value].merged) {
        SetPieceOfSection(atom, symbol.value + static_cast<uint64_t>(reloc.addend), site);
      } else {
        SetAtomTarget(atom, symbol.value, site);
      }
    }
  }

  void SetGlobalTarget(const Symbol& symbol, ReferenceSite* site) const {
    if (!symbol.name.empty()) site->symbol = std::string(symbol.name);
    switch (symbol.kind) {
      case SymbolKind::kAbsolute:
        site->absolute = symbol.value;
        break;
      case SymbolKind::kDefined:
        SetAtomTarget(symbol.atom, symbol.value, site);
        break;
      case SymbolKind::kShared:  // a copy of the library's object
        if (symbol.atom.valid()) SetAtomTarget(symbol.atom, 0, site);
        break;
      case SymbolKind::kUndefined:
      case SymbolKind::kLinker:
        break;
    }
  }

  void SetAtomTarget(AtomId atom, uint64_t offset, ReferenceSite* site) const {
    if (!atom.valid() || program_.atoms[atom.value].state != Atom::kLive) return;
    if (!program_.atoms[atom.value].merged) {
      site->target_atom = index_[atom.value];
      site->target_offset = offset;
      return;
    }
    const auto [piece, rest] = PieceAt(atom, offset);
    site->target_atom = piece;
    site->target_offset = rest;
  }

  // A reference by section and offset means the piece there, not the one at the section's start.
  void SetPieceOfSection(AtomId atom, uint64_t offset, ReferenceSite* site) const {
    const auto [piece, rest] = PieceAt(atom, offset);
    site->target_atom = piece;
    site->target_offset = 0;
    site->addend = static_cast<int64_t>(rest);
  }

  // The piece that holds the byte at `offset` of a merged input section, and the offset in that piece.
  std::pair<uint32_t, uint64_t> PieceAt(AtomId atom, uint64_t offset) const {
    const MergedInput& input = program_.merged_inputs.find(atom.value)->second;
    const std::vector<MergedPiece>& pieces = program_.merged[input.merged].pieces;
    auto it = std::upper_bound(input.starts.begin(), input.starts.end(), offset);
    const size_t k = it == input.starts.begin() ? 0 : static_cast<size_t>(it - input.starts.begin()) - 1;
    auto piece = std::lower_bound(pieces.begin(), pieces.end(), input.targets[k],
                                  [](const MergedPiece& p, uint32_t target) { return p.offset < target; });
    const uint32_t number = first_piece_[input.merged] + static_cast<uint32_t>(piece - pieces.begin());
    return {sorted_[number], offset - input.starts[k]};
  }

  const Program& program_;
  const ElfImage& image_;
  const Arch& arch_;
  Reference& out_;
  std::vector<AtomId> owners_;         // beside out_.atoms; invalid for merged pieces
  std::vector<uint32_t> first_piece_;  // by index in Program::merged: its first piece before sorting
  std::vector<uint32_t> sorted_;       // by index before sorting: index in out_.atoms
  std::vector<uint32_t> index_;        // by AtomId: index in out_.atoms
};

}  // namespace

void DescribeElf(const Program& program, const ElfImage& image, const Arch& arch, Reference* reference) {
  Describer(program, image, arch, reference).Run();
}

}  // namespace kitlink::elf
