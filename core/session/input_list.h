// What became of the list of inputs: which arguments came, went, moved, or have another name.
#ifndef CORE_SESSION_INPUT_LIST_H_
#define CORE_SESSION_INPUT_LIST_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/input/options.h"
#include "core/session/gate_reason.h"
#include "core/session/memory.h"

namespace kitlink {

// An input whose path is another than last time, but which stands at the same place on the command line: compilers
// that compile and link in one step name their objects anew each time.
struct Renamed {
  uint32_t file = 0;  // index in Memory::files
  std::string path;
};

// An argument that was not there, and where it stands.
struct NewArgument {
  uint32_t argument = 0;  // of the new list
  uint64_t rank = 0;      // as in UnitRank::input
};

// A plain object that stands elsewhere now.
struct MovedArgument {
  uint32_t file = 0;  // index in Memory::files
  uint64_t rank = 0;
};

struct InputListChange {
  std::vector<Renamed> renamed;
  std::vector<NewArgument> added;
  std::vector<uint32_t> removed;  // files: plain objects, and archives
  std::vector<MovedArgument> moved;
  // Beside the new list, unless it has the same arguments in the same places: what they were in the old one, none for what
  // is new; and their ranks.
  static constexpr uint32_t kNew = 0xffffffffu;
  std::vector<uint32_t> origins;
  std::vector<uint64_t> ranks;

  bool same_places() const { return origins.empty(); }
};

// Compares the list of inputs with that of the last link. What stands between arguments that are the same at both ends is
// matched by name; what is left over between two matches is taken to be renamed. Refuses when something else than a plain
// object or an archive came, went or moved, when an input is named twice, and when flags differ. Costs one pass over both
// lists when little differs.
std::variant<InputListChange, GateRefusal> CompareInputLists(const Memory& memory, const std::vector<InputArgument>& now);

}  // namespace kitlink

#endif  // CORE_SESSION_INPUT_LIST_H_
