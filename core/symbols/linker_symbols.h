// Symbols that nobody defines but the linker: _end, __start_SECTION, __ehdr_start, --defsym, ...
#ifndef CORE_SYMBOLS_LINKER_SYMBOLS_H_
#define CORE_SYMBOLS_LINKER_SYMBOLS_H_

#include <string>

#include "core/base/diagnostics.h"
#include "core/input/options.h"
#include "core/symbols/program.h"

namespace kitlink {

// True when `name` can be part of a C identifier, so that __start_ and __stop_ symbols exist for the section.
bool IsCIdentifier(absl::string_view name);

// True of names that the linker gives a meaning of its own when units refer to them and none defines them.
bool IsLinkerName(absl::string_view name);

// What the linker calls the end of the output section `section`, should somebody ask for it; "" when it has no such name.
std::string SectionEndName(absl::string_view section);

// Gives used names that are still undefined the linker's own meaning, and defines --defsym names. Boundary symbols
// become kLinker; placement gives them their values.
void DefineLinkerSymbols(const LinkOptions& options, Program* program, Diagnostics& diagnostics);

// True when __start_ and __stop_ symbols keep nothing alive: they exist if something of their section is, which is known only
// after garbage collection. DefineLinkerSymbols leaves them alone then.
bool SetsAreCollected(const LinkOptions& options);

// Gives used names __start_NAME and __stop_NAME that are still undefined their meaning, for a NAME that is an allocated section
// of some unit and in the image, as far as that is known.
void DefineSetBoundaries(Program* program);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_LINKER_SYMBOLS_H_
