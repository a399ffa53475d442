#include "core/output/elf/symtab.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "core/base/parallel.h"

namespace kitlink::elf {
namespace {

uint8_t ElfType(SymbolType type) {
  switch (type) {
    case SymbolType::kNone: return STT_NOTYPE;
    case SymbolType::kObject: return STT_OBJECT;
    case SymbolType::kFunction: return STT_FUNC;
    case SymbolType::kSection: return STT_SECTION;
    case SymbolType::kFile: return STT_FILE;
    case SymbolType::kCommon: return STT_OBJECT;
    case SymbolType::kTls: return STT_TLS;
    case SymbolType::kIfunc: return STT_GNU_IFUNC;
  }
  return STT_NOTYPE;
}

uint8_t ElfBinding(SymbolBinding binding) {
  switch (binding) {
    case SymbolBinding::kLocal: return STB_LOCAL;
    case SymbolBinding::kGlobal: return STB_GLOBAL;
    case SymbolBinding::kWeak: return STB_WEAK;
    case SymbolBinding::kUnique: return STB_GNU_UNIQUE;
  }
  return STB_GLOBAL;
}

uint8_t ElfVisibility(Visibility visibility) {
  switch (visibility) {
    case Visibility::kDefault: return STV_DEFAULT;
    case Visibility::kProtected: return STV_PROTECTED;
    case Visibility::kHidden: return STV_HIDDEN;
    case Visibility::kInternal: return STV_INTERNAL;
  }
  return STV_DEFAULT;
}

uint16_t SectionIndex(SectionId id) { return static_cast<uint16_t>(id.value + 1); }

// The output section that holds an address, for symbols that are not atoms'.
uint16_t SectionIndexAt(const ElfImage& image, uint64_t address) {
  uint16_t last = SHN_ABS;
  for (uint32_t s = 0; s < image.placement.sections.size(); ++s) {
    const OutputSection& section = image.placement.sections[s];
    if (!section.alloc() || section.size == 0 || (section.flags & kSecTls)) continue;
    if (address >= section.address && address <= section.address + section.size) last = static_cast<uint16_t>(s + 1);
  }
  return last;
}

uint64_t TlsValue(const ElfImage& image, uint64_t address) { return address - image.values.tls_begin; }

bool KeepGlobal(const Program& program, uint32_t u, uint32_t g) {
  const Unit& unit = program.units[u];
  const Symbol& symbol = program.symbols[unit.globals[g].value];
  if (symbol.kind != SymbolKind::kDefined && symbol.kind != SymbolKind::kAbsolute) return false;
  if (symbol.file != u || symbol.index != unit.object->first_global + g) return false;
  return !symbol.atom.valid() || program.atoms[symbol.atom.value].state == Atom::kLive;
}

// --defsym: defined, but no unit's symbol.
bool DefinedByOption(const Program& program, SymbolId id) {
  const Symbol& symbol = program.symbols[id.value];
  if (symbol.kind != SymbolKind::kDefined && symbol.kind != SymbolKind::kAbsolute) return false;
  if (symbol.atom.valid() && program.atoms[symbol.atom.value].state != Atom::kLive) return false;
  if (symbol.file >= program.units.size()) return true;
  const Unit& unit = program.units[symbol.file];
  const uint32_t first = unit.object->first_global;
  return symbol.index >= first && unit.globals[symbol.index - first] != id;
}

}  // namespace

uint32_t LocalCapacity(bool incremental, uint32_t used) { return used + (incremental ? used / 4 + 6 : 0); }

bool KeepLocal(const LinkOptions& options, const Program& program, const Unit& unit, uint32_t index) {
  const InputSymbol& symbol = unit.object->symbols[index];
  if (symbol.type == SymbolType::kFile) return !symbol.name.empty();
  if (symbol.type == SymbolType::kSection || symbol.name.empty() || absl::StartsWith(symbol.name, ".L")) return false;
  if (options.discard_all) return false;
  if (symbol.section == kSectionAbsolute) return true;
  if (symbol.section >= kSectionCommon) return false;
  const Atom& atom = program.atoms[unit.first_atom + symbol.section];
  return atom.state == Atom::kLive && !atom.merged && !atom.eh_frame &&
         (unit.object->sections[symbol.section].flags & kSecAlloc) != 0;
}

SymtabPlan PlanSymtab(const LinkOptions& options, const Program& program, const Demands& demands) {
  SymtabPlan plan;
  plan.present = options.strip != Strip::kAll;
  if (!plan.present) return plan;
  plan.locals.resize(program.units.size());
  std::vector<std::vector<SymbolId>> globals(program.units.size());
  ParallelFor(program.units.size(), 8, [&](size_t u) {
    const Unit& unit = program.units[u];
    LocalRows& rows = plan.locals[u];
    const uint32_t end = std::min<uint32_t>(unit.object->first_global, unit.object->symbols.size());
    for (uint32_t i = 1; i < end; ++i) {
      if (!KeepLocal(options, program, unit, i)) continue;
      ++rows.used;
      rows.name_bytes += static_cast<uint32_t>(unit.object->symbols[i].name.size()) + 1;
    }
    rows.capacity = unit.synthetic ? 0 : LocalCapacity(options.incremental, rows.used);
    for (uint32_t g = 0; g < unit.globals.size(); ++g) {
      if (KeepGlobal(program, static_cast<uint32_t>(u), g)) globals[u].push_back(unit.globals[g]);
    }
  });
  uint32_t row = 1;
  uint64_t name = 1;
  for (LocalRows& rows : plan.locals) {
    rows.first = row;
    rows.names = static_cast<uint32_t>(name);
    row += rows.capacity;
    name += rows.name_bytes;
  }
  plan.spare_locals.first = row;
  plan.spare_locals.capacity = options.incremental ? std::max<uint32_t>(row / 32, 64) : 0;
  row += plan.spare_locals.capacity;
  plan.first_global = row;
  for (const std::vector<SymbolId>& list : globals) plan.globals.insert(plan.globals.end(), list.begin(), list.end());
  // What run time or the linker defines comes last, by name.
  std::vector<SymbolId> others;
  for (uint32_t i = 0; i < program.symbols.size(); ++i) {
    const Symbol& symbol = program.symbols[i];
    if (!symbol.used || symbol.binding == SymbolBinding::kLocal) continue;
    if (symbol.kind == SymbolKind::kLinker || DefinedByOption(program, SymbolId(i)) ||
        (symbol.kind == SymbolKind::kShared && program.libraries[symbol.file].needed) ||
        symbol.kind == SymbolKind::kUndefined) {
      others.push_back(SymbolId(i));
    }
  }
  std::sort(others.begin(), others.end(), [&](SymbolId a, SymbolId b) {
    return program.symbols[a.value].name < program.symbols[b.value].name;
  });
  plan.globals.insert(plan.globals.end(), others.begin(), others.end());
  (void)demands;
  for (SymbolId id : plan.globals) {
    plan.names.push_back(static_cast<uint32_t>(name));
    name += program.symbols[id.value].name.size() + 1;
  }
  plan.rows = row + static_cast<uint32_t>(plan.globals.size());
  const uint32_t global_rows = static_cast<uint32_t>(plan.globals.size());
  plan.capacity = plan.rows + (options.incremental ? std::max<uint32_t>(global_rows / 8, 256) : 0);
  plan.name_bytes = name;
  plan.strtab_size = name + (options.incremental ? std::max<uint64_t>(name / 16, 8192) : 0);
  return plan;
}

Elf64_Sym FillerRow() {
  Elf64_Sym row{};
  row.st_info = ELF64_ST_INFO(STB_LOCAL, STT_FILE);
  row.st_shndx = SHN_ABS;
  return row;
}

Elf64_Sym MakeLocalRow(const InputSymbol& symbol, uint32_t name, uint64_t value, uint16_t index) {
  Elf64_Sym row{};
  row.st_name = name;
  row.st_info = ELF64_ST_INFO(STB_LOCAL, ElfType(symbol.type));
  row.st_other = ElfVisibility(symbol.visibility);
  row.st_size = symbol.size;
  row.st_shndx = index;
  row.st_value = value;
  return row;
}

Elf64_Sym LocalRow(const ElfImage& image, const Unit& unit, uint32_t index, uint32_t name) {
  const InputSymbol& symbol = unit.object->symbols[index];
  if (symbol.section >= kSectionCommon) return MakeLocalRow(symbol, name, symbol.value, SHN_ABS);
  const AtomId atom(unit.first_atom + symbol.section);
  uint64_t value = image.placement.Address(atom) + symbol.value;
  if (symbol.type == SymbolType::kTls) value = TlsValue(image, value);
  return MakeLocalRow(symbol, name, value, SectionIndex(image.placement.places[atom.value].section));
}

Elf64_Sym MakeGlobalRow(SymbolType type, SymbolBinding binding, Visibility visibility) {
  Elf64_Sym row{};
  row.st_info = ELF64_ST_INFO(ElfBinding(binding), ElfType(type));
  row.st_other = ElfVisibility(visibility);
  return row;
}

Elf64_Sym GlobalRow(const Program& program, const ElfImage& image, const Arch& arch, SymbolId id, bool dynamic) {
  const Symbol& symbol = program.symbols[id.value];
  Elf64_Sym row = MakeGlobalRow(symbol.type, symbol.binding, symbol.visibility);
  if (symbol.kind == SymbolKind::kShared) row.st_other = 0;
  row.st_size = symbol.size;
  switch (symbol.kind) {
    case SymbolKind::kUndefined:
      row.st_size = 0;
      break;
    case SymbolKind::kAbsolute:
      row.st_shndx = SHN_ABS;
      row.st_value = symbol.value;
      break;
    case SymbolKind::kLinker:
      row.st_value = symbol.value;
      row.st_shndx = SectionIndexAt(image, symbol.value);
      if (symbol.type == SymbolType::kTls) row.st_value = TlsValue(image, symbol.value);
      break;
    case SymbolKind::kShared:
      if (symbol.atom.valid()) {  // copied
        row.st_shndx = SectionIndex(image.placement.places[symbol.atom.value].section);
        row.st_value = image.placement.Address(symbol.atom);
      } else {
        row.st_size = 0;
        // Whether the library chooses among several is its own affair.
        if (symbol.type == SymbolType::kIfunc) row.st_info = ELF64_ST_INFO(ElfBinding(symbol.binding), STT_FUNC);
        const CellSet* set = image.cells.Find(id);
        // The address of a canonical PLT entry is for function pointers: undefined all the same.
        if (dynamic && set != nullptr && set->canonical_plt) row.st_value = image.PltAddress(arch, set->plt);
      }
      break;
    case SymbolKind::kDefined: {
      const Place& place = image.placement.places[symbol.atom.value];
      row.st_value = SymbolAddress(program, image, arch, id);
      if (place.valid()) {
        row.st_shndx = SectionIndex(place.section);
      } else {
        row.st_shndx = SectionIndexAt(image, row.st_value);
      }
      if (symbol.type == SymbolType::kTls) row.st_value = TlsValue(image, row.st_value);
      if (symbol.type == SymbolType::kIfunc) {
        if (dynamic && image.cells.Find(id) != nullptr && image.cells.Find(id)->iplt >= 0) {
          // Others must get the address that we use ourselves.
          row.st_info = ELF64_ST_INFO(ElfBinding(symbol.binding), STT_FUNC);
          row.st_shndx = SectionIndexAt(image, row.st_value);
        } else {
          row.st_value = image.placement.Address(symbol.atom) + symbol.value;
        }
      }
      break;
    }
  }
  return row;
}

void WriteSymtab(const LinkOptions& options, const Program& program, const ElfImage& image, const Arch& arch,
                 MutableBytes file) {
  const OutputSection* symtab = image.Section(kSymtab);
  if (symtab == nullptr) return;
  uint8_t* rows = &file[symtab->offset];
  char* names = reinterpret_cast<char*>(&file[image.Section(kStrtab)->offset]);
  const SymtabPlan& plan = image.symtab;
  ParallelFor(program.units.size(), 8, [&](size_t u) {
    const Unit& unit = program.units[u];
    const LocalRows& own = plan.locals[u];
    uint32_t row = own.first, name = own.names;
    const uint32_t end = std::min<uint32_t>(unit.object->first_global, unit.object->symbols.size());
    for (uint32_t i = 1; i < end; ++i) {
      if (!KeepLocal(options, program, unit, i)) continue;
      const absl::string_view text = unit.object->symbols[i].name;
      std::memcpy(names + name, text.data(), text.size());
      Store(rows + uint64_t{row} * sizeof(Elf64_Sym), LocalRow(image, unit, i, name));
      ++row;
      name += static_cast<uint32_t>(text.size()) + 1;
    }
    for (; row < own.first + own.capacity; ++row) Store(rows + uint64_t{row} * sizeof(Elf64_Sym), FillerRow());
  });
  for (uint32_t r = 0; r < plan.spare_locals.capacity; ++r) {
    Store(rows + (uint64_t{plan.spare_locals.first} + r) * sizeof(Elf64_Sym), FillerRow());
  }
  ParallelFor(plan.globals.size(), 1024, [&](size_t g) {
    Elf64_Sym row = GlobalRow(program, image, arch, plan.globals[g], false);
    const absl::string_view text = program.symbols[plan.globals[g].value].name;
    row.st_name = plan.names[g];
    std::memcpy(names + row.st_name, text.data(), text.size());
    Store(rows + (uint64_t{plan.first_global} + g) * sizeof(Elf64_Sym), row);
  });
}

}  // namespace kitlink::elf
