// The plan of an ELF image: the value that the Place step passes to the Write step, and what a session captures.
#ifndef CORE_OUTPUT_ELF_IMAGE_H_
#define CORE_OUTPUT_ELF_IMAGE_H_

#include <elf.h>

#include <cstdint>
#include <string>
#include <vector>

#include "core/arch/arch.h"
#include "core/input/options.h"
#include "core/layout/placement.h"
#include "core/output/elf/cells.h"
#include "core/output/elf/dynamic_tables.h"
#include "core/output/elf/frames.h"
#include "core/symbols/program.h"
#include "core/symbols/scan.h"

namespace kitlink::elf {

// OutputSection::synthetic for ELF: sections that the linker makes.
enum Synthetic : int {
  kNotSynthetic = 0,
  kInterp, kProperty, kBuildId, kHash, kGnuHash, kDynsym, kDynstr, kVersym, kVerneed, kVerdef, kRelaDyn, kRelaPlt,
  kEhFrameHdr, kEhFrame, kPlt, kIplt, kDynamic, kGot, kGotPlt, kPaddingAbbrev,
  kSymtab, kStrtab, kShstrtab,
  kSyntheticCount,
};

// What a definition takes of a table that has room for more of them behind those in use; 0 for other sections.
inline uint32_t BytesPerExport(int synthetic) {
  switch (synthetic) {
    case kDynsym: return sizeof(Elf64_Sym);
    case kVersym: return 2;
    case kHash: case kGnuHash: return 4;
    default: return 0;
  }
}

// Rows of .rela.dyn: RELATIVE ones first, then free rows (R_*_NONE), then the others, then free rows.
struct RelaPlan {
  uint32_t relative = 0;  // rows in use
  uint32_t relative_capacity = 0;
  uint32_t other = 0;
  uint32_t other_capacity = 0;
  uint32_t jump_slots = 0;   // of .rela.plt
  uint32_t irelative = 0;    // behind them
  std::vector<std::pair<AtomId, uint32_t>> relative_start;  // first row of each atom that has some, in order
  std::vector<std::pair<AtomId, uint32_t>> other_start;
  uint32_t got_relative_start = 0, got_other_start = 0, copy_start = 0;
  uint32_t rows() const { return relative_capacity + other_capacity; }
};

// Rows of .symtab that belong to one unit's local symbols.
struct LocalRows {
  uint32_t first = 0;
  uint32_t used = 0;
  uint32_t capacity = 0;
  uint32_t names = 0;       // where their names begin in .strtab
  uint32_t name_bytes = 0;
  // Where patches put names for which that stretch has no room; none at first.
  uint32_t more_names = 0;
  uint32_t more_name_bytes = 0;
};

struct SymtabPlan {
  bool present = false;
  std::vector<LocalRows> locals;    // by UnitId
  LocalRows spare_locals;           // rows of nobody, for units that outgrow theirs or are new
  std::vector<SymbolId> globals;    // rows from first_global on
  std::vector<uint32_t> names;      // beside `globals`: offset in .strtab
  uint32_t first_global = 1;
  uint32_t rows = 0;         // what the section header speaks of
  uint32_t capacity = 0;     // what there is room for in the file
  uint64_t name_bytes = 0;   // in use
  uint64_t strtab_size = 0;  // with the reserve
};

struct ElfImage {
  Demands demands;
  Cells cells;
  DynamicTables dynamic;
  Frames frames;
  RelaPlan rela;
  SymtabPlan symtab;
  Placement placement;
  std::vector<Elf64_Phdr> headers;
  uint64_t base = 0;          // address of the ELF header
  uint64_t section_headers = 0;  // offset of the section header table
  uint64_t file_size = 0;
  ImageValues values;
  uint32_t x86_features = 0;
  bool exec_stack = false;
  bool text_relocs = false;  // some words in read-only memory are filled in by the loader
  std::vector<uint32_t> section_names;  // by SectionId: offset in .shstrtab
  std::string shstrtab;
  // By SymbolId, once everything has an address: what TargetOf says of globals. References outnumber symbols.
  struct Target {
    uint64_t address = 0;
    uint64_t size = 0;
    TargetTraits traits;
    bool cells = false;  // it has some
  };
  std::vector<Target> targets;
  std::vector<SectionId> merged_section;  // by index in Program::merged
  AtomId padding_abbrev;                  // the abbreviation table of padding units; invalid without debug information
  SectionId synthetic[kSyntheticCount];  // invalid where absent

  const OutputSection* Section(Synthetic which) const {
    return synthetic[which].valid() ? &placement.sections[synthetic[which].value] : nullptr;
  }
  uint64_t AddressOf(Synthetic which) const { return synthetic[which].valid() ? Section(which)->address : 0; }
  uint64_t GotCellAddress(int32_t cell) const { return AddressOf(kGot) + 8 * static_cast<uint64_t>(cell); }
  uint64_t PltAddress(const Arch& arch, int32_t entry) const {
    return AddressOf(kPlt) + arch.plt_header_size() + static_cast<uint64_t>(entry) * arch.plt_entry_size();
  }
  uint64_t IpltAddress(const Arch& arch, int32_t entry) const {
    return AddressOf(kIplt) + static_cast<uint64_t>(entry) * arch.plt_entry_size();
  }
  uint64_t GotPltAddress(uint32_t slot) const { return AddressOf(kGotPlt) + 8 * (uint64_t{kGotPltHeader} + slot); }
};

// Where a global symbol is in the image: its atom's place, its copy, its canonical PLT entry, a boundary; 0 when it
// is bound at run time or nowhere.
uint64_t SymbolAddress(const Program& program, const ElfImage& image, const Arch& arch, SymbolId id);

// The target of a relocation of `unit`, with the addresses of its cells. Takes the addend because an offset into a
// merged section moves with its piece.
TargetValue TargetOf(const Program& program, const ElfImage& image, const Arch& arch, const Unit& unit,
                     uint32_t symbol_index, int64_t addend);

// The Place step for ELF: from here on no address moves. Sets the values of linker-defined symbols.
ElfImage PlaceElf(const LinkOptions& options, const Arch& arch, Demands demands, Program* program);

// Lists what goes into .symtab.
SymtabPlan PlanSymtab(const LinkOptions& options, const Program& program, const Demands& demands);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_IMAGE_H_
