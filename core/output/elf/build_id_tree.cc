#include "core/output/elf/build_id_tree.h"

#include <elf.h>

#include <algorithm>

#include "absl/status/status.h"
#include "core/base/digest.h"
#include "core/base/parallel.h"

namespace kitlink::elf {
namespace {

constexpr uint64_t kLeaf = BuildIdTree::kLeaf;
constexpr uint64_t kChildren = 64;

uint64_t Parents(uint64_t nodes) { return (nodes + kChildren - 1) / kChildren; }

ByteView AsByteView(const std::vector<uint64_t>& words) {
  return ByteView(reinterpret_cast<const uint8_t*>(words.data()), words.size() * sizeof(uint64_t));
}

// The sizes of the levels above so many bytes: the leaves, ..., the root.
std::vector<uint64_t> LevelSizes(uint64_t bytes) {
  std::vector<uint64_t> sizes = {(bytes + kLeaf - 1) / kLeaf};
  while (sizes.back() > 1) sizes.push_back(Parents(sizes.back()));
  return sizes;
}

uint64_t HashNode(const uint64_t* children, uint64_t count) {
  return HashQuickly(ByteView(reinterpret_cast<const uint8_t*>(children), count * sizeof(uint64_t)));
}

uint64_t HashPieces(const std::vector<std::pair<ByteRange, uint64_t>>& pieces) {
  std::vector<uint64_t> words;
  for (const auto& [range, root] : pieces) words.insert(words.end(), {range.offset, range.length, root});
  return HashQuickly(AsByteView(words));
}

}  // namespace

std::vector<ByteRange> BuildIdTree::Pieces(ByteView head, uint64_t size) {
  head = head.subspan(0, kHead);
  std::vector<uint64_t> cuts = {0, size};
  if (head.size() >= sizeof(Elf64_Ehdr)) {
    const auto header = Load<Elf64_Ehdr>(head.data());
    for (uint64_t i = 0; i < header.e_phnum; ++i) {
      const uint64_t at = header.e_phoff + i * sizeof(Elf64_Phdr);
      if (at > head.size() || head.size() - at < sizeof(Elf64_Phdr)) break;
      const auto segment = Load<Elf64_Phdr>(&head[at]);
      if (segment.p_type != PT_LOAD || segment.p_filesz == 0) continue;
      if (segment.p_offset > size || segment.p_filesz > size - segment.p_offset) continue;
      cuts.insert(cuts.end(), {segment.p_offset, segment.p_offset + segment.p_filesz});
    }
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  std::vector<ByteRange> pieces;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) pieces.push_back({cuts[i], cuts[i + 1] - cuts[i]});
  return pieces;
}

std::vector<uint64_t> BuildIdTree::HashLeaves(ByteView image, const std::vector<ByteRange>& pieces) {
  std::vector<ByteView> leaves;
  leaves.reserve(image.size() / kLeaf + pieces.size());
  for (const ByteRange& piece : pieces) {
    for (uint64_t at = 0; at < piece.length; at += kLeaf) {
      leaves.push_back(image.subspan(piece.offset + at, std::min(kLeaf, piece.length - at)));
    }
  }
  std::vector<uint64_t> hashes(leaves.size());
  ParallelFor(leaves.size(), 64, [&](size_t i) { hashes[i] = HashQuickly(leaves[i]); });
  return hashes;
}

BuildIdTree::BuildIdTree(std::vector<ByteRange> pieces, const std::vector<uint64_t>& leaves, ByteRange id) : id_(id) {
  std::vector<std::pair<ByteRange, uint64_t>> roots;
  size_t next = 0;
  for (const ByteRange& range : pieces) {
    Piece piece;
    piece.range = range;
    const std::vector<uint64_t> sizes = LevelSizes(range.length);
    piece.levels.emplace_back(leaves.begin() + static_cast<ptrdiff_t>(next),
                              leaves.begin() + static_cast<ptrdiff_t>(next + sizes[0]));
    next += sizes[0];
    while (piece.levels.size() < sizes.size()) {
      const std::vector<uint64_t>& below = piece.levels.back();
      std::vector<uint64_t> level(sizes[piece.levels.size()]);
      for (uint64_t i = 0; i < level.size(); ++i) {
        level[i] = HashNode(&below[i * kChildren], std::min(kChildren, below.size() - i * kChildren));
      }
      piece.levels.push_back(std::move(level));
    }
    roots.push_back({range, piece.levels.back()[0]});
    pieces_.push_back(std::move(piece));
  }
  root_ = HashPieces(roots);
}

uint64_t BuildIdTree::bytes_held() const {
  uint64_t bytes = 0;
  for (const Piece& piece : pieces_) {
    for (const std::vector<uint64_t>& level : piece.levels) bytes += level.capacity() * sizeof(uint64_t);
  }
  return bytes;
}

// Hashes what one patch touches.
class BuildIdTree::Stager {
 public:
  Stager(const BuildIdTree& tree, const std::vector<Mutation>& mutations, const ImageReader& read)
      : tree_(tree), read_(read) {
    for (const Mutation& mutation : mutations) mutations_.push_back(&mutation);
    std::sort(mutations_.begin(), mutations_.end(), [](const Mutation* a, const Mutation* b) { return a->offset < b->offset; });
    old_size_ = tree.pieces_.back().range.offset + tree.pieces_.back().range.length;
    size_ = old_size_;
    for (const Mutation* mutation : mutations_) size_ = std::max(size_, mutation->offset + mutation->bytes.size());
  }

  absl::StatusOr<Delta> Run() {
    Delta delta;
    absl::StatusOr<std::vector<ByteRange>> pieces = Pieces();
    if (!pieces.ok()) return pieces.status();
    std::vector<std::pair<ByteRange, uint64_t>> roots;
    for (const ByteRange& range : *pieces) {
      absl::StatusOr<Delta::PieceDelta> piece = StagePiece(range);
      if (!piece.ok()) return piece.status();
      roots.push_back({range, piece->root});
      delta.pieces.push_back(*std::move(piece));
    }
    delta.root = HashPieces(roots);
    return delta;
  }

 private:
  // The bytes of [begin, end) after the patch.
  absl::Status Fetch(uint64_t begin, uint64_t end, std::vector<uint8_t>* bytes) const {
    bytes->assign(end - begin, 0);
    if (begin < old_size_) {
      const uint64_t there = std::min(end, old_size_) - begin;
      if (absl::Status status = read_(begin, absl::MakeSpan(*bytes).subspan(0, there)); !status.ok()) return status;
    }
    for (auto it = FirstReaching(begin); it != mutations_.end() && (*it)->offset < end; ++it) {
      const uint64_t from = std::max(begin, (*it)->offset), to = std::min(end, (*it)->offset + (*it)->bytes.size());
      if (from < to) std::copy_n(&(*it)->bytes[from - (*it)->offset], to - from, &(*bytes)[from - begin]);
    }
    const uint64_t from = std::max(begin, tree_.id_.offset), to = std::min(end, tree_.id_.offset + tree_.id_.length);
    if (from < to) std::fill_n(&(*bytes)[from - begin], to - from, 0);
    return absl::OkStatus();
  }

  // Mutations are disjoint, so their ends are sorted as well.
  std::vector<const Mutation*>::const_iterator FirstReaching(uint64_t offset) const {
    return std::partition_point(mutations_.begin(), mutations_.end(), [&](const Mutation* mutation) {
      return mutation->offset + mutation->bytes.size() <= offset;
    });
  }

  // Program headers are read again only when they may have changed.
  absl::StatusOr<std::vector<ByteRange>> Pieces() const {
    std::vector<ByteRange> pieces;
    for (const Piece& piece : tree_.pieces_) pieces.push_back(piece.range);
    if (size_ == old_size_ && (mutations_.empty() || mutations_.front()->offset >= kHead)) return pieces;
    std::vector<uint8_t> head;
    if (absl::Status status = Fetch(0, std::min(size_, kHead), &head); !status.ok()) return status;
    return BuildIdTree::Pieces(head, size_);
  }

  absl::StatusOr<Delta::PieceDelta> StagePiece(const ByteRange& range) const {
    Delta::PieceDelta delta;
    delta.range = range;
    delta.sizes = LevelSizes(range.length);
    uint64_t kept = 0;  // bytes whose leaves are whole in the old tree as well
    for (size_t i = 0; i < tree_.pieces_.size(); ++i) {
      const ByteRange& old = tree_.pieces_[i].range;
      if (old.offset != range.offset || old.length > range.length) continue;
      delta.base = static_cast<int>(i);
      kept = old.length == range.length ? range.length : old.length / kLeaf * kLeaf;
    }
    Delta::Level leaves;
    if (absl::Status status = HashTouched(range, Touched(range, kept), &leaves); !status.ok()) return status;
    const Piece* base = delta.base < 0 ? nullptr : &tree_.pieces_[static_cast<size_t>(delta.base)];
    if (leaves.empty() && base != nullptr) {
      delta.root = base->levels.back()[0];
      return delta;
    }
    delta.levels.push_back(std::move(leaves));
    for (size_t level = 1; level < delta.sizes.size(); ++level) {
      const std::vector<uint64_t>* below = base != nullptr && level <= base->levels.size() ? &base->levels[level - 1] : nullptr;
      delta.levels.push_back(HashParents(delta.levels.back(), delta.sizes[level - 1], below));
    }
    delta.root = delta.levels.back()[0].second;
    return delta;
  }

  // The leaves of a piece that a mutation reaches, or that lie at or behind `kept`.
  std::vector<uint64_t> Touched(const ByteRange& range, uint64_t kept) const {
    std::vector<uint64_t> touched;
    const uint64_t end = range.offset + range.length;
    for (auto it = FirstReaching(range.offset); it != mutations_.end() && (*it)->offset < end; ++it) {
      if ((*it)->bytes.empty()) continue;
      const uint64_t from = std::max(range.offset, (*it)->offset) - range.offset;
      const uint64_t to = std::min(end, (*it)->offset + (*it)->bytes.size()) - range.offset;
      for (uint64_t leaf = from / kLeaf; leaf * kLeaf < to; ++leaf) {
        if (touched.empty() || touched.back() < leaf) touched.push_back(leaf);
      }
    }
    std::vector<uint64_t> all;
    for (uint64_t leaf : touched) {
      if (leaf * kLeaf < kept) all.push_back(leaf);
    }
    for (uint64_t leaf = (kept + kLeaf - 1) / kLeaf; leaf * kLeaf < range.length; ++leaf) all.push_back(leaf);
    return all;
  }

  absl::Status HashTouched(const ByteRange& range, const std::vector<uint64_t>& touched, Delta::Level* leaves) const {
    constexpr uint64_t kMostAtOnce = 256;
    std::vector<uint8_t> bytes;
    for (size_t i = 0; i < touched.size();) {
      size_t next = i + 1;
      while (next < touched.size() && next - i < kMostAtOnce && touched[next] == touched[next - 1] + 1) ++next;
      const uint64_t begin = touched[i] * kLeaf, end = std::min(range.length, (touched[next - 1] + 1) * kLeaf);
      if (absl::Status status = Fetch(range.offset + begin, range.offset + end, &bytes); !status.ok()) return status;
      for (uint64_t at = begin; at < end; at += kLeaf) {
        leaves->push_back({at / kLeaf, HashQuickly(ByteView(bytes).subspan(at - begin, std::min(kLeaf, end - at)))});
      }
      i = next;
    }
    return absl::OkStatus();
  }

  // The parents of new nodes of a level that has `size`; the others' hashes stand in `below`.
  static Delta::Level HashParents(const Delta::Level& nodes, uint64_t size, const std::vector<uint64_t>* below) {
    Delta::Level parents;
    std::vector<uint64_t> children;
    for (size_t i = 0; i < nodes.size();) {
      const uint64_t parent = nodes[i].first / kChildren, first = parent * kChildren;
      children.assign(std::min(kChildren, size - first), 0);
      for (uint64_t k = 0; below != nullptr && k < children.size() && first + k < below->size(); ++k) children[k] = (*below)[first + k];
      for (; i < nodes.size() && nodes[i].first < first + kChildren; ++i) children[nodes[i].first - first] = nodes[i].second;
      parents.push_back({parent, HashNode(children.data(), children.size())});
    }
    return parents;
  }

  const BuildIdTree& tree_;
  const ImageReader& read_;
  std::vector<const Mutation*> mutations_;  // sorted by offset
  uint64_t old_size_ = 0, size_ = 0;
};

absl::StatusOr<BuildIdTree::Delta> BuildIdTree::Stage(const std::vector<Mutation>& mutations, const ImageReader& read) const {
  return Stager(*this, mutations, read).Run();
}

void BuildIdTree::Apply(Delta delta) {
  std::vector<Piece> pieces;
  for (Delta::PieceDelta& staged : delta.pieces) {
    Piece piece;
    if (staged.base >= 0) piece = std::move(pieces_[static_cast<size_t>(staged.base)]);
    piece.range = staged.range;
    piece.levels.resize(staged.sizes.size());
    for (size_t level = 0; level < staged.sizes.size(); ++level) piece.levels[level].resize(staged.sizes[level]);
    for (size_t level = 0; level < staged.levels.size(); ++level) {
      for (const auto& [index, hash] : staged.levels[level]) piece.levels[level][index] = hash;
    }
    pieces.push_back(std::move(piece));
  }
  pieces_ = std::move(pieces);
  root_ = delta.root;
}

}  // namespace kitlink::elf
