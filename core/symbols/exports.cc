#include "core/symbols/exports.h"

#include <string>

#include "absl/container/flat_hash_set.h"
#include "core/base/parallel.h"

namespace kitlink {
namespace {

bool Visible(const Symbol& symbol) {
  return symbol.visibility == Visibility::kDefault || symbol.visibility == Visibility::kProtected;
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

}  // namespace

void DecideBinding(const LinkOptions& options, Program* program, Diagnostics&) {
  HideExcludedLibraries(options, program);
  const absl::flat_hash_set<absl::string_view> listed(options.export_symbols.begin(), options.export_symbols.end());
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
                                                 listed.contains(symbol.name)));
        symbol.imported = shared && symbol.exported && symbol.visibility == Visibility::kDefault &&
                          !options.bsymbolic &&
                          !(options.bsymbolic_functions && symbol.type == SymbolType::kFunction);
        break;
      case SymbolKind::kLinker:
        break;
    }
  });
}

}  // namespace kitlink
