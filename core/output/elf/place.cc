// The Place step for ELF: which sections and segments there are, in which order and where.
#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "core/base/parallel.h"
#include "core/dwarf/padding.h"
#include "core/layout/assign.h"
#include "core/output/elf/dynamic_section.h"
#include "core/output/elf/image.h"

namespace kitlink::elf {
namespace {

constexpr uint32_t kFeatureShadowStack = 2;  // GNU_PROPERTY_X86_FEATURE_1_SHSTK
constexpr uint32_t kReservedHeaders = 4;  // PT_NULL entries that growth turns into PT_LOAD, and their sections

struct SyntheticInfo {
  const char* name;
  uint32_t flags;
  uint32_t alignment;
  uint32_t entry_size;
};

SyntheticInfo InfoOf(Synthetic which) {
  constexpr uint32_t r = kSecAlloc, rw = kSecAlloc | kSecWrite, rx = kSecAlloc | kSecExec;
  switch (which) {
    case kInterp: return {".interp", r, 1, 0};
    case kProperty: return {".note.gnu.property", r, 8, 0};
    case kBuildId: return {".note.gnu.build-id", r, 4, 0};
    case kHash: return {".hash", r, 8, 4};
    case kGnuHash: return {".gnu.hash", r, 8, 0};
    case kDynsym: return {".dynsym", r, 8, sizeof(Elf64_Sym)};
    case kDynstr: return {".dynstr", r, 1, 0};
    case kVersym: return {".gnu.version", r, 2, 2};
    case kVerneed: return {".gnu.version_r", r, 8, 0};
    case kVerdef: return {".gnu.version_d", r, 8, 0};
    case kRelaDyn: return {".rela.dyn", r, 8, sizeof(Elf64_Rela)};
    case kRelaPlt: return {".rela.plt", r, 8, sizeof(Elf64_Rela)};
    case kEhFrameHdr: return {".eh_frame_hdr", r, 4, 0};
    case kEhFrame: return {".eh_frame", r, 8, 0};
    case kPlt: return {".plt", rx, 16, 16};
    case kIplt: return {".iplt", rx, 16, 16};
    case kDynamic: return {".dynamic", rw, 8, sizeof(Elf64_Dyn)};
    case kGot: return {".got", rw, 8, 8};
    case kGotPlt: return {".got.plt", rw, 8, 8};
    case kSymtab: return {".symtab", 0, 8, sizeof(Elf64_Sym)};
    case kStrtab: return {".strtab", 0, 1, 0};
    case kShstrtab: return {".shstrtab", 0, 1, 0};
    default: return {"", 0, 1, 0};
  }
}

// Sections go by segment: read-only, code, protected after relocation, writable, not loaded; within it by `order`.
struct Rank {
  int segment = 0;
  int order = 0;
  friend bool operator<(const Rank& a, const Rank& b) {
    return std::make_pair(a.segment, a.order) < std::make_pair(b.segment, b.order);
  }
};
enum Segment { kReadOnly, kCode, kRelro, kWritable, kUnloaded };

int ReadOnlyOrder(const OutputSection& section) {
  if (section.synthetic == kInterp) return 0;
  if (section.kind == SectionKind::kNote) return section.alignment >= 8 ? 1 : 2;
  switch (section.synthetic) {
    case kEhFrameHdr: return 50;
    case kEhFrame: return 51;
    case kNotSynthetic: break;
    default: return 3 + section.synthetic;
  }
  return section.name == ".gcc_except_table" ? 52 : 40;
}

int CodeOrder(const OutputSection& section) {
  if (section.name == ".init") return 0;
  if (section.synthetic == kPlt) return 1;
  if (section.synthetic == kIplt) return 2;
  if (section.name == ".fini") return 9;
  return section.name == ".text" ? 4 : 3;
}

int RelroOrder(const OutputSection& section) {
  if (section.flags & kSecTls) return section.nobits() ? 1 : 0;
  if (section.nobits()) return 20;
  switch (section.kind) {
    case SectionKind::kPreinitArray: return 2;
    case SectionKind::kInitArray: return 3;
    case SectionKind::kFiniArray: return 4;
    default: break;
  }
  if (section.synthetic == kDynamic) return 8;
  if (section.synthetic == kGot) return 9;
  if (section.synthetic == kGotPlt) return 10;
  return 5;
}

Rank RankOf(const OutputSection& section) {
  if (!section.alloc()) {
    switch (section.synthetic) {
      case kSymtab: return {kUnloaded, 100};
      case kStrtab: return {kUnloaded, 101};
      case kShstrtab: return {kUnloaded, 102};
      default: return {kUnloaded, section.name == ".comment" ? 0 : 1};
    }
  }
  if (section.flags & kSecExec) return {kCode, CodeOrder(section)};
  if (section.relro) return {kRelro, RelroOrder(section)};
  if (section.flags & (kSecWrite | kSecTls)) {
    if (section.flags & kSecTls) return {kWritable, section.nobits() ? 1 : 0};
    if (section.nobits()) return {kWritable, 10};
    return {kWritable, section.synthetic == kGotPlt ? 2 : section.name == ".data" ? 4 : 3};
  }
  return {kReadOnly, ReadOnlyOrder(section)};
}

class Placer {
 public:
  Placer(const LinkOptions& options, const Arch& arch, Demands demands, Program* program)
      : options_(options), arch_(arch), program_(*program) {
    image_.demands = std::move(demands);
  }

  ElfImage Run() {
    image_.cells = AllocateCells(options_, program_, image_.demands);
    image_.dynamic = BuildDynamicTables(options_, program_, image_.demands, &image_.cells);
    AddPaddingAbbrev();
    image_.frames = PlanFrames(options_, program_);
    image_.symtab = PlanSymtab(options_, program_, image_.demands);
    MergeTraits();
    // What a library that has to be loaded at start-up takes of each thread comes out of a small surplus when it is not.
    const bool threads = options_.kind != OutputKind::kShared || !image_.demands.static_tls;
    image_.placement = AssignSections(options_, {HoleInDebugSection, threads}, &program_);
    AddSyntheticSections();
    MarkRelro();
    SortSections();
    PlanRelocationRows();
    SizeSections();
    PlanHeaders();
    AssignAddresses();
    FinishHeaders();
    DefineBoundaries();
    FindTargets();
    return std::move(image_);
  }

 private:
  static HoleShape HoleInDebugSection(absl::string_view name) {
    const dwarf::Filler* filler = dwarf::Filler::For(name);
    if (filler == nullptr) return {};
    return {static_cast<int64_t>(filler->min_hole()), filler->zeros_behind_head() && filler->terse()};
  }

  void AddPaddingAbbrev() {
    if (!options_.incremental || options_.strip != Strip::kNone) return;
    bool debug = false;
    for (const Unit& unit : program_.units) {
      for (const InputSection& section : unit.object->sections) debug |= section.name == ".debug_info";
      if (debug) break;
    }
    if (!debug) return;
    InputSection section;
    section.name = ".debug_abbrev";
    section.kind = SectionKind::kProgbits;
    section.bytes = dwarf::PaddingAbbrev();
    section.size = section.bytes.size();
    SyntheticUnit unit("<padding>");
    image_.padding_abbrev = unit.Add(program_, section);
    unit.AddTo(&program_);
    image_.symtab = SymtabPlan();
  }

  // Properties that hold when they hold for every input.
  void MergeTraits() {
    uint32_t features = ~0u;
    bool exec_stack = false;
    for (const Unit& unit : program_.units) {
      if (unit.synthetic) continue;
      features &= unit.object->traits.has_feature_note ? unit.object->traits.x86_feature_1_and : 0;
      exec_stack |= unit.object->traits.exec_stack;
    }
    if (program_.units.empty()) features = 0;
    if (options_.z_shstk) features |= kFeatureShadowStack;
    // PLT entries begin with no endbr64, so the image as a whole does not track indirect branches.
    image_.x86_features = features & kFeatureShadowStack;
    image_.exec_stack = options_.z_exec_stack || (exec_stack && !options_.z_noexec_stack_given);
  }

  void Add(Synthetic which) {
    const SyntheticInfo info = InfoOf(which);
    OutputSection section;
    section.name = info.name;
    section.flags = info.flags;
    section.alignment = info.alignment;
    section.entry_size = info.entry_size;
    section.synthetic = which;
    if (which == kBuildId || which == kProperty) section.kind = SectionKind::kNote;
    image_.placement.sections.push_back(std::move(section));
  }

  void AddSyntheticSections() {
    const DynamicTables& dynamic = image_.dynamic;
    const bool executable = options_.kind != OutputKind::kShared;
    if (executable && !options_.is_static && !options_.no_dynamic_linker && !options_.dynamic_linker.empty()) Add(kInterp);
    if (image_.x86_features != 0) Add(kProperty);
    if (options_.build_id != BuildIdStyle::kNone) Add(kBuildId);
    if (dynamic.present) {
      if (!dynamic.sysv_hash.empty()) Add(kHash);
      if (!dynamic.gnu_hash.empty()) Add(kGnuHash);
      Add(kDynsym);
      Add(kDynstr);
      if (!dynamic.versym.empty()) {
        Add(kVersym);
        if (!dynamic.verdef.empty()) Add(kVerdef);
        if (!dynamic.verneed.empty()) Add(kVerneed);
      }
      Add(kRelaDyn);
      Add(kDynamic);
    }
    if (!image_.cells.plt.empty() || image_.cells.iplt_capacity() != 0) Add(kRelaPlt);
    if (!image_.cells.plt.empty()) Add(kPlt);
    if (image_.cells.iplt_capacity() != 0) Add(kIplt);
    if (image_.cells.got_count != 0 || image_.cells.got_reserve != 0) Add(kGot);
    if (dynamic.present || image_.cells.got_plt_count() > kGotPltHeader || image_.demands.got_base) Add(kGotPlt);
    if (!image_.frames.empty()) {
      Add(kEhFrame);
      if (options_.eh_frame_hdr) Add(kEhFrameHdr);
    }
    if (image_.symtab.present) {
      Add(kSymtab);
      Add(kStrtab);
    }
    Add(kShstrtab);
  }

  void MarkRelro() {
    if (!options_.z_relro) return;
    // Where moves write cells, these must be writable, or an image that runs could not be moved in.
    const bool moves = TraitsOf(options_).keep_cells;
    for (OutputSection& section : image_.placement.sections) {
      if (!section.alloc()) continue;
      const bool rows = section.kind == SectionKind::kInitArray || section.kind == SectionKind::kFiniArray ||
                        section.kind == SectionKind::kPreinitArray;
      section.relro = (section.flags & kSecTls) || rows || section.name == ".data.rel.ro" || section.name == ".jcr" ||
                      section.name == ".bss.rel.ro" || section.synthetic == kDynamic ||
                      (section.synthetic == kGot && !moves) || (section.synthetic == kGotPlt && options_.z_now);
    }
  }

  // Between bytes of the file there is no room for a section without any: only writable segments end in such.
  void GiveBytes() {
    for (OutputSection& section : image_.placement.sections) {
      const int segment = RankOf(section).segment;
      if (section.nobits() && !(section.flags & kSecTls) && (segment == kReadOnly || segment == kCode)) {
        section.kind = SectionKind::kProgbits;
      }
    }
  }

  void SortSections() {
    GiveBytes();
    Placement& placement = image_.placement;
    std::vector<uint32_t> order(placement.sections.size());
    for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
      return RankOf(placement.sections[a]) < RankOf(placement.sections[b]);
    });
    std::vector<SectionId> renumbered(order.size());
    std::vector<OutputSection> sorted;
    for (uint32_t i = 0; i < order.size(); ++i) {
      renumbered[order[i]] = SectionId(i);
      sorted.push_back(std::move(placement.sections[order[i]]));
    }
    placement.sections = std::move(sorted);
    for (Place& place : placement.places) {
      if (place.valid()) place.section = renumbered[place.section.value];
    }
    image_.merged_section.resize(program_.merged.size());
    for (uint32_t i = 0; i < placement.sections.size(); ++i) {
      const OutputSection& section = placement.sections[i];
      if (section.synthetic != kNotSynthetic) image_.synthetic[section.synthetic] = SectionId(i);
      if (section.merged != OutputSection::kNotMerged) image_.merged_section[section.merged] = SectionId(i);
    }
  }

  // Dynamic relocations: rows of atoms in order of place, then those of the GOT.
  void PlanRelocationRows() {
    RelaPlan& plan = image_.rela;
    for (const OutputSection& section : image_.placement.sections) {
      if (!section.alloc()) continue;
      for (AtomId id : section.atoms) {
        const Atom& atom = program_.atoms[id.value];
        if (atom.relative_relocs != 0) plan.relative_start.push_back({id, plan.relative});
        if (atom.symbolic_relocs != 0) plan.other_start.push_back({id, plan.other});
        plan.relative += atom.relative_relocs;
        plan.other += atom.symbolic_relocs;
        const bool dynamic = atom.relative_relocs + atom.symbolic_relocs != 0;
        image_.text_relocs |= dynamic && (program_.section(id).flags & kSecWrite) == 0;
      }
    }
    plan.got_relative_start = plan.relative;
    plan.got_other_start = plan.other;
    for (const GotCell& cell : image_.cells.got) CountCell(cell, &plan);
    plan.copy_start = plan.other;
    plan.other += static_cast<uint32_t>(image_.demands.copies.size());
    plan.jump_slots = static_cast<uint32_t>(image_.cells.plt.size());
    plan.irelative = static_cast<uint32_t>(image_.cells.iplt.size());
    const bool spare = options_.incremental && image_.dynamic.present;
    plan.relative_capacity = plan.relative + (spare ? std::max<uint32_t>(plan.relative / 8, 256) : 0);
    plan.other_capacity = plan.other + (spare ? std::max<uint32_t>(plan.other / 8, 64) : 0);
  }

  void CountCell(const GotCell& cell, RelaPlan* plan) {
    const bool shared = options_.kind == OutputKind::kShared;
    const Symbol* symbol = cell.symbol.valid() ? &program_.symbols[cell.symbol.value] : nullptr;
    const bool imported = symbol != nullptr && symbol->imported;
    switch (cell.kind) {
      case GotCell::kAddress:
        if (imported) {
          ++plan->other;
        } else if (options_.kind != OutputKind::kExecutable && symbol->kind != SymbolKind::kAbsolute &&
                   symbol->kind != SymbolKind::kUndefined) {
          ++plan->relative;
        }
        break;
      case GotCell::kTpOffset:
        plan->other += imported || shared ? 1 : 0;
        break;
      case GotCell::kTlsGd:
        plan->other += imported ? 2 : shared ? 1 : 0;
        break;
      case GotCell::kTlsLd:
        plan->other += shared ? 1 : 0;
        break;
      case GotCell::kTlsDesc:
        plan->other += 1;
        break;
    }
  }

  uint64_t SyntheticSize(Synthetic which) {
    const DynamicTables& dynamic = image_.dynamic;
    const Cells& cells = image_.cells;
    switch (which) {
      case kInterp: return options_.dynamic_linker.size() + 1;
      case kProperty: return 32;
      case kBuildId: return 16 + BuildIdSize();
      case kHash: return dynamic.sysv_hash.size();
      case kGnuHash: return dynamic.gnu_hash.size();
      case kDynsym: return uint64_t{dynamic.end_row() + dynamic.spare_exports} * sizeof(Elf64_Sym);
      case kDynstr: return dynamic.strings.bytes().size();
      case kVersym: return dynamic.versym.size() * 2;
      case kVerneed: return dynamic.verneed.size();
      case kVerdef: return dynamic.verdef.size();
      case kRelaDyn: return image_.rela.rows() * sizeof(Elf64_Rela);
      case kRelaPlt: return uint64_t{cells.plt_capacity() + cells.iplt_capacity()} * sizeof(Elf64_Rela);
      case kEhFrameHdr: return kFrameHeaderSize + uint64_t{image_.frames.header_rows} * 8;
      case kEhFrame: return image_.frames.size;
      case kPlt: return arch_.plt_header_size() + uint64_t{cells.plt_capacity()} * arch_.plt_entry_size();
      case kIplt: return uint64_t{cells.iplt_capacity()} * arch_.plt_entry_size();
      case kDynamic: return DynamicEntries(options_, program_, image_, arch_).size() * sizeof(Elf64_Dyn);
      case kGot: return (cells.got_count + cells.got_reserve) * 8;
      case kGotPlt: return cells.got_plt_count() * 8;
      case kSymtab: return uint64_t{image_.symtab.capacity} * sizeof(Elf64_Sym);
      case kStrtab: return image_.symtab.strtab_size;
      case kShstrtab: return image_.shstrtab.size();
      default: return 0;
    }
  }

  uint64_t BuildIdSize() const {
    switch (options_.build_id) {
      case BuildIdStyle::kMd5:
      case BuildIdStyle::kUuid: return 16;
      case BuildIdStyle::kHex: return options_.build_id_hex.size() / 2;
      default: return 20;
    }
  }

  void SizeSections() {
    image_.shstrtab.assign(1, '\0');
    for (OutputSection& section : image_.placement.sections) {
      image_.section_names.push_back(static_cast<uint32_t>(image_.shstrtab.size()));
      image_.shstrtab += section.name;
      image_.shstrtab.push_back('\0');
    }
    if (options_.incremental) {
      image_.spare_sections = kReservedHeaders;
      image_.spare_names = static_cast<uint32_t>(image_.shstrtab.size());
      image_.shstrtab.append(uint64_t{kReservedHeaders} * kGrowthNameSize, '\0');
    }
    for (OutputSection& section : image_.placement.sections) {
      if (section.synthetic == kNotSynthetic) continue;
      section.size = SyntheticSize(static_cast<Synthetic>(section.synthetic));
      section.used = section.size;
      if (section.synthetic == kSymtab) section.used = uint64_t{image_.symtab.rows} * sizeof(Elf64_Sym);
      section.used -= uint64_t{image_.dynamic.spare_exports} * BytesPerExport(section.synthetic);
      if (section.synthetic == kRelaPlt) {
        section.used = uint64_t{image_.rela.jump_slots + image_.rela.irelative} * sizeof(Elf64_Rela);
      }
    }
    // Sizes that mention others' existence (.dynamic lists .rela.dyn only when it has rows) need a second look.
    if (image_.synthetic[kDynamic].valid()) {
      OutputSection& dynamic = image_.placement.sections[image_.synthetic[kDynamic].value];
      dynamic.size = dynamic.used = SyntheticSize(kDynamic);
    }
    AlignTls();
  }

  // The TLS segment starts at the alignment of its strictest section, so that offsets within it are what they seem.
  void AlignTls() {
    uint32_t alignment = 1;
    OutputSection* first = nullptr;
    for (OutputSection& section : image_.placement.sections) {
      if ((section.flags & kSecTls) == 0) continue;
      if (first == nullptr) first = &section;
      alignment = std::max(alignment, section.alignment);
    }
    if (first != nullptr) first->alignment = alignment;
    tls_alignment_ = alignment;
  }

  void AddHeader(uint32_t type, uint32_t flags, uint64_t alignment) {
    Elf64_Phdr header{};
    header.p_type = type;
    header.p_flags = flags;
    header.p_align = alignment;
    image_.headers.push_back(header);
  }

  // Which program headers there are; their values follow once sections have addresses.
  void PlanHeaders() {
    bool segment[kUnloaded + 1] = {true, false, false, false, false};
    bool tls = false, notes = false, relro = false;
    for (const OutputSection& section : image_.placement.sections) {
      segment[RankOf(section).segment] = true;
      tls |= section.alloc() && (section.flags & kSecTls);
      notes |= section.alloc() && section.kind == SectionKind::kNote;
      relro |= section.relro;
    }
    if (image_.Section(kInterp) || image_.dynamic.present) AddHeader(PT_PHDR, PF_R, 8);
    if (image_.Section(kInterp)) AddHeader(PT_INTERP, PF_R, 1);
    static constexpr uint32_t kFlags[] = {PF_R, PF_R | PF_X, PF_R | PF_W, PF_R | PF_W};
    for (int s = kReadOnly; s < kUnloaded; ++s) {
      if (segment[s]) AddHeader(PT_LOAD, kFlags[s], page());
    }
    if (image_.Section(kDynamic)) AddHeader(PT_DYNAMIC, PF_R | PF_W, 8);
    if (notes) AddNoteHeaders();
    if (image_.Section(kProperty)) AddHeader(PT_GNU_PROPERTY, PF_R, 8);
    if (tls) AddHeader(PT_TLS, PF_R, tls_alignment_);
    if (image_.Section(kEhFrameHdr)) AddHeader(PT_GNU_EH_FRAME, PF_R, 4);
    AddHeader(PT_GNU_STACK, image_.exec_stack ? PF_R | PF_W | PF_X : PF_R | PF_W, 16);
    if (relro) AddHeader(PT_GNU_RELRO, PF_R, 1);
    if (options_.incremental) {
      for (uint32_t i = 0; i < kReservedHeaders; ++i) AddHeader(PT_NULL, 0, 0);
    }
  }

  // One PT_NOTE for each run of note sections with one alignment.
  void AddNoteHeaders() {
    uint32_t last = 0;
    for (const OutputSection& section : image_.placement.sections) {
      if (!section.alloc() || section.kind != SectionKind::kNote || section.alignment == last) continue;
      last = section.alignment;
      AddHeader(PT_NOTE, PF_R, section.alignment);
    }
  }

  void AssignAddresses() {
    image_.base = options_.kind == OutputKind::kExecutable ? options_.image_base : 0;
    image_.base = AlignUp(image_.base, std::max(page(), SegmentAlignment(kReadOnly)));
    uint64_t offset = sizeof(Elf64_Ehdr) + image_.headers.size() * sizeof(Elf64_Phdr);
    uint64_t address = image_.base + offset;
    int segment = kReadOnly;
    for (OutputSection& section : image_.placement.sections) {
      const Rank rank = RankOf(section);
      if (!section.alloc()) {
        offset = AlignUp(offset, section.alignment);
        section.offset = offset;
        offset += section.nobits() ? 0 : section.size;
        continue;
      }
      if (rank.segment != segment) {
        const uint64_t alignment = std::max(page(), SegmentAlignment(rank.segment));
        address = AlignUp(address, alignment);
        offset = AlignUp(offset, alignment);
        segment = rank.segment;
      }
      const uint64_t start = AlignUp(address, section.alignment);
      section.address = start;
      if (section.nobits()) {
        section.offset = offset;
        // .tbss takes no room in memory: each thread's block has it.
        if ((section.flags & kSecTls) == 0) address = start + section.size;
        continue;
      }
      offset += start - address;
      section.offset = offset;
      offset += section.size;
      address = start + section.size;
    }
    image_.section_headers = AlignUp(offset, 8);
    image_.file_size = image_.section_headers + (image_.placement.sections.size() + 1 + image_.spare_sections) * sizeof(Elf64_Shdr);
  }

  uint64_t page() const { return options_.max_page_size; }

  uint64_t SegmentAlignment(int segment) const {
    uint64_t alignment = 1;
    for (const OutputSection& section : image_.placement.sections) {
      if (section.alloc() && RankOf(section).segment == segment) {
        alignment = std::max<uint64_t>(alignment, section.alignment);
      }
    }
    return alignment;
  }

  // Makes `header` cover the sections for which `covers` is true, contiguous by construction.
  template <typename Predicate>
  void Cover(Elf64_Phdr* header, Predicate covers) {
    bool first = true;
    for (const OutputSection& section : image_.placement.sections) {
      if (!section.alloc() || !covers(section)) continue;
      const bool tbss = section.nobits() && (section.flags & kSecTls) && header->p_type != PT_TLS;
      if (tbss) continue;
      if (first) {
        header->p_offset = section.offset;
        header->p_vaddr = header->p_paddr = section.address;
        first = false;
      }
      const uint64_t end = section.address + section.size - header->p_vaddr;
      header->p_memsz = std::max(header->p_memsz, end);
      if (!section.nobits()) header->p_filesz = end;
    }
  }

  void FinishHeaders() {
    int load = 0;
    uint32_t note_alignment = 0;
    std::vector<int> present;
    for (int s = kReadOnly; s < kUnloaded; ++s) {
      bool any = s == kReadOnly;
      for (const OutputSection& section : image_.placement.sections) any |= section.alloc() && RankOf(section).segment == s;
      if (any) present.push_back(s);
    }
    for (Elf64_Phdr& header : image_.headers) {
      switch (header.p_type) {
        case PT_PHDR:
          header.p_offset = sizeof(Elf64_Ehdr);
          header.p_vaddr = header.p_paddr = image_.base + sizeof(Elf64_Ehdr);
          header.p_filesz = header.p_memsz = image_.headers.size() * sizeof(Elf64_Phdr);
          break;
        case PT_INTERP:
          Cover(&header, [](const OutputSection& s) { return s.synthetic == kInterp; });
          break;
        case PT_LOAD:
          FinishLoad(&header, present[load++]);
          break;
        case PT_DYNAMIC:
          Cover(&header, [](const OutputSection& s) { return s.synthetic == kDynamic; });
          break;
        case PT_NOTE:
          note_alignment = static_cast<uint32_t>(header.p_align);
          Cover(&header, [&](const OutputSection& s) {
            return s.kind == SectionKind::kNote && s.alignment == note_alignment;
          });
          break;
        case PT_GNU_PROPERTY:
          Cover(&header, [](const OutputSection& s) { return s.synthetic == kProperty; });
          break;
        case PT_TLS:
          Cover(&header, [](const OutputSection& s) { return (s.flags & kSecTls) != 0; });
          image_.values.tls_begin = header.p_vaddr;
          image_.values.tls_pointer = AlignUp(header.p_vaddr + header.p_memsz, header.p_align);
          break;
        case PT_GNU_EH_FRAME:
          Cover(&header, [](const OutputSection& s) { return s.synthetic == kEhFrameHdr; });
          break;
        case PT_GNU_STACK:
          header.p_memsz = options_.stack_size;
          break;
        case PT_GNU_RELRO:
          Cover(&header, [](const OutputSection& s) { return s.relro; });
          header.p_memsz = AlignUp(header.p_vaddr + header.p_memsz, page()) - header.p_vaddr;
          break;
        default:
          break;
      }
    }
    image_.values.got_base = image_.Section(kGotPlt) ? image_.AddressOf(kGotPlt) : image_.AddressOf(kGot);
    if (image_.cells.tlsld >= 0) image_.values.tlsld = image_.GotCellAddress(image_.cells.tlsld);
  }

  void FinishLoad(Elf64_Phdr* header, int segment) {
    Cover(header, [&](const OutputSection& s) { return RankOf(s).segment == segment; });
    header->p_align = std::max(page(), SegmentAlignment(segment));
    if (segment == kReadOnly) {  // the headers are in it, whatever else is
      const uint64_t end = header->p_vaddr + header->p_memsz;
      header->p_offset = 0;
      header->p_vaddr = header->p_paddr = image_.base;
      header->p_memsz = end > image_.base ? end - image_.base
                                          : sizeof(Elf64_Ehdr) + image_.headers.size() * sizeof(Elf64_Phdr);
      header->p_filesz = header->p_memsz;
    }
    if (segment == kRelro) {
      // The loader protects whole pages; memory up to the page's end must exist.
      header->p_memsz = AlignUp(header->p_vaddr + header->p_memsz, page()) - header->p_vaddr;
    }
  }

  void FindTargets() {
    image_.targets.resize(program_.symbols.size());
    ParallelFor(program_.symbols.size(), 1 << 13, [&](size_t i) {
      const SymbolId id(static_cast<uint32_t>(i));
      const Symbol& symbol = program_.symbols[i];
      if (!symbol.used) return;
      ElfImage::Target& target = image_.targets[i];
      target.address = SymbolAddress(program_, image_, arch_, id);
      target.size = symbol.size;
      target.traits = TraitsOf(symbol);
      target.cells = image_.cells.Find(id) != nullptr;
    });
  }

  void DefineBoundaries() {
    for (Symbol& symbol : program_.symbols) {
      if (symbol.kind == SymbolKind::kLinker) symbol.value = BoundaryAddress(symbol);
    }
  }

  uint64_t BoundaryAddress(const Symbol& symbol) const {
    uint64_t text_end = image_.base, data_end = image_.base, bss_start = 0, image_end = image_.base;
    for (const OutputSection& section : image_.placement.sections) {
      if (!section.alloc() || (section.flags & kSecTls)) continue;
      const uint64_t end = section.address + section.size;
      image_end = std::max(image_end, end);
      if (section.flags & kSecExec) text_end = end;
      if (!section.nobits()) data_end = end;
      if (section.name == ".bss" && bss_start == 0) bss_start = section.address;
      if (section.name == symbol.boundary_section) {
        if (symbol.boundary == Boundary::kSectionStart) return section.address;
        if (symbol.boundary == Boundary::kSectionEnd) return section.address + section.used;
      }
    }
    switch (symbol.boundary) {
      case Boundary::kTextEnd: return text_end;
      case Boundary::kDataEnd: return data_end;
      case Boundary::kBssStart: return bss_start != 0 ? bss_start : data_end;
      case Boundary::kImageEnd: return image_end;
      case Boundary::kDynamic: return image_.AddressOf(kDynamic);
      case Boundary::kGot: return image_.values.got_base;
      case Boundary::kEhFrameHdr: return image_.AddressOf(kEhFrameHdr);
      case Boundary::kTlsStart: return image_.values.tls_begin;
      case Boundary::kIpltStart:
      case Boundary::kIpltEnd: {
        // A static position-dependent program applies its IRELATIVE rows itself; any other has a loader for that.
        const OutputSection* rela = image_.Section(kRelaPlt);
        if (rela == nullptr || image_.dynamic.present) return image_.base;
        return rela->address + (symbol.boundary == Boundary::kIpltEnd ? rela->used : 0);
      }
      default: return image_.base;
    }
  }

  const LinkOptions& options_;
  const Arch& arch_;
  Program& program_;
  ElfImage image_;
  uint32_t tls_alignment_ = 1;
};

}  // namespace

ElfImage PlaceElf(const LinkOptions& options, const Arch& arch, Demands demands, Program* program) {
  return Placer(options, arch, std::move(demands), program).Run();
}

}  // namespace kitlink::elf
