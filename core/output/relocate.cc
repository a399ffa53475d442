#include "core/output/relocate.h"

#include <algorithm>

#include "absl/strings/match.h"

namespace kitlink {

uint64_t Tombstone(absl::string_view section) {
  if (!absl::StartsWith(section, ".debug_")) return 0;
  if (section == ".debug_ranges" || section == ".debug_loc") return ~uint64_t{1};
  return ~uint64_t{0};
}

uint64_t ApplyRelocations(absl::Span<const Reloc> relocs, MutableBytes bytes, uint64_t address, const Arch& arch,
                          const ImageValues& values, const OutputTraits& output,
                          absl::FunctionRef<TargetValue(const Reloc&)> target,
                          absl::FunctionRef<void(const Reloc&, const char*)> error) {
  uint64_t applied = 0;
  for (size_t r = 0; r < relocs.size();) {
    const ApplyResult result = arch.Apply(relocs.subspan(r), bytes, address, target(relocs[r]), values, output);
    if (result.error != nullptr) error(relocs[r], result.error);
    const size_t consumed = std::max<uint16_t>(result.consumed, 1);
    applied += consumed;
    r += consumed;
  }
  return applied;
}

}  // namespace kitlink
