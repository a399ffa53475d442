// Which strings and constants a merged section has, and where.
#ifndef CORE_SESSION_PIECE_INDEX_H_
#define CORE_SESSION_PIECE_INDEX_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/base/bytes.h"
#include "core/base/codec.h"
#include "core/base/paged_table.h"

namespace kitlink {

// 128 bits of BLAKE2b: two strings with one digest are taken to be the same.
struct PieceDigest {
  uint64_t low = 0, high = 0;
  friend bool operator==(const PieceDigest& a, const PieceDigest& b) { return a.low == b.low && a.high == b.high; }
  template <typename H>
  friend H AbslHashValue(H h, const PieceDigest& d) {
    return H::combine(std::move(h), d.low, d.high);
  }
};
PieceDigest DigestPiece(ByteView bytes);

// Digest -> offset in the section. An open-addressing table, so that it can be used as it lies on disk. Not thread safe.
class PieceIndex {
 public:
  // Makes room for so many.
  void Reserve(size_t count);
  // Where the piece is; nothing when it is not there.
  std::optional<uint32_t> Find(const PieceDigest& digest) const;
  // Says that Find will be asked for it: where a table is large, what it looks at comes from memory meanwhile.
  void Expect(const PieceDigest& digest) const {
    if (!places_.empty()) places_.Prefetch(FirstPlace(digest));
  }
  // Adds a piece, unless it is there. Of one at the very end of 4 GiB no note is taken.
  void Add(const PieceDigest& digest, uint32_t offset);
  size_t size() const { return count_; }
  uint64_t bytes() const { return places_.bytes(); }

  KITLINK_COUNT_FIELDS(count_, places_)
  void Encode(Encoder& encoder) const { encoder.Put(count_, places_); }
  bool Decode(Decoder& decoder);
  static std::string Schema();

 private:
  struct Place {
    using Digest = std::array<uint32_t, 4>;  // a PieceDigest's bytes: so there are 20 in all, of which there is one a string
    Digest digest{};
    uint32_t offset = 0;  // plus one; 0: free

    void Encode(Encoder& encoder) const;
    bool Decode(Decoder& decoder);
    static std::string Schema() { return "piece"; }
  };
  // Where the search for `digest` begins: as far into the table as the digest is into all there are. REQUIRES: not empty.
  size_t FirstPlace(const PieceDigest& digest) const {
    return static_cast<size_t>((static_cast<unsigned __int128>(digest.low) * places_.size()) >> 64);
  }
  // The place of `digest`, or the free one where it belongs; places_.size() when there is neither.
  size_t PlaceOf(const PieceDigest& digest) const;

  uint64_t count_ = 0;
  PagedTable<Place, 1024> places_;
};

}  // namespace kitlink

#endif  // CORE_SESSION_PIECE_INDEX_H_
