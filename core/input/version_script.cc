#include "core/input/version_script.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "core/input/script_lexer.h"

namespace kitlink {
namespace {

class VersionParser {
 public:
  // A colon is part of a word, because C++ names are full of them.
  VersionParser(absl::string_view path, absl::string_view text)
      : path_(path), lexer_(text, "{};", /*hash_comments=*/true) {}

  absl::StatusOr<VersionScript> ParseScript() {
    VersionScript script;
    while (lexer_.Peek().kind != ScriptToken::Kind::kEnd) {
      VersionNode node;
      if (lexer_.Peek().IsName()) node.name = std::string(lexer_.Next().text);
      const ScriptToken open = lexer_.Peek();
      if (absl::Status status = ParseBody(node); !status.ok()) return status;
      while (lexer_.Peek().IsName()) node.parents.emplace_back(lexer_.Next().text);
      if (!lexer_.Accept(";")) return ScriptError(path_, lexer_.Peek(), "';' expected");
      if (node.name.empty()) anonymous_ = true;
      script.nodes.push_back(std::move(node));
      if (anonymous_ && script.nodes.size() > 1) {
        return ScriptError(path_, open, "a version without a name must be the only one");
      }
    }
    return script;
  }

  absl::StatusOr<std::vector<SymbolPattern>> ParseList() {
    VersionNode node;
    while (lexer_.Peek().kind != ScriptToken::Kind::kEnd) {
      if (absl::Status status = ParseBody(node); !status.ok()) return status;
      if (!lexer_.Accept(";")) return ScriptError(path_, lexer_.Peek(), "';' expected");
    }
    if (!node.locals.empty()) return ScriptError(path_, lexer_.Peek(), "a dynamic list has no local symbols");
    return std::move(node.globals);
  }

 private:
  // "{ global: ...; local: ...; }"
  absl::Status ParseBody(VersionNode& node) {
    if (!lexer_.Accept("{")) return ScriptError(path_, lexer_.Peek(), "'{' expected");
    bool local = false;
    while (!lexer_.Accept("}")) {
      if (lexer_.Accept(";")) continue;
      ScriptToken token = lexer_.Next();
      TakeLabel("global", false, token, local);
      TakeLabel("local", true, token, local);
      if (token.text.empty() && token.kind == ScriptToken::Kind::kWord) continue;
      std::vector<SymbolPattern>& patterns = local ? node.locals : node.globals;
      absl::Status status =
          token.Is("extern") ? ParseExtern(patterns) : AddPattern(token, /*cxx=*/false, patterns);
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Strips "LABEL:" from the word, which may go on ("local:*") or have the colon in the next one.
  void TakeLabel(absl::string_view label, bool value, ScriptToken& token, bool& local) {
    if (token.kind != ScriptToken::Kind::kWord || !absl::StartsWith(token.text, label)) return;
    absl::string_view rest = token.text.substr(label.size());
    if (rest.empty() && absl::StartsWith(lexer_.Peek().text, ":") && lexer_.Peek().kind == ScriptToken::Kind::kWord) {
      rest = lexer_.Next().text;
    }
    if (!absl::ConsumePrefix(&rest, ":")) return;
    token.text = rest;
    local = value;
  }

  // extern "C++" { ... };
  absl::Status ParseExtern(std::vector<SymbolPattern>& patterns) {
    const ScriptToken language = lexer_.Next();
    const bool cxx = language.text == "C++";
    if (!language.IsName() || (!cxx && language.text != "C")) {
      return ScriptError(path_, language, "\"C\" or \"C++\" expected");
    }
    if (!lexer_.Accept("{")) return ScriptError(path_, lexer_.Peek(), "'{' expected");
    while (!lexer_.Accept("}")) {
      if (lexer_.Accept(";")) continue;
      if (absl::Status status = AddPattern(lexer_.Next(), cxx, patterns); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  absl::Status AddPattern(const ScriptToken& token, bool cxx, std::vector<SymbolPattern>& patterns) {
    if (!token.IsName()) return ScriptError(path_, token, "a symbol expected");
    SymbolPattern pattern;
    pattern.text = std::string(token.text);
    pattern.cxx = cxx;
    pattern.literal = token.kind == ScriptToken::Kind::kQuoted ||
                      pattern.text.find_first_of("*?[\\") == std::string::npos;
    patterns.push_back(std::move(pattern));
    if (lexer_.Peek().Is(";") || lexer_.Peek().Is("}")) return absl::OkStatus();
    return ScriptError(path_, lexer_.Peek(), "';' expected");
  }

  const absl::string_view path_;
  ScriptLexer lexer_;
  bool anonymous_ = false;
};

}  // namespace

absl::StatusOr<VersionScript> ParseVersionScript(absl::string_view path, absl::string_view text) {
  return VersionParser(path, text).ParseScript();
}

absl::StatusOr<std::vector<SymbolPattern>> ParseDynamicList(absl::string_view path, absl::string_view text) {
  return VersionParser(path, text).ParseList();
}

}  // namespace kitlink
