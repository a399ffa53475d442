#include "core/symbols/exports.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/parallel.h"

namespace kitlink {
namespace {

bool Visible(const Symbol& symbol) {
  return symbol.visibility == Visibility::kDefault || symbol.visibility == Visibility::kProtected;
}

bool Listed(const ExportRules& rules, const Symbol& symbol) {
  return !rules.dynamic.empty() && rules.dynamic.Find(symbol.name) != PatternSet::kNoMatch;
}

// Whether a library's own references to what it exports are left to the loader. A dynamic list binds all others.
bool Preemptible(const LinkOptions& options, const ExportRules& rules, const Symbol& symbol) {
  if (rules.has_dynamic_list || options.bsymbolic) return Listed(rules, symbol);
  if (options.bsymbolic_functions && symbol.type == SymbolType::kFunction) return Listed(rules, symbol);
  return true;
}

// The file name of an archive without its folder: what --exclude-libs compares.
std::string BaseName(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

void HideExcludedLibraries(const LinkOptions& options, Program* program) {
  if (options.exclude_libs.empty()) return;
  const bool all = options.exclude_libs.contains("ALL");
  for (Symbol& symbol : program->symbols) {
    if (!symbol.used || symbol.kind != SymbolKind::kDefined || !symbol.atom.valid()) continue;
    const ObjectFile& object = program->object(program->atoms[symbol.atom.value].unit);
    if (object.member.empty()) continue;
    if (all || options.exclude_libs.contains(BaseName(object.path))) symbol.visibility = Visibility::kHidden;
  }
}

// Gives definitions the versions that the script assigns, and hides what it calls local.
void ApplyVersionScript(Program* program, Diagnostics& diagnostics) {
  const ExportRules& rules = program->exports;
  ParallelFor(program->symbols.size(), 1 << 12, [&](size_t i) {
    Symbol& symbol = program->symbols[i];
    if (!symbol.used || !Visible(symbol)) return;
    if (symbol.kind != SymbolKind::kDefined && symbol.kind != SymbolKind::kAbsolute) return;
    if (!symbol.version.empty()) {  // .symver in the source has the last word
      if (rules.FindNode(symbol.version) < 0) {
        diagnostics.Error(absl::StrCat("symbol ", symbol.name, " has version ", symbol.version,
                                       ", which no version script defines"));
      }
      return;
    }
    const int32_t node = rules.VersionOf(symbol.name);
    if (node == ExportRules::kLocal) {
      symbol.visibility = Visibility::kHidden;
    } else if (node != PatternSet::kNoMatch) {
      symbol.version = rules.script.nodes[node].name;
    }
  });
}

}  // namespace

void DecideBinding(const LinkOptions& options, Program* program, Diagnostics& diagnostics) {
  HideExcludedLibraries(options, program);
  const ExportRules& rules = program->exports;
  if (options.kind == OutputKind::kShared || !rules.versions.empty()) ApplyVersionScript(program, diagnostics);
  const bool shared = options.kind == OutputKind::kShared;
  const bool dynamic = !options.is_static && !options.no_dynamic_linker;
  ParallelFor(program->symbols.size(), 1 << 14, [&](size_t i) {
    Symbol& symbol = program->symbols[i];
    if (!symbol.used) return;
    switch (symbol.kind) {
      case SymbolKind::kShared:
        symbol.imported = true;
        break;
      case SymbolKind::kUndefined:
        // An executable's weak reference that nobody satisfies is 0 for good; a library's may still be satisfied.
        symbol.imported = shared && symbol.visibility == Visibility::kDefault;
        break;
      case SymbolKind::kDefined:
      case SymbolKind::kAbsolute:
        if (!Visible(symbol)) break;
        symbol.exported = shared || (dynamic && (options.export_dynamic || symbol.shared_reference ||
                                                 symbol.binding == SymbolBinding::kUnique ||
                                                 Listed(rules, symbol)));
        symbol.imported = shared && symbol.exported && symbol.visibility == Visibility::kDefault &&
                          Preemptible(options, rules, symbol);
        break;
      case SymbolKind::kLinker:
        break;
    }
  });
}

}  // namespace kitlink
