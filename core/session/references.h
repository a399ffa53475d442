// Who keeps whom alive: what garbage collection follows, section by section.
//
// Only links with --gc-sections have any. A target is a global name or another section of the same unit; sections of one
// group form a ring, a section that goes where another goes (SHF_LINK_ORDER) is a target of that one, and what a function's
// unwind record refers to is a target of the function.
#ifndef CORE_SESSION_REFERENCES_H_
#define CORE_SESSION_REFERENCES_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/types/span.h"
#include "core/base/fields.h"
#include "core/base/ids.h"
#include "core/input/eh_frame.h"
#include "core/input/model.h"

namespace kitlink {

// Targets are coded: a SymbolId value, or kOwn with the number of one of the unit's own sections or atoms.
class References {
 public:
  static constexpr uint32_t kOwn = 0x80000000u;

  // Replaces everything; `lists` are sorted, without repetitions.
  void Assign(const std::vector<std::vector<uint32_t>>& lists);
  uint32_t size() const { return begin_.empty() ? 0 : static_cast<uint32_t>(begin_.size()) - 1; }
  // What `from` refers to, sorted; nothing for numbers that are not there.
  absl::Span<const uint32_t> Of(uint32_t from) const;
  uint64_t bytes() const { return (begin_.capacity() + targets_.capacity() + definitions_.capacity() * 2) * sizeof(uint32_t); }

  // The unit's definitions that count, and what they are in; sorted.
  const std::vector<std::pair<SymbolId, uint32_t>>& definitions() const { return definitions_; }
  void SetDefinitions(std::vector<std::pair<SymbolId, uint32_t>> definitions);
  // What `symbol` is defined in; kOwn when it is not among the definitions.
  uint32_t HomeOf(SymbolId symbol) const;

  KITLINK_ALL_FIELDS(begin_, targets_, definitions_)

  // The same with sections numbered anew: `numbers` is beside them, kOwn for those that are left out.
  References Renumbered(const std::vector<uint32_t>& numbers, uint32_t count) const;

 private:
  std::vector<uint32_t> begin_, targets_;
  std::vector<std::pair<SymbolId, uint32_t>> definitions_;
};

// What each loaded section of `object` refers to. `global` gives the id behind one of its global symbols; `frames` are its
// unwind records.
References ReferencesOf(const ObjectFile& object, absl::Span<const EhFrame> frames, absl::FunctionRef<SymbolId(uint32_t)> global);

// The unwind records of all its sections; malformed ones are left out.
std::vector<EhFrame> FramesOf(const ObjectFile& object);

}  // namespace kitlink

#endif  // CORE_SESSION_REFERENCES_H_
