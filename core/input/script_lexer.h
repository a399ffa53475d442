// Words of linker scripts, version scripts and dynamic lists.
#ifndef CORE_INPUT_SCRIPT_LEXER_H_
#define CORE_INPUT_SCRIPT_LEXER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace kitlink {

struct ScriptToken {
  enum class Kind : uint8_t { kEnd, kWord, kQuoted, kPunctuation, kUnterminated };
  Kind kind = Kind::kEnd;
  absl::string_view text;  // without the quotes; a view into the script
  uint32_t line = 1;

  bool Is(absl::string_view what) const { return kind != Kind::kQuoted && text == what; }
  bool IsName() const { return kind == Kind::kWord || kind == Kind::kQuoted; }
};

// Splits text into words, "quoted words" and single characters of `punctuation`; skips white space, /* */ comments
// and, where asked, comments from # to the end of the line.
class ScriptLexer {
 public:
  ScriptLexer(absl::string_view text, absl::string_view punctuation, bool hash_comments)
      : text_(text), punctuation_(punctuation), hash_comments_(hash_comments) {}

  // The next token, left in place.
  const ScriptToken& Peek();
  // The next token, taken. kEnd again and again at the end; kUnterminated for a comment or quote without an end.
  ScriptToken Next();
  // Takes the next token if it is `text`.
  bool Accept(absl::string_view text);

 private:
  // Skips what is not a token; false when a comment has no end.
  bool SkipBlank();
  ScriptToken Scan();

  absl::string_view text_;
  const absl::string_view punctuation_;
  const bool hash_comments_;
  uint32_t line_ = 1;
  bool peeked_ = false;
  ScriptToken next_;
};

// InvalidArgument "PATH:LINE: WHAT near 'TOKEN'".
absl::Status ScriptError(absl::string_view path, const ScriptToken& at, absl::string_view what);

}  // namespace kitlink

#endif  // CORE_INPUT_SCRIPT_LEXER_H_
