// State that is whole as far as digests tell, and false: a relink may come to anything, but it ends, and a full link is what
// it always is.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/session/state/testing/kept_program.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::KeptProgram;
using testing::KeptSink;

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2 + 1) {}
  size_t Below(size_t limit) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<size_t>(state_ >> 33) % limit;
  }

 private:
  uint64_t state_;
};

// Changes some bytes in one of the ways that mean something to a decoder.
void Distort(Random* random, std::string* bytes) {
  for (size_t left = 1 + random->Below(2); left > 0 && !bytes->empty(); --left) {
    const size_t at = random->Below(bytes->size());
    switch (random->Below(5)) {
      case 0: (*bytes)[at] = static_cast<char>(random->Below(256)); break;
      case 1: (*bytes)[at] = static_cast<char>((*bytes)[at] + 1); break;
      case 2: (*bytes)[at] = 0; break;
      case 3: (*bytes)[at] = '\x7f'; break;
      case 4: bytes->replace(at, 1, "\xff\xff\xff\xff\x0f"); break;
    }
  }
}

TEST(HostileState, NeverCrashesARelink) {
  KeptProgram program;
  KeptSink kept;
  ASSERT_TRUE(program.Link(&kept).ok());
  program.PutWork(2, 2);
  absl::StatusOr<LinkReport> good = program.Link(&kept);
  ASSERT_TRUE(good.ok());
  EXPECT_EQ(good->outcome, Outcome::kPatched) << good->reason_detail;
  program.PutWork(4, 3);
  KeptSink cold;
  ASSERT_TRUE(program.Link(&cold).ok());
  int outcomes[3] = {};
  for (uint64_t round = 0; round < 3000; ++round) {
    Random random(round);
    KeptSink bad = kept;
    auto blob = bad.blobs.begin();
    std::advance(blob, random.Below(bad.blobs.size()));
    const std::string id = blob->first;
    std::string bytes = blob->second;
    Distort(&random, &bytes);
    bad.Forge(id, std::move(bytes));
    SCOPED_TRACE(round);
    absl::StatusOr<LinkReport> report = program.Link(&bad);
    ASSERT_TRUE(report.ok()) << report.status();
    ++outcomes[static_cast<int>(report->outcome)];
    EXPECT_TRUE(report->outcome == Outcome::kPatched || bad.image == cold.image);
  }
  EXPECT_GT(outcomes[static_cast<int>(Outcome::kFellBackFull)], 100);
}

}  // namespace
}  // namespace kitlink
