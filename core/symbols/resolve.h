// The Resolve step: which archive members take part, which COMDAT group wins, what every global name means.
#ifndef CORE_SYMBOLS_RESOLVE_H_
#define CORE_SYMBOLS_RESOLVE_H_

#include "absl/status/statusor.h"
#include "core/base/diagnostics.h"
#include "core/input/inputs.h"
#include "core/input/options.h"
#include "core/symbols/program.h"

namespace kitlink {

// Takes `inputs` apart into a Program; `exports` becomes part of it. Rules of precedence: a strong definition, then a COMMON symbol, then a weak
// definition, then a shared library's; among equals the first on the command line. Archive members are pulled in by
// strong undefined references, wherever on the command line those stand. Duplicate definitions and members that cannot
// be parsed are reported. Undefined symbols are not: whether they matter is known after garbage collection
// (ScanRelocations).
absl::StatusOr<Program> Resolve(const LinkOptions& options, Inputs inputs, ExportRules exports,
                                Diagnostics& diagnostics);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_RESOLVE_H_
