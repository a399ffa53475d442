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

// "file: version flags" of everything in DT_VERNEED and "version flags" of DT_VERDEF.
std::set<std::string> Versions(const Image& image) {
  std::set<std::string> versions;
  auto name = [&](uint32_t offset) { return image.DynamicString(offset).value_or("(malformed)"); };
  auto table = [&](int64_t tag) {
    std::optional<uint64_t> at = image.DynamicValue(tag);
    return at ? image.FileBytesFrom(*at) : ByteView();
  };
  ByteView bytes = table(DT_VERNEED);
  uint64_t at = 0;
  for (uint64_t i = 0; i < image.DynamicValue(DT_VERNEEDNUM).value_or(0); ++i) {
    if (!InBounds(at, sizeof(Elf64_Verneed), bytes.size())) return {"(malformed)"};
    const auto need = Load<Elf64_Verneed>(bytes.data() + at);
    if (need.vn_version != 1) return {"(malformed)"};
    uint64_t aux_at = at + need.vn_aux;
    for (uint32_t j = 0; j < need.vn_cnt; ++j) {
      if (!InBounds(aux_at, sizeof(Elf64_Vernaux), bytes.size())) return {"(malformed)"};
      const auto aux = Load<Elf64_Vernaux>(bytes.data() + aux_at);
      versions.insert(absl::StrCat("needs ", name(aux.vna_name), " of ", name(need.vn_file), " ",
                                   aux.vna_flags, " ", aux.vna_hash));
      if (aux.vna_next == 0 && j + 1 != need.vn_cnt) return {"(malformed)"};
      if (aux.vna_next == 0) break;
      aux_at += aux.vna_next;
    }
    if (need.vn_next == 0) break;  // as ld.so does, whatever DT_VERNEEDNUM says
    at += need.vn_next;
  }
  bytes = table(DT_VERDEF);
  at = 0;
  for (uint64_t i = 0; i < image.DynamicValue(DT_VERDEFNUM).value_or(0); ++i) {
    if (!InBounds(at, sizeof(Elf64_Verdef), bytes.size())) return {"(malformed)"};
    const auto def = Load<Elf64_Verdef>(bytes.data() + at);
    std::string line = absl::StrCat("defines ", def.vd_flags, " ", def.vd_hash);
    uint64_t aux_at = at + def.vd_aux;
    for (uint32_t j = 0; j < def.vd_cnt && InBounds(aux_at, sizeof(Elf64_Verdaux), bytes.size()); ++j) {
      const auto aux = Load<Elf64_Verdaux>(bytes.data() + aux_at);
      absl::StrAppend(&line, " ", name(aux.vda_name));
      if (aux.vda_next == 0) break;
      aux_at += aux.vda_next;
    }
    versions.insert(line);
    if (def.vd_next == 0) break;
    at += def.vd_next;
  }
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
  }
  const uint64_t x = a.AddressOf(cold), y = b.AddressOf(here);
  const Value from = walk.cold().Canonical(x), to = walk.image().Canonical(y);
  if (from.kind == Value::Kind::kSymbol || to.kind == Value::Kind::kSymbol) {  // copied from a library
    if (from.kind != to.kind) walk.Differ(absl::StrCat(where, ": is a copy in one of the images only"));
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

std::set<std::string> DynamicNames(const LoadedImage& image, bool defined) {
  std::set<std::string> names;
  for (const ImageSymbol& s : image.image().dynsym()) {
    if (s.index == 0 || s.name.empty() || s.defined() != defined || s.binding() == STB_LOCAL) continue;
    names.insert(absl::StrCat(image.NameOf(s.index), s.binding() == STB_WEAK ? " (weak)" : ""));
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

}  // namespace

void CompareDynamic(Walk& walk) {
  CompareTags(walk);
  CompareSets(walk, Versions(walk.cold().image()), Versions(walk.image().image()), "versions");
  CompareSets(walk, DynamicNames(walk.cold(), false), DynamicNames(walk.image(), false), "imports");
  CompareSets(walk, DynamicNames(walk.cold(), true), DynamicNames(walk.image(), true), "exports");
  CheckFirstRow(walk);
  CompareImportValues(walk);
  CompareExports(walk);
  walk.Run();
}

}  // namespace kitlink::verify
