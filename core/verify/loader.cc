#include "core/verify/loader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kitlink::verify {
namespace {

constexpr uint64_t kRela = sizeof(Elf64_Rela);
constexpr size_t kMaxProblems = 20;

const DynamicRelocation* FindAt(const std::vector<DynamicRelocation>& sorted, uint64_t address) {
  auto it = std::lower_bound(sorted.begin(), sorted.end(), address,
                             [](const DynamicRelocation& r, uint64_t a) { return r.address < a; });
  return it != sorted.end() && it->address == address ? &*it : nullptr;
}

// endbr64 is f3 0f 1e fa.
uint64_t SkipEndbr(ByteView code) {
  return code.size() >= 4 && Load<uint32_t>(code.data()) == 0xfa1e0ff3u ? 4 : 0;
}

// Bytes that the loader writes for it; what a copy takes depends on the library.
uint64_t BytesOf(uint32_t type) {
  switch (type) {
    case R_X86_64_TLSDESC:
      return 16;
    case R_X86_64_SIZE32:
      return 4;
    case R_X86_64_COPY:
      return 1;
    default:
      return 8;
  }
}

}  // namespace

std::string RelocationName(uint32_t type) {
  switch (type) {
    case R_X86_64_NONE:
      return "R_X86_64_NONE";
    case R_X86_64_64:
      return "R_X86_64_64";
    case R_X86_64_COPY:
      return "R_X86_64_COPY";
    case R_X86_64_GLOB_DAT:
      return "R_X86_64_GLOB_DAT";
    case R_X86_64_JUMP_SLOT:
      return "R_X86_64_JUMP_SLOT";
    case R_X86_64_RELATIVE:
      return "R_X86_64_RELATIVE";
    case R_X86_64_DTPMOD64:
      return "R_X86_64_DTPMOD64";
    case R_X86_64_DTPOFF64:
      return "R_X86_64_DTPOFF64";
    case R_X86_64_TPOFF64:
      return "R_X86_64_TPOFF64";
    case R_X86_64_TLSDESC:
      return "R_X86_64_TLSDESC";
    case R_X86_64_IRELATIVE:
      return "R_X86_64_IRELATIVE";
    case R_X86_64_SIZE32:
      return "R_X86_64_SIZE32";
    case R_X86_64_SIZE64:
      return "R_X86_64_SIZE64";
    default:
      return absl::StrCat("relocation type ", type);
  }
}

bool LoadedImage::Problem(std::string what) {
  if (problems_.size() < kMaxProblems) problems_.push_back(std::move(what));
  return false;
}

LoadedImage LoadedImage::Load(const Image& image) {
  LoadedImage loaded;
  loaded.image_ = &image;
  loaded.ReadVersions();
  loaded.FindGot();
  auto value = [&](int64_t tag) { return image.DynamicValue(tag).value_or(0); };
  const uint64_t rela = value(DT_RELA), rela_size = value(DT_RELASZ);
  const uint64_t plt = value(DT_JMPREL), plt_size = value(DT_PLTRELSZ);
  if (rela_size != 0) {
    loaded.ReadTable(rela, rela_size, Table::kRela);
    loaded.CheckRelativeCount(rela, rela_size);
  }
  // GNU ld lets DT_RELASZ include the PLT's table when the two are adjacent; ld.so then skips them once.
  const bool inside = plt >= rela && plt_size != 0 && InBounds(plt - rela, plt_size, rela_size);
  if (plt_size != 0 && !inside) loaded.ReadTable(plt, plt_size, Table::kPlt);
  if (value(DT_RELRSZ) != 0) loaded.ReadRelr(value(DT_RELR), value(DT_RELRSZ));
  if (plt_size != 0) loaded.CheckLazyPlt(plt, plt_size);
  if (image.dynamic().empty()) loaded.FindStaticTable();
  auto by_address = [](const DynamicRelocation& a, const DynamicRelocation& b) {
    return a.address < b.address;
  };
  std::stable_sort(loaded.relocations_.begin(), loaded.relocations_.end(), by_address);
  loaded.CheckWords();
  for (const DynamicRelocation& r : loaded.relocations_) {
    if (r.type == R_X86_64_COPY) loaded.copies_.push_back(r);
  }
  for (const ImageSymbol& s : image.dynsym()) {
    if (!s.defined() && s.symbol.st_value != 0) loaded.canonical_plt_[s.symbol.st_value] = s.index;
  }
  return loaded;
}

void LoadedImage::ReadTable(uint64_t address, uint64_t size, Table kind) {
  std::optional<ByteView> table = image_->FileBytes(address, size);
  if (!table || size % kRela != 0) {
    Problem(absl::StrCat("the dynamic relocation table at 0x", absl::Hex(address),
                         " is not in the file or not whole"));
    return;
  }
  for (uint64_t at = 0; at < size; at += kRela) {
    const Elf64_Rela r = kitlink::Load<Elf64_Rela>(table->data() + at);
    const uint32_t type = ELF64_R_TYPE(r.r_info), symbol = ELF64_R_SYM(r.r_info);
    if (kind == Table::kStatic && type != R_X86_64_IRELATIVE) {  // start-up code gives up on anything else
      Problem(absl::StrCat("a static program's table of resolvers holds a ", RelocationName(type)));
    }
    if (type == R_X86_64_NONE) continue;
    if (symbol != 0 && symbol >= image_->dynsym().size()) {
      Problem(absl::StrCat("a dynamic relocation at 0x", absl::Hex(r.r_offset), " names dynamic symbol ",
                           symbol, ", which does not exist"));
      continue;
    }
    if (kind == Table::kPlt && type != R_X86_64_JUMP_SLOT && type != R_X86_64_IRELATIVE && type != R_X86_64_TLSDESC) {
      Problem(absl::StrCat("DT_JMPREL holds a ", RelocationName(type), " at 0x", absl::Hex(r.r_offset)));
    }
    const bool base_only = type == R_X86_64_RELATIVE || type == R_X86_64_IRELATIVE;
    const bool symbol_only = type == R_X86_64_GLOB_DAT || type == R_X86_64_JUMP_SLOT || type == R_X86_64_COPY;
    if ((base_only && symbol != 0) || (symbol_only && r.r_addend != 0)) {
      Problem(absl::StrCat(RelocationName(type), " at 0x", absl::Hex(r.r_offset), " has ",
                           base_only ? "a symbol" : "an addend"));
    }
    relocations_.push_back({r.r_offset, type, symbol, r.r_addend});
  }
}

// DT_RELR: an address, then bitmaps of the 63 words that follow (generic ABI proposal, used by mold and lld).
void LoadedImage::ReadRelr(uint64_t address, uint64_t size) {
  std::optional<ByteView> table = image_->FileBytes(address, size);
  if (!table) {
    Problem("DT_RELR is not in the file");
    return;
  }
  auto add = [&](uint64_t word) {
    uint8_t bytes[8];
    if (!image_->Read(word, MutableBytes(bytes, 8))) {
      Problem(absl::StrCat("DT_RELR names an address that is not mapped: 0x", absl::Hex(word)));
      return;
    }
    relocations_.push_back(
        {word, R_X86_64_RELATIVE, 0, static_cast<int64_t>(kitlink::Load<uint64_t>(bytes))});
  };
  uint64_t next = 0;
  for (uint64_t at = 0; InBounds(at, 8, size); at += 8) {
    uint64_t entry = kitlink::Load<uint64_t>(table->data() + at);
    if ((entry & 1) == 0) {
      add(entry);
      next = entry + 8;
      continue;
    }
    for (uint64_t word = next; (entry >>= 1) != 0; word += 8) {
      if ((entry & 1) != 0) add(word);
    }
    next += 63 * 8;
  }
}

void LoadedImage::FindGot() {
  got_ = image_->DynamicValue(DT_PLTGOT);
  if (const ImageSymbol* s = image_->FindSymbol("_GLOBAL_OFFSET_TABLE_"); s != nullptr) got_ = s->symbol.st_value;
  for (absl::string_view name : {".got.plt", ".got"}) {
    const ImageSection* s = image_->SectionNamed(name);
    if (!got_ && s != nullptr) got_ = s->header.sh_addr;
  }
}

// The cells before those of functions: the first is zero or leads to .dynamic, the others are the loader's, which takes
// the second for prelink's when it is not zero.
void LoadedImage::CheckReservedCells(uint64_t got) {
  uint8_t bytes[24];
  if (!image_->Read(got, MutableBytes(bytes, 24))) {
    Problem("DT_PLTGOT is not mapped");
    return;
  }
  const uint64_t first = kitlink::Load<uint64_t>(bytes);
  const Elf64_Phdr* dynamic = image_->Segment(PT_DYNAMIC);
  if (first != 0 && (dynamic == nullptr || first != dynamic->p_vaddr)) {
    Problem("the first cell of DT_PLTGOT is neither zero nor where .dynamic is");
  }
  if (kitlink::Load<uint64_t>(bytes + 8) != 0 || kitlink::Load<uint64_t>(bytes + 16) != 0) {
    Problem("the loader's own cells of DT_PLTGOT are not zero");
  }
  for (const DynamicRelocation& r : relocations_) {
    if (r.address < got + 24 && r.address + 8 > got + 8) Problem("a relocation of the loader's own cells of DT_PLTGOT");
  }
}

// A static program without a dynamic section relocates itself from __rela_iplt_start to __rela_iplt_end.
void LoadedImage::FindStaticTable() {
  const ImageSymbol* start = image_->FindSymbol("__rela_iplt_start");
  const ImageSymbol* end = image_->FindSymbol("__rela_iplt_end");
  if (start != nullptr && end != nullptr) {
    const uint64_t from = start->symbol.st_value, to = end->symbol.st_value;
    if (to > from) ReadTable(from, to - from, Table::kStatic);
    return;
  }
  for (absl::string_view name : {".rela.plt", ".rela.iplt", ".rela.dyn"}) {
    const ImageSection* s = image_->SectionNamed(name);
    if (s == nullptr || s->header.sh_type != SHT_RELA || (s->header.sh_flags & SHF_ALLOC) == 0) continue;
    ReadTable(s->header.sh_addr, s->header.sh_size, Table::kStatic);
    return;
  }
}

void LoadedImage::CheckRelativeCount(uint64_t rela, uint64_t size) {
  std::optional<ByteView> table = image_->FileBytes(rela, size);
  if (!table) return;
  const uint64_t claimed = image_->DynamicValue(DT_RELACOUNT).value_or(0), rows = size / kRela;
  if (claimed > rows) {
    Problem(absl::StrCat("DT_RELACOUNT is ", claimed, ", but there are only ", rows, " relocations"));
    return;
  }
  for (uint64_t i = 0; i < rows; ++i) {
    const uint32_t type = ELF64_R_TYPE(kitlink::Load<Elf64_Rela>(table->data() + i * kRela).r_info);
    if (i < claimed && type != R_X86_64_RELATIVE) {
      Problem(
          absl::StrCat("DT_RELACOUNT is ", claimed, ", but relocation ", i, " is a ", RelocationName(type)));
      return;
    }
    if (i >= claimed && type == R_X86_64_RELATIVE && image_->DynamicValue(DT_RELACOUNT)) {
      Problem(absl::StrCat("DT_RELACOUNT is ", claimed, ", but relocation ", i, " is relative too"));
      return;
    }
  }
}

// Until a function is first called, its PLT cell leads to code that pushes the relocation's index and calls
// the loader, or to the first PLT entry (where the entry itself has loaded the index).
void LoadedImage::CheckLazyPlt(uint64_t table, uint64_t size) {
  const uint64_t now = (image_->DynamicValue(DT_FLAGS).value_or(0) & DF_BIND_NOW) |
                       (image_->DynamicValue(DT_FLAGS_1).value_or(0) & DF_1_NOW) |
                       (image_->DynamicValue(DT_BIND_NOW) ? 1 : 0);
  std::optional<ByteView> rows = image_->FileBytes(table, size);
  std::optional<uint64_t> got = image_->DynamicValue(DT_PLTGOT);
  if (now != 0 || !rows) return;
  if (got) CheckReservedCells(*got);
  // push GOT+8(%rip); [bnd] jmp *GOT+16(%rip); mold puts an endbr64 and a push of its own before.
  auto calls_loader = [&](uint64_t address) {
    ByteView code = image_->FileBytesFrom(address);
    for (uint64_t at = 0; got && InBounds(at, 12, code.size()) && at <= 8; ++at) {
      if (code[at] != 0xff || code[at + 1] != 0x35) continue;
      const uint64_t jump = at + 6 + (code[at + 6] == 0xf2 ? 1 : 0);
      if (!InBounds(jump, 6, code.size()) || code[jump] != 0xff || code[jump + 1] != 0x25) continue;
      auto operand = [&](uint64_t from) {
        return address + from + 6 + static_cast<int64_t>(kitlink::Load<int32_t>(code.data() + from + 2));
      };
      return operand(at) == *got + 8 && operand(jump) == *got + 16;
    }
    return false;
  };
  for (uint64_t at = 0, index = 0; InBounds(at, kRela, size); at += kRela, ++index) {
    const Elf64_Rela r = kitlink::Load<Elf64_Rela>(rows->data() + at);
    uint8_t bytes[8];
    if (ELF64_R_TYPE(r.r_info) != R_X86_64_JUMP_SLOT || !image_->Read(r.r_offset, MutableBytes(bytes, 8)))
      continue;
    const uint64_t entry = kitlink::Load<uint64_t>(bytes);
    ByteView code = image_->FileBytesFrom(entry);
    uint64_t from = SkipEndbr(code);
    bool good = false;
    const bool bnd = InBounds(from, 11, code.size()) && code[from + 5] == 0xf2;
    if (InBounds(from, 10, code.size()) && code[from] == 0x68) {  // push $index; [bnd] jmp first entry
      const uint64_t pushed = kitlink::Load<uint32_t>(code.data() + from + 1);
      from += bnd ? 6 : 5;
      const uint64_t distance =
          static_cast<uint64_t>(int64_t{kitlink::Load<int32_t>(code.data() + from + 1)});
      good = pushed == index && code[from] == 0xe9 && calls_loader(entry + from + 5 + distance);
    }
    if (!good && !calls_loader(entry)) {
      Problem(absl::StrCat("the PLT cell at 0x", absl::Hex(r.r_offset),
                           " does not lead to the loader before it is bound"));
    }
  }
}

void LoadedImage::CheckWords() {
  uint64_t end = 0;
  bool first = true;
  const bool text_relocations =
      image_->DynamicValue(DT_TEXTREL) || (image_->DynamicValue(DT_FLAGS).value_or(0) & DF_TEXTREL) != 0;
  for (const DynamicRelocation& r : relocations_) {
    const std::string where = absl::StrCat(RelocationName(r.type), " at 0x", absl::Hex(r.address));
    if (!first && r.address < end)
      Problem(absl::StrCat("more than one dynamic relocation for a word: ", where));
    const uint64_t size = BytesOf(r.type);
    end = r.address + size;
    first = false;
    const Elf64_Phdr* p = image_->LoadedBy(r.address, size);
    if (p == nullptr) {
      Problem(absl::StrCat(where, " is outside every segment"));
    } else if ((p->p_flags & PF_W) == 0 && !text_relocations) {
      Problem(absl::StrCat(where, " is in a segment without write permission"));
    }
  }
}

void LoadedImage::ReadVersions() {
  version_of_.resize(image_->dynsym().size());
  absl::flat_hash_map<uint32_t, std::string> names;
  const uint64_t need = image_->DynamicValue(DT_VERNEED).value_or(0);
  const uint64_t needs = image_->DynamicValue(DT_VERNEEDNUM).value_or(0);
  ByteView v = need == 0 ? ByteView() : image_->FileBytesFrom(need);
  for (uint64_t i = 0, at = 0; i < needs && InBounds(at, sizeof(Elf64_Verneed), v.size()); ++i) {
    const Elf64_Verneed n = kitlink::Load<Elf64_Verneed>(v.data() + at);
    uint64_t a = at + n.vn_aux;
    for (uint32_t j = 0; j < n.vn_cnt && InBounds(a, sizeof(Elf64_Vernaux), v.size()); ++j) {
      const Elf64_Vernaux aux = kitlink::Load<Elf64_Vernaux>(v.data() + a);
      names[aux.vna_other & 0x7fff] = std::string(image_->DynamicString(aux.vna_name).value_or("?"));
      if (aux.vna_next == 0) break;
      a += aux.vna_next;
    }
    if (n.vn_next == 0) break;
    at += n.vn_next;
  }
  const uint64_t def = image_->DynamicValue(DT_VERDEF).value_or(0);
  const uint64_t defs = image_->DynamicValue(DT_VERDEFNUM).value_or(0);
  v = def == 0 ? ByteView() : image_->FileBytesFrom(def);
  for (uint64_t i = 0, at = 0; i < defs && InBounds(at, sizeof(Elf64_Verdef), v.size()); ++i) {
    const Elf64_Verdef d = kitlink::Load<Elf64_Verdef>(v.data() + at);
    if (InBounds(at + d.vd_aux, sizeof(Elf64_Verdaux), v.size()) && (d.vd_flags & VER_FLG_BASE) == 0) {
      const auto aux = kitlink::Load<Elf64_Verdaux>(v.data() + at + d.vd_aux);
      names[d.vd_ndx & 0x7fff] = std::string(image_->DynamicString(aux.vda_name).value_or("?"));
    }
    if (d.vd_next == 0) break;
    at += d.vd_next;
  }
  const uint64_t versym = image_->DynamicValue(DT_VERSYM).value_or(0);
  v = versym == 0 ? ByteView() : image_->FileBytesFrom(versym);
  for (uint64_t i = 0; i < version_of_.size() && InBounds(i * 2, 2, v.size()); ++i) {
    const uint16_t version = kitlink::Load<uint16_t>(v.data() + i * 2) & 0x7fff;
    auto it = names.find(version);
    if (it != names.end()) version_of_[i] = it->second;
    if (it == names.end() && version > 1) version_of_[i] = "(undeclared)";
  }
}

std::string LoadedImage::NameOf(uint32_t index) const {
  if (index >= image_->dynsym().size()) return "?";
  const absl::string_view name = image_->dynsym()[index].name;
  return version_of_[index].empty() ? std::string(name) : absl::StrCat(name, "@", version_of_[index]);
}

const DynamicRelocation* LoadedImage::RelocationAt(uint64_t address) const {
  return FindAt(relocations_, address);
}

Value LoadedImage::SymbolValue(uint32_t index, int64_t addend) const {
  if (index == 0 || index >= image_->dynsym().size()) return Value::Constant(addend);
  const ImageSymbol& s = image_->dynsym()[index];
  // Nobody can override a program's own definitions, nor what is not exported or protected.
  const bool final = s.binding() == STB_LOCAL || s.visibility() != STV_DEFAULT || image_->executable() ||
                     image_->DynamicValue(DT_SYMBOLIC) ||
                     (image_->DynamicValue(DT_FLAGS).value_or(0) & DF_SYMBOLIC) != 0;
  if (!s.defined() || !final) return Value::Symbol(NameOf(index), addend);
  if (s.symbol.st_shndx == SHN_ABS) return Value::Constant(s.symbol.st_value + addend);
  if (s.type() == STT_GNU_IFUNC) return Value::Ifunc(s.symbol.st_value).Plus(addend);
  return Canonical(s.symbol.st_value).Plus(addend);
}

Value LoadedImage::SymbolSize(uint32_t index, int64_t addend) const {
  if (index == 0) return Value::Constant(static_cast<uint64_t>(addend));
  const Value v = SymbolValue(index, 0);
  if (v.kind == Value::Kind::kSymbol) return Value::Size(v.name, static_cast<uint64_t>(addend));
  return Value::Constant(image_->dynsym()[index].symbol.st_size + static_cast<uint64_t>(addend));
}

Value LoadedImage::SymbolTls(uint32_t index, int64_t addend) const {
  const Elf64_Phdr* tls = image_->Segment(PT_TLS);
  if (index == 0) return Value::Tls((tls == nullptr ? 0 : tls->p_vaddr) + addend);
  Value v = SymbolValue(index, 0);
  if (v.kind == Value::Kind::kSymbol) return Value::TlsSymbol(v.name, addend);
  return Value::Tls(image_->AddressOf(image_->dynsym()[index]) + addend);
}

Value LoadedImage::Word(uint64_t address, int64_t bias) const {
  const DynamicRelocation* r = RelocationAt(address);
  if (r == nullptr) {
    uint8_t bytes[8];
    if (!image_->Read(address, MutableBytes(bytes, 8))) {
      return Value::Bad(absl::StrFormat("0x%x, which is not mapped", address));
    }
    const uint64_t n = kitlink::Load<uint64_t>(bytes) - static_cast<uint64_t>(bias);
    if (image_->relocatable() || n == 0) return Value::Constant(n);
    const bool mapped = image_->LoadedBy(n, 0) != nullptr;
    return mapped ? Canonical(n) : Value::Constant(n);
  }
  const int64_t addend = static_cast<int64_t>(static_cast<uint64_t>(r->addend) - static_cast<uint64_t>(bias));
  switch (r->type) {
    case R_X86_64_RELATIVE:
      return Canonical(static_cast<uint64_t>(addend));
    case R_X86_64_64:
      return SymbolValue(r->symbol, addend);
    case R_X86_64_GLOB_DAT:
    case R_X86_64_JUMP_SLOT:
      return SymbolValue(r->symbol, 0).Plus(-static_cast<uint64_t>(bias));
    case R_X86_64_IRELATIVE:
      return Value::Ifunc(static_cast<uint64_t>(addend));
    case R_X86_64_TPOFF64:
    case R_X86_64_DTPOFF64:
      return SymbolTls(r->symbol, addend);
    case R_X86_64_SIZE32:
    case R_X86_64_SIZE64:
      return SymbolSize(r->symbol, addend);
    case R_X86_64_DTPMOD64:
      return Value::TlsModule(r->symbol == 0 ? "" : NameOf(r->symbol));
    default:
      return Value::Bad(absl::StrCat("a word with ", RelocationName(r->type)));
  }
}

Value LoadedImage::TlsPair(uint64_t address) const {
  const Elf64_Phdr* tls = image_->Segment(PT_TLS);
  const DynamicRelocation *module = RelocationAt(address), *offset = RelocationAt(address + 8);
  const bool bad_module = module != nullptr && module->type != R_X86_64_DTPMOD64;
  const bool bad_offset = offset != nullptr && offset->type != R_X86_64_DTPOFF64;
  // Module 1 is the program itself, so that its own pairs may be constants.
  const bool constant_one = module == nullptr && image_->executable() && Word(address) == Value::Constant(1);
  if (bad_module || bad_offset || (module == nullptr && !constant_one)) {
    return Value::Bad(absl::StrFormat("a pair of words at 0x%x that is no TLS index", address));
  }
  if (offset != nullptr) {
    const uint32_t owner = module == nullptr ? 0 : module->symbol;
    if (owner != 0 && owner != offset->symbol) return Value::Bad("a TLS index made of two variables");
    return Word(address + 8);
  }
  uint8_t bytes[8];
  if (!image_->Read(address + 8, MutableBytes(bytes, 8))) return Value::Bad("a TLS index that is not mapped");
  return Value::Tls((tls == nullptr ? 0 : tls->p_vaddr) + kitlink::Load<uint64_t>(bytes));
}

Value LoadedImage::TlsDescriptor(uint64_t address) const {
  const DynamicRelocation* r = RelocationAt(address);
  if (r == nullptr || r->type != R_X86_64_TLSDESC) {
    return Value::Bad(absl::StrFormat("words at 0x%x that are no TLS descriptor", address));
  }
  return SymbolTls(r->symbol, r->addend);
}

Value LoadedImage::TpWord(uint64_t address) const {
  const DynamicRelocation* r = RelocationAt(address);
  if (r != nullptr && r->type == R_X86_64_TPOFF64) return SymbolTls(r->symbol, r->addend);
  if (r != nullptr) return Value::Bad(absl::StrCat("a word with ", RelocationName(r->type)));
  uint8_t bytes[8];
  if (!image_->Read(address, MutableBytes(bytes, 8))) return Value::Bad("a word that is not mapped");
  return Value::Tls(image_->ThreadPointer() + kitlink::Load<uint64_t>(bytes));
}

Value LoadedImage::Canonical(uint64_t address) const {
  auto it = std::upper_bound(copies_.begin(), copies_.end(), address,
                             [](uint64_t a, const DynamicRelocation& r) { return a < r.address; });
  // Aliases of one variable have one copy relocation between them, and symbols of their own at its address.
  if (it != copies_.begin()) {
    --it;
    const ImageSymbol& s = image_->dynsym()[it->symbol];
    const uint64_t size = std::max<uint64_t>(s.symbol.st_size, 1);
    if (address - it->address < size) {
      Value v = Value::Symbol(NameOf(it->symbol), address - it->address);
      v.origin = address;
      return v;
    }
  }
  auto plt = canonical_plt_.find(address);
  if (plt != canonical_plt_.end()) return Value::Symbol(NameOf(plt->second), 0);
  return Value::Address(address);
}

std::optional<Value> LoadedImage::ThroughPlt(uint64_t address) const {
  ByteView code = image_->FileBytesFrom(address);
  const Elf64_Phdr* segment = image_->LoadedBy(address, 1);
  if (segment == nullptr || (segment->p_flags & PF_X) == 0) return std::nullopt;
  uint64_t at = SkipEndbr(code);
  if (at < code.size() && code[at] == 0xf2) ++at;  // bnd
  // mold: endbr64; mov $index, %r11d; jmp *cell(%rip)
  if (InBounds(at, 6, code.size()) && code[at] == 0x41 && code[at + 1] == 0xbb) at += 6;
  // ff 25 disp32: jmp *disp32(%rip)
  if (!InBounds(at, 6, code.size()) || code[at] != 0xff || code[at + 1] != 0x25) return std::nullopt;
  const int32_t disp = kitlink::Load<int32_t>(code.data() + at + 2);
  return Word(address + at + 6 + static_cast<int64_t>(disp));
}

uint64_t LoadedImage::JumpLength(uint64_t address) const {
  ByteView code = image_->FileBytesFrom(address);
  const Elf64_Phdr* segment = image_->LoadedBy(address, 1);
  if (segment == nullptr || (segment->p_flags & PF_X) == 0) return 0;
  const uint64_t at = SkipEndbr(code);
  if (!InBounds(at, 5, code.size()) || code[at] != 0xe9) return 0;  // e9 rel32: jmp
  return at + 5;
}

std::optional<uint64_t> LoadedImage::ThroughJump(uint64_t address) const {
  const uint64_t length = JumpLength(address);
  if (length == 0) return std::nullopt;
  const int32_t distance = kitlink::Load<int32_t>(image_->FileBytesFrom(address).data() + length - 4);
  return address + length + static_cast<int64_t>(distance);
}

}  // namespace kitlink::verify
