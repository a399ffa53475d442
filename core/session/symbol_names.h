// The names of a session's symbols: those of the last full link, and those that came later.
#ifndef CORE_SESSION_SYMBOL_NAMES_H_
#define CORE_SESSION_SYMBOL_NAMES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "core/base/codec.h"
#include "core/base/ids.h"
#include "core/base/paged_table.h"
#include "core/symbols/name_table.h"

namespace kitlink {

// A name table whose new ids do not depend on the old ones' sharding: behind the ids of names, a link hands out ids to
// local symbols that own cells, and a name that came later must not get one of those. Not thread safe.
class SymbolNames {
 public:
  SymbolNames() = default;
  // Ids below `taken` belong to the link that made `table`.
  SymbolNames(NameTable table, uint32_t taken) : table_(std::move(table)), taken_(taken) {}

  // An invalid id when the name is not there.
  SymbolId Find(absl::string_view name) const;
  SymbolId Intern(absl::string_view name);
  // REQUIRES: `id` came from here.
  absl::string_view Name(SymbolId id) const;
  // Every id is below this.
  uint32_t count() const { return taken_ + static_cast<uint32_t>(later_.size()); }
  uint64_t bytes() const;

  // Brings the names of the link into the form that is written; ids stay. O(names), the first time. Views that were
  // given before are void. False, and nothing has happened, when `stop` becomes true.
  bool Freeze(absl::FunctionRef<bool()> stop);
  KITLINK_COUNT_FIELDS(taken_, names_, slots_, later_, table_, later_ids_)
  // REQUIRES: frozen.
  void Encode(Encoder& encoder) const { encoder.Put(taken_, names_, slots_, later_); }
  bool Decode(Decoder& decoder);
  static std::string Schema();

 private:
  // A place of an open-addressing table: which name is looked for next for this hash.
  struct Slot {
    uint32_t hash = 0;
    uint32_t id = 0;  // plus one; 0: free
    KITLINK_FIELDS(hash, id)
  };
  SymbolId FindFrozen(absl::string_view name) const;

  std::optional<NameTable> table_;  // until they are frozen
  uint32_t taken_ = 0;
  PagedTable<std::string, 256> names_;  // by id; what is no name is empty
  PagedTable<Slot, 2048> slots_;        // a power of two of them, at most two thirds taken
  PagedTable<std::string, 64> later_;   // does not move its strings
  absl::flat_hash_map<absl::string_view, SymbolId> later_ids_;
};

}  // namespace kitlink

#endif  // CORE_SESSION_SYMBOL_NAMES_H_
