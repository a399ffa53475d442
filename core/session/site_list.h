// Where a unit refers to global names, packed: a few bytes a site, for there are millions.
#ifndef CORE_SESSION_SITE_LIST_H_
#define CORE_SESSION_SITE_LIST_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "core/arch/arch.h"
#include "core/base/fields.h"

namespace kitlink {

// A field whose value depends on a name's address.
struct Site {
  static constexpr size_t kMostLead = 4;

  uint32_t global = 0;  // index of the name in UnitMemory::globals
  uint32_t atom = 0;    // index in UnitMemory::atoms
  uint64_t offset = 0;  // of the field in the atom
  uint32_t type = 0;
  int64_t addend = 0;
  // The bytes before the field as the compiler wrote them, as many as Arch::Info tells that relaxation may rewrite.
  std::array<uint8_t, kMostLead> lead{};
};

// The sites of one unit, by name. Finding those of a name costs the names of the unit and the sites of the name.
class SiteList {
 public:
  SiteList() = default;
  // In any order. REQUIRES: Arch::Info of each type asks for at most kMostLead bytes.
  SiteList(const Arch& arch, std::vector<Site> sites);

  // Calls `each` with every site of a name, ordered by atom and offset.
  void ForEach(const Arch& arch, uint32_t global, absl::FunctionRef<void(const Site&)> each) const;
  // Calls `each` with every name that has sites, in order.
  void ForEachName(absl::FunctionRef<void(uint32_t)> each) const;
  bool empty() const { return packed_.empty(); }
  uint64_t bytes_held() const { return packed_.capacity(); }

  KITLINK_ALL_FIELDS(packed_)

 private:
  // For each name: its distance to the one before, the length of what follows, and for each site: distance to the atom
  // before, offset (from the one before in the same atom), type with a bit that tells whether an addend follows, addend,
  // lead. Numbers are LEB128.
  std::vector<uint8_t> packed_;
};

}  // namespace kitlink

#endif  // CORE_SESSION_SITE_LIST_H_
