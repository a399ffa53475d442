// What a link has to say to people: errors, warnings and notes, collected in order.
//
// Steps report here and go on as far as they can, so that one run names every undefined symbol; the step's
// Status then says that the link failed. Thread safe.
#ifndef CORE_BASE_DIAGNOSTICS_H_
#define CORE_BASE_DIAGNOSTICS_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace kitlink {

enum class Severity { kNote, kWarning, kError };

struct Diagnostic {
  Severity severity = Severity::kError;
  // One or more lines without a trailing newline; the first reads "undefined symbol: foo(int)", the rest are
  // context such as ">>> referenced by main.c:12 (main.o:main)".
  std::string text;
};

// "error: TEXT", continuation lines unchanged.
std::string FormatDiagnostic(const Diagnostic& diagnostic);

class Diagnostics {
 public:
  // `limit` is the number of errors kept (--error-limit); 0 keeps all. Those past it are counted only.
  explicit Diagnostics(size_t limit = 20) : limit_(limit) {}

  void Error(std::string text) { Add(Severity::kError, std::move(text)); }
  void Warning(std::string text) { Add(Severity::kWarning, std::move(text)); }
  void Note(std::string text) { Add(Severity::kNote, std::move(text)); }
  void Add(Severity severity, std::string text);

  size_t error_count() const;
  bool has_errors() const { return error_count() != 0; }
  // In the order they were added, and one closing error where the limit cut some off.
  std::vector<Diagnostic> Take();
  // OkStatus without errors, else FailedPrecondition("link failed: N errors").
  absl::Status ToStatus() const;

 private:
  const size_t limit_;
  mutable absl::Mutex mutex_;
  size_t errors_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Diagnostic> list_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace kitlink

#endif  // CORE_BASE_DIAGNOSTICS_H_
