// Which names the image offers to and takes from other modules at run time.
#ifndef CORE_SYMBOLS_EXPORTS_H_
#define CORE_SYMBOLS_EXPORTS_H_

#include "absl/strings/string_view.h"
#include "core/base/diagnostics.h"
#include "core/input/model.h"
#include "core/input/options.h"
#include "core/symbols/export_rules.h"
#include "core/symbols/program.h"

namespace kitlink {

// What other modules' view of a definition hangs on.
struct Definition {
  absl::string_view name;
  SymbolBinding binding = SymbolBinding::kGlobal;
  SymbolType type = SymbolType::kNone;
  Visibility visibility = Visibility::kDefault;  // the strictest that any unit asks for
  bool known_to_libraries = false;  // a shared library defines it or refers to it
};

struct Publicity {
  Visibility visibility = Visibility::kDefault;  // hidden where a version script says so
  int32_t node = PatternSet::kNoMatch;  // of the version script, which gives it a version
  bool exported = false;     // in the dynamic symbol table
  bool preemptible = false;  // the image's own references are left to the loader
};

// How a definition is seen from outside. It has no version yet: `name@VERSION` in a source is the caller's to know.
Publicity DecidePublicity(const LinkOptions& options, const ExportRules& rules, const Definition& definition);

// Sets Symbol::imported and Symbol::exported, by visibility, version scripts, --export-dynamic and what shared
// libraries refer to. See the gABI, "Symbol Table", on visibility.
void DecideBinding(const LinkOptions& options, Program* program, Diagnostics& diagnostics);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_EXPORTS_H_
