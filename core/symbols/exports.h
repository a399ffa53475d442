// Which names the image offers to and takes from other modules at run time.
#ifndef CORE_SYMBOLS_EXPORTS_H_
#define CORE_SYMBOLS_EXPORTS_H_

#include "core/base/diagnostics.h"
#include "core/input/options.h"
#include "core/symbols/program.h"

namespace kitlink {

// Sets Symbol::imported and Symbol::exported, by visibility, version scripts, --export-dynamic and what shared
// libraries refer to. See the gABI, "Symbol Table", on visibility.
void DecideBinding(const LinkOptions& options, Program* program, Diagnostics& diagnostics);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_EXPORTS_H_
