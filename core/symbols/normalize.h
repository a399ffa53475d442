// What happens to sections between resolution and garbage collection.
#ifndef CORE_SYMBOLS_NORMALIZE_H_
#define CORE_SYMBOLS_NORMALIZE_H_

#include "core/input/options.h"
#include "core/symbols/program.h"

namespace kitlink {

// Drops the sections that --strip-debug and the like exclude, and turns .ctors and .dtors, which run from their end,
// into .init_array and .fini_array rows, which run from their start. Units may be normalized in parallel.
void NormalizeUnit(const LinkOptions& options, Unit* unit, Program* program);

// The same for an object alone, as far as it does not depend on a program: the .ctors part.
void NormalizeObject(ObjectFile* object);

// Sections that describe all units at once and would be wrong after one of them changes: left out of incremental links.
bool NeedsWholeProgram(const InputSection& section);

// True when the options keep `section` out of the image.
bool Excluded(const LinkOptions& options, const InputSection& section);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_NORMALIZE_H_
