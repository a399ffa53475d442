#include "core/symbols/exports.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "core/base/parallel.h"

namespace kitlink {
namespace {

bool Visible(Visibility visibility) { return visibility == Visibility::kDefault || visibility == Visibility::kProtected; }

bool Listed(const ExportRules& rules, absl::string_view name) {
  return !rules.dynamic.empty() && rules.dynamic.Find(name) != PatternSet::kNoMatch;
}

// Whether a library's own references to what it exports are left to the loader. A dynamic list binds all others.
bool Preemptible(const LinkOptions& options, const ExportRules& rules, const Definition& definition) {
  if (rules.has_dynamic_list || options.bsymbolic) return Listed(rules, definition.name);
  if (options.bsymbolic_functions && definition.type == SymbolType::kFunction) return Listed(rules, definition.name);
  return true;
}

bool HasVersionScript(const LinkOptions& options, const ExportRules& rules) {
  return options.kind == OutputKind::kShared || !rules.versions.empty();
}

// Sets what follows from the visibility.
void DecideExport(const LinkOptions& options, const ExportRules& rules, const Definition& definition, Publicity* publicity) {
  if (!Visible(publicity->visibility)) return;
  const bool shared = options.kind == OutputKind::kShared;
  const bool dynamic = !options.is_static && !options.no_dynamic_linker;
  publicity->exported = shared || (dynamic && (options.export_dynamic || definition.known_to_libraries ||
                                               definition.binding == SymbolBinding::kUnique ||
                                               Listed(rules, definition.name)));
  publicity->preemptible = shared && publicity->exported && publicity->visibility == Visibility::kDefault &&
                           Preemptible(options, rules, definition);
}

Definition DefinitionOf(const Symbol& symbol) {
  Definition definition;
  definition.name = symbol.name;
  definition.binding = symbol.binding;
  definition.type = symbol.type;
  definition.visibility = symbol.visibility;
  definition.known_to_libraries = symbol.shared_reference;
  return definition;
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
    if (!symbol.used || !Visible(symbol.visibility)) return;
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

Publicity DecidePublicity(const LinkOptions& options, const ExportRules& rules, const Definition& definition) {
  Publicity publicity;
  publicity.visibility = definition.visibility;
  if (Visible(definition.visibility) && HasVersionScript(options, rules)) {
    const int32_t node = rules.VersionOf(definition.name);
    if (node == ExportRules::kLocal) {
      publicity.visibility = Visibility::kHidden;
    } else {
      publicity.node = node;
    }
  }
  DecideExport(options, rules, definition, &publicity);
  return publicity;
}

void DecideBinding(const LinkOptions& options, Program* program, Diagnostics& diagnostics) {
  HideExcludedLibraries(options, program);
  const ExportRules& rules = program->exports;
  if (HasVersionScript(options, rules)) ApplyVersionScript(program, diagnostics);
  const bool shared = options.kind == OutputKind::kShared;
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
      case SymbolKind::kAbsolute: {
        Publicity publicity;
        publicity.visibility = symbol.visibility;
        DecideExport(options, rules, DefinitionOf(symbol), &publicity);
        symbol.exported = publicity.exported;
        symbol.imported = publicity.preemptible;
        break;
      }
      case SymbolKind::kLinker:
        break;
    }
  });
}

}  // namespace kitlink
