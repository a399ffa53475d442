#include "core/output/elf/atom_writer.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/base/parallel.h"
#include "core/dwarf/padding.h"
#include "core/dwarf/source_location.h"
#include "core/output/relocate.h"

namespace kitlink::elf {
namespace {

class AtomWriter {
 public:
  AtomWriter(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
             MutableBytes file, Diagnostics& diagnostics)
      : program_(program), image_(image), arch_(arch), file_(file), diagnostics_(diagnostics),
        output_(TraitsOf(options)), relative_(program.atoms.size(), kNoRow), other_(program.atoms.size(), kNoRow) {
    for (const auto& [atom, row] : image.rela.relative_start) relative_[atom.value] = row;
    for (const auto& [atom, row] : image.rela.other_start) other_[atom.value] = row;
    if (image.padding_abbrev.valid()) padding_abbrev_ = image.placement.places[image.padding_abbrev.value].offset;
  }

  uint64_t Run() {
    PrepareSections();
    ParallelFor(program_.units.size(), 2, [&](size_t u) {
      const Unit& unit = program_.units[u];
      uint64_t applied = 0;
      for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
        const AtomId id(unit.first_atom + s);
        if (image_.placement.places[id.value].valid()) applied += Write(unit, id);
      }
      relocations_.fetch_add(applied, std::memory_order_relaxed);
    });
    return relocations_.load();
  }

 private:
  static constexpr uint32_t kNoRow = 0xffffffffu;

  // Gaps between atoms: traps in code (nops where control falls through), filler at the tail of debug sections.
  void PrepareSections() {
    ParallelFor(image_.placement.sections.size(), [&](size_t s) {
      const OutputSection& section = image_.placement.sections[s];
      if (section.nobits() || section.size == 0) return;
      const MutableBytes bytes = file_.subspan(section.offset, section.size);
      if (section.flags & kSecExec) {
        if (section.name == ".init" || section.name == ".fini") {
          arch_.FillNops(bytes);
        } else {
          arch_.FillTraps(bytes);
        }
      } else if (!section.alloc() && !section.exact) {
        FillHole(section, section.used, section.size);
      }
    });
  }

  void FillHole(const OutputSection& section, uint64_t begin, uint64_t end) {
    const dwarf::Filler* filler = dwarf::Filler::For(section.name);
    if (filler == nullptr || begin >= end) return;
    // The image was zeros.
    const uint64_t size = end - begin, head = filler->zeros_behind_head() ? std::min(size, dwarf::Filler::kHead) : size;
    filler->FillHead(file_.subspan(section.offset + begin, head), size, begin, padding_abbrev_);
  }

  uint64_t Write(const Unit& unit, AtomId id) {
    const Place& place = image_.placement.places[id.value];
    const OutputSection& section = image_.placement.section(place.section);
    if (section.nobits()) return 0;
    const InputSection& input = program_.section(id);
    const MutableBytes bytes = file_.subspan(section.offset + place.offset, input.size);
    if (!input.bytes.empty()) std::memcpy(bytes.data(), input.bytes.data(), input.bytes.size());
    if (!section.alloc()) {
      if (!section.exact) FillHole(section, place.offset + input.size, place.offset + place.capacity);
      const uint64_t applied = ApplyUnloaded(unit, id, input, bytes);
      if (section.padded && place.capacity != input.size) {
        dwarf::PadInPlace(section.name, file_.subspan(section.offset + place.offset, place.capacity), input.size);
      }
      return applied;
    }
    WriteDynamicRows(unit, id, input);
    return ApplyRelocations(
        input.relocs, bytes, section.address + place.offset, arch_, image_.values, output_,
        [&](const Reloc& reloc) {
          return TargetOf(program_, image_, arch_, unit, reloc.symbol, reloc.addend);
        },
        [&](const Reloc& reloc, const char* error) { Report(unit, input, reloc, error); });
  }

  uint64_t ApplyUnloaded(const Unit& unit, AtomId id, const InputSection& input, MutableBytes bytes) {
    (void)id;
    const uint64_t tombstone = Tombstone(input.name);
    for (const Reloc& reloc : input.relocs) {
      bool gone = false;
      const uint64_t value = UnloadedTarget(unit, reloc, &gone);
      const ApplyResult result = arch_.ApplyUnloaded(reloc, bytes, gone ? tombstone : value, gone, image_.values);
      if (result.error != nullptr) Report(unit, input, reloc, result.error);
    }
    return input.relocs.size();
  }

  // S for a field in a section that is not loaded; sets `gone` when the target is not in the image.
  uint64_t UnloadedTarget(const Unit& unit, const Reloc& reloc, bool* gone) {
    const InputSymbol& symbol = unit.object->symbols[reloc.symbol];
    if (symbol.section < kSectionCommon) {
      const AtomId atom(unit.first_atom + symbol.section);
      const Atom& info = program_.atoms[atom.value];
      if (info.state != Atom::kLive) {
        *gone = true;
        return 0;
      }
      const Place& place = image_.placement.places[atom.value];
      if (place.valid() && !image_.placement.section(place.section).alloc()) {
        return place.offset + symbol.value;  // of another debug section: an offset in it
      }
    }
    return TargetOf(program_, image_, arch_, unit, reloc.symbol, reloc.addend).address;
  }

  // Words that the loader must fill in. Scan is asked again rather than remembered: only atoms with such words are.
  void WriteDynamicRows(const Unit& unit, AtomId id, const InputSection& input) {
    uint32_t relative = relative_[id.value], other = other_[id.value];
    if (relative == kNoRow && other == kNoRow) return;
    const uint64_t address = image_.placement.Address(id);
    const absl::Span<const Reloc> relocs = input.relocs;
    for (size_t r = 0; r < relocs.size();) {
      const Reloc& reloc = relocs[r];
      const TargetTraits traits = TraitsOf(program_, unit, reloc.symbol);
      const ScanResult scan =
          arch_.Scan(relocs.subspan(r), input.bytes, (input.flags & kSecWrite) != 0, traits, output_);
      if (scan.needs & kNeedRelative) {
        const TargetValue target = TargetOf(program_, image_, arch_, unit, reloc.symbol, reloc.addend);
        WriteRow(relative++, address + reloc.offset, ELF64_R_INFO(0, arch_.dynamic_types().relative),
                 target.address + static_cast<uint64_t>(reloc.addend));
      }
      if (scan.needs & kNeedSymbolic) {
        const CellSet* set = image_.cells.Find(program_.GlobalOf(unit, reloc.symbol));
        const uint64_t info = ELF64_R_INFO(uint64_t{set == nullptr ? 0 : set->dynsym}, arch_.dynamic_types().absolute);
        WriteRow(image_.rela.relative_capacity + other++, address + reloc.offset, info,
                 static_cast<uint64_t>(reloc.addend));
      }
      r += std::max<uint16_t>(scan.consumed, 1);
    }
  }

  void WriteRow(uint32_t row, uint64_t offset, uint64_t info, uint64_t addend) {
    Elf64_Rela rela{};
    rela.r_offset = offset;
    rela.r_info = info;
    rela.r_addend = static_cast<int64_t>(addend);
    Store(&file_[image_.Section(kRelaDyn)->offset + uint64_t{row} * sizeof(rela)], rela);
  }

  void Report(const Unit& unit, const InputSection& input, const Reloc& reloc, const char* error) {
    const InputSymbol& symbol = unit.object->symbols[reloc.symbol];
    absl::string_view name = symbol.name;
    if (name.empty() && symbol.section < kSectionCommon) name = unit.object->sections[symbol.section].name;
    diagnostics_.Error(absl::StrCat(unit.object->DisplayName(), ":(", input.name, "+0x", absl::Hex(reloc.offset),
                                    "): relocation ", arch_.RelocName(reloc.type), " against `",
                                    dwarf::Demangle(name), "': ", error));
  }

  const Program& program_;
  const ElfImage& image_;
  const Arch& arch_;
  const MutableBytes file_;
  Diagnostics& diagnostics_;
  const OutputTraits output_;
  std::vector<uint32_t> relative_, other_;  // first row of .rela.dyn, by AtomId
  uint64_t padding_abbrev_ = 0;
  std::atomic<uint64_t> relocations_{0};
};

}  // namespace

AtomWriteStats WriteAtoms(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
                          MutableBytes file, Diagnostics& diagnostics) {
  return {AtomWriter(options, program, image, arch, file, diagnostics).Run()};
}

}  // namespace kitlink::elf
