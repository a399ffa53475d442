#include "core/output/elf/image.h"

namespace kitlink::elf {
namespace {

uint64_t PieceAddress(const Program& program, const ElfImage& image, AtomId atom, uint64_t offset) {
  const Atom& info = program.atoms[atom.value];
  if (info.merged) {
    const MergedInput& input = program.merged_inputs.find(atom.value)->second;
    return image.placement.section(image.merged_section[input.merged]).address + input.Map(offset);
  }
  if (info.eh_frame) {
    // Static programs' crtbeginT.o, which has none itself, says where they all begin.
    const bool none = program.units[info.unit.value].object->sections[info.section].size == 0;
    return image.AddressOf(kEhFrame) + (none ? 0 : image.frames.unit_start[info.unit.value]) + offset;
  }
  return image.placement.Address(atom) + offset;
}

bool Loaded(const Program& program, AtomId atom) {
  return program.atoms[atom.value].state == Atom::kLive;
}

void AddCells(const ElfImage& image, const Arch& arch, const CellSet& set, TargetValue* value) {
  if (set.got >= 0) value->got = image.GotCellAddress(set.got);
  if (set.gottp >= 0) value->gottp = image.GotCellAddress(set.gottp);
  if (set.tlsgd >= 0) value->tlsgd = image.GotCellAddress(set.tlsgd);
  if (set.tlsdesc >= 0) value->tlsdesc = image.GotCellAddress(set.tlsdesc);
  if (set.plt >= 0) value->plt = image.PltAddress(arch, set.plt);
  if (set.iplt >= 0) value->plt = image.IpltAddress(arch, set.iplt);
}

}  // namespace

uint64_t SymbolAddress(const Program& program, const ElfImage& image, const Arch& arch, SymbolId id) {
  const Symbol& symbol = program.symbols[id.value];
  switch (symbol.kind) {
    case SymbolKind::kUndefined:
      return 0;
    case SymbolKind::kAbsolute:
    case SymbolKind::kLinker:
      return symbol.value;
    case SymbolKind::kShared: {
      if (symbol.atom.valid()) return image.placement.Address(symbol.atom);
      const CellSet* set = image.cells.Find(id);
      return set != nullptr && set->canonical_plt ? image.PltAddress(arch, set->plt) : 0;
    }
    case SymbolKind::kDefined: {
      if (!Loaded(program, symbol.atom)) return 0;
      if (symbol.type == SymbolType::kIfunc) {
        const CellSet* set = image.cells.Find(id);
        if (set != nullptr && set->iplt >= 0) return image.IpltAddress(arch, set->iplt);
      }
      return PieceAddress(program, image, symbol.atom, symbol.value);
    }
  }
  return 0;
}

TargetValue TargetOf(const Program& program, const ElfImage& image, const Arch& arch, const Unit& unit,
                     uint32_t symbol_index, int64_t addend) {
  TargetValue value;
  const SymbolId id = program.GlobalOf(unit, symbol_index);
  if (id.valid()) {
    const ElfImage::Target& target = image.targets[id.value];
    value.traits = target.traits;
    value.address = target.address;
    value.size = target.size;
    if (target.cells) AddCells(image, arch, *image.cells.Find(id), &value);
    return value;
  }
  value.traits = TraitsOf(program, unit, symbol_index);
  const InputSymbol& symbol = unit.object->symbols[symbol_index];
  value.size = symbol.size;
  if (symbol.section == kSectionAbsolute) {
    value.address = symbol.value;
  } else if (symbol.section < kSectionCommon) {
    const AtomId atom(unit.first_atom + symbol.section);
    if (!Loaded(program, atom)) return value;
    if (symbol.type == SymbolType::kSection && program.atoms[atom.value].merged) {
      const uint64_t offset = symbol.value + static_cast<uint64_t>(addend);
      value.address = PieceAddress(program, image, atom, offset) - static_cast<uint64_t>(addend);
    } else {
      value.address = PieceAddress(program, image, atom, symbol.value);
    }
  }
  return value;
}

}  // namespace kitlink::elf
