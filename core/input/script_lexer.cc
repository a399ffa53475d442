#include "core/input/script_lexer.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

// Of a word in a message; scripts may be anything, binary garbage included.
constexpr size_t kShownLength = 60;

}  // namespace

const ScriptToken& ScriptLexer::Peek() {
  if (!peeked_) {
    next_ = Scan();
    peeked_ = true;
  }
  return next_;
}

ScriptToken ScriptLexer::Next() {
  Peek();
  peeked_ = false;
  return next_;
}

bool ScriptLexer::Accept(absl::string_view text) {
  if (!Peek().Is(text)) return false;
  peeked_ = false;
  return true;
}

bool ScriptLexer::SkipBlank() {
  while (!text_.empty()) {
    size_t length = 0;
    if (absl::ascii_isspace(text_[0])) {
      length = 1;
    } else if (absl::StartsWith(text_, "/*")) {
      const size_t end = text_.find("*/", 2);
      if (end == absl::string_view::npos) return false;
      length = end + 2;
    } else if (hash_comments_ && text_[0] == '#') {
      length = std::min(text_.find('\n'), text_.size());
    } else {
      break;
    }
    line_ += static_cast<uint32_t>(std::count(text_.begin(), text_.begin() + length, '\n'));
    text_.remove_prefix(length);
  }
  return true;
}

ScriptToken ScriptLexer::Scan() {
  ScriptToken token;
  const bool terminated = SkipBlank();
  token.line = line_;
  if (!terminated) {
    token.kind = ScriptToken::Kind::kUnterminated;
    token.text = text_.substr(0, 2);
    return token;
  }
  if (text_.empty()) return token;
  size_t length = 1;
  if (text_[0] == '"') {
    const size_t end = text_.find_first_of("\"\n", 1);
    const bool closed = end != absl::string_view::npos && text_[end] == '"';
    token.kind = closed ? ScriptToken::Kind::kQuoted : ScriptToken::Kind::kUnterminated;
    token.text = closed ? text_.substr(1, end - 1) : text_.substr(0, 1);
    length = closed ? end + 1 : text_.size();
  } else if (absl::StrContains(punctuation_, text_[0])) {
    token.kind = ScriptToken::Kind::kPunctuation;
    token.text = text_.substr(0, 1);
  } else {
    auto ends_word = [this](size_t at) {
      const char c = text_[at];
      return absl::ascii_isspace(c) || c == '"' || absl::StrContains(punctuation_, c) ||
             absl::StartsWith(text_.substr(at), "/*");
    };
    while (length < text_.size() && !ends_word(length)) ++length;
    token.kind = ScriptToken::Kind::kWord;
    token.text = text_.substr(0, length);
  }
  text_.remove_prefix(length);
  return token;
}

absl::Status ScriptError(absl::string_view path, const ScriptToken& at, absl::string_view what) {
  std::string near = "the end";
  if (at.kind == ScriptToken::Kind::kUnterminated) {
    near = at.text == "\"" ? "a quote that is not closed" : "a comment that is not closed";
  } else if (at.kind != ScriptToken::Kind::kEnd) {
    near = absl::StrCat("'", absl::CHexEscape(at.text.substr(0, kShownLength)), "'");
  }
  return absl::InvalidArgumentError(absl::StrCat(path, ":", at.line, ": ", what, " near ", near));
}

}  // namespace kitlink
