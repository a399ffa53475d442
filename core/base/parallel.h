// Data-parallel loops. The only place that knows how threads are made (oneTBB, or std::thread under TSan,
// which cannot see into TBB's uninstrumented library).
//
// Nothing that a link computes may depend on the number of threads: loops write to their own slots, and
// whatever is gathered is sorted.
#ifndef CORE_BASE_PARALLEL_H_
#define CORE_BASE_PARALLEL_H_

#include <cstddef>
#include <functional>

namespace kitlink {

// Calls body(i) for each i in [0, count), in any order, on up to Threads() threads; returns when all are
// done. `grain` consecutive indices run on one thread. body must not throw.
void ParallelFor(size_t count, size_t grain, const std::function<void(size_t)>& body);

inline void ParallelFor(size_t count, const std::function<void(size_t)>& body) {
  ParallelFor(count, 1, body);
}

// Runs loops started inside `body` on at most `threads` threads (0: as many as there are processors).
void WithThreadLimit(int threads, const std::function<void()>& body);

}  // namespace kitlink

#endif  // CORE_BASE_PARALLEL_H_
