// What publishing a patch costs: 24 scattered pages of a 200 MB file, and a null relink.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <memory>

#include "daemon/output/file_sink.h"

namespace kitlink::daemon {
namespace {

constexpr uint64_t kSize = 200 << 20;
constexpr int kPages = 24;

// Owns an output of kSize bytes, all data, in TEST_TMPDIR or /tmp.
class Output {
 public:
  explicit Output(PublishPolicy policy) : sink_(Path(), 022, policy) {
    const MutableBytes bytes = *sink_.BeginImage(kSize);
    for (uint64_t i = 0; i < kSize; ++i) bytes[i] = static_cast<uint8_t>(i * 37 + 1);
    if (!sink_.PublishImage(true).ok()) std::abort();
    sink_.Settle();
  }
  ~Output() { FileOps::System().Unlink(sink_.path()); }
  FileSink& sink() { return sink_; }

 private:
  static std::string Path() {
    const char* const folder = std::getenv("TEST_TMPDIR");
    return std::string(folder != nullptr ? folder : "/tmp") + "/kitlink-sink-benchmark";
  }
  FileSink sink_;
};

ImagePatch ScatteredPages(uint8_t value) {
  ImagePatch patch;
  for (int i = 0; i < kPages; ++i) {
    const uint64_t offset = kSize / kPages / 4096 * 4096 * static_cast<uint64_t>(i);
    patch.mutations.push_back({offset, PatchPhase::kAppend, std::vector<uint8_t>(4096, value)});
  }
  return patch;
}

void Commit(benchmark::State& state, PublishPolicy policy, bool settle) {
  Output output(policy);
  uint8_t value = 1;
  for (auto _ : state) {
    state.PauseTiming();
    const ImagePatch patch = ScatteredPages(value++);
    state.ResumeTiming();
    if (!output.sink().CheckPatchable().ok() || !output.sink().Commit(patch).ok())
      state.SkipWithError("refused");
    if (!settle) continue;
    state.PauseTiming();
    output.sink().Settle();
    state.ResumeTiming();
  }
}

void Null(benchmark::State& state) {
  Output output(PublishPolicy::kAuto);
  for (auto _ : state) {
    if (!output.sink().CheckPatchable().ok() || !output.sink().Commit({}).ok())
      state.SkipWithError("refused");
  }
}

BENCHMARK_CAPTURE(Commit, in_place, PublishPolicy::kAuto, true)
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(500);
BENCHMARK_CAPTURE(Commit, exchange, PublishPolicy::kExchange, true)
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(500);
BENCHMARK_CAPTURE(Commit, exchange_unsettled, PublishPolicy::kExchange, false)
    ->Unit(benchmark::kMicrosecond)
    ->Iterations(500);
BENCHMARK(Null)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace kitlink::daemon

BENCHMARK_MAIN();
