// The names of a session's symbols: those of the last full link, and those that came later.
#ifndef CORE_SESSION_SYMBOL_NAMES_H_
#define CORE_SESSION_SYMBOL_NAMES_H_

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/base/ids.h"
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
  SymbolId Find(absl::string_view name) const {
    const SymbolId id = table_.Find(name);
    if (id.valid()) return id;
    const auto it = later_ids_.find(name);
    return it == later_ids_.end() ? SymbolId() : it->second;
  }
  SymbolId Intern(absl::string_view name) {
    if (const SymbolId id = Find(name); id.valid()) return id;
    const SymbolId id(count());
    later_.emplace_back(name);
    later_ids_.emplace(later_.back(), id);
    return id;
  }
  // REQUIRES: `id` came from here.
  absl::string_view Name(SymbolId id) const { return id.value < taken_ ? table_.Name(id) : later_[id.value - taken_]; }
  // Every id is below this.
  uint32_t count() const { return taken_ + static_cast<uint32_t>(later_.size()); }
  uint64_t bytes() const {
    uint64_t total = table_.bytes();
    for (const std::string& name : later_) total += sizeof(std::string) + 32 + name.capacity();
    return total;
  }

 private:
  NameTable table_;
  uint32_t taken_ = 0;
  std::deque<std::string> later_;  // does not move its strings
  absl::flat_hash_map<absl::string_view, SymbolId> later_ids_;
};

}  // namespace kitlink

#endif  // CORE_SESSION_SYMBOL_NAMES_H_
