#include "daemon/shadow_job.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace kitlink::daemon {

// Counted fields, so that any text can be one.
std::string ShadowJob::Serialize() const {
  std::string text;
  const auto add = [&](absl::string_view field) { absl::StrAppend(&text, field.size(), ":", field); };
  for (const std::string* field : {&folder, &output, &repro}) add(*field);
  add(absl::StrCat(environment.size()));
  for (const std::string& entry : environment) add(entry);
  for (const std::string& argument : arguments) add(argument);
  return text;
}

std::optional<ShadowJob> ShadowJob::Parse(absl::string_view text) {
  std::vector<std::string> fields;
  while (!text.empty()) {
    const size_t colon = text.find(':');
    uint64_t size = 0;
    if (colon == absl::string_view::npos || !absl::SimpleAtoi(text.substr(0, colon), &size)) return std::nullopt;
    text.remove_prefix(colon + 1);
    if (size > text.size()) return std::nullopt;
    fields.emplace_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  uint64_t count = 0;
  if (fields.size() < 4 || !absl::SimpleAtoi(fields[3], &count) || count > fields.size() - 4) return std::nullopt;
  ShadowJob job;
  job.folder = fields[0], job.output = fields[1], job.repro = fields[2];
  const auto first = fields.begin() + 4, middle = first + static_cast<ptrdiff_t>(count);
  job.environment.assign(first, middle);
  job.arguments.assign(middle, fields.end());
  return job;
}

}  // namespace kitlink::daemon
