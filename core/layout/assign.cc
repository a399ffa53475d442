#include "core/layout/assign.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "core/base/parallel.h"
#include "core/layout/slack.h"

namespace kitlink {
namespace {

// Input sections NAME and NAME.anything go to NAME. Longer names first.
constexpr absl::string_view kPrefixes[] = {
    ".data.rel.ro", ".bss.rel.ro", ".text", ".rodata", ".data", ".bss", ".tdata", ".tbss",
    ".init_array", ".fini_array", ".preinit_array", ".gcc_except_table", ".ctors", ".dtors",
};

struct Seed {
  absl::string_view name;
  uint32_t flags;
  SectionKind kind;
  uint32_t alignment = 32;
};
constexpr Seed kSeeds[] = {
    {".text", kSecAlloc | kSecExec, SectionKind::kProgbits},
    {".rodata", kSecAlloc, SectionKind::kProgbits},
    {".gcc_except_table", kSecAlloc, SectionKind::kProgbits},
    {".data.rel.ro", kSecAlloc | kSecWrite, SectionKind::kProgbits},
    {".data", kSecAlloc | kSecWrite, SectionKind::kProgbits},
    {".bss", kSecAlloc | kSecWrite, SectionKind::kNobits},
    {".tdata", kSecAlloc | kSecWrite | kSecTls, SectionKind::kProgbits, 16},
    {".tbss", kSecAlloc | kSecWrite | kSecTls, SectionKind::kNobits, 16},
};

constexpr absl::string_view kKeptTextPrefixes[] = {".text.hot", ".text.unlikely", ".text.startup", ".text.exit"};

bool Under(absl::string_view name, absl::string_view prefix) {
  return absl::StartsWith(name, prefix) && (name.size() == prefix.size() || name[prefix.size()] == '.');
}

// Sections of one name that differ in what may be done to them stay apart.
constexpr uint32_t kKeyFlags = kSecAlloc | kSecTls;
constexpr uint32_t kJoinedFlags = kSecAlloc | kSecWrite | kSecExec | kSecTls;

class Assigner {
 public:
  Assigner(const LinkOptions& options, const RoomRules& room, Program* program)
      : options_(options), room_(room), program_(*program) {}

  Placement Run() {
    result_.places.resize(program_.atoms.size());
    CutStrings();
    for (uint32_t a = 0; a < program_.atoms.size(); ++a) Consider(AtomId(a));
    if (options_.incremental) SeedSections();
    MergeAll();
    ParallelFor(result_.sections.size(), [&](size_t s) { LayOut(SectionId(static_cast<uint32_t>(s))); });
    return std::move(result_);
  }

 private:
  static bool MayMerge(const InputSection& section) {
    return (section.flags & kSecMerge) != 0 && section.relocs.empty();
  }

  // Finds where the pieces of all mergeable sections begin.
  void CutStrings() {
    cut_.resize(program_.units.size());
    next_cut_.assign(program_.units.size(), 0);
    ParallelFor(program_.units.size(), 16, [&](size_t u) {
      const Unit& unit = program_.units[u];
      for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
        const InputSection& section = unit.object->sections[s];
        const Atom& atom = program_.atoms[unit.first_atom + s];
        if (atom.state != Atom::kLive || atom.eh_frame || !MayMerge(section)) continue;
        std::vector<uint32_t> starts;
        if (!SplitPieces(section, &starts)) starts.clear();
        cut_[u].push_back(std::move(starts));
      }
    });
  }

  void Consider(AtomId id) {
    Atom& atom = program_.atoms[id.value];
    if (atom.state != Atom::kLive || atom.eh_frame) return;
    const InputSection& section = program_.section(id);
    if (!MayMerge(section) || !Mergeable(id, section)) {
      const SectionId out = SectionFor(section);
      result_.places[id.value].section = out;
      Join(&result_.sections[out.value], section);
      result_.sections[out.value].atoms.push_back(id);
    }
  }

  SectionId SectionFor(const InputSection& section) {
    const absl::string_view name = OutputSectionName(options_, section);
    auto [it, fresh] = by_name_.try_emplace({name, section.flags & kKeyFlags},
                                            static_cast<uint32_t>(result_.sections.size()));
    if (fresh) {
      OutputSection out;
      out.name = std::string(name);
      out.kind = section.kind;
      out.flags = section.flags & kJoinedFlags;
      out.entry_size = section.entry_size;
      result_.sections.push_back(std::move(out));
    }
    return SectionId(it->second);
  }

  // Edits bring the first constant, the first table of pointers, the first exception handler: what compilers spread
  // programs over is there from the beginning, with a reserve.
  void SeedSections() {
    for (const auto& [name, flags, kind, alignment] : kSeeds) {
      if ((flags & kSecTls) && options_.kind == OutputKind::kShared) continue;
      InputSection seed;
      seed.name = name;
      seed.kind = kind;
      seed.flags = flags;
      seed.alignment = alignment;
      Join(&result_.sections[SectionFor(seed).value], seed);
    }
  }

  static void Join(OutputSection* out, const InputSection& section) {
    out->flags |= section.flags & kJoinedFlags;
    out->alignment = std::max(out->alignment, section.alignment);
    if (out->entry_size != section.entry_size) out->entry_size = 0;
    if (out->kind == section.kind) return;
    // Bits anywhere make the whole section take room in the file; init rows may come as plain data (.ctors).
    if (out->kind == SectionKind::kNobits || section.kind == SectionKind::kInitArray ||
        section.kind == SectionKind::kFiniArray) {
      out->kind = section.kind;
    }
  }

  bool Mergeable(AtomId id, const InputSection& section) {
    MergedInput input;
    const uint32_t unit = program_.atoms[id.value].unit.value;
    input.starts = std::move(cut_[unit][next_cut_[unit]++]);
    if (input.starts.empty()) return false;
    const absl::string_view name = OutputSectionName(options_, section);
    const auto key = std::make_tuple(std::string(name), section.flags & ~uint32_t{kSecLinkOrder | kSecRetain},
                                     section.entry_size, section.alignment);
    auto [it, fresh] = merge_groups_.try_emplace(key, static_cast<uint32_t>(program_.merged.size()));
    if (fresh) {
      MergedSection merged;
      merged.name = std::string(name);
      merged.flags = section.flags;
      merged.entry_size = section.entry_size;
      merged.alignment = section.alignment;
      program_.merged.push_back(std::move(merged));
      merge_sources_.emplace_back();
    }
    input.merged = it->second;
    program_.atoms[id.value].merged = true;
    program_.merged_inputs.emplace(id.value, std::move(input));
    merge_sources_[it->second].push_back({id, &section, nullptr});
    return true;
  }

  void MergeAll() {
    for (size_t m = 0; m < merge_sources_.size(); ++m) {
      for (MergeSource& source : merge_sources_[m]) {
        source.input = &program_.merged_inputs.find(source.atom.value)->second;
      }
      MergePieces(absl::MakeSpan(merge_sources_[m]), &program_.merged[m]);
      const MergedSection& merged = program_.merged[m];
      OutputSection out;
      out.name = merged.name;
      out.flags = merged.flags & (kJoinedFlags | kSecMerge | kSecStrings);
      out.alignment = merged.alignment;
      out.entry_size = merged.entry_size;
      out.merged = static_cast<uint32_t>(m);
      out.used = merged.size;
      out.size = merged.size;
      if (options_.incremental) out.size += AlignUp(std::max<uint64_t>(merged.size / 8, 2048), merged.alignment);
      result_.sections.push_back(std::move(out));
    }
  }

  // Room for tables that come later: the last one, if it can, is lengthened by it.
  uint64_t Lengthen(const std::vector<AtomId>& atoms, uint64_t used) {
    const auto last = std::find_if(atoms.rbegin(), atoms.rend(), [&](AtomId a) { return program_.section(a).size != 0; });
    if (last == atoms.rend()) return 0;
    Place& place = result_.places[last->value];
    if (place.capacity == program_.section(*last).size) return 0;
    place.capacity += TableReserve(used);
    return TableReserve(used);
  }


  void LayOut(SectionId id) {
    OutputSection& section = result_.sections[id.value];
    if (section.merged != OutputSection::kNotMerged) return;
    if (GoesByPriority(section.kind)) {
      std::stable_sort(section.atoms.begin(), section.atoms.end(), [&](AtomId a, AtomId b) {
        return InitPriority(program_.section(a).name) < InitPriority(program_.section(b).name);
      });
    }
    const HoleShape holes = section.alloc() ? HoleShape{.least = 0} : room_.holes(section.name);
    section.padded = options_.incremental && PaddedInPlace(section);
    const bool room = HasRoom(section) || (HasThreadRoom(section) && room_.threads);
    section.exact = !options_.incremental || !room || holes.least < 0 || section.padded;
    section.long_tail = holes.long_ones;
    uint64_t offset = 0;
    for (AtomId atom : section.atoms) {
      const InputSection& input = program_.section(atom);
      Place& place = result_.places[atom.value];
      offset = AlignUp(offset, input.alignment);
      place.offset = offset;
      place.capacity = section.padded ? PaddedCapacity(section, input.bytes)
                                      : SlotCapacity(section, input.size, static_cast<uint64_t>(holes.least));
      offset += place.capacity;
    }
    if (section.padded) offset += Lengthen(section.atoms, offset);
    section.used = offset;
    section.rows = options_.incremental && offset != 0 && HoldsRows(section);
    section.size = offset + (section.rows ? RowReserve(offset) : TailReserve(section, offset));
    // Whatever objects say: rows are pointers.
    if (GoesByPriority(section.kind) || section.kind == SectionKind::kPreinitArray) section.entry_size = 8;
  }

  const LinkOptions& options_;
  const RoomRules& room_;
  Program& program_;
  Placement result_;
  absl::flat_hash_map<std::pair<absl::string_view, uint32_t>, uint32_t> by_name_;
  std::vector<std::vector<std::vector<uint32_t>>> cut_;  // by UnitId: of each mergeable section in order, empty: whole
  std::vector<uint32_t> next_cut_;                       // by UnitId
  std::map<std::tuple<std::string, uint32_t, uint32_t, uint32_t>, uint32_t> merge_groups_;
  std::vector<std::vector<MergeSource>> merge_sources_;  // by index in Program::merged
};

}  // namespace

bool GoesByPriority(SectionKind kind) { return kind == SectionKind::kInitArray || kind == SectionKind::kFiniArray; }

// Init rows run in order of their number: .init_array.00100 before .init_array; .ctors.65435 is .init_array.00100.
uint32_t InitPriority(absl::string_view name) {
  const size_t dot = name.rfind('.');
  uint32_t number = 0;
  if (dot == 0 || dot == absl::string_view::npos || !absl::SimpleAtoi(name.substr(dot + 1), &number)) return 65536;
  if (absl::StartsWith(name, ".ctors.") || absl::StartsWith(name, ".dtors.")) return 65535 - std::min(number, 65535u);
  return number;
}

absl::string_view OutputSectionName(const LinkOptions& options, const InputSection& section) {
  const absl::string_view name = section.name;
  if (name == "COMMON") return ".bss";
  if (name.empty() || name[0] != '.') return name;
  if (options.z_keep_text_section_prefix) {
    for (absl::string_view prefix : kKeptTextPrefixes) {
      if (Under(name, prefix)) return prefix;
    }
  }
  for (absl::string_view prefix : kPrefixes) {
    if (!Under(name, prefix)) continue;
    if (prefix == ".ctors") return ".init_array";
    if (prefix == ".dtors") return ".fini_array";
    return prefix;
  }
  return name;
}

Placement AssignSections(const LinkOptions& options, const RoomRules& room, Program* program) {
  return Assigner(options, room, program).Run();
}

}  // namespace kitlink
