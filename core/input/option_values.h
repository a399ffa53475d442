// Options whose value needs looking at.
#ifndef CORE_INPUT_OPTION_VALUES_H_
#define CORE_INPUT_OPTION_VALUES_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/base/diagnostics.h"
#include "core/input/option_table.h"
#include "core/input/options.h"

namespace kitlink {

// Applies `option`, written as `shown`, to `options`. `value` is empty where none was given. Positional options, inputs
// and search paths are the parser's. InvalidArgument naming option and value; unknown -z keywords are warned of.
absl::Status ApplyOptionValue(SpecialOption option, absl::string_view shown, absl::string_view value,
                              LinkOptions& options, Diagnostics& diagnostics);

// Adds the colon-separated folders of one -rpath that are not there yet.
void AddRpath(absl::string_view value, LinkOptions& options);

// A number as the tools write it: decimal, or hexadecimal after 0x. False for anything else.
bool ParseNumber(absl::string_view text, uint64_t* number);

}  // namespace kitlink

#endif  // CORE_INPUT_OPTION_VALUES_H_
