#include "core/verify/dynamic.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "core/verify/lookup.h"

namespace kitlink::verify {
namespace {

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

// Every entry of two sets that is in one of them only.
void CompareSets(Walk& walk, const std::set<std::string>& cold, const std::set<std::string>& here,
                 absl::string_view what) {
  for (const std::string& s : cold) {
    if (here.count(s) == 0) walk.Differ(absl::StrCat(what, ": ", s, " is missing"));
  }
  for (const std::string& s : here) {
    if (cold.count(s) == 0) walk.Differ(absl::StrCat(what, ": ", s, ", which a cold link has not"));
  }
}

std::vector<std::string> Strings(const Image& image, int64_t tag) {
  std::vector<std::string> strings;
  for (const Elf64_Dyn& d : image.dynamic()) {
    if (d.d_tag != tag) continue;
    strings.push_back(std::string(image.DynamicString(d.d_un.d_val).value_or("(malformed)")));
  }
  return strings;
}

void CompareTags(Walk& walk) {
  const Image &cold = walk.cold().image(), &here = walk.image().image();
  auto tags = [](const Image& image) {
    std::multiset<int64_t> set;
    for (const Elf64_Dyn& d : image.dynamic()) {
      if (d.d_tag != DT_RELACOUNT || d.d_un.d_val != 0) set.insert(d.d_tag);
    }
    return set;
  };
  const std::multiset<int64_t> a = tags(cold), b = tags(here);
  for (int64_t tag : a) {
    if (b.count(tag) == 0) walk.Differ(absl::StrCat("dynamic tag ", Hex(tag), " is missing"));
  }
  for (int64_t tag : std::set<int64_t>(b.begin(), b.end())) {
    if (a.count(tag) == 0) walk.Differ(absl::StrCat("dynamic tag ", Hex(tag), ", which a cold link has not"));
    if (b.count(tag) > 1 && a.count(tag) == 1) walk.Differ(absl::StrCat("dynamic tag ", Hex(tag), " is there twice"));
  }
  for (auto [tag, name] : {std::pair(DT_NEEDED, "DT_NEEDED"), std::pair(DT_SONAME, "DT_SONAME"),
                           std::pair(DT_RPATH, "DT_RPATH"), std::pair(DT_RUNPATH, "DT_RUNPATH"),
           std::pair(DT_AUXILIARY, "DT_AUXILIARY"), std::pair(DT_FILTER, "DT_FILTER"),
           std::pair(DT_AUDIT, "DT_AUDIT"), std::pair(DT_DEPAUDIT, "DT_DEPAUDIT")}) {
    const auto x = Strings(cold, tag), y = Strings(here, tag);
    if (x != y) {
      walk.Differ(absl::StrCat(name, " is [", absl::StrJoin(y, ", "), "] here, [", absl::StrJoin(x, ", "),
                               "] in a cold link"));
    }
  }
  for (int64_t tag :
       {int64_t{DT_FLAGS}, int64_t{DT_FLAGS_1}, int64_t{DT_INIT_ARRAYSZ}, int64_t{DT_FINI_ARRAYSZ},
        int64_t{DT_PREINIT_ARRAYSZ}, int64_t{DT_PLTREL}, int64_t{DT_RELAENT}, int64_t{DT_SYMENT},
        int64_t{DT_VERDEFNUM}, int64_t{DT_DEBUG}, int64_t{DT_RELRENT}}) {
    const auto x = cold.DynamicValue(tag), y = here.DynamicValue(tag);
    if (x && y && *x != *y) {
      walk.Differ(
          absl::StrCat("dynamic tag ", Hex(tag), " is ", Hex(*y), " here, ", Hex(*x), " in a cold link"));
    }
  }
  for (int64_t tag : {DT_INIT_ARRAY, DT_FINI_ARRAY, DT_PREINIT_ARRAY}) {
    const auto x = cold.DynamicValue(tag), y = here.DynamicValue(tag);
    if (!x || !y) continue;
    AtomOffset first = walk.AtomAt(*x, false);
    if (first.atom != kNoAtom && walk.place(first.atom) + first.offset != *y) {
      walk.Differ(absl::StrCat("dynamic tag ", Hex(tag), " is ", walk.Describe(*y), " here, ",
                               walk.NameOf(first), " in a cold link"));
    }
  }
}

// The rows of DT_VERNEED or DT_VERDEF, read as ld.so does: by the distance to the next, whatever the counts say, which
// other readers believe. `Row` and `Aux` are the ELF structures; calls `each(row, auxs)`. False when malformed.
template <typename Row, typename Aux, typename Each>
bool ReadVersions(const Image& image, int64_t tag, int64_t count_tag, uint32_t Row::* aux_start, uint32_t Row::* next_row,
                  uint16_t Row::* aux_count, uint32_t Aux::* next_aux, Each each) {
  std::optional<uint64_t> start = image.DynamicValue(tag);
  if (!start) return true;
  const ByteView bytes = image.FileBytesFrom(*start);
  uint64_t rows = 0;
  for (uint64_t at = 0;;) {
    if (!InBounds(at, sizeof(Row), bytes.size())) return false;
    const Row row = Load<Row>(bytes.data() + at);
    std::vector<Aux> auxs;
    for (uint64_t aux_at = at + row.*aux_start;;) {
      if (!InBounds(aux_at, sizeof(Aux), bytes.size())) return false;
      auxs.push_back(Load<Aux>(bytes.data() + aux_at));
      if (auxs.back().*next_aux == 0) break;
      aux_at += auxs.back().*next_aux;
    }
    if (auxs.size() != row.*aux_count) return false;
    each(row, auxs);
    ++rows;
    if (row.*next_row == 0) return rows == image.DynamicValue(count_tag).value_or(0);
    at += row.*next_row;
  }
}

// "needs VERSION of FILE" for everything in DT_VERNEED and "defines VERSION" for DT_VERDEF, with flags and hashes.
std::set<std::string> Versions(const Image& image) {
  std::set<std::string> versions;
  auto name = [&](uint32_t offset) { return image.DynamicString(offset).value_or("(malformed)"); };
  auto need = [&](const Elf64_Verneed& row, const std::vector<Elf64_Vernaux>& auxs) {
    for (const Elf64_Vernaux& aux : auxs) {
      versions.insert(absl::StrCat("needs ", name(aux.vna_name), " of ", name(row.vn_file), " ", aux.vna_flags, " ",
                                   aux.vna_hash, row.vn_version == 1 ? "" : " (malformed)"));
    }
  };
  auto definition = [&](const Elf64_Verdef& row, const std::vector<Elf64_Verdaux>& auxs) {
    std::string line = absl::StrCat("defines ", row.vd_flags, " ", row.vd_hash, row.vd_version == 1 ? "" : " (malformed)");
    for (const Elf64_Verdaux& aux : auxs) absl::StrAppend(&line, " ", name(aux.vda_name));
    versions.insert(line);
  };
  const bool read =
      ReadVersions<Elf64_Verneed, Elf64_Vernaux>(image, DT_VERNEED, DT_VERNEEDNUM, &Elf64_Verneed::vn_aux,
                                                 &Elf64_Verneed::vn_next, &Elf64_Verneed::vn_cnt,
                                                 &Elf64_Vernaux::vna_next, need) &&
      ReadVersions<Elf64_Verdef, Elf64_Verdaux>(image, DT_VERDEF, DT_VERDEFNUM, &Elf64_Verdef::vd_aux,
                                                &Elf64_Verdef::vd_next, &Elf64_Verdef::vd_cnt,
                                                &Elf64_Verdaux::vda_next, definition);
  if (!read) versions.insert("(malformed)");
  return versions;
}

uint16_t VersionWord(const Image& image, uint32_t index) {
  std::optional<uint64_t> at = image.DynamicValue(DT_VERSYM);
  if (!at) return 1;
  std::optional<ByteView> word = image.FileBytes(*at + uint64_t{index} * 2, 2);
  return word ? Load<uint16_t>(word->data()) : 0;
}

void CompareValue(Walk& walk, const ImageSymbol& cold, const ImageSymbol& here) {
  const Image &a = walk.cold().image(), &b = walk.image().image();
  const std::string where = absl::StrCat("dynamic symbol ", cold.name);
  if (cold.type() != here.type() || cold.binding() != here.binding() ||
      cold.symbol.st_other != here.symbol.st_other) {
    walk.Differ(absl::StrCat(where, ": has another type, binding or visibility"));
  }
  if (cold.symbol.st_size != here.symbol.st_size) {
    walk.Differ(absl::StrCat(where, ": has size ", here.symbol.st_size, " here, ", cold.symbol.st_size,
                             " in a cold link"));
  }
  if (cold.symbol.st_shndx == SHN_ABS || here.symbol.st_shndx == SHN_ABS) {
    if (cold.symbol.st_shndx != here.symbol.st_shndx || cold.symbol.st_value != here.symbol.st_value) {
      walk.Differ(absl::StrCat(where, ": has another absolute value"));
    }
    return;
  }
  if (here.symbol.st_shndx >= b.sections().size() || cold.symbol.st_shndx >= a.sections().size() ||
      !ContinuesSection(b.sections()[here.symbol.st_shndx].name, a.sections()[cold.symbol.st_shndx].name)) {
    walk.Differ(absl::StrCat(where, ": names another section"));
    return;
  }
  const uint64_t x = a.AddressOf(cold), y = b.AddressOf(here);
  const Elf64_Shdr& section = b.sections()[here.symbol.st_shndx].header;
  const bool named = walk.AtomAt(x, cold.type() == STT_TLS).atom != kNoAtom;
  if (named && (y < section.sh_addr || y - section.sh_addr > section.sh_size)) {
    walk.Differ(absl::StrCat(where, ": lies outside of the section that it names"));
  }
  const Value from = walk.cold().Canonical(x), to = walk.image().Canonical(y);
  if (from.kind == Value::Kind::kSymbol || to.kind == Value::Kind::kSymbol) {  // copied from a library
    if (from.kind != to.kind || from.number != to.number) {
      walk.Differ(absl::StrCat(where, ": is ", walk.Describe(to), " here, ", walk.Describe(from), " in a cold link"));
    }
    return;
  }
  const AtomOffset target = walk.AtomAt(x, cold.type() == STT_TLS);
  if (target.atom == kNoAtom || Walk::IsTable(walk.reference().atoms[target.atom])) {
    if (!walk.SameBoundary(cold.name, x, y)) walk.Differ(absl::StrCat(where, ": has another value"));
    return;
  }
  if (walk.Expect(target, y, false, absl::StrCat(where, ": is ")) && cold.type() != STT_GNU_IFUNC) {
    walk.CheckPointer(target, y, where);
  }
}

void CompareExports(Walk& walk) {
  const Image &cold = walk.cold().image(), &here = walk.image().image();
  for (const ImageSymbol& s : cold.dynsym()) {
    if (!s.defined() || s.binding() == STB_LOCAL || s.name.empty()) continue;
    const uint16_t hidden = VersionWord(cold, s.index) & 0x8000;
    auto pick = [&](const std::vector<uint32_t>& found) -> const ImageSymbol* {
      for (uint32_t i : found) {
        if (walk.image().NameOf(i) == walk.cold().NameOf(s.index) &&
            (VersionWord(here, i) & 0x8000) == hidden) {
          return &here.dynsym()[i];
        }
      }
      return nullptr;
    };
    for (auto [tag, lookup, name] :
         {std::tuple(DT_GNU_HASH, &LookUpGnu, "GNU"), std::tuple(DT_HASH, &LookUpSysv, "SysV")}) {
      if (!here.DynamicValue(tag)) continue;
      const ImageSymbol* found = pick(lookup(here, s.name));
      if (found == nullptr) {
        walk.Differ(absl::StrCat("dynamic symbol ", walk.cold().NameOf(s.index), ": not found through the ",
                                 name, " hash table"));
      } else {
        CompareValue(walk, s, *found);
      }
    }
  }
}

// With what the loader goes by when it looks up a reference.
std::set<std::string> DynamicNames(const LoadedImage& image, bool defined) {
  std::set<std::string> names;
  for (const ImageSymbol& s : image.image().dynsym()) {
    if (s.index == 0 || s.name.empty() || s.defined() != defined || s.binding() == STB_LOCAL) continue;
    names.insert(absl::StrCat(image.NameOf(s.index), s.binding() == STB_WEAK ? " (weak)" : "",
                              s.type() == STT_TLS ? " (thread variable)" : "",
                              s.symbol.st_other == 0 ? "" : absl::StrCat(" (visibility ", s.symbol.st_other, ")")));
  }
  return names;
}

// Relocations without a symbol name row 0, and the loader adds its value.
void CheckFirstRow(Walk& walk) {
  const Image& here = walk.image().image();
  for (const auto* table : {&here.dynsym(), &here.symtab()}) {
    if (table->empty()) continue;
    const Elf64_Sym& s = table->front().symbol;
    if (s.st_name != 0 || s.st_info != 0 || s.st_other != 0 || s.st_shndx != 0 || s.st_value != 0 || s.st_size != 0) {
      walk.Differ(absl::StrCat("the first row of ", table == &here.symtab() ? ".symtab" : ".dynsym", " is not empty"));
    }
  }
}

// An undefined function with a value is a program's canonical PLT entry: pointers to it, in libraries too,
// lead there.
void CompareImportValues(Walk& walk) {
  std::set<std::string> canonical;
  for (const ImageSymbol& s : walk.cold().image().dynsym()) {
    if (!s.defined() && s.symbol.st_value != 0) canonical.insert(walk.cold().NameOf(s.index));
  }
  for (const ImageSymbol& s : walk.image().image().dynsym()) {
    if (s.defined() || s.index == 0) continue;
    const std::string name = walk.image().NameOf(s.index);
    const bool expected = canonical.count(name) != 0;
    if (!expected && s.symbol.st_value == 0) continue;
    std::optional<Value> target = walk.image().ThroughPlt(s.symbol.st_value);
    if (!expected || !target || target->kind != Value::Kind::kSymbol || target->name != name) {
      walk.Differ(absl::StrCat("import ", name, ": has the value ", Hex(s.symbol.st_value), ", which is ",
                               expected ? "no PLT entry of its own" : "zero in a cold link"));
    }
  }
}

// What the loader looks up by name, strongly, in the way that any program does.
bool PlainImport(const ImageSymbol& s) {
  return s.index != 0 && !s.name.empty() && !s.defined() && s.binding() == STB_GLOBAL && s.type() != STT_TLS &&
         s.symbol.st_other == 0 && s.symbol.st_value == 0;
}

void CompareImports(Walk& walk) {
  const std::set<std::string> cold = DynamicNames(walk.cold(), false);
  std::set<std::string> here = DynamicNames(walk.image(), false);
  for (const ImageSymbol& s : walk.image().image().dynsym()) {
    const std::string name = walk.image().NameOf(s.index);
    if (PlainImport(s) && cold.count(name) == 0) here.erase(name);
  }
  CompareSets(walk, cold, here, "imports");
}

}  // namespace

std::set<std::string> IdleImports(const Walk& walk) {
  const std::set<std::string> cold = DynamicNames(walk.cold(), false);
  std::set<std::string> idle;
  for (const ImageSymbol& s : walk.image().image().dynsym()) {
    if (PlainImport(s) && cold.count(walk.image().NameOf(s.index)) == 0) idle.insert(std::string(s.name));
  }
  return idle;
}

void CompareDynamic(Walk& walk) {
  CompareTags(walk);
  CompareSets(walk, Versions(walk.cold().image()), Versions(walk.image().image()), "versions");
  CompareImports(walk);
  CompareSets(walk, DynamicNames(walk.cold(), true), DynamicNames(walk.image(), true), "exports");
  CheckFirstRow(walk);
  CompareImportValues(walk);
  CompareExports(walk);
  for (const std::string& problem : HashTableProblems(walk.image().image())) walk.Differ(problem);
  walk.Run();
}

}  // namespace kitlink::verify
