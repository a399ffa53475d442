#include "core/symbols/linker_symbols.h"

#include <algorithm>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace kitlink {
namespace {

struct BoundaryName {
  absl::string_view name;
  Boundary boundary;
  absl::string_view section;
};

constexpr BoundaryName kBoundaryNames[] = {
    {"__ehdr_start", Boundary::kImageStart, ""},
    {"__executable_start", Boundary::kImageStart, ""},
    {"__dso_handle", Boundary::kImageStart, ""},
    {"_DYNAMIC", Boundary::kDynamic, ""},
    {"_GLOBAL_OFFSET_TABLE_", Boundary::kGot, ""},
    {"_TLS_MODULE_BASE_", Boundary::kTlsStart, ""},
    {"__GNU_EH_FRAME_HDR", Boundary::kEhFrameHdr, ""},
    {"__bss_start", Boundary::kBssStart, ""},
    {"_end", Boundary::kImageEnd, ""},
    {"end", Boundary::kImageEnd, ""},
    {"_etext", Boundary::kTextEnd, ""},
    {"etext", Boundary::kTextEnd, ""},
    {"__etext", Boundary::kTextEnd, ""},
    {"_edata", Boundary::kDataEnd, ""},
    {"edata", Boundary::kDataEnd, ""},
    {"__preinit_array_start", Boundary::kSectionStart, ".preinit_array"},
    {"__preinit_array_end", Boundary::kSectionEnd, ".preinit_array"},
    {"__init_array_start", Boundary::kSectionStart, ".init_array"},
    {"__init_array_end", Boundary::kSectionEnd, ".init_array"},
    {"__fini_array_start", Boundary::kSectionStart, ".fini_array"},
    {"__fini_array_end", Boundary::kSectionEnd, ".fini_array"},
    {"__rela_iplt_start", Boundary::kIpltStart, ""},
    {"__rela_iplt_end", Boundary::kIpltEnd, ""},
};

void MakeBoundary(Symbol* symbol, Boundary boundary, absl::string_view section) {
  symbol->kind = SymbolKind::kLinker;
  symbol->imported = false;
  symbol->boundary = boundary;
  symbol->boundary_section = section;
  symbol->binding = SymbolBinding::kGlobal;
  symbol->visibility = std::max(symbol->visibility, Visibility::kHidden);
  symbol->type = boundary == Boundary::kTlsStart ? SymbolType::kTls : SymbolType::kNone;
}

// --defsym NAME=EXPRESSION, where EXPRESSION is a number, a symbol, or a symbol plus or minus a number.
bool DefineByExpression(absl::string_view expression, const Program& program, Symbol* symbol) {
  std::string text = std::string(absl::StripAsciiWhitespace(expression));
  const size_t split = text.find_first_of("+-", 1);
  const std::string head = std::string(absl::StripAsciiWhitespace(text.substr(0, split)));
  int64_t offset = 0;
  if (split != std::string::npos) {
    uint64_t number = 0;
    const std::string tail = std::string(absl::StripAsciiWhitespace(text.substr(split + 1)));
    if (!absl::SimpleAtoi(tail, &number) && !absl::SimpleHexAtoi(tail, &number)) return false;
    offset = text[split] == '-' ? -static_cast<int64_t>(number) : static_cast<int64_t>(number);
  }
  uint64_t number = 0;
  const bool hex = absl::StartsWith(head, "0x") || absl::StartsWith(head, "0X");
  if (hex ? absl::SimpleHexAtoi(head, &number) : absl::SimpleAtoi(head, &number)) {
    symbol->kind = SymbolKind::kAbsolute;
    symbol->value = number + static_cast<uint64_t>(offset);
    return true;
  }
  const SymbolId target = program.names.Find(head);
  if (!target.valid()) return false;
  const Symbol& other = program.symbols[target.value];
  if (other.kind != SymbolKind::kDefined && other.kind != SymbolKind::kAbsolute) return false;
  const absl::string_view name = symbol->name;
  const Visibility visibility = symbol->visibility;
  *symbol = other;
  symbol->name = name;
  symbol->visibility = visibility;
  symbol->value += static_cast<uint64_t>(offset);
  return true;
}

}  // namespace

bool IsLinkerName(absl::string_view name) {
  absl::string_view set = name;
  if ((absl::ConsumePrefix(&set, "__start_") || absl::ConsumePrefix(&set, "__stop_")) && IsCIdentifier(set)) return true;
  return std::any_of(std::begin(kBoundaryNames), std::end(kBoundaryNames),
                     [&](const BoundaryName& boundary) { return boundary.name == name; });
}

std::string SectionEndName(absl::string_view section) {
  if (IsCIdentifier(section)) return absl::StrCat("__stop_", section);
  for (const BoundaryName& boundary : kBoundaryNames) {
    if (boundary.boundary == Boundary::kSectionEnd && boundary.section == section) return std::string(boundary.name);
  }
  return "";
}

bool IsCIdentifier(absl::string_view name) {
  if (name.empty() || absl::ascii_isdigit(static_cast<unsigned char>(name[0]))) return false;
  return std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

void DefineLinkerSymbols(const LinkOptions& options, Program* program, Diagnostics& diagnostics) {
  for (const auto& [name, expression] : options.defsym) {
    const SymbolId id = program->names.Find(name);
    Symbol& symbol = program->symbols[id.value];
    symbol.name = program->names.Name(id);
    symbol.used = true;
    symbol.binding = SymbolBinding::kGlobal;
    if (!DefineByExpression(expression, *program, &symbol)) {
      diagnostics.Error(absl::StrCat("--defsym ", name, "=", expression, ": cannot be evaluated"));
    }
  }
  for (const BoundaryName& entry : kBoundaryNames) {
    const SymbolId id = program->names.Find(entry.name);
    if (!id.valid() || id.value >= program->symbols.size()) continue;
    Symbol& symbol = program->symbols[id.value];
    const bool taken = symbol.kind != SymbolKind::kUndefined && symbol.kind != SymbolKind::kShared;
    if (symbol.used && !taken) MakeBoundary(&symbol, entry.boundary, entry.section);
  }
  if (!SetsAreCollected(options)) DefineSetBoundaries(program);
}

bool SetsAreCollected(const LinkOptions& options) { return options.gc_sections && options.z_start_stop_gc; }

void DefineSetBoundaries(Program* program) {
  absl::flat_hash_map<absl::string_view, bool> names;  // C-identifier sections that are live
  for (const Unit& unit : program->units) {
    for (size_t s = 0; s < unit.object->sections.size(); ++s) {
      const InputSection& section = unit.object->sections[s];
      if ((section.flags & kSecAlloc) != 0 && program->atoms[unit.first_atom + s].state == Atom::kLive &&
          !section.name.empty() && section.name[0] != '.' && IsCIdentifier(section.name)) {
        names[section.name] = true;
      }
    }
  }
  if (names.empty()) return;
  for (Symbol& symbol : program->symbols) {
    if (!symbol.used || (symbol.kind != SymbolKind::kUndefined && symbol.kind != SymbolKind::kShared)) continue;
    absl::string_view section = symbol.name;
    if (absl::ConsumePrefix(&section, "__start_")) {
      if (names.contains(section)) MakeBoundary(&symbol, Boundary::kSectionStart, section);
    } else if (absl::ConsumePrefix(&section, "__stop_")) {
      if (names.contains(section)) MakeBoundary(&symbol, Boundary::kSectionEnd, section);
    }
  }
}

}  // namespace kitlink
