#include "core/output/elf/dynamic_section.h"

#include <string>

namespace kitlink::elf {
namespace {

class Entries {
 public:
  void Add(int64_t tag, uint64_t value) {
    Elf64_Dyn entry{};
    entry.d_tag = tag;
    entry.d_un.d_val = value;
    list_.push_back(entry);
  }
  // Address and size of a section, where it exists.
  void AddRange(const OutputSection* section, int64_t address_tag, int64_t size_tag) {
    if (section == nullptr || section->used == 0) return;
    Add(address_tag, section->address);
    Add(size_tag, section->used);
  }
  std::vector<Elf64_Dyn> Take() { return std::move(list_); }

 private:
  std::vector<Elf64_Dyn> list_;
};

const OutputSection* ByName(const ElfImage& image, absl::string_view name) {
  for (const OutputSection& section : image.placement.sections) {
    if (section.name == name && section.alloc()) return &section;
  }
  return nullptr;
}

bool DefinedFunction(const Program& program, const std::string& name, SymbolId* id) {
  *id = program.names.Find(name);
  return id->valid() && id->value < program.symbols.size() &&
         program.symbols[id->value].kind == SymbolKind::kDefined;
}

void AddFlags(const LinkOptions& options, const ElfImage& image, Entries* entries) {
  uint64_t flags = 0, flags1 = 0;
  if (options.z_origin) flags |= DF_ORIGIN, flags1 |= DF_1_ORIGIN;
  if (options.bsymbolic) flags |= DF_SYMBOLIC;
  if (image.text_relocs) flags |= DF_TEXTREL;
  if (options.z_now) flags |= DF_BIND_NOW, flags1 |= DF_1_NOW;
  if (image.demands.static_tls && options.kind == OutputKind::kShared) flags |= DF_STATIC_TLS;
  if (options.kind == OutputKind::kPie) flags1 |= DF_1_PIE;
  if (options.z_nodelete) flags1 |= DF_1_NODELETE;
  if (options.z_initfirst) flags1 |= DF_1_INITFIRST;
  if (options.z_nodlopen) flags1 |= DF_1_NOOPEN;
  if (options.z_interpose) flags1 |= DF_1_INTERPOSE;
  if (flags != 0) entries->Add(DT_FLAGS, flags);
  if (flags1 != 0) entries->Add(DT_FLAGS_1, flags1);
}

}  // namespace

std::vector<Elf64_Dyn> DynamicEntries(const LinkOptions& options, const Program& program, const ElfImage& image,
                                      const Arch& arch) {
  const DynamicTables& tables = image.dynamic;
  Entries entries;
  for (uint32_t name : tables.needed) entries.Add(DT_NEEDED, name);
  if (tables.soname != 0) entries.Add(DT_SONAME, tables.soname);
  if (tables.runpath != 0) entries.Add(options.runpath ? DT_RUNPATH : DT_RPATH, tables.runpath);
  SymbolId id;
  if (DefinedFunction(program, options.init, &id)) entries.Add(DT_INIT, SymbolAddress(program, image, arch, id));
  if (DefinedFunction(program, options.fini, &id)) entries.Add(DT_FINI, SymbolAddress(program, image, arch, id));
  entries.AddRange(ByName(image, ".preinit_array"), DT_PREINIT_ARRAY, DT_PREINIT_ARRAYSZ);
  entries.AddRange(ByName(image, ".init_array"), DT_INIT_ARRAY, DT_INIT_ARRAYSZ);
  entries.AddRange(ByName(image, ".fini_array"), DT_FINI_ARRAY, DT_FINI_ARRAYSZ);
  if (image.Section(kHash)) entries.Add(DT_HASH, image.AddressOf(kHash));
  if (image.Section(kGnuHash)) entries.Add(DT_GNU_HASH, image.AddressOf(kGnuHash));
  entries.Add(DT_STRTAB, image.AddressOf(kDynstr));
  entries.Add(DT_SYMTAB, image.AddressOf(kDynsym));
  entries.Add(DT_STRSZ, image.Section(kDynstr) ? image.Section(kDynstr)->size : 0);
  entries.Add(DT_SYMENT, sizeof(Elf64_Sym));
  if (options.kind != OutputKind::kShared && !options.is_static) entries.Add(DT_DEBUG, 0);
  if (image.Section(kGotPlt)) entries.Add(DT_PLTGOT, image.AddressOf(kGotPlt));
  if (const OutputSection* plt = image.Section(kRelaPlt)) {
    entries.Add(DT_PLTRELSZ, plt->used);
    entries.Add(DT_PLTREL, DT_RELA);
    entries.Add(DT_JMPREL, plt->address);
  }
  if (const OutputSection* rela = image.Section(kRelaDyn)) {
    entries.Add(DT_RELA, rela->address);
    entries.Add(DT_RELASZ, rela->size);
    entries.Add(DT_RELAENT, sizeof(Elf64_Rela));
    entries.Add(DT_RELACOUNT, image.rela.relative);
  }
  if (image.Section(kVersym)) entries.Add(DT_VERSYM, image.AddressOf(kVersym));
  if (image.Section(kVerdef)) {
    entries.Add(DT_VERDEF, image.AddressOf(kVerdef));
    entries.Add(DT_VERDEFNUM, tables.verdef_count);
  }
  if (image.Section(kVerneed)) {
    entries.Add(DT_VERNEED, image.AddressOf(kVerneed));
    entries.Add(DT_VERNEEDNUM, tables.verneed_count);
  }
  if (image.text_relocs) entries.Add(DT_TEXTREL, 0);
  AddFlags(options, image, &entries);
  entries.Add(DT_NULL, 0);
  return entries.Take();
}

}  // namespace kitlink::elf
