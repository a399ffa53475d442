#include "core/dwarf/source_location.h"

#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>
#include <libiberty/demangle.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"

namespace kitlink::dwarf {
namespace {

// Entries of one unit that are looked at before giving up, and how deep they may nest: messages must not take long.
constexpr int kMaxEntries = 2'000'000;
constexpr int kMaxDepth = 64;

// libdwfl looks for separate debug files, even on the network; an object has its own or none.
int NoDebugFile(Dwfl_Module*, void**, const char*, Dwarf_Addr, const char*, const char*, GElf_Word, char**) {
  return -1;
}
int NoElfFile(Dwfl_Module*, void**, const char*, Dwarf_Addr, char**, Elf**) { return -1; }

constexpr Dwfl_Callbacks kCallbacks = {NoElfFile, NoDebugFile, dwfl_offline_section_address, nullptr};

struct DwflEnd {
  void operator()(Dwfl* dwfl) const { dwfl_end(dwfl); }
};

// One object opened by libdwfl, which places its sections at addresses and relocates its debug sections.
class Module {
 public:
  explicit Module(const ObjectFile& object) {
    const int fd = memfd_create("object", MFD_CLOEXEC);
    if (fd < 0) return;
    dwfl_.reset(dwfl_begin(&kCallbacks));
    // libdwfl owns the descriptor once it has accepted it.
    if (!WriteAll(fd, object.image) || dwfl_ == nullptr ||
        (module_ = dwfl_report_offline(dwfl_.get(), "object", "object", fd)) == nullptr) {
      close(fd);
      return;
    }
    dwfl_report_end(dwfl_.get(), nullptr, nullptr);
  }
  bool ok() const { return module_ != nullptr; }
  Dwfl_Module* get() const { return module_; }

  // The address that libdwfl gave to `section`.
  std::optional<Dwarf_Addr> SectionAddress(uint32_t section) const {
    GElf_Addr bias = 0;
    Dwarf_Addr ignored;
    if (dwfl_module_getdwarf(module_, &ignored) == nullptr) return std::nullopt;  // this is what places sections
    Elf* elf = dwfl_module_getelf(module_, &bias);
    if (elf == nullptr) return std::nullopt;
    GElf_Shdr header;
    Elf_Scn* scn = elf_getscn(elf, section);
    if (scn == nullptr || gelf_getshdr(scn, &header) == nullptr || (header.sh_flags & SHF_ALLOC) == 0) {
      return std::nullopt;
    }
    return header.sh_addr + bias;
  }

 private:
  static bool WriteAll(int fd, ByteView bytes) {
    while (!bytes.empty()) {
      const ssize_t n = write(fd, bytes.data(), bytes.size());
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  std::unique_ptr<Dwfl, DwflEnd> dwfl_;
  Dwfl_Module* module_ = nullptr;
};

// libdw makes names absolute; people know them as they gave them to the compiler.
std::string AsWritten(const char* file, Dwarf_Die* unit) {
  absl::string_view name = file;
  Dwarf_Attribute attribute;
  const char* folder = dwarf_formstring(dwarf_attr(unit, DW_AT_comp_dir, &attribute));
  const char* unit_name = dwarf_diename(unit);
  if (folder != nullptr && (unit_name == nullptr || unit_name[0] != '/')) {
    absl::string_view rest = name;
    if (absl::ConsumePrefix(&rest, folder) && absl::ConsumePrefix(&rest, "/") && !rest.empty()) name = rest;
  }
  while (absl::ConsumePrefix(&name, "./")) {
  }
  return std::string(name);
}

// The row of the unit's line table that covers `address`.
bool FindLine(Dwarf_Die* unit, Dwarf_Addr address, SourceLocation& found) {
  Dwarf_Lines* lines;
  size_t count;
  if (dwarf_getsrclines(unit, &lines, &count) != 0) return false;
  for (size_t i = 0; i + 1 < count; ++i) {
    Dwarf_Line* line = dwarf_onesrcline(lines, i);
    Dwarf_Line* next = dwarf_onesrcline(lines, i + 1);
    Dwarf_Addr begin, end;
    bool last = false;
    int number = 0;
    if (dwarf_lineaddr(line, &begin) != 0 || dwarf_lineaddr(next, &end) != 0) continue;
    if (begin > address || end <= address) continue;
    if (dwarf_lineendsequence(line, &last) != 0 || last) continue;
    const char* file = dwarf_linesrc(line, nullptr, nullptr);
    if (file == nullptr) continue;
    // Line 0 is code of no line: what came before it is the best answer.
    for (size_t back = i + 1; back-- > 0;) {
      Dwarf_Line* previous = dwarf_onesrcline(lines, back);
      if (dwarf_lineendsequence(previous, &last) != 0 || last) break;
      if (dwarf_lineno(previous, &number) == 0 && number != 0) {
        const char* name = dwarf_linesrc(previous, nullptr, nullptr);
        if (name != nullptr) file = name;
        break;
      }
    }
    found.file = AsWritten(file, unit);
    found.line = number;
    return true;
  }
  return false;
}

bool LiesAt(Dwarf_Die* variable, Dwarf_Addr address) {
  Dwarf_Attribute attribute, value;
  Dwarf_Op* ops;
  size_t count;
  if (dwarf_attr(variable, DW_AT_location, &attribute) == nullptr) return false;
  if (dwarf_getlocation(&attribute, &ops, &count) != 0 || count == 0) return false;
  if (ops[0].atom == DW_OP_addr) return ops[0].number == address;
  Dwarf_Addr indexed;
  return ops[0].atom == DW_OP_addrx && dwarf_getlocation_attr(&attribute, &ops[0], &value) == 0 &&
         dwarf_formaddr(&value, &indexed) == 0 && indexed == address;
}

// Name of the file that declares `entry`. Not dwarf_decl_file(), which takes file 0, DWARF 5's first, for none.
const char* DeclarationFile(Dwarf_Die* unit, Dwarf_Die* entry) {
  Dwarf_Attribute attribute;
  Dwarf_Word index;
  Dwarf_Files* files;
  size_t count;
  if (dwarf_formudata(dwarf_attr_integrate(entry, DW_AT_decl_file, &attribute), &index) != 0) return nullptr;
  if (dwarf_getsrcfiles(unit, &files, &count) != 0 || index >= count) return nullptr;
  return dwarf_filesrc(files, index, nullptr, nullptr);
}

// The variable at `address` among `parent`'s entries and theirs.
bool FindVariable(Dwarf_Die* unit, Dwarf_Die* parent, Dwarf_Addr address, int depth, int& left,
                  SourceLocation& found) {
  Dwarf_Die entry;
  if (depth > kMaxDepth || dwarf_child(parent, &entry) != 0) return false;
  do {
    if (--left < 0) return false;
    if (dwarf_tag(&entry) == DW_TAG_variable && LiesAt(&entry, address)) {
      const char* file = DeclarationFile(unit, &entry);
      int line = 0;
      if (file == nullptr || dwarf_decl_line(&entry, &line) != 0) return false;
      found.file = AsWritten(file, unit);
      found.line = line;
      return true;
    }
    if (FindVariable(unit, &entry, address, depth + 1, left, found)) return true;
  } while (dwarf_siblingof(&entry, &entry) == 0);
  return false;
}

// The symbol of `section` that contains `offset`; nullptr when there is none.
const InputSymbol* Enclosing(const ObjectFile& object, uint32_t section, uint64_t offset) {
  const InputSymbol* best = nullptr;
  const InputSymbol* open = nullptr;  // nearest label before, for assembly without sizes
  for (const InputSymbol& symbol : object.symbols) {
    if (symbol.section != section || symbol.value > offset || symbol.name.empty()) continue;
    if (symbol.type == SymbolType::kSection || symbol.type == SymbolType::kFile) continue;
    if (symbol.size == 0) {
      if (open == nullptr || symbol.value >= open->value) open = &symbol;
    } else if (offset - symbol.value < symbol.size) {
      // Of aliases the global one is what people call it.
      if (best == nullptr || symbol.value > best->value ||
          (symbol.value == best->value && symbol.binding != SymbolBinding::kLocal)) {
        best = &symbol;
      }
    }
  }
  return best != nullptr ? best : open;
}

}  // namespace

SourceLocation Locate(const ObjectFile& object, uint32_t section, uint64_t offset) {
  SourceLocation found;
  if (section >= object.sections.size()) return found;
  const InputSection& place = object.sections[section];
  const InputSymbol* symbol = Enclosing(object, section, offset);
  if (symbol != nullptr) found.function = Demangle(symbol->name);
  if ((place.flags & kSecAlloc) == 0) return found;

  const Module module(object);
  if (!module.ok()) return found;
  const std::optional<Dwarf_Addr> start = module.SectionAddress(section);
  if (!start.has_value()) return found;
  Dwarf_Addr bias = 0;
  int left = kMaxEntries;
  for (Dwarf_Die* unit = nullptr; (unit = dwfl_module_nextcu(module.get(), unit, &bias)) != nullptr;) {
    if ((place.flags & kSecExec) != 0) {
      if (FindLine(unit, *start + offset - bias, found)) return found;
    } else if (symbol != nullptr) {
      if (FindVariable(unit, unit, *start + symbol->value - bias, 0, left, found)) return found;
    }
  }
  return found;
}

std::string Demangle(absl::string_view name) {
  if (!absl::StartsWith(name, "_Z") && !absl::StartsWith(name, "_R")) return std::string(name);
  const std::string terminated(name);
  char* text = cplus_demangle(terminated.c_str(), DMGL_PARAMS | DMGL_ANSI | DMGL_AUTO);
  if (text == nullptr) return terminated;
  std::string result(text);
  std::free(text);
  return result;
}

}  // namespace kitlink::dwarf
