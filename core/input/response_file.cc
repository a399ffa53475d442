#include "core/input/response_file.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

// Of all files of one command line together; more means that they name each other.
constexpr size_t kMaxFiles = 2000;
constexpr int kMaxDepth = 64;

absl::Status Expand(absl::Span<const std::string> args, FileSource& files, int depth, std::vector<std::string>& read,
                    std::vector<std::string>& expanded) {
  for (const std::string& arg : args) {
    if (arg.size() < 2 || arg[0] != '@') {
      expanded.push_back(arg);
      continue;
    }
    const std::string path = arg.substr(1);
    if (depth >= kMaxDepth || read.size() >= kMaxFiles) {
      return absl::InvalidArgumentError(absl::StrCat("response files name each other without end: ", path));
    }
    absl::StatusOr<std::shared_ptr<InputBytes>> file = files.Open(path);
    if (!file.ok()) {
      return absl::Status(file.status().code(), absl::StrCat("cannot read response file ", path));
    }
    read.push_back(path);
    const std::vector<std::string> words = SplitResponseFile(AsString((*file)->bytes()));
    if ((*file)->torn()) {
      return absl::AbortedError(absl::StrCat(path, ": was cut short while it was being read"));
    }
    if (absl::Status status = Expand(words, files, depth + 1, read, expanded); !status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> SplitResponseFile(absl::string_view text) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false;
  char quote = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == 0 && absl::ascii_isspace(c)) {
      if (in_word) words.push_back(std::move(word));
      word.clear();
      in_word = false;
      continue;
    }
    in_word = true;
    if (c == '\\') {
      if (i + 1 < text.size()) word.push_back(text[++i]);
    } else if (c == quote) {
      quote = 0;
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else {
      word.push_back(c);
    }
  }
  if (in_word) words.push_back(std::move(word));
  return words;
}

absl::StatusOr<std::vector<std::string>> ExpandResponseFiles(absl::Span<const std::string> args, FileSource& files,
                                                             std::vector<std::string>& read) {
  std::vector<std::string> expanded;
  expanded.reserve(args.size());
  if (absl::Status status = Expand(args, files, 0, read, expanded); !status.ok()) return status;
  return expanded;
}

}  // namespace kitlink
