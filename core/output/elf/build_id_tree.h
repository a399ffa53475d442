// The hash tree whose root a build id is made of: a patch rehashes the leaves that it touches and the paths above them.
//
// The file is cut where the loaded ranges of its program headers begin and end. Each piece has a tree of its own, over
// leaves of 4 KiB; the roots, with what is where, are hashed together. So the id is a function of the file's bytes alone:
// files that are equal but for their ids have equal ones, and a patch that takes another back gives the former id.
#ifndef CORE_OUTPUT_ELF_BUILD_ID_TREE_H_
#define CORE_OUTPUT_ELF_BUILD_ID_TREE_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "core/base/bytes.h"
#include "core/base/fields.h"
#include "core/output/image_sink.h"

namespace kitlink::elf {

class BuildIdTree {
 public:
  static constexpr uint64_t kLeaf = 4096;

  // Of a file, where its headers are looked for.
  static constexpr uint64_t kHead = 4096;

  // The pieces of a file of `size` bytes that starts with `head`: sorted, without gaps. Looks at kHead bytes at most.
  static std::vector<ByteRange> Pieces(ByteView head, uint64_t size);
  // The hashes of all leaves of `image`, whose id bytes are zero: piece after piece. Parallel.
  static std::vector<uint64_t> HashLeaves(ByteView image, const std::vector<ByteRange>& pieces);

  BuildIdTree() = default;
  // REQUIRES: `leaves` is what HashLeaves gave for `pieces`. `id` is where the build id's own bytes are.
  BuildIdTree(std::vector<ByteRange> pieces, const std::vector<uint64_t>& leaves, ByteRange id);

  bool empty() const { return pieces_.empty(); }
  uint64_t root() const { return root_; }
  uint64_t bytes_held() const;

  // What a patch makes of the tree.
  struct Delta {
    // The new hashes of a level: (index, hash), sorted.
    using Level = std::vector<std::pair<uint64_t, uint64_t>>;
    struct PieceDelta {
      ByteRange range;
      int base = -1;  // the piece that it was, in the tree; -1: all of it is new
      std::vector<uint64_t> sizes;  // of the levels
      std::vector<Level> levels;    // as many, or none when nothing changed
      uint64_t root = 0;
    };
    std::vector<PieceDelta> pieces;
    uint64_t root = 0;
  };

  // The tree after `mutations`, which may also lengthen the file, of the image that `read` gives. O(leaves that they touch).
  absl::StatusOr<Delta> Stage(const std::vector<Mutation>& mutations, const ImageReader& read) const;
  void Apply(Delta delta);

  KITLINK_ALL_FIELDS(pieces_, id_, root_)

 private:
  struct Piece {
    ByteRange range;
    std::vector<std::vector<uint64_t>> levels;  // the leaves first, the root last
    KITLINK_FIELDS(range, levels)
  };
  class Stager;

  std::vector<Piece> pieces_;
  ByteRange id_;
  uint64_t root_ = 0;
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_BUILD_ID_TREE_H_
