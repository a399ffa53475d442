// An image whose every address is decided and that can be written. The one seam between the session, which knows no
// format, and the formats.
#ifndef CORE_OUTPUT_PLANNED_IMAGE_H_
#define CORE_OUTPUT_PLANNED_IMAGE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/arch/arch.h"
#include "core/base/diagnostics.h"
#include "core/input/options.h"
#include "core/layout/placement.h"
#include "core/output/hot_tables.h"
#include "core/output/reference.h"
#include "core/symbols/program.h"
#include "core/symbols/scan.h"

namespace kitlink {

struct WrittenImage {
  std::string build_id;  // lower-case hexadecimal; empty without one
  std::vector<uint64_t> build_id_leaves;  // what the next id is made from; the format's business
  uint64_t relocations = 0;
};

class PlannedImage {
 public:
  virtual ~PlannedImage() = default;
  virtual uint64_t size() const = 0;  // bytes of the file
  virtual const Placement& placement() const = 0;
  virtual const ImageValues& values() const = 0;
  // Where a global symbol is; 0 when run time decides.
  virtual uint64_t SymbolAddress(SymbolId id) const = 0;
  // The abbreviation table of padding units; invalid without debug information.
  virtual AtomId padding_abbrev() const = 0;
  // Fills `image`, size() zero bytes. FailedPrecondition when a field cannot hold its value (see `diagnostics`).
  virtual absl::StatusOr<WrittenImage> Write(MutableBytes image, Diagnostics& diagnostics) = 0;
  // Atoms and relocated fields, for verification. `reference->image` is not touched.
  virtual void Describe(Reference* reference) const = 0;
  // What relinks need of the format's tables, as `read` gives them; independent of the program it was made from.
  virtual absl::StatusOr<std::unique_ptr<HotTables>> Capture(const WrittenImage& written,
                                                             const ImageReader& read) const = 0;
};

// The Place step: decides every address of an image in the format that `arch` and `options` ask for. `program` must
// outlive the result. From here on no address moves.
absl::StatusOr<std::unique_ptr<PlannedImage>> PlaceImage(const LinkOptions& options, const Arch& arch, Demands demands,
                                                         Program* program);

}  // namespace kitlink

#endif  // CORE_OUTPUT_PLANNED_IMAGE_H_
