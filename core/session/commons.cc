#include "core/session/commons.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/layout/slack.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

// What a full link makes of a COMMON symbol.
InputSection SectionOf(const NameChanges::Common& common) {
  InputSection section;
  section.name = "COMMON";
  section.kind = SectionKind::kNobits;
  section.flags = kSecAlloc | kSecWrite;
  section.alignment = static_cast<uint32_t>(std::max<uint64_t>(common.alignment, 1));
  section.size = common.size;
  return section;
}

Refusal PlaceOne(const NameChanges::Common& common, PlacementState* state) {
  const Memory& memory = state->memory();
  const SymbolMemory& was = memory.symbols[common.symbol.value];
  const auto known = memory.commons.find(common.symbol);
  CommonMemory place;
  if (known != memory.commons.end()) place = known->second;
  const auto address = [&] { return memory.sections[place.section.value].address + place.offset; };
  const InputSection section = SectionOf(common);
  if (!place.section.valid() || common.size > place.capacity || address() % section.alignment != 0) {
    if (place.section.valid()) state->space(place.section).Give({place.offset, place.capacity});
    const SectionId home = FindHome(memory, section);
    if (!home.valid() || section.alignment > kSmallestPage) {
      return GateRefusal{GateReason::kCommonChanged, absl::StrCat(memory.names.Name(common.symbol), " has no place")};
    }
    const uint64_t capacity = CapacityIn(memory.sections[home.value], section.size);
    const std::optional<Slot> slot = state->TakeRoom(home, capacity, section.alignment);
    if (!slot) {
      GateRefusal refusal(GateReason::kSlackExhausted, absl::StrCat(memory.names.Name(common.symbol), ": no room left in .bss"));
      refusal.grow = home;
      refusal.grow_bytes = capacity + section.alignment;
      return refusal;
    }
    place.section = slot->section;
    place.offset = slot->offset;
    place.capacity = slot->capacity;
  }
  place.alignment = common.alignment;
  SymbolMemory symbol = state->symbol(common.symbol);
  symbol.kind = SymbolMemory::kDefined;
  symbol.owner = memory.common_unit;
  symbol.executable = false;
  symbol.address = symbol.body = address();
  symbol.size = common.size;
  state->SetSymbol(common.symbol, symbol);
  state->SetCommon(common.symbol, place);
  const bool follow = was.kind != SymbolMemory::kNone && (was.address != symbol.address || (was.sized && was.size != symbol.size));
  if (!follow || state->free(common.symbol)) return std::nullopt;
  GateRefusal refusal(GateReason::kCommonChanged, std::string(memory.names.Name(common.symbol)));
  refusal.republish = {common.symbol};
  return refusal;
}

}  // namespace

Refusal PlaceCommons(const GatePass& pass, PlacementState* state) {
  const Memory& memory = state->memory();
  for (SymbolId id : pass.names().uncommon) {
    const CommonMemory& place = memory.commons.at(id);
    state->space(place.section).Give({place.offset, place.capacity});
    state->SetCommon(id, {});
  }
  Refusal gathered;
  for (const NameChanges::Common& common : pass.names().commons) {
    Refusal refusal = PlaceOne(common, state);
    if (!refusal) continue;
    if (refusal->republish.empty()) return refusal;
    if (gathered) refusal->republish.insert(refusal->republish.end(), gathered->republish.begin(), gathered->republish.end());
    gathered = std::move(refusal);
  }
  return gathered;
}

Refusal UpdateCommons(const GatePass& pass, const PlacementState& state, std::vector<Mutation>* mutations) {
  const Memory& memory = state.memory();
  for (const NameChanges::Common& common : pass.names().commons) {
    const SymbolMemory &was = memory.symbols[common.symbol.value], &is = state.symbol(common.symbol);
    absl::Status status;
    if (was.kind == SymbolMemory::kNone) {
      NewSymbol symbol;
      symbol.symbol = common.symbol;
      symbol.name = memory.names.Name(common.symbol);
      symbol.type = SymbolType::kObject;
      status = memory.tables->AddSymbol(symbol, mutations);
    }
    SymbolUpdate update;
    update.symbol = common.symbol;
    update.body = update.address = is.address;
    update.size = is.size;
    update.output_section = state.commons().at(common.symbol).section.value;
    update.republished = was.kind == SymbolMemory::kDefined && was.address != is.address;
    if (status.ok()) status = memory.tables->UpdateSymbol(update, mutations);
    if (!status.ok()) return GateRefusal{GateReason::kCommonChanged, absl::StrCat(memory.names.Name(common.symbol), ": ", status.message())};
  }
  return std::nullopt;
}

}  // namespace kitlink
