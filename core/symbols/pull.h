// The first half of resolution: which objects take part.
#ifndef CORE_SYMBOLS_PULL_H_
#define CORE_SYMBOLS_PULL_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/diagnostics.h"
#include "core/base/ids.h"
#include "core/base/unit_rank.h"
#include "core/input/inputs.h"
#include "core/input/options.h"
#include "core/symbols/name_table.h"
#include "core/symbols/program.h"

namespace kitlink {

// One object that takes part, with its global names interned.
struct PulledObject {
  std::unique_ptr<ObjectFile> object;
  UnitRank rank;  // its precedence
  bool lazy = false;  // takes part only as long as somebody needs what it defines
  std::vector<SymbolId> globals;          // for object->symbols[first_global + i]
  std::vector<SymbolId> group_signatures;  // for object->groups[i]; invalid for groups that are not COMDAT
};

struct PulledLibrary {
  std::unique_ptr<SharedFile> file;
  bool as_needed = false;
  std::vector<SymbolId> defined;  // for file->defined[i]; invalid where only "name@version" refers to it
};

struct Pulled {
  std::vector<PulledObject> objects;  // sorted by rank
  std::vector<PulledLibrary> libraries;
  std::vector<OfferedObject> offered;
};

// Loads every object on the command line and, in rounds, each archive member that defines a name which a loaded object
// (or `roots`) refers to strongly and nothing loaded defines. `inputs` is taken apart; its archives stay.
absl::StatusOr<Pulled> PullObjects(const LinkOptions& options, Inputs& inputs, NameTable& names,
                                   Diagnostics& diagnostics);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_PULL_H_
