#include "core/input/linker_script.h"

#include <utility>

#include "absl/strings/match.h"
#include "core/input/script_lexer.h"

namespace kitlink {
namespace {

class ScriptParser {
 public:
  ScriptParser(absl::string_view path, absl::string_view text)
      : path_(path), lexer_(text, "(),;", /*hash_comments=*/false) {}

  absl::StatusOr<LinkerScript> Parse() {
    while (lexer_.Peek().kind != ScriptToken::Kind::kEnd) {
      if (lexer_.Accept(";")) continue;
      if (absl::Status status = ParseCommand(); !status.ok()) return status;
    }
    return std::move(script_);
  }

 private:
  absl::Status ParseCommand() {
    const ScriptToken command = lexer_.Next();
    if (command.Is("GROUP")) return ParseInputs(++groups_);
    if (command.Is("INPUT")) return ParseInputs(0);
    std::vector<std::string> arguments;
    if (command.Is("OUTPUT_FORMAT")) {
      absl::Status status = ParseArguments(arguments);
      if (status.ok() && !arguments.empty()) script_.output_format = arguments[0];
      return status;
    }
    if (command.Is("SEARCH_DIR")) return ParseArguments(script_.search_dirs);
    if (command.Is("OUTPUT_ARCH") || command.Is("TARGET")) return ParseArguments(arguments);
    return ScriptError(path_, command,
                       "not an object, an archive, or a linker script that only names inputs (GROUP, INPUT);");
  }

  absl::Status Open() {
    if (lexer_.Accept("(")) return absl::OkStatus();
    return ScriptError(path_, lexer_.Peek(), "'(' expected");
  }

  absl::Status ParseArguments(std::vector<std::string>& arguments) {
    if (absl::Status status = Open(); !status.ok()) return status;
    while (!lexer_.Accept(")")) {
      if (lexer_.Accept(",")) continue;
      const ScriptToken token = lexer_.Next();
      if (!token.IsName()) return ScriptError(path_, token, "a name or ')' expected");
      arguments.emplace_back(token.text);
    }
    return absl::OkStatus();
  }

  absl::Status ParseInputs(int group) {
    if (absl::Status status = Open(); !status.ok()) return status;
    bool as_needed = false;
    for (;;) {
      if (lexer_.Accept(",")) continue;
      const ScriptToken token = lexer_.Next();
      if (token.Is(")")) {
        if (!as_needed) return absl::OkStatus();
        as_needed = false;
        continue;
      }
      if (token.Is("AS_NEEDED") && !as_needed) {
        if (absl::Status status = Open(); !status.ok()) return status;
        as_needed = true;
        continue;
      }
      if (!token.IsName()) return ScriptError(path_, token, "a file name or ')' expected");
      ScriptInput input;
      input.library = token.kind == ScriptToken::Kind::kWord && absl::StartsWith(token.text, "-l");
      input.name = std::string(input.library ? token.text.substr(2) : token.text);
      input.as_needed = as_needed;
      input.group = group;
      script_.inputs.push_back(std::move(input));
    }
  }

  const absl::string_view path_;
  ScriptLexer lexer_;
  LinkerScript script_;
  int groups_ = 0;
};

}  // namespace

absl::StatusOr<LinkerScript> ParseLinkerScript(absl::string_view path, absl::string_view text) {
  return ScriptParser(path, text).Parse();
}

}  // namespace kitlink
