// Who keeps whom alive, with the changed units as they are now and all others as they were.
#ifndef CORE_SESSION_LIVE_GRAPH_H_
#define CORE_SESSION_LIVE_GRAPH_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "core/base/ids.h"
#include "core/session/diff.h"
#include "core/session/memory.h"
#include "core/session/name_changes.h"

namespace kitlink {

// A section of a changed unit, an atom of another one, or (without a unit) a COMMON symbol.
struct LiveNode {
  UnitId unit;
  uint32_t index = 0;
  friend bool operator==(const LiveNode& a, const LiveNode& b) { return a.unit == b.unit && a.index == b.index; }
  friend bool operator<(const LiveNode& a, const LiveNode& b) {
    return std::make_pair(a.unit, a.index) < std::make_pair(b.unit, b.index);
  }
  template <typename H>
  friend H AbslHashValue(H h, const LiveNode& n) {
    return H::combine(std::move(h), n.unit, n.index);
  }
};

// References into the memory and the changed units: both must outlive it.
class LiveGraph {
 public:
  LiveGraph(const Memory& memory, const std::vector<UnitDiff>& diffs, const NameChanges& names);

  // The changed unit's index in `diffs`, or -1.
  int Changed(UnitId unit) const;
  // The section of a changed unit that was this atom; kOwn when it is gone.
  uint32_t SectionOf(size_t diff, uint32_t atom) const;

  // True of what is in the image without being referred to.
  bool IsRoot(const LiveNode& node);
  bool IsRootSymbol(SymbolId symbol) const;
  // What `symbol` is defined in, as far as sections are concerned; false when it keeps nothing of the kind.
  bool Home(SymbolId symbol, LiveNode* home) const;
  // Adds the nodes that a coded target of `unit` means.
  void Resolve(UnitId unit, uint32_t target, std::vector<LiveNode>* nodes) const;
  // Adds the sections that __start_NAME is about, in whatever file.
  void ResolveSet(absl::string_view name, std::vector<LiveNode>* nodes) const;
  // True when there are any.
  bool SetExists(absl::string_view name) const;
  // Of the section.
  absl::string_view NameOf(const LiveNode& node) const;
  absl::Span<const uint32_t> TargetsOf(const LiveNode& node) const;

  // Who may refer to a node is asked for in portions, since the first is mostly enough: those of its own unit, then unit by
  // unit.
  struct Asking {
    std::vector<std::pair<UnitId, uint32_t>> portions;  // units, and the coded target that they may have
    size_t next = 0;
  };
  Asking AskWhoRefersTo(const LiveNode& node);
  Asking AskWhoRefersTo(SymbolId symbol) const;
  // The next portion; false when there is none.
  bool Next(Asking* asking, std::vector<LiveNode>* nodes);

 private:
  // One unit's references the other way round.
  struct Inverse {
    absl::flat_hash_map<uint32_t, std::vector<uint32_t>> users;       // by coded target
    absl::flat_hash_map<uint32_t, std::vector<SymbolId>> definitions;  // by section or atom
  };
  const Inverse& InverseOf(UnitId unit);
  const References& ReferencesOf(UnitId unit) const;
  void AskUsers(SymbolId symbol, Asking* asking) const;
  bool Collectable(const LiveNode& node) const;

  const Memory& memory_;
  const std::vector<UnitDiff>& diffs_;
  absl::flat_hash_map<UnitId, size_t> index_;
  std::vector<absl::flat_hash_map<uint32_t, uint32_t>> sections_;             // beside diffs: atom -> section
  std::vector<absl::flat_hash_map<SymbolId, uint32_t>> definitions_;          // beside diffs: symbol -> section
  absl::flat_hash_map<SymbolId, UnitId> owners_;                              // of names that came or moved
  absl::flat_hash_map<SymbolId, bool> exported_;                              // beside owners_
  absl::flat_hash_set<SymbolId> gone_;                                        // names without a definition now
  absl::flat_hash_map<SymbolId, std::vector<UnitId>> new_users_;
  absl::flat_hash_map<UnitId, Inverse> inverses_;
  absl::flat_hash_set<UnitId> asked_;  // whose inverse is worth making next time
};

}  // namespace kitlink

#endif  // CORE_SESSION_LIVE_GRAPH_H_
