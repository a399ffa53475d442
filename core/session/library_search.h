// Whether each -l still finds what it found when it was linked.
#ifndef CORE_SESSION_LIBRARY_SEARCH_H_
#define CORE_SESSION_LIBRARY_SEARCH_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/file_source.h"
#include "core/input/options.h"
#include "core/session/gate.h"
#include "core/session/input_list.h"
#include "core/session/memory.h"

namespace kitlink {

// What comes of looking for -lNAME.
struct LibraryPlace {
  std::string found;                // empty: nothing
  std::vector<std::string> before;  // paths before it: nothing is there, or nothing that can take part
};

// Finds what a cold link does: the first file along the library paths that can be opened and is made for the machine.
// Inputs of `memory` are not opened again.
LibraryPlace FindLibraryPlace(const LinkOptions& options, const InputArgument& argument, const Memory& memory, FileSource& files);

// Not thread safe.
class LibrarySearch {
 public:
  // Refuses when an -l among `options` finds another file than in `memory`: a new one in an earlier folder is another
  // input. With the options of the last time this looks only at the places before what was found, which is an input and
  // watched as such. Else O(inputs).
  std::optional<GateRefusal> Compare(const Memory& memory, const InputListChange& list, const SharedOptions& options,
                                     FileSource& files);
  // The memory is another one from now on.
  void Forget() { last_.reset(); }

 private:
  std::optional<SharedOptions> last_;  // that found what the memory says
  std::vector<std::pair<std::string, size_t>> before_;  // what was found: path, index of the -l among the inputs
};

}  // namespace kitlink

#endif  // CORE_SESSION_LIBRARY_SEARCH_H_
