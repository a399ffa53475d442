#include "core/session/growth.h"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "core/base/bytes.h"
#include "core/session/unit_writer.h"

namespace kitlink {
namespace {

constexpr uint64_t kLeastGrowth = 64 << 10;
constexpr uint64_t kLongestTail = 256 << 10;  // of a section that is not loaded and moves: written with it
constexpr uint64_t kLargestMove = 8 << 20;  // bytes of a section that is not loaded: copying takes a few milliseconds

uint64_t Grown(const SectionMemory& section, uint64_t bytes, uint64_t least) {
  return AlignUp(std::max({2 * bytes, section.size / 8, least}), 4096);
}

bool GrowLoaded(SectionId id, uint64_t bytes, Memory* memory) {
  const SectionMemory& parent = memory->sections[id.value];
  if (parent.exact || parent.relro || (parent.flags & kSecTls) || parent.growth_of.valid()) return false;
  uint64_t least = kLeastGrowth;  // each time more, so that there are few
  for (const SectionMemory& section : memory->sections) {
    if (section.growth_of == id) least = std::max(least, 4 * section.size);
  }
  SectionMemory fresh;
  fresh.name = parent.name;
  fresh.flags = parent.flags;
  fresh.nobits = parent.nobits;
  fresh.exact = false;
  fresh.alignment = std::max<uint32_t>(parent.alignment, 64);
  fresh.size = Grown(parent, bytes, least);
  fresh.growth_of = id;
  fresh.announced = true;
  GrowthRequest request;
  request.output_section = static_cast<uint32_t>(memory->sections.size());
  request.name = fresh.name;
  request.flags = fresh.flags;
  request.nobits = fresh.nobits;
  request.alignment = fresh.alignment;
  request.size = fresh.size;
  const std::optional<GrowthPlace> place = memory->tables->Grow(request);
  if (!place) return false;
  fresh.address = place->address;
  fresh.offset = place->offset;
  fresh.space = Space(0, fresh.size, 0);
  memory->sections.push_back(std::move(fresh));
  return true;
}

bool GrowUnloaded(SectionId id, uint64_t bytes, Memory* memory) {
  SectionMemory& section = memory->sections[id.value];
  const bool merged = (section.flags & kSecMerge) != 0;
  if ((section.exact && !merged) || section.announced || section.size > kLargestMove) return false;
  GrowthRequest request;
  request.output_section = id.value;
  request.name = section.name;
  request.flags = section.flags;
  // What is free is written along, so it is kept short.
  request.size = section.size + std::min(Grown(section, bytes, kLeastGrowth), std::max(kLongestTail, AlignUp(2 * bytes, 4096)));
  const std::optional<GrowthPlace> place = memory->tables->Grow(request);
  if (!place) return false;
  section.announced = true;
  section.moved_from = section.offset;
  section.moved_size = section.size;
  section.offset = place->offset;
  section.size = request.size;
  if (!merged) section.space.Extend(section.size);
  return true;
}

// What moves has its new place already, as far as plans are concerned.
bool Uses(const SectionMemory& section, SectionId id, const PlacementState& state) {
  if (!section.announced) return false;
  if (!section.growth_of.valid()) return true;
  const auto it = state.spaces().find(id);
  return it != state.spaces().end() && it->second.tail().offset != 0;
}

bool UsesAny(const Memory& memory, const PlacementState& state) {
  bool any = false;
  for (uint32_t s = 0; s < memory.sections.size(); ++s) any |= Uses(memory.sections[s], SectionId(s), state);
  return any;
}

// The linker's name for where a table begins, if somebody asks.
void MoveBegin(const char* name, const Memory& memory, uint32_t s, std::vector<LinkerEnd>* ends) {
  const SymbolId id = memory.names.Find(name);
  if (!id.valid() || memory.symbols[id.value].kind != SymbolMemory::kLinker) return;
  ends->push_back({id, memory.sections[s].address, SectionId(s)});
}

}  // namespace

bool GrowSection(SectionId id, uint64_t bytes, Memory* memory) {
  return memory->sections[id.value].alloc() ? GrowLoaded(id, bytes, memory) : GrowUnloaded(id, bytes, memory);
}

bool GrowTables(Memory* memory) {
  bool grown = false;
  for (const TableRoom& room : memory->tables->Cramped()) {
    SectionMemory& section = memory->sections[room.output_section];
    GrowthRequest request;
    request.output_section = room.output_section;
    request.name = section.name;
    request.flags = section.flags;
    request.moves = true;
    request.alignment = section.alignment;
    request.size = room.size;
    const std::optional<GrowthPlace> place = room.size <= kLargestMove ? memory->tables->Grow(request) : std::nullopt;
    if (!place) return false;
    memory->tables->MoveTable(room, *place);
    if (!section.announced) section.moved_from = section.offset, section.moved_size = room.kept;
    section.announced = true;
    section.address = place->address;
    section.offset = place->offset;
    section.size = room.size;
    grown = true;
  }
  return grown;
}

std::vector<LinkerEnd> GrowthEnds(const Memory& memory, const PlacementState& state) {
  std::vector<LinkerEnd> ends;
  const auto move = [&](std::initializer_list<const char*> names, uint32_t s) {
    const SectionMemory& section = memory.sections[s];
    for (const char* name : names) {
      const SymbolId id = memory.names.Find(name);
      if (!id.valid() || memory.symbols[id.value].kind != SymbolMemory::kLinker) continue;
      const LinkerEnd fresh{id, section.address + section.size, SectionId(s)};
      const auto known = std::find_if(ends.begin(), ends.end(), [&](const LinkerEnd& end) { return end.symbol == id; });
      if (known == ends.end()) ends.push_back(fresh);
      else if (known->address < fresh.address) *known = fresh;  // tables that move have numbers of old
    }
  };
  if (!UsesAny(memory, state)) return ends;
  for (uint32_t s = 0; s < memory.sections.size(); ++s) {
    const SectionMemory& section = memory.sections[s];
    if (!section.announced || !section.alloc()) continue;  // all are published together
    move({"_end", "end"}, s);
    if (section.name == ".eh_frame_hdr") MoveBegin("__GNU_EH_FRAME_HDR", memory, s, &ends);
    if (section.flags & kSecExec) move({"_etext", "etext", "__etext"}, s);
    if (!section.nobits) move({"_edata", "edata"}, s);
  }
  return ends;
}

absl::StatusOr<bool> PublishGrowth(const Memory& memory, const PlacementState& state, const ImageReader& read,
                           std::vector<Mutation>* mutations) {
  if (!UsesAny(memory, state)) return false;
  memory.tables->PublishGrowth(mutations);
  // All that was announced, used or not.
  for (uint32_t s = 0; s < memory.sections.size(); ++s) {
    const SectionMemory& section = memory.sections[s];
    if (!section.announced) continue;
    if (section.growth_of.valid()) {
      if (section.flags & kSecExec) ClearSlot(memory, {SectionId(s), 0, section.size}, mutations);
      continue;
    }
    Mutation content;
    content.offset = section.offset;
    content.bytes.resize(section.moved_size);
    if (absl::Status status = read(section.moved_from, absl::MakeSpan(content.bytes)); !status.ok()) return status;
    if (absl::Status status = memory.tables->FollowMove(s, absl::MakeSpan(content.bytes)); !status.ok()) return status;
    mutations->push_back(std::move(content));
    if (section.min_hole == 0) continue;
    const Room tail = section.space.tail();
    ClearSlot(memory, {SectionId(s), tail.offset, tail.size}, mutations);
  }
  return true;
}

void AdoptGrowth(Memory* memory) {
  for (SectionMemory& section : memory->sections) section.announced = false;
}

}  // namespace kitlink
