// Version scripts and dynamic lists: which symbols a shared library exports, under which version.
//
// Source: the GNU ld manual, "VERSION Command" and "--dynamic-list".
#ifndef CORE_INPUT_VERSION_SCRIPT_H_
#define CORE_INPUT_VERSION_SCRIPT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace kitlink {

struct SymbolPattern {
  std::string text;
  bool cxx = false;      // in extern "C++": matched with the demangled name
  bool literal = false;  // quoted, or without wildcards: matches only itself, and wins over wildcards

  bool Matches(absl::string_view name) const;
};

struct VersionNode {
  std::string name;  // empty for the anonymous one, which must be alone
  std::vector<SymbolPattern> globals;
  std::vector<SymbolPattern> locals;
  std::vector<std::string> parents;  // versions that this one includes
};

struct VersionScript {
  std::vector<VersionNode> nodes;
};

// InvalidArgument "PATH:LINE: ..." for anything else than version nodes.
absl::StatusOr<VersionScript> ParseVersionScript(absl::string_view path, absl::string_view text);

// "{ a; b*; extern "C++" { ... }; };" InvalidArgument "PATH:LINE: ...".
absl::StatusOr<std::vector<SymbolPattern>> ParseDynamicList(absl::string_view path, absl::string_view text);

// Shell wildcards: * ? [abc] [a-z] [!abc] and a backslash before any of them. Linear in time for one star, quadratic
// at worst.
bool GlobMatches(absl::string_view pattern, absl::string_view text);

}  // namespace kitlink

#endif  // CORE_INPUT_VERSION_SCRIPT_H_
