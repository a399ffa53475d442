// Shell wildcards.
#include "core/input/version_script.h"

namespace kitlink {
namespace {

// Whether `c` is in the set that opens at pattern[at] with '['; moves `at` past it. A set that is not closed is an
// ordinary '['.
bool MatchSet(absl::string_view pattern, size_t& at, char c) {
  size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  bool found = false;
  for (const size_t first = i; i < pattern.size() && (pattern[i] != ']' || i == first);) {
    unsigned char low = pattern[i++];
    unsigned char high = low;
    if (i + 1 < pattern.size() && pattern[i] == '-' && pattern[i + 1] != ']') {
      high = pattern[i + 1];
      i += 2;
    }
    const unsigned char byte = c;
    found = found || (byte >= low && byte <= high);
  }
  if (i >= pattern.size()) {
    ++at;
    return c == '[';
  }
  at = i + 1;
  return found != negated;
}

// Matches one character that is no star; moves `at` past what matched it.
bool MatchOne(absl::string_view pattern, size_t& at, char c) {
  if (at >= pattern.size()) return false;
  if (pattern[at] == '?') return ++at, true;
  if (pattern[at] == '[') return MatchSet(pattern, at, c);
  if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
  return pattern[at++] == c;
}

}  // namespace

bool GlobMatches(absl::string_view pattern, absl::string_view text) {
  size_t p = 0, t = 0;
  size_t star = absl::string_view::npos, resume = 0;  // what to do again with one more character for the last star
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      resume = t;
      continue;
    }
    size_t next = p;
    if (MatchOne(pattern, next, text[t])) {
      p = next;
      ++t;
      continue;
    }
    if (star == absl::string_view::npos) return false;
    p = star;
    t = ++resume;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool SymbolPattern::Matches(absl::string_view name) const { return literal ? text == name : GlobMatches(text, name); }

}  // namespace kitlink
