#include "core/base/parallel.h"

#include <atomic>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

TEST(ParallelFor, VisitsEachIndexOnce) {
  for (size_t count : {0, 1, 2, 7, 1000}) {
    for (size_t grain : {0, 1, 3, 1000, 5000}) {
      std::vector<std::atomic<int>> hits(count);
      ParallelFor(count, grain, [&](size_t i) { ++hits[i]; });
      for (size_t i = 0; i < count; ++i) EXPECT_EQ(hits[i], 1) << count << " " << grain << " " << i;
    }
  }
}

TEST(ParallelFor, AGrainStaysOnOneThread) {
  std::vector<std::thread::id> ids(64);
  ParallelFor(64, 8, [&](size_t i) { ids[i] = std::this_thread::get_id(); });
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(ids[i], ids[i / 8 * 8]);
}

TEST(ParallelFor, Nests) {
  std::atomic<int> total{0};
  ParallelFor(20, [&](size_t) { ParallelFor(20, [&](size_t) { ++total; }); });
  EXPECT_EQ(total, 400);
}

TEST(WithThreadLimit, LimitsToOne) {
  std::mutex mutex;
  std::set<std::thread::id> ids;
  WithThreadLimit(1, [&] {
    ParallelFor(1000, [&](size_t) {
      std::lock_guard<std::mutex> lock(mutex);
      ids.insert(std::this_thread::get_id());
    });
  });
  EXPECT_EQ(ids.size(), 1u);
}

TEST(WithThreadLimit, ZeroRunsTheBody) {
  bool ran = false;
  WithThreadLimit(0, [&] { ran = true; });
  EXPECT_TRUE(ran);
}

}  // namespace
}  // namespace kitlink
