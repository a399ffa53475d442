#include "daemon/process_memory.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

constexpr size_t kBlock = 4096, kBlocks = 16384;

// Small blocks, as tables have them: large ones are given back when they are freed.
std::vector<void*> Fill() {
  std::vector<void*> blocks(kBlocks);
  for (void*& block : blocks) {
    block = malloc(kBlock);
    memset(block, 1, kBlock);
  }
  return blocks;
}

TEST(ProcessMemory, GrowsWithWhatIsUsedAndShrinksWhenItIsReturned) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer has a heap of its own";
#endif
  const uint64_t before = AnonymousBytes();
  ASSERT_GT(before, 0u);
  std::vector<void*> blocks = Fill();
  void* last = malloc(kBlock);  // keeps the heap's end where it is
  EXPECT_GT(AnonymousBytes(), before + kBlocks * kBlock / 2);
  for (void* block : blocks) free(block);
  ReturnFreeMemory();
  EXPECT_LT(AnonymousBytes(), before + kBlocks * kBlock / 2);
  free(last);
}

}  // namespace
}  // namespace kitlink::daemon
