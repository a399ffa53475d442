#include "core/symbols/live.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "core/base/parallel.h"
#include "core/symbols/linker_symbols.h"

namespace kitlink {
namespace {

class Marker {
 public:
  Marker(const LinkOptions& options, Program* program) : options_(options), program_(*program) {}

  void Run() {
    IndexSpecialSections();
    KillAll();
    MarkRoots();
    while (!work_.empty()) {
      const AtomId id = work_.back();
      work_.pop_back();
      Follow(id);
    }
  }

 private:
  // What is live only because of something else: link-order sections, frames by function, sets by name.
  void IndexSpecialSections() {
    for (uint32_t u = 0; u < program_.units.size(); ++u) {
      const Unit& unit = program_.units[u];
      for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
        const InputSection& section = unit.object->sections[s];
        const AtomId id(unit.first_atom + s);
        if (section.flags & kSecLinkOrder) follows_[unit.first_atom + section.link].push_back(id);
        if ((section.flags & kSecAlloc) && IsCIdentifier(section.name) && !options_.z_start_stop_gc) {
          sets_[section.name].push_back(id);
        }
      }
      for (uint32_t f = 0; f < unit.eh_frames.size(); ++f) {
        for (uint32_t d = 0; d < unit.eh_frames[f].fdes.size(); ++d) {
          const EhRecord& fde = unit.eh_frames[f].fdes[d];
          const uint32_t section = unit.object->symbols[fde.function_symbol].section;
          if (section < kSectionCommon) frames_[unit.first_atom + section].push_back({UnitId(u), f, d});
        }
      }
    }
  }

  void KillAll() {
    for (Atom& atom : program_.atoms) {
      if (atom.state == Atom::kLive && (program_.units[atom.unit.value].object->sections[atom.section].flags & kSecAlloc) &&
          !atom.eh_frame) {
        atom.state = Atom::kDead;
      }
    }
  }

  void Mark(AtomId id) {
    Atom& atom = program_.atoms[id.value];
    if (atom.state != Atom::kDead) return;
    atom.state = Atom::kLive;
    work_.push_back(id);
  }

  void MarkSymbol(SymbolId id) {
    const Symbol& symbol = program_.symbols[id.value];
    if (symbol.atom.valid()) Mark(symbol.atom);
    if (symbol.boundary == Boundary::kSectionStart || symbol.boundary == Boundary::kSectionEnd) {
      auto it = sets_.find(symbol.boundary_section);
      if (it == sets_.end()) return;
      const std::vector<AtomId> members = std::move(it->second);
      it->second.clear();
      for (AtomId member : members) Mark(member);
    }
  }

  void MarkName(absl::string_view name) {
    const SymbolId id = program_.names.Find(name);
    if (id.valid() && id.value < program_.symbols.size()) MarkSymbol(id);
  }

  void MarkRoots() {
    MarkName(options_.entry.empty() ? "_start" : options_.entry);
    MarkName(options_.init);
    MarkName(options_.fini);
    for (const std::string& name : options_.undefined) MarkName(name);
    for (uint32_t i = 0; i < program_.symbols.size(); ++i) {
      const Symbol& symbol = program_.symbols[i];
      if (symbol.used && symbol.exported) MarkSymbol(SymbolId(i));
    }
    for (uint32_t a = 0; a < program_.atoms.size(); ++a) {
      if (program_.atoms[a].state != Atom::kDead) continue;
      const InputSection& section = program_.section(AtomId(a));
      if (IsCollectionRoot(section.name, section.flags, section.kind)) Mark(AtomId(a));
    }
  }

  void FollowReloc(const Unit& unit, uint32_t symbol_index) {
    const SymbolId global = program_.GlobalOf(unit, symbol_index);
    if (global.valid()) {
      MarkSymbol(global);
      return;
    }
    const uint32_t section = unit.object->symbols[symbol_index].section;
    if (section < kSectionCommon) Mark(AtomId(unit.first_atom + section));
  }

  void Follow(AtomId id) {
    const Unit& unit = program_.units[program_.atoms[id.value].unit.value];
    const InputSection& section = program_.section(id);
    for (const Reloc& reloc : section.relocs) FollowReloc(unit, reloc.symbol);
    if (section.group >= 0) {
      for (uint32_t member : unit.object->groups[section.group].members) Mark(AtomId(unit.first_atom + member));
    }
    if (auto it = follows_.find(id.value); it != follows_.end()) {
      for (AtomId follower : it->second) Mark(follower);
    }
    if (auto it = frames_.find(id.value); it != frames_.end()) {
      for (const FrameRef& ref : it->second) FollowFrame(ref);
    }
  }

  // A live function keeps its language-specific data and its personality routine.
  struct FrameRef {
    UnitId unit;
    uint32_t frame;
    uint32_t fde;
  };
  void FollowFrame(const FrameRef& ref) {
    const Unit& unit = program_.units[ref.unit.value];
    const EhFrame& frame = unit.eh_frames[ref.frame];
    const EhRecord& fde = frame.fdes[ref.fde];
    for (uint32_t r = 1; r < fde.reloc_count; ++r) FollowReloc(unit, frame.sorted[fde.first_reloc + r].symbol);
    const EhRecord& cie = frame.cies[fde.cie];
    for (uint32_t r = 0; r < cie.reloc_count; ++r) FollowReloc(unit, frame.sorted[cie.first_reloc + r].symbol);
  }

  const LinkOptions& options_;
  Program& program_;
  std::vector<AtomId> work_;
  absl::flat_hash_map<uint32_t, std::vector<AtomId>> follows_;   // by AtomId value
  absl::flat_hash_map<uint32_t, std::vector<FrameRef>> frames_;  // by the function's AtomId value
  absl::flat_hash_map<absl::string_view, std::vector<AtomId>> sets_;
};

}  // namespace

void SplitFrames(Program* program, Diagnostics& diagnostics) {
  ParallelFor(program->units.size(), 8, [&](size_t u) {
    Unit& unit = program->units[u];
    for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
      Atom& atom = program->atoms[unit.first_atom + s];
      if (unit.object->sections[s].kind != SectionKind::kEhFrame || atom.state != Atom::kLive) continue;
      absl::StatusOr<EhFrame> frame = SplitEhFrame(*unit.object, s);
      if (!frame.ok()) {
        diagnostics.Error(std::string(frame.status().message()));
        continue;
      }
      atom.eh_frame = true;
      unit.eh_frames.push_back(*std::move(frame));
    }
  });
}

bool IsCollectionRoot(absl::string_view name, uint32_t flags, SectionKind kind) {
  switch (kind) {
    case SectionKind::kInitArray:
    case SectionKind::kFiniArray:
    case SectionKind::kPreinitArray:
    case SectionKind::kNote:
      return true;
    default:
      break;
  }
  if ((flags & kSecRetain) != 0) return true;
  for (absl::string_view root : {".init", ".fini", ".ctors", ".dtors", ".jcr", ".init_array", ".fini_array"}) {
    if (!absl::StartsWith(name, root)) continue;
    if (name.size() == root.size() || name[root.size()] == '.') return true;
  }
  return false;
}

void MarkLive(const LinkOptions& options, Program* program) {
  if (options.gc_sections) Marker(options, program).Run();
  if (SetsAreCollected(options)) DefineSetBoundaries(program);
}

}  // namespace kitlink
