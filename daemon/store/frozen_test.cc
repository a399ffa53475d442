// States that earlier builds wrote must load, or be refused by their version.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "core/session/state/state.h"
#include "daemon/store/state_files.h"
#include "gtest/gtest.h"

namespace kitlink::daemon {
namespace {

namespace fs = std::filesystem;

// A state folder, whatever its session is called.
class FrozenState : public StateStore {
 public:
  FrozenState(StateFiles* files, std::string manifest) : files_(files), manifest_(std::move(manifest)) {}
  absl::Status Put(const ContentId&, ByteView) override { return absl::UnimplementedError("frozen"); }
  absl::StatusOr<std::string> Get(const ContentId& id) override { return files_->GetBlob(id); }
  absl::StatusOr<std::string> ReadManifest() override { return manifest_; }
  absl::Status WriteManifest(absl::string_view, absl::string_view) override { return absl::UnimplementedError("frozen"); }
  absl::StatusOr<std::string> Record() override { return absl::UnimplementedError(""); }
  absl::Status TakeUp(absl::string_view, absl::string_view) override { return absl::UnimplementedError(""); }

 private:
  StateFiles* const files_;
  const std::string manifest_;
};

TEST(FrozenStateTest, AllLoadOrAreRefusedByVersion) {
  const fs::path root = fs::path(getenv("TEST_SRCDIR")) / getenv("TEST_WORKSPACE") / "testdata/state";
  int samples = 0, loaded = 0;
  for (const auto& sample : fs::directory_iterator(root)) {
    if (!sample.is_directory()) continue;
    StateFiles files(sample.path().string());
    for (const auto& session : fs::directory_iterator(sample.path() / "sessions")) {
      ++samples;
      std::ifstream file(session.path());
      std::stringstream manifest;
      manifest << file.rdbuf();
      FrozenState frozen(&files, manifest.str());
      absl::StatusOr<RestoredState> state = LoadState(manifest.str(), &frozen);
      if (absl::IsDataLoss(state.status())) {
        // Under its name elsewhere the output's digest follows.
        const std::string text = manifest.str();
        state = LoadState(text.substr(0, text.size() - sizeof(ContentId)), &frozen);
      }
      if (!state.ok()) {
        EXPECT_TRUE(absl::IsFailedPrecondition(state.status())) << sample << ": " << state.status();
        continue;
      }
      ++loaded;
      Memory& memory = *state->memory;
      EXPECT_FALSE(memory.units.empty()) << sample;
      for (const UnitMemory& unit : std::as_const(memory).units) {
        EXPECT_TRUE(!unit.captured || unit.file < memory.files.size()) << sample;
      }
      EXPECT_TRUE(memory.names.Find("main").valid()) << sample;
      EXPECT_FALSE(state->source->damaged()) << sample << ": " << state->source->what();
    }
  }
  EXPECT_GT(samples, 0);
  EXPECT_GT(loaded, 0) << "no sample is of this format: keep a new one, see testdata/state/README.md";
}

}  // namespace
}  // namespace kitlink::daemon
