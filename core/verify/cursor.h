// A bounds-checked reader: past the end everything is zero and ok() is false from then on.
#ifndef CORE_VERIFY_CURSOR_H_
#define CORE_VERIFY_CURSOR_H_

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"
#include "core/base/bytes.h"

namespace kitlink::verify {

class Cursor {
 public:
  Cursor(ByteView bytes, uint64_t offset) : bytes_(bytes), at_(offset) { ok_ = offset <= bytes.size(); }

  bool ok() const { return ok_; }
  uint64_t offset() const { return at_; }
  bool AtEnd() const { return !ok_ || at_ >= bytes_.size(); }
  // Makes `end` the end. REQUIRES: nothing; an end outside only makes the cursor bad.
  void Limit(uint64_t end) {
    if (end > bytes_.size() || end < at_)
      ok_ = false;
    else
      bytes_ = bytes_.subspan(0, end);
  }
  void Seek(uint64_t offset) {
    if (offset > bytes_.size())
      ok_ = false;
    else
      at_ = offset;
  }
  void Skip(uint64_t count) { Take(count); }

  uint8_t U8() { return Number<uint8_t>(); }
  uint16_t U16() { return Number<uint16_t>(); }
  uint32_t U32() { return Number<uint32_t>(); }
  uint64_t U64() { return Number<uint64_t>(); }
  uint64_t Uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
      const uint8_t byte = U8();
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80) == 0) return value;
    }
  }
  int64_t Sleb() {
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte = 0;
    do {
      byte = U8();
      if (shift < 64) value |= uint64_t{byte & 0x7fu} << shift;
      shift += 7;
    } while ((byte & 0x80) != 0);
    if (shift < 64 && (byte & 0x40) != 0) value |= ~uint64_t{0} << shift;
    return static_cast<int64_t>(value);
  }
  // Up to a NUL, which is skipped.
  absl::string_view String() {
    if (AtEnd()) return Fail();
    const void* end = std::memchr(bytes_.data() + at_, 0, bytes_.size() - at_);
    if (end == nullptr) return Fail();
    const uint64_t length = static_cast<const uint8_t*>(end) - (bytes_.data() + at_);
    absl::string_view text = AsString(bytes_.subspan(at_, length));
    at_ += length + 1;
    return text;
  }
  ByteView Take(uint64_t count) {
    if (!ok_ || !InBounds(at_, count, bytes_.size())) {
      ok_ = false;
      return {};
    }
    ByteView taken = bytes_.subspan(at_, count);
    at_ += count;
    return taken;
  }
  ByteView Rest() { return ok_ ? Take(bytes_.size() - at_) : ByteView(); }

 private:
  template <typename T>
  T Number() {
    ByteView raw = Take(sizeof(T));
    return ok_ ? Load<T>(raw.data()) : T{0};
  }
  absl::string_view Fail() {
    ok_ = false;
    return {};
  }

  ByteView bytes_;
  uint64_t at_;
  bool ok_ = true;
};

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_CURSOR_H_
