#include "core/session/cold.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/parallel.h"
#include "core/input/inputs.h"
#include "core/session/cold_link.h"
#include "core/symbols/live.h"
#include "core/symbols/normalize.h"
#include "core/symbols/resolve.h"
#include "core/symbols/scan.h"

namespace kitlink {
namespace {

// Sections that options exclude, and forms that only old compilers use, brought to the common one.
void Normalize(const LinkOptions& options, Program* program) {
  ParallelFor(program->units.size(), 32, [&](size_t u) { NormalizeUnit(options, &program->units[u], program); });
}

// --fatal-warnings.
void MakeWarningsErrors(Diagnostics& diagnostics) {
  for (Diagnostic& diagnostic : diagnostics.Take()) {
    const bool warning = diagnostic.severity == Severity::kWarning;
    diagnostics.Add(warning ? Severity::kError : diagnostic.severity, std::move(diagnostic.text));
  }
}

}  // namespace

absl::StatusOr<ColdLink> PlanColdLink(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics) {
  absl::StatusOr<Inputs> inputs = ReadInputs(options, files, diagnostics);
  if (!inputs.ok()) return inputs.status();
  if (diagnostics.has_errors()) return diagnostics.ToStatus();

  absl::StatusOr<ExportRules> exports = ReadExportRules(options, files, &inputs->opened);
  if (!exports.ok()) {
    diagnostics.Error(std::string(exports.status().message()));
    return exports.status();
  }
  absl::StatusOr<Program> resolved = Resolve(options, *std::move(inputs), *std::move(exports), diagnostics);
  if (!resolved.ok()) return resolved.status();

  ColdLink link;
  link.program = std::make_unique<Program>(*std::move(resolved));
  link.arch = &X86_64();
  Normalize(options, link.program.get());
  SplitFrames(link.program.get(), diagnostics);
  MarkLive(options, link.program.get());
  Demands demands = ScanRelocations(options, *link.arch, link.program.get(), diagnostics);
  if (diagnostics.has_errors()) return diagnostics.ToStatus();

  absl::StatusOr<std::unique_ptr<PlannedImage>> image =
      PlaceImage(options, *link.arch, std::move(demands), link.program.get());
  if (!image.ok()) return image.status();
  link.image = *std::move(image);
  if (options.fatal_warnings) MakeWarningsErrors(diagnostics);
  if (diagnostics.has_errors()) return diagnostics.ToStatus();
  return link;
}

absl::Status CheckInputsWhole(const Program& program) {
  for (const Unit& unit : program.units) {
    if (unit.object->file == nullptr || !unit.object->file->torn()) continue;
    return absl::AbortedError(absl::StrCat(unit.object->DisplayName(), ": was cut short while it was being linked"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Reference> LinkReference(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics) {
  absl::StatusOr<ColdLink> link = PlanColdLink(options, files, diagnostics);
  if (!link.ok()) return link.status();
  Reference reference;
  reference.image.resize(link->image->size());
  absl::StatusOr<WrittenImage> written = link->image->Write(absl::MakeSpan(reference.image), diagnostics);
  if (!written.ok()) return written.status();
  link->image->Describe(&reference);
  return reference;
}

}  // namespace kitlink
