#include "core/output/elf/build_id_tree.h"

#include <elf.h>

#include <algorithm>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

constexpr uint64_t kLeaf = BuildIdTree::kLeaf;
constexpr ByteRange kId = {500, 20};

// An image with these loaded ranges, filled from a seed.
std::vector<uint8_t> Image(size_t size, const std::vector<ByteRange>& loaded) {
  std::vector<uint8_t> image(size);
  std::mt19937_64 random(size);
  for (size_t i = 4096; i < size; ++i) image[i] = static_cast<uint8_t>(random());
  Elf64_Ehdr header{};
  header.e_phoff = sizeof(header);
  header.e_phnum = static_cast<uint16_t>(loaded.size());
  Store(image.data(), header);
  for (size_t i = 0; i < loaded.size(); ++i) {
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_offset = loaded[i].offset;
    segment.p_filesz = loaded[i].length;
    Store(&image[sizeof(header) + i * sizeof(segment)], segment);
  }
  return image;
}

BuildIdTree TreeOf(const std::vector<uint8_t>& image) {
  std::vector<uint8_t> blank = image;
  std::fill_n(&blank[kId.offset], kId.length, 0);
  std::vector<ByteRange> pieces = BuildIdTree::Pieces(blank, blank.size());
  const std::vector<uint64_t> leaves = BuildIdTree::HashLeaves(blank, pieces);
  return BuildIdTree(std::move(pieces), leaves, kId);
}

// An image that patches are applied to, and a tree that follows.
struct Patched {
  explicit Patched(std::vector<uint8_t> bytes) : image(std::move(bytes)), tree(TreeOf(image)) {}

  // Returns how many bytes were read.
  uint64_t Apply(const std::vector<Mutation>& mutations) {
    uint64_t fetched = 0;
    absl::StatusOr<BuildIdTree::Delta> delta = tree.Stage(mutations, [&](uint64_t offset, MutableBytes into) {
      if (offset + into.size() > image.size()) return absl::OutOfRangeError("behind the end");
      std::copy_n(image.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
      fetched += into.size();
      return absl::OkStatus();
    });
    EXPECT_TRUE(delta.ok()) << delta.status();
    if (!delta.ok()) return fetched;
    for (const Mutation& mutation : mutations) {
      image.resize(std::max(image.size(), mutation.offset + mutation.bytes.size()));
      std::copy(mutation.bytes.begin(), mutation.bytes.end(), image.begin() + static_cast<ptrdiff_t>(mutation.offset));
    }
    const uint64_t root = delta->root;
    tree.Apply(*std::move(delta));
    EXPECT_EQ(tree.root(), root);
    return fetched;
  }

  std::vector<uint8_t> image;
  BuildIdTree tree;
};

Mutation Write(uint64_t offset, std::vector<uint8_t> bytes) {
  Mutation mutation;
  mutation.offset = offset;
  mutation.bytes = std::move(bytes);
  return mutation;
}

TEST(BuildIdTree, PiecesAreCutWhereLoadedRangesAre) {
  const std::vector<uint8_t> image = Image(50000, {{0, 4096}, {4096, 10000}, {20000, 5000}, {60000, 10}});
  std::vector<uint64_t> begins;
  for (const ByteRange& piece : BuildIdTree::Pieces(image, image.size())) begins.push_back(piece.offset);
  EXPECT_EQ(begins, (std::vector<uint64_t>{0, 4096, 14096, 20000, 25000}));
}

TEST(BuildIdTree, GarbageIsOnePiece) {
  EXPECT_EQ(BuildIdTree::Pieces(std::vector<uint8_t>(10, 0xff), 10).size(), 1u);
  EXPECT_EQ(BuildIdTree::Pieces(std::vector<uint8_t>(5000, 0xff), 5000).size(), 1u);
}

TEST(BuildIdTree, FollowsRandomPatches) {
  for (size_t size : {5000u, 70000u, 3000000u}) {
    Patched patched(Image(size, {{0, 4096}, {4096, size / 3}, {size / 3 + 5000, size / 3 - 5000}}));
    std::mt19937_64 random(size);
    for (int round = 0; round < 30; ++round) {
      std::vector<Mutation> mutations;
      for (uint64_t at = 1000 + random() % (size / 2); at < size; at += 100 + random() % (size / 2)) {
        const size_t length = std::min<size_t>(size - at, 1 + random() % 90);
        mutations.push_back(Write(at, std::vector<uint8_t>(length, static_cast<uint8_t>(random()))));
      }
      patched.Apply(mutations);
      ASSERT_EQ(patched.tree.root(), TreeOf(patched.image).root()) << "round " << round;
    }
  }
}

TEST(BuildIdTree, TakingAPatchBackGivesTheFormerRoot) {
  Patched patched(Image(300000, {{0, 4096}, {4096, 200000}}));
  const uint64_t before = patched.tree.root();
  const std::vector<uint8_t> was(patched.image.begin() + 9000, patched.image.begin() + 9100);
  patched.Apply({Write(9000, std::vector<uint8_t>(100, 7))});
  EXPECT_NE(patched.tree.root(), before);
  patched.Apply({Write(9000, was)});
  EXPECT_EQ(patched.tree.root(), before);
}

TEST(BuildIdTree, TheIdItselfDoesNotCount) {
  Patched patched(Image(30000, {{0, 4096}}));
  const uint64_t before = patched.tree.root();
  patched.Apply({Write(kId.offset, std::vector<uint8_t>(kId.length, 9))});
  EXPECT_EQ(patched.tree.root(), before);
  patched.Apply({Write(kId.offset + kId.length, {1})});
  EXPECT_NE(patched.tree.root(), before);
}

TEST(BuildIdTree, ReadsOnlyTouchedLeaves) {
  Patched patched(Image(20 << 20, {{0, 4096}, {4096, 10 << 20}}));
  const uint64_t fetched = patched.Apply({Write(5 << 20, {1, 2, 3}), Write(15 << 20, {4})});
  EXPECT_LE(fetched, 3 * kLeaf);
}

TEST(BuildIdTree, FollowsAFileThatGrows) {
  for (uint64_t growth : {uint64_t{1}, uint64_t{6000}, 100 * kLeaf, 5000 * kLeaf}) {
    Patched patched(Image(64 * kLeaf + 4096, {{0, 4096}}));
    const uint64_t size = patched.image.size();
    patched.Apply({Write(size + growth, {1})});
    ASSERT_EQ(patched.tree.root(), TreeOf(patched.image).root()) << growth;
    // A program header that came with it cuts the file anew.
    Elf64_Phdr segment{};
    segment.p_type = PT_LOAD;
    segment.p_offset = size;
    segment.p_filesz = growth;
    std::vector<uint8_t> row(sizeof(segment)), count(2);
    Store(row.data(), segment);
    Store(count.data(), uint16_t{2});
    patched.Apply({Write(offsetof(Elf64_Ehdr, e_phnum), count), Write(sizeof(Elf64_Ehdr) + sizeof(segment), row)});
    ASSERT_EQ(patched.tree.root(), TreeOf(patched.image).root()) << growth;
    EXPECT_EQ(BuildIdTree::Pieces(patched.image, patched.image.size()).size(), 4u);
  }
}

}  // namespace
}  // namespace kitlink::elf
