#include "core/session/trim.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace kitlink {
namespace {

constexpr uint64_t kReadGap = 4096;  // reading a little too much beats another system call
constexpr uint64_t kJoin = 64;       // equal bytes between two differences that are worth writing along

// A stretch of the image that covers some mutations.
struct Window {
  uint64_t begin = 0, end = 0;
  std::vector<size_t> mutations;  // in order of planning
};

std::vector<Window> MakeWindows(const std::vector<Mutation>& mutations) {
  std::vector<size_t> order(mutations.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return mutations[a].offset < mutations[b].offset; });
  std::vector<Window> windows;
  for (size_t i : order) {
    const uint64_t begin = mutations[i].offset, end = begin + mutations[i].bytes.size();
    if (begin == end) continue;
    if (windows.empty() || begin > windows.back().end + kReadGap) windows.push_back({begin, begin, {}});
    windows.back().end = std::max(windows.back().end, end);
    windows.back().mutations.push_back(i);
  }
  for (Window& window : windows) std::sort(window.mutations.begin(), window.mutations.end());
  return windows;
}

void AppendDifferences(uint64_t offset, const std::vector<uint8_t>& was, const std::vector<uint8_t>& is,
                       PatchPhase phase, std::vector<Mutation>* out) {
  size_t at = 0;
  while (at < is.size()) {
    const auto [w, i] = std::mismatch(was.begin() + static_cast<ptrdiff_t>(at), was.end(), is.begin() + static_cast<ptrdiff_t>(at));
    const size_t begin = static_cast<size_t>(i - is.begin());
    if (begin == is.size()) return;
    size_t end = begin + 1, equal = 0;
    for (size_t k = end; k < is.size() && equal < kJoin; ++k) {
      if (was[k] == is[k]) {
        ++equal;
      } else {
        equal = 0;
        end = k + 1;
      }
    }
    Mutation mutation;
    mutation.offset = offset + begin;
    mutation.phase = phase;
    mutation.bytes.assign(is.begin() + static_cast<ptrdiff_t>(begin), is.begin() + static_cast<ptrdiff_t>(end));
    out->push_back(std::move(mutation));
    at = end;
  }
}

}  // namespace

absl::StatusOr<std::vector<Mutation>> TrimMutations(std::vector<Mutation> mutations, const ImageReader& read) {
  std::vector<Mutation> trimmed;
  std::vector<uint8_t> was, is;
  for (const Window& window : MakeWindows(mutations)) {
    was.resize(window.end - window.begin);
    if (absl::Status status = read(window.begin, absl::MakeSpan(was)); !status.ok()) return status;
    is = was;
    for (size_t m : window.mutations) {
      std::copy(mutations[m].bytes.begin(), mutations[m].bytes.end(),
                is.begin() + static_cast<ptrdiff_t>(mutations[m].offset - window.begin));
    }
    AppendDifferences(window.begin, was, is, mutations[window.mutations.front()].phase, &trimmed);
  }
  return trimmed;
}

}  // namespace kitlink
