#include "core/dwarf/suggest.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/dwarf/source_location.h"

namespace kitlink::dwarf {
namespace {

constexpr int kMaxDistance = 5;  // a longer name does not have more slips

bool IsMangled(absl::string_view name) { return absl::StartsWith(name, "_Z"); }

// "a::f" of "a::f(int) const"; the whole of what is no function.
absl::string_view WithoutParameters(absl::string_view demangled) {
  int depth = 0;
  for (size_t i = 0; i < demangled.size(); ++i) {
    const char c = demangled[i];
    if (c == '<') ++depth;
    if (c == '>') --depth;
    if (c == '(' && depth == 0 && i > 0 && !absl::StartsWith(demangled.substr(i), "(anonymous namespace)")) {
      return demangled.substr(0, i);
    }
  }
  return demangled;
}

absl::string_view LastComponent(absl::string_view qualified) {
  const size_t at = qualified.rfind("::");
  return at == absl::string_view::npos ? qualified : qualified.substr(at + 2);
}

}  // namespace

Suggester::Suggester(absl::string_view wanted) : wanted_(wanted), base_(wanted) {
  for (unsigned char c : wanted) letters_.set(c);
  if (IsMangled(wanted)) {
    const std::string demangled = Demangle(wanted);
    if (demangled != wanted) {
      qualified_ = std::string(WithoutParameters(demangled));
      base_ = std::string(LastComponent(qualified_));
    }
  }
  token_ = absl::StrCat(base_.size(), base_);
  const int length = static_cast<int>(std::min<size_t>(wanted.size(), 1000));
  max_distance_ = length < 3 ? 0 : std::min(length / 4 + 1, kMaxDistance);
}

void Suggester::Offer(Kind kind, int distance, absl::string_view candidate) {
  // Equally good ones: the first by name, whatever the order they came in.
  if (kind < kind_ || (kind == kind_ && (distance > distance_ || (distance == distance_ && candidate >= best_)))) {
    return;
  }
  kind_ = kind;
  distance_ = distance;
  best_ = std::string(candidate);
}

int Suggester::Limit() const {
  if (kind_ > kNearName) return -1;
  return kind_ == kNearName ? distance_ : max_distance_;
}

void Suggester::Consider(absl::string_view candidate) {
  if (candidate.empty() || candidate == wanted_) return;
  if (!qualified_.empty() && candidate == base_) {
    Offer(kWantedCpp, 0, candidate);
    return;
  }
  if (IsMangled(candidate) && candidate.size() > token_.size() && absl::StrContains(candidate, token_)) {
    const std::string demangled = Demangle(candidate);
    const absl::string_view qualified = WithoutParameters(demangled);
    if (qualified_.empty() && qualified == wanted_ && qualified.size() != demangled.size()) {
      Offer(kWantedC, 0, candidate);
      return;
    }
    if (!qualified_.empty() && qualified == qualified_) {
      const int far = std::abs(static_cast<int>(candidate.size()) - static_cast<int>(wanted_.size()));
      Offer(kOtherSignature, far, candidate);
      return;
    }
  }
  if (kind_ <= kOtherCase && candidate.size() == wanted_.size() && absl::EqualsIgnoreCase(candidate, wanted_)) {
    Offer(kOtherCase, 0, candidate);
    return;
  }
  const int limit = Limit();
  if (limit <= 0) return;
  const int distance = Distance(candidate, limit);
  if (distance <= limit) Offer(kNearName, distance, candidate);
}

// Levenshtein's distance within a band of `limit` about the diagonal; limit + 1 when it is more.
int Suggester::Distance(absl::string_view candidate, int limit) {
  const int n = static_cast<int>(wanted_.size());
  if (candidate.size() > wanted_.size() + limit || candidate.size() + limit < wanted_.size()) return limit + 1;
  const int m = static_cast<int>(candidate.size());
  int strange = 0;  // each letter that the wanted name lacks is one edit at least
  for (unsigned char c : candidate) strange += letters_[c] ? 0 : 1;
  if (strange > limit) return limit + 1;
  const int far = limit + 1;
  previous_.assign(n + 2, far);
  row_.assign(n + 2, far);
  for (int j = 0; j <= std::min(n, limit); ++j) previous_[j] = j;
  for (int i = 1; i <= m; ++i) {
    const int from = std::max(1, i - limit), to = std::min(n, i + limit);
    row_[from - 1] = from == 1 && i <= limit ? i : far;
    int least = row_[from - 1];
    for (int j = from; j <= to; ++j) {
      const int change = previous_[j - 1] + (candidate[i - 1] == wanted_[j - 1] ? 0 : 1);
      row_[j] = std::min({change, previous_[j] + 1, row_[j - 1] + 1, far});
      least = std::min(least, row_[j]);
    }
    if (to < n) row_[to + 1] = far;
    if (least > limit) return far;
    std::swap(row_, previous_);
  }
  return previous_[n];
}

std::string Suggester::Result() const {
  switch (kind_) {
    case kNone:
      return "";
    case kWantedCpp:
      return absl::StrCat("did you mean: extern \"C\" ", best_);
    case kWantedC:
      return absl::StrCat("did you mean to declare ", Demangle(best_), " as extern \"C\"?");
    case kNearName:
    case kOtherCase:
    case kOtherSignature:
      return absl::StrCat("did you mean: ", Demangle(best_));
  }
  return "";
}

}  // namespace kitlink::dwarf
