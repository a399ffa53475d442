#include "daemon/output/patch_journal.h"

#include <gtest/gtest.h>

#include <vector>

namespace kitlink::daemon {
namespace {

ImagePatch Bytes(uint64_t offset, std::vector<uint8_t> bytes) {
  return {{{offset, PatchPhase::kAppend, std::move(bytes)}}};
}

TEST(PatchJournalTest, LaterPatchesWin) {
  PatchJournal journal(1 << 20);
  EXPECT_TRUE(journal.Append(Bytes(10, {1, 1, 1, 1})));
  EXPECT_TRUE(journal.Append(Bytes(12, {2, 2, 2, 2})));
  std::vector<uint8_t> image(8);
  journal.Overlay(9, MutableBytes(image));
  EXPECT_EQ(image, (std::vector<uint8_t>{0, 1, 1, 2, 2, 2, 2, 0}));
  std::vector<uint8_t> middle(2);
  journal.Overlay(11, MutableBytes(middle));
  EXPECT_EQ(middle, (std::vector<uint8_t>{1, 2}));
}

TEST(PatchJournalTest, EmptyPatchesCostNothing) {
  PatchJournal journal(0);
  EXPECT_TRUE(journal.Append({}));
  EXPECT_TRUE(journal.empty());
}

TEST(PatchJournalTest, GivesUpBeyondItsLimit) {
  PatchJournal journal(1000);
  EXPECT_TRUE(journal.Append(Bytes(0, std::vector<uint8_t>(500))));
  EXPECT_FALSE(journal.Append(Bytes(0, std::vector<uint8_t>(500))));
  EXPECT_TRUE(journal.empty());
  EXPECT_EQ(journal.bytes(), 0u);
  EXPECT_TRUE(journal.Append(Bytes(0, {1})));
}

TEST(CheckPatchTest, BoundsAndOrder) {
  EXPECT_TRUE(CheckPatch({}, 0).ok());
  EXPECT_TRUE(CheckPatch(Bytes(6, {1, 2}), 8).ok());
  EXPECT_FALSE(CheckPatch(Bytes(7, {1, 2}), 8).ok());
  EXPECT_FALSE(CheckPatch(Bytes(~uint64_t{0}, {1, 2}), 8).ok());
  ImagePatch unsorted = Bytes(4, {1});
  unsorted.mutations.push_back({3, PatchPhase::kAppend, {1}});
  EXPECT_FALSE(CheckPatch(unsorted, 8).ok());
}

}  // namespace
}  // namespace kitlink::daemon
