// Views over raw bytes and unaligned little-endian access.
//
// Every format that kitlink reads or writes (ELF x86-64, aarch64, rv64, PE, Mach-O) is little-endian,
// and so is every machine it runs on, hence the plain memcpy.
#ifndef CORE_BASE_BYTES_H_
#define CORE_BASE_BYTES_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace kitlink {

using ByteView = absl::Span<const uint8_t>;
using MutableBytes = absl::Span<uint8_t>;

// Reads a T at `p`, which need not be aligned. REQUIRES: sizeof(T) readable bytes at p.
template <typename T>
inline T Load(const uint8_t* p) {
  static_assert(std::is_trivially_copyable_v<T>);
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

// Writes `value` at `p`, which need not be aligned. REQUIRES: sizeof(T) writable bytes at p.
template <typename T>
inline void Store(uint8_t* p, T value) {
  static_assert(std::is_trivially_copyable_v<T>);
  std::memcpy(p, &value, sizeof(T));
}

// `value` rounded up to a multiple of `alignment`, a power of two (0 counts as 1).
inline constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return alignment <= 1 ? value : (value + alignment - 1) & ~(alignment - 1);
}

// True when [offset, offset + length) lies inside a buffer of `size` bytes; never overflows.
inline constexpr bool InBounds(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

inline absl::string_view AsString(ByteView bytes) {
  return absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

inline ByteView AsBytes(absl::string_view text) {
  return ByteView(reinterpret_cast<const uint8_t*>(text.data()), text.size());
}

}  // namespace kitlink

#endif  // CORE_BASE_BYTES_H_
