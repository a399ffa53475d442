// The text files that -l finds, such as glibc's libc.so: lists of inputs in the linker command language.
//
// Source: the GNU ld manual, "Commands Dealing with Files". Scripts that lay out an output are not supported.
#ifndef CORE_INPUT_LINKER_SCRIPT_H_
#define CORE_INPUT_LINKER_SCRIPT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kitlink {

struct ScriptInput {
  bool library = false;    // written as -lNAME
  std::string name;        // NAME, or the path as written
  bool as_needed = false;
  int group = 0;           // number of the GROUP in this script, from 1; 0 for INPUT
};

struct LinkerScript {
  std::vector<ScriptInput> inputs;
  std::vector<std::string> search_dirs;  // SEARCH_DIR, as written
  std::string output_format;             // first argument of OUTPUT_FORMAT, empty without one
};

// InvalidArgument "PATH:LINE: ..." for anything but OUTPUT_FORMAT, OUTPUT_ARCH, TARGET, GROUP, INPUT, AS_NEEDED and
// SEARCH_DIR.
absl::StatusOr<LinkerScript> ParseLinkerScript(absl::string_view path, absl::string_view text);

}  // namespace kitlink

#endif  // CORE_INPUT_LINKER_SCRIPT_H_
