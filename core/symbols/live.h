// The MarkLive step: garbage collection of sections.
#ifndef CORE_SYMBOLS_LIVE_H_
#define CORE_SYMBOLS_LIVE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/base/diagnostics.h"
#include "core/input/options.h"
#include "core/symbols/program.h"

namespace kitlink {

// Splits .eh_frame sections into records (Unit::eh_frames) and marks them so that each description follows its
// function. Reports malformed ones.
void SplitFrames(Program* program, Diagnostics& diagnostics);

// True of loaded sections that run or are read without anything referring to them.
bool IsCollectionRoot(absl::string_view name, uint32_t flags, SectionKind kind);

// With --gc-sections: everything that the roots (entry, exports, init rows, retained and note sections, --undefined)
// do not reach becomes kDead. Sections that are not loaded stay. Without it: does nothing.
void MarkLive(const LinkOptions& options, Program* program);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_LIVE_H_
