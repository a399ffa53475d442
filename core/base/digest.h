// The hashes of kitlink and what each is for.
//
// BLAKE2b-256 is identity: two things with one ContentId are the same thing. FNV-1a over 64-bit words is
// speed: build ids and hash tables, where a collision costs nothing but a comparison. XXH3-128 is between them: it tells
// whether one file, whose stamp says that it did not change, did not.
#ifndef CORE_BASE_DIGEST_H_
#define CORE_BASE_DIGEST_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace kitlink {

// A BLAKE2b-256 digest (RFC 7693, 32-byte output, no key). All zero means "not known".
struct ContentId {
  std::array<uint8_t, 32> bytes{};

  bool known() const { return *this != ContentId(); }
  // 64 lower-case hexadecimal digits.
  std::string ToHex() const;
  // The inverse of ToHex. InvalidArgument for anything but 64 hexadecimal digits.
  static absl::StatusOr<ContentId> FromHex(absl::string_view hex);

  friend bool operator==(const ContentId& a, const ContentId& b) { return a.bytes == b.bytes; }
  friend bool operator!=(const ContentId& a, const ContentId& b) { return a.bytes != b.bytes; }
  template <typename H>
  friend H AbslHashValue(H h, const ContentId& id) {
    return H::combine(std::move(h), id.bytes);
  }
};

// Incremental BLAKE2b-256. Not thread safe; move-only.
class ContentHasher {
 public:
  ContentHasher();
  ~ContentHasher();
  ContentHasher(ContentHasher&&) noexcept;
  ContentHasher& operator=(ContentHasher&&) noexcept;

  void Update(ByteView bytes);
  void Update(absl::string_view text) { Update(AsBytes(text)); }
  // Hashes the eight little-endian bytes of `value`.
  void UpdateInteger(uint64_t value);
  // Length-prefixed, so that ("ab","c") and ("a","bc") differ.
  void UpdateSized(absl::string_view text);
  // The digest. The hasher may not be used afterwards.
  ContentId Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

ContentId HashContent(ByteView bytes);

// 64-bit FNV-1a over little-endian 64-bit words, the last one padded with zeros, then over the length; after each of
// them the hash's upper half is folded into the lower. (Byte-wise FNV-1a manages 0.7 GB/s; by words it keeps up with
// memory.)
uint64_t FnvWords(ByteView bytes, uint64_t seed = 0xcbf29ce484222325ull);

// XXH3-128, at memory's speed. All zero means "not known".
struct QuickDigest {
  uint64_t low = 0, high = 0;
  bool known() const { return low != 0 || high != 0; }
  friend bool operator==(const QuickDigest& a, const QuickDigest& b) { return a.low == b.low && a.high == b.high; }
};
QuickDigest DigestQuickly(ByteView bytes);
// XXH3-64.
uint64_t HashQuickly(ByteView bytes);

}  // namespace kitlink

#endif  // CORE_BASE_DIGEST_H_
