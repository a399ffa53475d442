#include "core/base/parallel.h"

#include <algorithm>

#if defined(__SANITIZE_THREAD__)
#define KITLINK_NO_TBB 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KITLINK_NO_TBB 1
#endif
#endif

#ifdef KITLINK_NO_TBB
#include <atomic>
#include <thread>
#include <vector>
#else
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>
#endif

namespace kitlink {
namespace {

// Runs block number `block` of `grain` indices.
void RunBlock(size_t block, size_t grain, size_t count, const std::function<void(size_t)>& body) {
  const size_t begin = block * grain;
  const size_t end = std::min(count - begin, grain) + begin;
  for (size_t i = begin; i < end; ++i) body(i);
}

#ifdef KITLINK_NO_TBB
// The limit that WithThreadLimit set on this thread, 0 for none. A loop's own workers inherit it, so that a loop
// inside a loop keeps to it as well.
thread_local int thread_limit = 0;

void RunBlocks(size_t blocks, const std::function<void(size_t)>& run) {
  const int limit = thread_limit;
  const size_t wanted = limit > 0 ? static_cast<size_t>(limit) : std::max(1u, std::thread::hardware_concurrency());
  std::atomic<size_t> next{0};
  auto work = [&] {
    for (size_t i = next.fetch_add(1); i < blocks; i = next.fetch_add(1)) run(i);
  };
  std::vector<std::thread> workers;
  for (size_t t = 1; t < std::min(wanted, blocks); ++t) {
    workers.emplace_back([&] {
      thread_limit = limit;
      work();
    });
  }
  work();
  for (std::thread& worker : workers) worker.join();
}
#else
void RunBlocks(size_t blocks, const std::function<void(size_t)>& run) {
  tbb::parallel_for(size_t{0}, blocks, [&run](size_t block) { run(block); });
}
#endif

}  // namespace

void ParallelFor(size_t count, size_t grain, const std::function<void(size_t)>& body) {
  grain = std::max<size_t>(grain, 1);
  const size_t blocks = count / grain + (count % grain != 0);
  if (blocks <= 1) {
    for (size_t i = 0; i < count; ++i) body(i);
    return;
  }
  RunBlocks(blocks, [&](size_t block) { RunBlock(block, grain, count, body); });
}

void WithThreadLimit(int threads, const std::function<void()>& body) {
#ifdef KITLINK_NO_TBB
  const int before = thread_limit;
  thread_limit = threads;
  body();
  thread_limit = before;
#else
  if (threads <= 0) {
    body();
    return;
  }
  tbb::task_arena arena(threads);
  arena.execute([&body] { body(); });
#endif
}

}  // namespace kitlink
