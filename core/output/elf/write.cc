#include "core/output/elf/write.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "core/base/parallel.h"
#include "core/output/elf/atom_writer.h"
#include "core/output/elf/build_id.h"
#include "core/output/elf/dynamic_section.h"
#include "core/output/elf/symtab.h"
#include "core/output/relocate.h"

namespace kitlink::elf {
namespace {

uint64_t ElfFlags(const OutputSection& section) {
  uint64_t flags = 0;
  if (section.flags & kSecAlloc) flags |= SHF_ALLOC;
  if (section.flags & kSecWrite) flags |= SHF_WRITE;
  if (section.flags & kSecExec) flags |= SHF_EXECINSTR;
  if (section.flags & kSecTls) flags |= SHF_TLS;
  if (section.flags & kSecMerge) flags |= SHF_MERGE;
  if (section.flags & kSecStrings) flags |= SHF_STRINGS;
  if (section.synthetic == kRelaPlt) flags |= SHF_INFO_LINK;
  return flags;
}

uint32_t ElfSectionType(const OutputSection& section) {
  switch (section.synthetic) {
    case kHash: return SHT_HASH;
    case kGnuHash: return SHT_GNU_HASH;
    case kDynsym: return SHT_DYNSYM;
    case kDynstr: case kStrtab: case kShstrtab: return SHT_STRTAB;
    case kVersym: return SHT_GNU_versym;
    case kVerneed: return SHT_GNU_verneed;
    case kVerdef: return SHT_GNU_verdef;
    case kRelaDyn: case kRelaPlt: return SHT_RELA;
    case kDynamic: return SHT_DYNAMIC;
    case kSymtab: return SHT_SYMTAB;
    case kEhFrame: return SHT_X86_64_UNWIND;
    default: break;
  }
  switch (section.kind) {
    case SectionKind::kNobits: return SHT_NOBITS;
    case SectionKind::kNote: return SHT_NOTE;
    case SectionKind::kInitArray: return SHT_INIT_ARRAY;
    case SectionKind::kFiniArray: return SHT_FINI_ARRAY;
    case SectionKind::kPreinitArray: return SHT_PREINIT_ARRAY;
    default: return SHT_PROGBITS;
  }
}

class Writer {
 public:
  Writer(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
         MutableBytes file, Diagnostics& diagnostics)
      : options_(options), program_(program), image_(image), arch_(arch), file_(file), diagnostics_(diagnostics) {}

  absl::StatusOr<WriteResult> Run() {
    WriteResult result;
    WriteHeaders();
    WriteSectionHeaders();
    result.relocations = WriteAtoms(options_, program_, image_, arch_, file_, diagnostics_).relocations;
    WriteMerged();
    WriteFrames();
    WriteDynamicTables();
    WriteGot();
    WritePlt();
    WriteNotes();
    WriteSymtab(options_, program_, image_, arch_, file_);
    if (diagnostics_.has_errors()) return diagnostics_.ToStatus();
    if (const OutputSection* section = image_.Section(kBuildId)) {
      const std::vector<uint8_t> id = MakeBuildId(options_, file_, section->size - 16, &result.build_id_leaves);
      std::memcpy(&file_[section->offset + 16], id.data(), id.size());
      result.build_id = absl::BytesToHexString(
          absl::string_view(reinterpret_cast<const char*>(id.data()), id.size()));
    }
    return result;
  }

 private:
  uint8_t* At(Synthetic which, uint64_t offset = 0) { return &file_[image_.Section(which)->offset + offset]; }

  void WriteHeaders() {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_ident[EI_DATA] = ELFDATA2LSB;
    header.e_ident[EI_VERSION] = EV_CURRENT;
    header.e_ident[EI_OSABI] = NeedsGnuAbi() ? ELFOSABI_GNU : ELFOSABI_NONE;
    header.e_type = options_.kind == OutputKind::kExecutable ? ET_EXEC : ET_DYN;
    header.e_machine = arch_.elf_machine();
    header.e_version = EV_CURRENT;
    header.e_entry = Entry();
    header.e_phoff = sizeof(Elf64_Ehdr);
    header.e_shoff = image_.section_headers;
    header.e_ehsize = sizeof(Elf64_Ehdr);
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = static_cast<uint16_t>(image_.headers.size());
    header.e_shentsize = sizeof(Elf64_Shdr);
    header.e_shnum = static_cast<uint16_t>(image_.placement.sections.size() + 1);
    header.e_shstrndx = static_cast<uint16_t>(image_.synthetic[kShstrtab].value + 1);
    Store(file_.data(), header);
    for (size_t i = 0; i < image_.headers.size(); ++i) {
      Store(&file_[sizeof(Elf64_Ehdr) + i * sizeof(Elf64_Phdr)], image_.headers[i]);
    }
  }

  // IFUNC and STB_GNU_UNIQUE are GNU extensions that the header must announce.
  bool NeedsGnuAbi() const {
    if (!image_.cells.iplt.empty()) return true;
    for (SymbolId id : image_.dynamic.symbols) {
      const Symbol& symbol = program_.symbols[id.value];
      if (symbol.kind == SymbolKind::kDefined && symbol.binding == SymbolBinding::kUnique) return true;
    }
    return false;
  }

  uint64_t Entry() const {
    if (options_.kind == OutputKind::kShared && options_.entry.empty()) return 0;
    const SymbolId id = program_.names.Find(options_.entry.empty() ? "_start" : options_.entry);
    if (id.valid() && id.value < program_.symbols.size() && program_.symbols[id.value].kind != SymbolKind::kUndefined) {
      return SymbolAddress(program_, image_, arch_, id);
    }
    uint64_t address = 0;
    if (absl::SimpleAtoi(options_.entry, &address) || absl::SimpleHexAtoi(options_.entry, &address)) return address;
    for (const OutputSection& section : image_.placement.sections) {
      if (section.name == ".text") return section.address;
    }
    return 0;
  }

  uint32_t LinkOf(const OutputSection& section) const {
    auto index = [&](Synthetic which) {
      return image_.synthetic[which].valid() ? image_.synthetic[which].value + 1 : 0;
    };
    switch (section.synthetic) {
      case kDynsym: case kVerneed: case kVerdef: case kDynamic: return index(kDynstr);
      case kHash: case kGnuHash: case kVersym: case kRelaDyn: case kRelaPlt: return index(kDynsym);
      case kSymtab: return index(kStrtab);
      default: return 0;
    }
  }

  uint32_t InfoOf(const OutputSection& section) const {
    switch (section.synthetic) {
      case kDynsym: return image_.dynamic.first_row();  // spare rows are local
      case kVerneed: return image_.dynamic.verneed_count;
      case kVerdef: return image_.dynamic.verdef_count;
      case kSymtab: return image_.symtab.first_global;
      case kRelaPlt: return image_.synthetic[kGotPlt].valid() ? image_.synthetic[kGotPlt].value + 1 : 0;
      default: return 0;
    }
  }

  void WriteSectionHeaders() {
    for (uint32_t i = 0; i < image_.placement.sections.size(); ++i) {
      const OutputSection& section = image_.placement.sections[i];
      Elf64_Shdr header{};
      header.sh_name = image_.section_names[i];
      header.sh_type = ElfSectionType(section);
      header.sh_flags = ElfFlags(section);
      header.sh_addr = section.address;
      header.sh_offset = section.offset;
      // Rows can be added at the end of some tables: the file has room, the header does not speak of it.
      const bool grows = section.rows || section.synthetic == kSymtab || section.synthetic == kRelaPlt ||
                         BytesPerExport(section.synthetic) != 0;
      header.sh_size = grows ? section.used : section.size;
      header.sh_link = LinkOf(section);
      header.sh_info = InfoOf(section);
      header.sh_addralign = section.alignment;
      header.sh_entsize = section.entry_size;
      Store(&file_[image_.section_headers + (uint64_t{i} + 1) * sizeof(Elf64_Shdr)], header);
    }
    const OutputSection* names = image_.Section(kShstrtab);
    std::memcpy(&file_[names->offset], image_.shstrtab.data(), image_.shstrtab.size());
  }

  void WriteMerged() {
    for (size_t m = 0; m < program_.merged.size(); ++m) {
      const MergedSection& merged = program_.merged[m];
      uint8_t* at = &file_[image_.placement.section(image_.merged_section[m]).offset];
      ParallelFor(merged.pieces.size(), 4096, [&](size_t p) {
        std::memcpy(at + merged.pieces[p].offset, merged.pieces[p].data, merged.pieces[p].size);
      });
    }
  }

  void WriteFrames() {
    if (image_.Section(kEhFrame) == nullptr) return;
    const Frames& frames = image_.frames;
    std::vector<FrameRow> rows(frames.fdes.size());
    ParallelFor(frames.cies.size(), 64, [&](size_t i) { WriteRecord(frames.cies[i], true, nullptr); });
    ParallelFor(frames.fdes.size(), 256, [&](size_t i) { WriteRecord(frames.fdes[i], false, &rows[i]); });
    if (frames.reserve != 0) FillFrameHole(MutableBytes(At(kEhFrame, frames.used), frames.reserve), frames.reserve);
    if (const OutputSection* header = image_.Section(kEhFrameHdr)) {
      WriteFrameHeader(file_.subspan(header->offset, header->size), header->address, image_.AddressOf(kEhFrame),
                       std::move(rows));
    }
  }

  void WriteRecord(const FrameRecord& record, bool cie, FrameRow* row) {
    const Unit& unit = program_.units[record.unit.value];
    const EhFrame& frame = unit.eh_frames[record.frame];
    const EhRecord& in = cie ? frame.cies[record.record] : frame.fdes[record.record];
    const InputSection& section = unit.object->sections[frame.section];
    const MutableBytes out(At(kEhFrame, record.offset), record.capacity);
    std::memcpy(out.data(), &section.bytes[in.offset], in.size);
    Store(out.data(), record.capacity - 4);  // padding is DW_CFA_nop
    if (!cie) Store(&out[4], record.offset + 4 - record.cie_offset);
    std::vector<Reloc> relocs;
    for (uint32_t r = 0; r < in.reloc_count; ++r) {
      relocs.push_back(frame.sorted[in.first_reloc + r]);
      relocs.back().offset -= in.offset;
    }
    const uint64_t address = image_.AddressOf(kEhFrame) + record.offset;
    ApplyRelocations(
        relocs, out, address, arch_, image_.values, TraitsOf(options_),
        [&](const Reloc& reloc) { return TargetOf(program_, image_, arch_, unit, reloc.symbol, reloc.addend); },
        [&](const Reloc&, const char* error) { diagnostics_.Error(unit.object->DisplayName() + ": .eh_frame: " + error); });
    if (row != nullptr) {
      const Reloc& where = frame.sorted[in.first_reloc];
      row->function = TargetOf(program_, image_, arch_, unit, where.symbol, where.addend).address +
                      static_cast<uint64_t>(where.addend);
      row->record = address;
      row->empty = DescribesNoCode(out, where.offset - in.offset, arch_.Info(where.type).width);
    }
  }

  void Copy(Synthetic which, const void* data, size_t size) {
    if (image_.Section(which) != nullptr && size != 0) std::memcpy(At(which), data, size);
  }

  void WriteDynamicTables() {
    const DynamicTables& dynamic = image_.dynamic;
    if (const OutputSection* interp = image_.Section(kInterp)) {
      std::memcpy(&file_[interp->offset], options_.dynamic_linker.data(), options_.dynamic_linker.size());
    }
    if (!dynamic.present) return;
    Copy(kHash, dynamic.sysv_hash.data(), dynamic.sysv_hash.size());
    Copy(kGnuHash, dynamic.gnu_hash.data(), dynamic.gnu_hash.size());
    Copy(kDynstr, dynamic.strings.bytes().data(), dynamic.strings.bytes().size());
    Copy(kVersym, dynamic.versym.data(), dynamic.versym.size() * 2);
    Copy(kVerneed, dynamic.verneed.data(), dynamic.verneed.size());
    Copy(kVerdef, dynamic.verdef.data(), dynamic.verdef.size());
    for (size_t i = 0; i < dynamic.symbols.size(); ++i) {
      Elf64_Sym row = GlobalRow(program_, image_, arch_, dynamic.symbols[i], true);
      row.st_name = dynamic.names[i];
      Store(At(kDynsym, (dynamic.first_row() + i) * sizeof(row)), row);
    }
    for (uint32_t i = 1; i < dynamic.first_row(); ++i) Store(At(kDynsym, i * sizeof(Elf64_Sym)), FillerRow());
    const std::vector<Elf64_Dyn> entries = DynamicEntries(options_, program_, image_, arch_);
    Copy(kDynamic, entries.data(), entries.size() * sizeof(Elf64_Dyn));
    for (size_t i = 0; i < image_.demands.copies.size(); ++i) {
      const CopiedObject& copy = image_.demands.copies[i];
      Other(image_.rela.copy_start + static_cast<uint32_t>(i), image_.placement.Address(copy.atom), copy.names[0],
            arch_.dynamic_types().copy, 0);
    }
  }

  void Row(Synthetic table, uint32_t row, uint64_t offset, uint32_t symbol, uint32_t type, uint64_t addend) {
    Elf64_Rela rela{};
    rela.r_offset = offset;
    rela.r_info = ELF64_R_INFO(uint64_t{symbol}, type);
    rela.r_addend = static_cast<int64_t>(addend);
    Store(At(table, uint64_t{row} * sizeof(rela)), rela);
  }

  void Other(uint32_t row, uint64_t offset, SymbolId symbol, uint32_t type, uint64_t addend) {
    const CellSet* set = image_.cells.Find(symbol);
    Row(kRelaDyn, image_.rela.relative_capacity + row, offset, set == nullptr ? 0 : set->dynsym, type, addend);
  }

  void WriteGot() {
    uint32_t relative = image_.rela.got_relative_start, other = image_.rela.got_other_start;
    for (const GotCell& cell : image_.cells.got) WriteCell(cell, &relative, &other);
    if (const OutputSection* got_plt = image_.Section(kGotPlt)) {
      Store(&file_[got_plt->offset], image_.AddressOf(kDynamic));
    }
  }

  void WriteCell(const GotCell& cell, uint32_t* relative, uint32_t* other) {
    const bool shared = options_.kind == OutputKind::kShared;
    const bool pic = options_.kind != OutputKind::kExecutable;
    const Symbol* symbol = cell.symbol.valid() ? &program_.symbols[cell.symbol.value] : nullptr;
    const bool imported = symbol != nullptr && symbol->imported;
    const DynamicTypes& types = arch_.dynamic_types();
    uint8_t* at = At(kGot, uint64_t{cell.index} * 8);
    const uint64_t address = image_.GotCellAddress(static_cast<int32_t>(cell.index));
    const uint64_t value = symbol != nullptr ? SymbolAddress(program_, image_, arch_, cell.symbol) : 0;
    switch (cell.kind) {
      case GotCell::kAddress:
        if (imported) {
          Other((*other)++, address, cell.symbol, types.glob_dat, 0);
        } else {
          Store(at, value);
          if (pic && symbol->kind != SymbolKind::kAbsolute && symbol->kind != SymbolKind::kUndefined) {
            Row(kRelaDyn, (*relative)++, address, 0, types.relative, value);
          }
        }
        break;
      case GotCell::kTpOffset:
        if (imported) {
          Other((*other)++, address, cell.symbol, types.tpoff, 0);
        } else if (shared) {
          Other((*other)++, address, SymbolId(), types.tpoff, value - image_.values.tls_begin);
        } else {
          Store(at, value == 0 ? uint64_t{0} : value - image_.values.tls_pointer);
        }
        break;
      case GotCell::kTlsGd:
        if (imported) {
          Other((*other)++, address, cell.symbol, types.dtpmod, 0);
          Other((*other)++, address + 8, cell.symbol, types.dtpoff, 0);
        } else {
          if (shared) {
            Other((*other)++, address, SymbolId(), types.dtpmod, 0);
          } else {
            Store(at, uint64_t{1});
          }
          Store(at + 8, value - image_.values.tls_begin);
        }
        break;
      case GotCell::kTlsLd:
        if (shared) {
          Other((*other)++, address, SymbolId(), types.dtpmod, 0);
        } else {
          Store(at, uint64_t{1});
        }
        break;
      case GotCell::kTlsDesc:
        if (imported) {
          Other((*other)++, address, cell.symbol, types.tlsdesc, 0);
        } else {
          Other((*other)++, address, SymbolId(), types.tlsdesc, value - image_.values.tls_begin);
        }
        break;
    }
  }

  void WritePlt() {
    const Cells& cells = image_.cells;
    const DynamicTypes& types = arch_.dynamic_types();
    if (!cells.plt.empty()) {
      const uint64_t plt = image_.AddressOf(kPlt);
      arch_.WritePltHeader(MutableBytes(At(kPlt), arch_.plt_header_size()), plt, image_.AddressOf(kGotPlt));
      for (uint32_t i = 0; i < cells.plt.size(); ++i) {
        const uint64_t entry = image_.PltAddress(arch_, static_cast<int32_t>(i)), cell = image_.GotPltAddress(i);
        arch_.WritePltEntry(MutableBytes(At(kPlt, entry - plt), arch_.plt_entry_size()), entry, cell, i, plt);
        Store(At(kGotPlt, cell - image_.AddressOf(kGotPlt)), arch_.LazyPltTarget(entry));
        Row(kRelaPlt, i, cell, cells.Find(cells.plt[i])->dynsym, types.jump_slot, 0);
      }
      const uint64_t reserve = arch_.plt_header_size() + cells.plt.size() * arch_.plt_entry_size();
      arch_.FillTraps(MutableBytes(At(kPlt, reserve), uint64_t{cells.plt_reserve} * arch_.plt_entry_size()));
    }
    for (uint32_t i = 0; i < cells.iplt.size(); ++i) {
      const uint64_t entry = image_.IpltAddress(arch_, static_cast<int32_t>(i));
      const uint64_t cell = image_.GotPltAddress(cells.plt_capacity() + i);
      arch_.WritePltGotEntry(MutableBytes(At(kIplt, uint64_t{i} * arch_.plt_entry_size()), arch_.plt_entry_size()), entry, cell);
      const Symbol& symbol = program_.symbols[cells.iplt[i].value];
      const uint64_t resolver = image_.placement.Address(symbol.atom) + symbol.value;
      Store(At(kGotPlt, cell - image_.AddressOf(kGotPlt)), resolver);
      Row(kRelaPlt, static_cast<uint32_t>(cells.plt.size()) + i, cell, 0, types.irelative, resolver);
    }
    if (cells.iplt_reserve != 0) {
      const uint64_t reserve = cells.iplt.size() * arch_.plt_entry_size();
      arch_.FillTraps(MutableBytes(At(kIplt, reserve), uint64_t{cells.iplt_reserve} * arch_.plt_entry_size()));
    }
  }

  void WriteNotes() {
    auto note = [&](Synthetic which, uint32_t desc_size, uint32_t type) {
      uint8_t* at = At(which);
      Store(at, uint32_t{4});
      Store(at + 4, desc_size);
      Store(at + 8, type);
      std::memcpy(at + 12, "GNU", 4);
      return at + 16;
    };
    if (const OutputSection* id = image_.Section(kBuildId)) {
      note(kBuildId, static_cast<uint32_t>(id->size - 16), NT_GNU_BUILD_ID);
    }
    if (image_.Section(kProperty)) {
      constexpr uint32_t kX86Feature1And = 0xc0000002;
      uint8_t* at = note(kProperty, 16, NT_GNU_PROPERTY_TYPE_0);
      Store(at, kX86Feature1And);
      Store(at + 4, uint32_t{4});
      Store(at + 8, image_.x86_features);
    }
  }

  const LinkOptions& options_;
  const Program& program_;
  const ElfImage& image_;
  const Arch& arch_;
  const MutableBytes file_;
  Diagnostics& diagnostics_;
};

}  // namespace

absl::StatusOr<WriteResult> WriteElf(const LinkOptions& options, const Program& program, const ElfImage& image,
                                     const Arch& arch, MutableBytes file, Diagnostics& diagnostics) {
  return Writer(options, program, image, arch, file, diagnostics).Run();
}

}  // namespace kitlink::elf
