#include "core/base/diagnostics.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace kitlink {

std::string FormatDiagnostic(const Diagnostic& diagnostic) {
  switch (diagnostic.severity) {
    case Severity::kNote:
      return absl::StrCat("note: ", diagnostic.text);
    case Severity::kWarning:
      return absl::StrCat("warning: ", diagnostic.text);
    case Severity::kError:
      break;
  }
  return absl::StrCat("error: ", diagnostic.text);
}

void Diagnostics::Add(Severity severity, std::string text) {
  absl::MutexLock lock(&mutex_);
  if (severity == Severity::kError && ++errors_ > limit_ && limit_ != 0) return;
  Diagnostic diagnostic;
  diagnostic.severity = severity;
  diagnostic.text = std::move(text);
  list_.push_back(std::move(diagnostic));
}

size_t Diagnostics::error_count() const {
  absl::MutexLock lock(&mutex_);
  return errors_;
}

std::vector<Diagnostic> Diagnostics::Take() {
  absl::MutexLock lock(&mutex_);
  std::vector<Diagnostic> taken = std::move(list_);
  list_.clear();
  if (limit_ != 0 && errors_ > limit_) {
    Diagnostic closing;
    closing.text = absl::StrCat("too many errors: ", errors_ - limit_,
                                " more not shown (use --error-limit=0 to see all errors)");
    taken.push_back(std::move(closing));
  }
  return taken;
}

absl::Status Diagnostics::ToStatus() const {
  const size_t errors = error_count();
  if (errors == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("link failed: ", errors, errors == 1 ? " error" : " errors"));
}

}  // namespace kitlink
