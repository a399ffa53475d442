#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/verify/debug.h"
#include "core/verify/dynamic.h"
#include "core/verify/headers.h"
#include "core/verify/image.h"
#include "core/verify/loader.h"
#include "core/verify/relocations.h"
#include "core/verify/roots.h"
#include "core/verify/symbols.h"
#include "core/verify/unwind.h"
#include "core/verify/verify.h"
#include "core/verify/walk.h"

namespace kitlink::verify {

absl::StatusOr<VerifyReport> CompareImages(const Reference& reference, ByteView image) {
  absl::StatusOr<Image> cold = Image::Parse("reference", ByteView(reference.image));
  if (!cold.ok()) return cold.status();
  if (absl::Status s = Walk::CheckReference(reference, *cold); !s.ok()) return s;
  const LoadedImage cold_loaded = LoadedImage::Load(*cold);
  if (!cold_loaded.problems().empty()) {
    return absl::InvalidArgumentError(absl::StrCat("reference: ", cold_loaded.problems().front()));
  }
  VerifyReport report;
  absl::StatusOr<Image> here = Image::Parse("image", image);
  if (!here.ok()) {
    report.differences.push_back({std::string(here.status().message())});
    return report;
  }
  const LoadedImage loaded = LoadedImage::Load(*here);
  Walk walk(reference, cold_loaded, loaded, report);
  for (const std::string& problem : loaded.problems()) walk.Differ(problem);

  UnwindComparison unwind(walk);  // takes part in the walk: functions lead to exception tables
  WalkFromRoots(walk);
  WalkTheRest(walk);
  // Beyond this point every loaded atom has its place.
  CompareLayout(walk);
  CompareRelocations(walk);
  unwind.Finish();
  CompareHeaders(walk);
  CompareDynamic(walk);
  CompareSymbols(walk);
  CompareDebug(walk);
  if (!walk.reference_status().ok()) return walk.reference_status();
  return report;
}

}  // namespace kitlink::verify
