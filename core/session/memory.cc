#include "core/session/memory.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "core/base/digest.h"
#include "core/base/parallel.h"
#include "core/dwarf/padding.h"
#include "core/input/input_search.h"
#include "core/layout/assign.h"
#include "core/session/debug_tables.h"
#include "core/session/diff.h"
#include "core/session/library_search.h"
#include "core/session/rows.h"
#include "core/session/sites.h"
#include "core/symbols/linker_symbols.h"

namespace kitlink {
namespace {

// Marks the names that the unit's debug information refers to.
void NoteDescribed(const UnitMemory& unit, Memory* memory) {
  unit.sites.ForEachName([&](uint32_t global) {
    SymbolMemory& symbol = memory->symbols[unit.globals[global].symbol.value];
    if (symbol.described) return;
    unit.sites.ForEach(*memory->arch, global, [&](const Site& site) {
      symbol.described |= !(unit.atoms[site.atom].flags & kSecAlloc);
    });
  });
}

class Capture {
 public:
  Capture(const SharedOptions& options, ColdLink* link, int64_t started_ns, FileSource& files)
      : program_(*link->program), image_(*link->image), started_ns_(started_ns), files_(files), memory_(std::make_unique<Memory>()) {
    memory_->options = options;
    memory_->arch = link->arch;
    memory_->output = TraitsOf(options);
    memory_->values = image_.values();
  }

  absl::StatusOr<std::unique_ptr<Memory>> Run(const WrittenImage& written, const ImageReader& read) {
    absl::StatusOr<std::unique_ptr<HotTables>> tables = image_.Capture(written, read);
    if (!tables.ok()) return tables.status();
    memory_->tables = *std::move(tables);
    memory_->image_size = image_.size();
    CaptureSections();
    CaptureMerged();
    CaptureFiles();
    CaptureUnits();
    DigestYoung();
    CaptureSets();
    ListRows(memory_.get());
    ListTables(memory_.get());
    CaptureSymbols();
    CaptureCommons();
    CountImports();
    ParallelFor(program_.units.size(), 8, [&](size_t u) {
      const Unit& unit = program_.units[u];
      NoteCopies(*memory_, *unit.object, [&](uint32_t index) { return program_.GlobalOf(unit, index); },
                 [&](uint32_t s) { return program_.atoms[unit.first_atom + s].state == Atom::kLive; },
                 &memory_->units[u].globals);
    });
    CaptureUsers();
    CaptureSites();
    FindInteriorReferences();
    CheckStamps();
    memory_->names = SymbolNames(std::move(program_.names), static_cast<uint32_t>(program_.symbols.size()));
    NoteBystanders();
    return std::move(memory_);
  }

 private:
  void CaptureSections() {
    for (const OutputSection& section : image_.placement().sections) {
      SectionMemory out;
      out.name = section.name;
      out.flags = section.flags;
      out.nobits = section.nobits();
      out.exact = section.exact;
      out.padded = section.padded;
      out.rows = section.rows;
      out.by_priority = GoesByPriority(section.kind);
      out.used = section.used;
      out.alignment = section.alignment;
      out.relro = section.relro;
      out.address = section.address;
      out.offset = section.offset;
      out.size = section.size;
      if (!section.alloc() && !section.exact) {
        const dwarf::Filler* filler = dwarf::Filler::For(section.name);
        if (filler != nullptr) out.min_hole = filler->min_hole();
      }
      out.space = Space(section.used, section.exact ? section.used : section.size, out.min_hole);
      memory_->sections.push_back(std::move(out));
    }
    const AtomId padding = image_.padding_abbrev();
    if (padding.valid()) {
      memory_->padding_abbrev = image_.placement().places[padding.value].offset;
      memory_->has_padding_abbrev = true;
    }
  }

  void CaptureMerged() {
    memory_->merged.resize(program_.merged.size());
    for (uint32_t s = 0; s < image_.placement().sections.size(); ++s) {
      const OutputSection& section = image_.placement().sections[s];
      if (section.merged != OutputSection::kNotMerged) memory_->merged[section.merged].section = SectionId(s);
    }
    for (size_t m = 0; m < program_.merged.size(); ++m) {
      const MergedSection& in = program_.merged[m];
      MergedMemory& out = memory_->merged[m];
      out.name = in.name;
      out.flags = in.flags;
      out.entry_size = in.entry_size;
      out.alignment = in.alignment;
      out.used = in.size;
      std::vector<PieceDigest> digests(in.pieces.size());
      ParallelFor(in.pieces.size(), 512, [&](size_t p) {
        digests[p] = DigestPiece(ByteView(in.pieces[p].data, in.pieces[p].size));
      });
      out.offsets.Reserve(in.pieces.size());
      for (size_t p = 0; p < digests.size(); ++p) out.offsets.Add(digests[p], in.pieces[p].offset);
    }
  }

  void CaptureFiles() {
    for (const OpenedFile& opened : program_.opened) {
      FileMemory file;
      file.path = opened.path;
      file.role = opened.role;
      file.stamp = opened.stamp;
      file.settled = OldEnough(opened.stamp, started_ns_);
      auto [it, fresh] = memory_->file_of.emplace(opened.path, static_cast<uint32_t>(memory_->files.size()));
      if (fresh) {
        memory_->files.push_back(std::move(file));
      } else if (FileMemory& known = memory_->files[it->second];
                 known.role != file.role && (known.role == OpenedFile::Role::kThinMember || file.role == OpenedFile::Role::kThinMember)) {
        // An object, and behind a member of a thin archive as well: whoever reads one does not see the other.
        known.role = OpenedFile::Role::kOther;
      }
    }
    for (FileMemory& file : memory_->files) IdentifyContent(&file);
    for (const std::unique_ptr<Archive>& archive : program_.archives) {
      auto it = memory_->file_of.find(archive->path);
      if (it == memory_->file_of.end()) continue;
      FileMemory& file = memory_->files[it->second];
      file.member_list = MemberListDigest(*archive);
      file.members = MembersOf(*archive);
      file.thin = archive->thin;
      file.rank = archive->rank;
    }
    for (const OfferedObject& offered : program_.offered) {
      auto it = memory_->file_of.find(offered.path);
      if (it != memory_->file_of.end()) memory_->files[it->second].rank = offered.rank.input;
    }
    for (size_t i = 0; i < memory_->options->inputs.size(); ++i) memory_->input_ranks.push_back((i + 1) * UnitRank::kStride);
    for (const InputArgument& input : memory_->options->inputs) {
      memory_->library_found.push_back(input.library ? FindLibraryPlace(memory_->options, input, *memory_, files_).found : "");
    }
  }

  // What a relink only wants to know to be the same.
  void IdentifyContent(FileMemory* file) {
    using Role = OpenedFile::Role;
    if (file->role != Role::kShared && file->role != Role::kScript && file->role != Role::kOther) return;
    const absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files_.Open(file->path);
    if (!bytes.ok() || (*bytes)->stamp() != file->stamp) return;
    const ContentId content = HashContent((*bytes)->bytes());
    if (!(*bytes)->torn()) file->content = content;
  }

  uint32_t FileOf(const ObjectFile& object) const {
    auto it = memory_->file_of.find(object.path);
    return it == memory_->file_of.end() ? Id<void>::kNone : it->second;
  }

  void CaptureUnits() {
    memory_->units.resize(program_.units.size());
    ParallelFor(program_.units.size(), 8, [&](size_t u) { CaptureUnit(static_cast<uint32_t>(u)); });
    NumberMembers();
    for (uint32_t u = 0; u < program_.units.size(); ++u) {
      UnitMemory& unit = memory_->units[u];
      if (!program_.units[u].synthetic && unit.file < memory_->files.size()) {
        memory_->files[unit.file].units.push_back(UnitId(u));
      }
      if (!program_.units[u].synthetic) ++memory_->traits[{unit.traits, unit.static_tls}];
      for (const AtomMemory& atom : unit.atoms) {
        memory_->atom_count += atom.state == AtomMemory::kPlaced || atom.state == AtomMemory::kMerged;
        if (atom.thread_piece()) ++memory_->sections[atom.section.value].thread_pieces;
      }
    }
  }

  // Compilers often end just before the link begins.
  void DigestYoung() {
    for (FileMemory& file : memory_->files) {
      if (file.settled || file.role != OpenedFile::Role::kObject || file.units.size() != 1) continue;
      const std::shared_ptr<InputBytes>& bytes = program_.units[file.units[0].value].object->file;
      if (bytes != nullptr && bytes->copied()) file.young = DigestQuickly(bytes->bytes());
    }
  }

  // Members are found again by name and by which of that name they are: names may repeat in an archive.
  void NumberMembers() {
    absl::flat_hash_map<std::pair<const void*, uint64_t>, uint32_t> ordinals;  // (file, offset of the member)
    for (const std::unique_ptr<Archive>& archive : program_.archives) {
      absl::flat_hash_map<absl::string_view, uint32_t> seen;
      for (const ArchiveMember& member : archive->members) {
        ordinals[{archive.get(), reinterpret_cast<uintptr_t>(member.bytes.data())}] = seen[member.name]++;
      }
    }
    absl::flat_hash_map<absl::string_view, const Archive*> by_path;
    for (const std::unique_ptr<Archive>& archive : program_.archives) by_path[archive->path] = archive.get();
    for (uint32_t u = 0; u < program_.units.size(); ++u) {
      const ObjectFile& object = *program_.units[u].object;
      auto archive = by_path.find(object.path);
      if (object.member.empty() || archive == by_path.end()) continue;
      auto it = ordinals.find({archive->second, reinterpret_cast<uintptr_t>(object.image.data())});
      if (it != ordinals.end()) memory_->units[u].ordinal = it->second;
    }
  }

  void CaptureUnit(uint32_t u) {
    const Unit& in = program_.units[u];
    UnitMemory& out = memory_->units[u];
    out.captured = !in.synthetic;
    out.file = FileOf(*in.object);
    out.member = in.object->member;
    out.rank = in.rank;
    out.traits = in.object->traits;
    out.local_cells = !in.promoted.empty();
    // any order: whether there is one.
    out.local_ifuncs = std::any_of(in.promoted.begin(), in.promoted.end(), [&](const auto& promoted) {
      return program_.symbols[promoted.second.value].type == SymbolType::kIfunc;
    });
    out.static_tls = memory_->output.shared && UsesStaticTls(
        *memory_->arch, *in.object, memory_->output,
        [&](uint32_t s) { return program_.atoms[in.first_atom + s].state == Atom::kLive; });
    out.lazy = in.lazy;
    if (!out.member.empty()) out.content = DigestQuickly(in.object->image);
    const size_t sections = in.object->sections.size();
    std::vector<uint32_t> numbers(sections, References::kOwn);
    const auto atoms = program_.atoms.begin() + in.first_atom;
    out.atoms.reserve(static_cast<size_t>(
        std::count_if(atoms, atoms + static_cast<ptrdiff_t>(sections), [](const Atom& a) { return a.state != Atom::kAbsent; })));
    for (uint32_t s = 0; s < sections; ++s) {
      const Atom& atom = program_.atoms[in.first_atom + s];
      if (atom.state == Atom::kAbsent) continue;
      numbers[s] = static_cast<uint32_t>(out.atoms.size());
      out.atoms.push_back(CaptureAtom(*in.object, s, atom, AtomId(in.first_atom + s)));
    }
    out.globals = GlobalsOf(*in.object, [&](uint32_t i) { return program_.names.Find(in.object->symbols[i].name); });
    for (GlobalMemory& global : out.globals) {
      if (!global.symbol.valid()) continue;
      const Symbol& symbol = program_.symbols[global.symbol.value];
      global.owner = symbol.kind == SymbolKind::kDefined && symbol.file == u && global.role == GlobalMemory::kDefined;
      const uint32_t section = in.object->symbols[global.index].section;
      global.lost = global.role == GlobalMemory::kDefined && section < in.object->sections.size() &&
                    program_.atoms[in.first_atom + section].state == Atom::kDiscarded;
    }
    for (const SectionGroup& group : in.object->groups) {
      if (!group.comdat) continue;
      const bool lost = !group.members.empty() &&
                        program_.atoms[in.first_atom + group.members[0]].state == Atom::kDiscarded;
      (lost ? out.lost_groups : out.kept_groups).push_back(program_.names.Find(group.signature));
    }
    std::sort(out.kept_groups.begin(), out.kept_groups.end());
    std::sort(out.lost_groups.begin(), out.lost_groups.end());
    if (memory_->options->gc_sections) CaptureReferences(in, numbers, &out);
    if (std::none_of(out.atoms.begin(), out.atoms.end(), [&](const AtomMemory& a) { return IsRow(*memory_, a); })) return;
    const std::vector<bool> movable = MovableSections(*in.object, *memory_->arch);
    for (uint32_t s = 0, a = 0; s < in.object->sections.size(); ++s) {
      if (program_.atoms[in.first_atom + s].state != Atom::kAbsent) out.atoms[a++].movable = movable[s];
    }
  }

  void CaptureReferences(const Unit& in, const std::vector<uint32_t>& numbers, UnitMemory* out) {
    const ObjectFile& object = *in.object;
    NoteUnloaded(object, &out->globals);
    References references = ReferencesOf(object, in.eh_frames, [&](uint32_t index) { return in.globals[index - object.first_global]; });
    std::vector<std::pair<SymbolId, uint32_t>> definitions;
    for (const GlobalMemory& global : out->globals) {
      if (global.owner) definitions.push_back({global.symbol, object.symbols[global.index].section});
    }
    references.SetDefinitions(std::move(definitions));
    out->references = references.Renumbered(numbers, static_cast<uint32_t>(out->atoms.size()));
  }

  // What `__start_NAME` keeps alive, wherever it is.
  void CaptureSets() {
    if (!memory_->options->gc_sections) return;
    for (uint32_t u = 0; u < memory_->units.size(); ++u) {
      for (const AtomMemory& atom : memory_->units[u].atoms) {
        if (!(atom.flags & kSecAlloc) || !IsCIdentifier(atom.name)) continue;
        std::vector<UnitId>& units = memory_->sets[atom.name];
        if (units.empty() || units.back() != UnitId(u)) units.push_back(UnitId(u));
      }
    }
  }

  AtomMemory CaptureAtom(const ObjectFile& object, uint32_t s, const Atom& atom, AtomId id) {
    const InputSection& section = object.sections[s];
    AtomMemory out;
    out.name = std::string(section.name);
    out.flags = section.flags;
    out.kind = section.kind;
    out.alignment = section.alignment;
    out.size = section.size;
    switch (atom.state) {
      case Atom::kDead: out.state = AtomMemory::kDead; break;
      case Atom::kDiscarded: out.state = AtomMemory::kDiscarded; break;
      default:
        out.state = atom.merged ? AtomMemory::kMerged : atom.eh_frame ? AtomMemory::kFrames : AtomMemory::kPlaced;
        break;
    }
    if (out.state == AtomMemory::kPlaced) {
      const Place& place = image_.placement().places[id.value];
      out.section = place.section;
      out.offset = place.offset;
      out.capacity = place.capacity;
    }
    return out;
  }

  void CaptureSymbols() {
    memory_->symbols.resize(program_.symbols.size());
    ParallelFor(program_.symbols.size(), 4096, [&](size_t i) {
      const Symbol& in = program_.symbols[i];
      if (!in.used) return;
      SymbolMemory& out = memory_->symbols[i];
      out.address = image_.SymbolAddress(SymbolId(static_cast<uint32_t>(i)));
      out.body = out.address;
      out.size = in.size;
      out.traits = TraitsOf(in);
      out.kind = KindOf(in.kind);
      out.visibility = in.visibility;
      out.exported = in.exported;
      out.shared = in.shared_reference;
      out.strong = in.strongly_referenced;
      const bool defined = in.kind == SymbolKind::kDefined || in.kind == SymbolKind::kAbsolute;
      if (defined && in.file < memory_->units.size()) out.owner = UnitId(in.file);
      if (in.kind == SymbolKind::kDefined && in.atom.valid()) {
        out.dead = program_.atoms[in.atom.value].state == Atom::kDead;
        out.executable = (program_.section(in.atom).flags & kSecExec) != 0;
        // Its address is its PLT entry's; the resolver's is what a row of .rela.plt says.
        if (out.traits.ifunc && !out.dead) out.body = image_.placement().Address(in.atom) + in.value;
      }
    });
  }

  void CaptureCommons() {
    for (uint32_t i = 0; i < program_.symbols.size(); ++i) {
      const Symbol& symbol = program_.symbols[i];
      if (!symbol.used || symbol.kind != SymbolKind::kDefined || !symbol.atom.valid()) continue;
      const UnitId unit = program_.atoms[symbol.atom.value].unit;
      const InputSection& section = program_.section(symbol.atom);
      if (!program_.units[unit.value].synthetic || section.name != "COMMON") continue;
      const Place& place = image_.placement().places[symbol.atom.value];
      memory_->common_unit = unit;
      memory_->commons[SymbolId(i)] = {place.section, place.offset, place.capacity, section.alignment};
    }
  }

  static SymbolMemory::Kind KindOf(SymbolKind kind) {
    switch (kind) {
      case SymbolKind::kUndefined: return SymbolMemory::kUndefined;
      case SymbolKind::kDefined: return SymbolMemory::kDefined;
      case SymbolKind::kAbsolute: return SymbolMemory::kAbsolute;
      case SymbolKind::kShared: return SymbolMemory::kShared;
      case SymbolKind::kLinker: return SymbolMemory::kLinker;
    }
    return SymbolMemory::kUndefined;
  }

  // The first library that defines a name is the one that would be bound to.
  void NoteOffers(uint32_t l) {
    const Library& library = program_.libraries[l];
    LibraryMemory out = RememberLibrary(*library.file, [&](absl::string_view name) { return memory_->Intern(name); });
    const auto file = memory_->file_of.find(library.file->path);
    out.file = file == memory_->file_of.end() ? Id<void>::kNone : file->second;
    out.as_needed = library.as_needed;
    out.needed = library.needed;
    for (uint32_t s = 0; s < library.file->defined.size(); ++s) {
      const SharedSymbol& symbol = library.file->defined[s];
      if (!symbol.default_version) continue;  // only "name@version" means it
      const SymbolId id = memory_->Intern(symbol.name);
      SymbolMemory& memory = memory_->symbols[id.value];
      memory.shared = true;
      if (memory.kind == SymbolMemory::kShared && memory.address != 0 && Copied(id, l)) {
        out.copies.push_back({id, CopyDigest(*library.file, s)});
      }
      if (offered_.insert(id).second && library.needed) memory_->library_offers.emplace(id, OfferOf(l, symbol, memory_.get()));
    }
    memory_->libraries.push_back(std::move(out));
  }

  // True when a library's object lives in the image.
  bool Copied(SymbolId id, uint32_t library) const {
    if (id.value >= program_.symbols.size()) return false;
    const Symbol& symbol = program_.symbols[id.value];
    return symbol.kind == SymbolKind::kShared && symbol.file == library && symbol.atom.valid();
  }

  void CountImports() {
    for (size_t i = 0; i < program_.symbols.size(); ++i) {
      const Symbol& symbol = program_.symbols[i];
      if (!symbol.used || symbol.kind != SymbolKind::kShared) continue;
      memory_->versioned_imports |= symbol.hidden_version;
      if (!symbol.strongly_referenced) continue;
      memory_->symbols[i].import_group = memory_->ImportGroup(symbol.file, symbol.version);
      if (memory_->options->gc_sections && !memory_->tables->Imports(SymbolId(static_cast<uint32_t>(i)))) continue;
      ++memory_->import_uses[memory_->symbols[i].import_group];
    }
  }

  void CaptureUsers() {
    const uint32_t symbols = static_cast<uint32_t>(program_.symbols.size());
    std::vector<std::vector<SymbolId>> names(memory_->units.size()), groups(memory_->units.size());
    ParallelFor(memory_->units.size(), 16, [&](size_t u) {
      const UnitMemory& unit = memory_->units[u];
      for (const GlobalMemory& global : unit.globals) {
        if (global.symbol.valid()) names[u].push_back(global.symbol);
      }
      for (const auto* list : {&unit.kept_groups, &unit.lost_groups}) {
        for (SymbolId id : *list) {
          if (id.valid()) groups[u].push_back(id);
        }
      }
    });
    memory_->users.Build(symbols, names);
    memory_->group_users.Build(symbols, groups);
  }

  void CaptureSites() {
    std::vector<std::vector<SymbolId>> names(memory_->units.size());
    ParallelFor(memory_->units.size(), 8, [&](size_t u) {
      const Unit& unit = program_.units[u];
      UnitMemory& out = memory_->units[u];
      if (unit.synthetic) return;
      std::vector<uint32_t> atom_of(unit.object->sections.size(), kNoAtomMemory);
      uint32_t atom = 0;
      for (uint32_t s = 0; s < atom_of.size(); ++s) {
        if (program_.atoms[unit.first_atom + s].state != Atom::kAbsent) atom_of[s] = atom++;
      }
      out.sites = SitesOf(*memory_, {*unit.object, atom_of, out.atoms, out.globals},
                          [&](SymbolId id) -> const SymbolMemory& { return memory_->symbols[id.value]; });
      out.sites.ForEachName([&](uint32_t global) { names[u].push_back(out.globals[global].symbol); });
    });
    memory_->site_users.Build(static_cast<uint32_t>(program_.symbols.size()), names);
    for (const UnitMemory& unit : memory_->units) NoteDescribed(unit, memory_.get());
  }

  // Names that no unit has, but that would mean something if one had: those of libraries, and of members that nobody
  // needed.
  void NoteBystanders() {
    absl::flat_hash_set<const void*> pulled;
    for (const Unit& unit : program_.units) pulled.insert(unit.object->image.data());
    for (const std::unique_ptr<Archive>& archive : program_.archives) {
      const auto file = memory_->file_of.find(archive->path);
      if (file == memory_->file_of.end()) continue;
      for (uint32_t m = 0; m < archive->members.size(); ++m) {
        const ArchiveMember& member = archive->members[m];
        if (pulled.contains(member.bytes.data())) continue;
        for (absl::string_view name : member.defines) NoteOffer(name, file->second, m, memory_.get());
      }
    }
    for (const OfferedObject& offered : program_.offered) {
      const auto file = memory_->file_of.find(offered.path);
      if (file == memory_->file_of.end()) continue;
      for (SymbolId id : offered.defines) NoteOffer(memory_->names.Name(id), file->second, 0, memory_.get());
    }
    NoteContests();
    for (uint32_t l = 0; l < program_.libraries.size(); ++l) NoteOffers(l);
    for (const Library& library : program_.libraries) {
      for (absl::string_view name : library.file->undefined) memory_->symbols[memory_->Intern(name).value].shared = true;
    }
    memory_->pinned = PinnedNames(*memory_);
    memory_->exports = std::move(program_.exports);
  }

  // Of several members that define a needed name, the one that a full link takes may depend on which reference it meets
  // first. Where there are none, it takes exactly those that a chain of references leads to.
  void NoteContests() {
    for (uint32_t u = 0; u < program_.units.size() && !memory_->members_contested; ++u) {
      const UnitMemory& unit = memory_->units[u];
      if (!unit.lazy) continue;
      for (const GlobalMemory& global : unit.globals) {
        if (global.role == GlobalMemory::kUndefined || !global.symbol.valid()) continue;
        bool needed = false, rival = memory_->offers.contains(global.symbol), plain = false;
        for (UnitId user : memory_->users.Of(global.symbol)) {
          const GlobalMemory* say = memory_->units[user.value].Find(global.symbol);
          if (say == nullptr || user.value == u) continue;
          const bool refers = say->role == GlobalMemory::kUndefined;
          needed |= refers && say->binding != SymbolBinding::kWeak;
          rival |= !refers;
          plain |= !refers && !memory_->units[user.value].lazy;
        }
        if (needed && rival && !plain) memory_->members_contested = true;
      }
    }
  }

  // Moving a function is only possible when all others refer to its entry, resizing one when none refers to its size.
  void FindInteriorReferences() {
    std::vector<std::atomic<uint8_t>> interior(program_.symbols.size()), sized(program_.symbols.size());
    ParallelFor(program_.units.size(), 8, [&](size_t u) {
      const Unit& unit = program_.units[u];
      for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
        const InputSection& section = unit.object->sections[s];
        if (program_.atoms[unit.first_atom + s].state != Atom::kLive || !(section.flags & kSecAlloc)) continue;
        if (section.kind == SectionKind::kEhFrame) continue;
        for (const Reloc& reloc : section.relocs) {
          if (reloc.symbol >= unit.object->symbols.size()) continue;  // the file is being rewritten under us
          const SymbolId id = program_.GlobalOf(unit, reloc.symbol);
          if (!id.valid()) continue;
          if (memory_->arch->Info(reloc.type).form == RelocForm::kSize) sized[id.value].store(1, std::memory_order_relaxed);
          if (!memory_->symbols[id.value].executable) continue;
          if (!IsEntryReference(*memory_->arch, reloc)) interior[id.value].store(1, std::memory_order_relaxed);
        }
      }
    });
    for (size_t i = 0; i < interior.size(); ++i) {
      memory_->symbols[i].interior = interior[i].load() != 0;
      memory_->symbols[i].sized = sized[i].load() != 0;
    }
  }

  // Whatever changed while it was looked at was not what was linked. A copy of a file is what was linked whatever
  // became of the file, and so is the mapping of one that is gone.
  void CheckStamps() {
    for (const FileMemory& file : memory_->files) {
      absl::StatusOr<FileStamp> stamp = files_.Stat(file.path);
      if (!stamp.ok() || *stamp == file.stamp || stamp->inode != file.stamp.inode) continue;
      for (UnitId unit : file.units) {
        const std::shared_ptr<InputBytes>& bytes = program_.units[unit.value].object->file;
        if (bytes == nullptr || !bytes->copied()) memory_->units[unit.value].captured = false;
      }
    }
    for (size_t u = 0; u < program_.units.size(); ++u) {
      const std::shared_ptr<InputBytes>& bytes = program_.units[u].object->file;
      if (bytes != nullptr && bytes->torn()) memory_->units[u].captured = false;
    }
  }

  Program& program_;
  PlannedImage& image_;
  const int64_t started_ns_;
  FileSource& files_;
  absl::flat_hash_set<SymbolId> offered_;        // by libraries
  std::unique_ptr<Memory> memory_;
};

}  // namespace

void Memory::NoteSites(UnitId id) {
  const UnitMemory& unit = units[id.value];
  unit.sites.ForEachName([&](uint32_t global) { site_users.Add(unit.globals[global].symbol, id); });
  NoteDescribed(unit, this);
}

bool IsEntryReference(const Arch& arch, const Reloc& reloc) {
  const RelocInfo info = arch.Info(reloc.type);
  if (info.form == RelocForm::kSize || info.form == RelocForm::kNone) return true;
  return reloc.addend == (info.form == RelocForm::kAbsolute ? 0 : -static_cast<int64_t>(info.width));
}

void NoteCopies(const Memory& memory, const ObjectFile& object, absl::FunctionRef<SymbolId(uint32_t)> symbol_of,
                absl::FunctionRef<bool(uint32_t)> live, std::vector<GlobalMemory>* globals) {
  for (uint32_t s = 0; s < object.sections.size(); ++s) {
    const InputSection& section = object.sections[s];
    if (!(section.flags & kSecAlloc) || !live(s)) continue;
    for (size_t r = 0; r < section.relocs.size(); ++r) {
      if (section.relocs[r].symbol < object.first_global || section.relocs[r].symbol >= object.symbols.size()) continue;
      const SymbolId id = symbol_of(section.relocs[r].symbol);
      if (!id.valid() || id.value >= memory.symbols.size()) continue;
      const SymbolMemory& symbol = memory.symbols[id.value];
      if (symbol.kind != SymbolMemory::kShared || symbol.address == 0) continue;
      const ScanResult scan = memory.arch->Scan(section.relocs.subspan(r), section.bytes, (section.flags & kSecWrite) != 0,
                                                symbol.traits, memory.output);
      if (!(scan.needs & (kNeedCopy | kNeedCanonicalPlt))) continue;
      const auto it = std::lower_bound(globals->begin(), globals->end(), id,
                                       [](const GlobalMemory& g, SymbolId wanted) { return g.symbol < wanted; });
      if (it != globals->end() && it->symbol == id) it->copied = true;
    }
  }
}

bool UsesStaticTls(const Arch& arch, const ObjectFile& object, const OutputTraits& output,
                   absl::FunctionRef<bool(uint32_t)> live) {
  TargetTraits variable;
  variable.tls = variable.imported = true;
  for (uint32_t s = 0; s < object.sections.size(); ++s) {
    const InputSection& section = object.sections[s];
    if (!(section.flags & kSecAlloc) || !live(s)) continue;
    for (size_t r = 0; r < section.relocs.size(); ++r) {
      const RelocForm form = arch.Info(section.relocs[r].type).form;
      if (form != RelocForm::kTlsSequence && form != RelocForm::kTpOffset) continue;
      const ScanResult scan = arch.Scan(section.relocs.subspan(r), section.bytes, true, variable, output);
      if (scan.needs & kNeedStaticTls) return true;
    }
  }
  return false;
}

void NoteUnloaded(const ObjectFile& object, std::vector<GlobalMemory>* globals) {
  std::vector<bool> named(object.symbols.size());
  for (const InputSection& section : object.sections) {
    if (section.flags & kSecAlloc) continue;
    for (const Reloc& reloc : section.relocs) {
      if (reloc.symbol < named.size()) named[reloc.symbol] = true;
    }
  }
  for (GlobalMemory& global : *globals) global.unloaded = named[global.index];
}

uint64_t OfferDigest(const ArchiveMember& member) {
  uint64_t digest = FnvWords(AsBytes(member.name), member.defines.size());
  for (absl::string_view name : member.defines) digest = FnvWords(AsBytes(name), digest);
  return digest;
}

std::vector<MemberMemory> MembersOf(const Archive& archive) {
  std::vector<MemberMemory> members;
  members.reserve(archive.members.size());
  for (const ArchiveMember& member : archive.members) members.push_back({FnvWords(AsBytes(member.name)), OfferDigest(member)});
  return members;
}

uint64_t MemberListDigest(const Archive& archive) {
  uint64_t digest = archive.members.size();
  for (const ArchiveMember& member : archive.members) {
    const uint64_t offer = OfferDigest(member);
    digest = FnvWords(ByteView(reinterpret_cast<const uint8_t*>(&offer), sizeof(offer)), digest);
  }
  return digest;
}

std::vector<GlobalMemory> GlobalsOf(const ObjectFile& object, absl::FunctionRef<SymbolId(uint32_t)> id) {
  std::vector<GlobalMemory> globals;
  globals.reserve(object.symbols.size() - std::min<size_t>(object.first_global, object.symbols.size()));
  for (uint32_t i = object.first_global; i < object.symbols.size(); ++i) {
    const InputSymbol& symbol = object.symbols[i];
    GlobalMemory global;
    global.index = i;
    global.symbol = id(i);
    global.binding = symbol.binding;
    global.type = symbol.type;
    global.visibility = symbol.visibility;
    if (symbol.undefined()) {
      global.role = GlobalMemory::kUndefined;
      global.type = SymbolType::kNone;
    } else if (symbol.common()) {
      global.role = GlobalMemory::kCommon;
      global.value = symbol.size;
      global.alignment = static_cast<uint8_t>(std::bit_width(std::max<uint64_t>(symbol.value, 1)) - 1);
    } else if (symbol.section == kSectionAbsolute) {
      global.role = GlobalMemory::kAbsolute;
      global.value = symbol.value;
    } else {
      global.role = GlobalMemory::kDefined;
    }
    globals.push_back(global);
  }
  std::sort(globals.begin(), globals.end(),
            [](const GlobalMemory& a, const GlobalMemory& b) { return a.symbol < b.symbol; });
  return globals;
}

SymbolId GlobalId(const Memory& memory, const ObjectFile& object, uint32_t index) {
  const size_t i = index - object.first_global;
  return i < object.ids.size() && object.ids[i].valid() ? object.ids[i] : memory.names.Find(object.symbols[index].name);
}

absl::string_view OfferedName(absl::string_view name) {
  const size_t at = name.find("@@");
  return at == absl::string_view::npos || at == 0 ? name : name.substr(0, at);
}

void NoteOffer(absl::string_view name, uint32_t file, uint32_t member, Memory* memory) {
  const SymbolId id = memory->Intern(OfferedName(name));
  memory->symbols[id.value].lazy = true;
  const auto [it, fresh] = memory->offers.try_emplace(id, MemberOffer{file, member, false});
  if (fresh) return;
  MemberOffer& known = it->second;
  const auto place = [&](const MemberOffer& offer) { return std::make_pair(memory->files[offer.file].rank, offer.member); };
  const MemberOffer offer{file, member, true};
  if (known.file == file && known.member == member) return;
  if (memory->files[known.file].gone && !known.several) {
    known = {file, member, false};
    return;
  }
  if (place(offer) < place(known)) known = offer;
  known.several = true;
}

SymbolId Memory::Intern(absl::string_view name) {
  const SymbolId id = names.Intern(name);
  if (id.value >= symbols.size()) symbols.resize(names.count());
  return id;
}

uint32_t Memory::ImportGroup(uint32_t library, absl::string_view version) {
  const auto [it, fresh] = import_groups.try_emplace(std::make_pair(library, std::string(version)),
                                                     static_cast<uint32_t>(import_uses.size()));
  if (fresh) import_uses.push_back(0);
  return it->second;
}

uint32_t Memory::LibraryOfGroup(uint32_t group) const {
  // any order: only one has this index.
  for (const auto& [key, index] : import_groups) {
    if (index == group) return key.first;
  }
  return Id<void>::kNone;
}

void GlobalMemory::Encode(Encoder& encoder) const {
  encoder.Put(symbol, role, binding, type, visibility, bool{owner}, bool{copied}, bool{lost}, bool{unloaded}, alignment, index, value);
}

bool GlobalMemory::Decode(Decoder& decoder) {
  bool owns = false, copies = false, loses = false, debug = false;
  if (!decoder.Get(&symbol, &role, &binding, &type, &visibility, &owns, &copies, &loses, &debug, &alignment, &index, &value)) return false;
  owner = owns;
  copied = copies;
  lost = loses;
  unloaded = debug;
  return alignment < 32;
}

std::string GlobalMemory::Schema() { return "global(id,role,binding,type,visibility,4 bools,alignment,index,value)"; }

const GlobalMemory* FindGlobal(const std::vector<GlobalMemory>& globals, SymbolId symbol) {
  const auto it = std::lower_bound(globals.begin(), globals.end(), symbol,
                                   [](const GlobalMemory& g, SymbolId wanted) { return g.symbol < wanted; });
  return it == globals.end() || it->symbol != symbol ? nullptr : &*it;
}

const GlobalMemory* UnitMemory::Find(SymbolId symbol) const { return FindGlobal(globals, symbol); }

uint64_t UnitMemory::bytes_held() const {
  uint64_t total = sizeof(UnitMemory) + atoms.capacity() * sizeof(AtomMemory) + globals.capacity() * sizeof(GlobalMemory) +
                   (kept_groups.capacity() + lost_groups.capacity()) * sizeof(SymbolId) + references.bytes() + sites.bytes_held();
  for (const AtomMemory& atom : atoms) total += atom.name.capacity() > 15 ? atom.name.capacity() : 0;
  return total;
}

uint64_t Memory::bytes_held() const {
  uint64_t total = names.bytes() + users.bytes() + group_users.bytes() + site_users.bytes() + symbols.bytes() + tables->bytes_held();
  units.ForEachLoaded([&](const UnitMemory& unit) { total += unit.bytes_held(); });
  for (const SectionMemory& section : sections) total += section.row_list.capacity() * sizeof(RowMemory);
  for (const MergedMemory& m : merged) total += m.offsets.bytes();
  total += pinned.capacity() * (sizeof(SymbolId) + 1);
  for (const LibraryMemory& library : libraries) {
    total += library.defined.capacity() * sizeof(library.defined[0]) + library.undefined.capacity() * sizeof(library.undefined[0]) +
             library.objects.capacity() * sizeof(library.objects[0]);
  }
  total += library_offers.capacity() * (sizeof(SymbolId) + sizeof(LibraryOffer) + 1);
  total += offers.capacity() * (sizeof(SymbolId) + sizeof(MemberOffer) + 1) + input_ranks.capacity() * sizeof(uint64_t);
  for (const FileMemory& file : files) {
    total += sizeof(FileMemory) + 2 * file.path.capacity() + file.members.capacity() * sizeof(MemberMemory);
  }
  return total;
}

absl::StatusOr<std::unique_ptr<Memory>> CaptureMemory(const SharedOptions& options, ColdLink* link,
                                                      const WrittenImage& written, int64_t started_ns,
                                                      FileSource& files, const ImageReader& read) {
  return Capture(options, link, started_ns, files).Run(written, read);
}

}  // namespace kitlink
