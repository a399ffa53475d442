#include "core/session/state/state.h"

#include <memory>
#include <string>
#include <utility>

#include "core/base/codec.h"
#include "core/input/testing/obj_builder.h"
#include "core/session/state/testing/memory_state.h"
#include "core/session/testing/hot_memory.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using testing::HotMemory;
using testing::MemoryState;
using testing::ObjBuilder;

void Fill(HotMemory* hot) {
  hot->files.Put("a.o", ObjBuilder()
                            .Section(".text.f", "\x90\xc3")
                            .Section(".data.d", "data")
                            .Symbol("_start", ".text.f")
                            .Symbol("d", ".data.d")
                            .Undefined("g")
                            .Build());
  hot->files.Put("b.o", ObjBuilder().Section(".text.g", "\xc3").Symbol("g", ".text.g").Build());
  hot->Link({"a.o", "b.o"});
}

SessionFacts Facts() { return {7, "out", "record", "/folder"}; }

class StateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Fill(&hot_);
    ASSERT_NE(hot_.memory, nullptr);
    ASSERT_TRUE(SaveState(Facts(), hot_.memory.get(), &store_).ok());
  }
  HotMemory hot_;
  MemoryState store_;
};

TEST_F(StateTest, IsFoundAgain) {
  absl::StatusOr<RestoredState> state = LoadState(store_.manifest, &store_);
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->facts.generation, 7u);
  EXPECT_EQ(state->facts.output, "out");
  EXPECT_EQ(state->facts.image, "record");
  const Memory& memory = *state->memory;
  EXPECT_EQ(memory.units.size(), hot_.memory->units.size());
  const SymbolId g = memory.names.Find("g");
  ASSERT_TRUE(g.valid());
  EXPECT_EQ(g, hot_.memory->names.Find("g"));
  EXPECT_EQ(memory.names.Name(g), "g");
  EXPECT_EQ(memory.symbols[g.value].address, hot_.memory->symbols[g.value].address);
  EXPECT_EQ(memory.users.Of(g), hot_.memory->users.Of(g));
  EXPECT_EQ(memory.file_of.at("b.o"), hot_.memory->file_of.at("b.o"));
  EXPECT_EQ(memory.options->inputs.size(), 2u);
  EXPECT_EQ(memory.tables->build_id(), hot_.memory->tables->build_id());
  EXPECT_FALSE(state->source->damaged());
}

TEST_F(StateTest, LoadingAndSavingAgainGivesTheSameBytes) {
  absl::StatusOr<RestoredState> state = LoadState(store_.manifest, &store_);
  ASSERT_TRUE(state.ok());
  const MemoryState before = store_;
  ASSERT_TRUE(SaveState(Facts(), state->memory.get(), &store_).ok());
  EXPECT_EQ(store_.manifest, before.manifest);
  EXPECT_EQ(store_.blobs, before.blobs);
  // Into an empty store, when all rows were looked at.
  MemoryState copy;
  SaveState(Facts(), state->memory.get(), &copy, /*all_pages=*/true).IgnoreError();
  EXPECT_EQ(copy.blobs, store_.blobs);
  EXPECT_EQ(copy.manifest, store_.manifest);
}

TEST_F(StateTest, WritesWhatChanged) {
  const size_t before = store_.blobs.size();
  const uint64_t written = store_.written;
  hot_.unit("b.o").lazy = true;
  ASSERT_TRUE(SaveState(Facts(), hot_.memory.get(), &store_).ok());
  EXPECT_GT(store_.blobs.size(), before);
  EXPECT_LE(store_.blobs.size(), before + 3);  // the unit's page, the root, and no more
  EXPECT_LT(store_.written - written, 40000u);
}

TEST_F(StateTest, EveryCutManifestIsRefused) {
  const std::string whole = store_.manifest;
  for (size_t size = 1; size < whole.size(); ++size) {
    store_.manifest = whole.substr(0, size);
    EXPECT_TRUE(absl::IsDataLoss(LoadState(store_.manifest, &store_).status())) << size;
  }
}

TEST_F(StateTest, EveryFlippedBitIsRefused) {
  const std::string whole = store_.manifest;
  for (size_t at = 0; at < whole.size(); ++at) {
    store_.manifest = whole;
    store_.manifest[at] ^= 4;
    EXPECT_FALSE(LoadState(store_.manifest, &store_).ok()) << at;
  }
}

TEST_F(StateTest, AnotherVersionIsRefusedByName) {
  // The version stands behind the magic number; the digest is right.
  std::string other = store_.manifest.substr(0, store_.manifest.size() - sizeof(ContentId));
  other[8] = static_cast<char>(kStateVersion + 1);
  const ContentId digest = HashContent(AsBytes(other));
  store_.manifest = other + std::string(AsString(digest.bytes));
  const absl::Status status = LoadState(store_.manifest, &store_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("another version"), std::string::npos);
}

// Whatever chunk is bad, somebody notices: at once, or when all rows are looked at.
TEST_F(StateTest, EveryBadChunkIsNoticed) {
  for (const auto& [id, bytes] : store_.blobs) {
    for (const bool missing : {false, true}) {
      MemoryState bad = store_;
      if (missing) {
        bad.blobs.erase(id);
      } else {
        bad.blobs[id].back() ^= 1;
      }
      absl::StatusOr<RestoredState> state = LoadState(bad.manifest, &bad);
      if (!state.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(state.status())) << state.status();
        continue;
      }
      MemoryState copy;
      SaveState(Facts(), state->memory.get(), &copy, /*all_pages=*/true).IgnoreError();
      EXPECT_TRUE(state->source->damaged()) << id;
    }
  }
}

TEST_F(StateTest, AllBlobsAreListed) {
  absl::StatusOr<std::vector<ContentId>> listed = ListBlobs(store_.manifest, &store_);
  ASSERT_TRUE(listed.ok());
  for (const ContentId& id : *listed) store_.blobs.erase(id.ToHex());
  EXPECT_TRUE(store_.blobs.empty());
}

}  // namespace
}  // namespace kitlink
