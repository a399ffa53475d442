#include "core/base/digest.h"

#include <blake2.h>
// Its functions are inlined: no library is linked.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <cstddef>
#include <utility>

#include "absl/status/status.h"

namespace kitlink {
namespace {

constexpr uint64_t kFnvPrime = 0x100000001b3ull;

// The value of one hexadecimal digit, -1 for anything else.
int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string ContentId::ToHex() const {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex(2 * bytes.size(), '0');
  for (size_t i = 0; i < bytes.size(); ++i) {
    hex[2 * i] = kDigits[bytes[i] >> 4];
    hex[2 * i + 1] = kDigits[bytes[i] & 15];
  }
  return hex;
}

absl::StatusOr<ContentId> ContentId::FromHex(absl::string_view hex) {
  ContentId id;
  if (hex.size() != 2 * id.bytes.size()) {
    return absl::InvalidArgumentError("a content id has 64 hexadecimal digits");
  }
  for (size_t i = 0; i < id.bytes.size(); ++i) {
    const int high = HexValue(hex[2 * i]);
    const int low = HexValue(hex[2 * i + 1]);
    if (high < 0 || low < 0) return absl::InvalidArgumentError("a content id has 64 hexadecimal digits");
    id.bytes[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return id;
}

struct ContentHasher::State {
  blake2b_state blake;
};

ContentHasher::ContentHasher() : state_(std::make_unique<State>()) { blake2b_init(&state_->blake, sizeof(ContentId)); }
ContentHasher::~ContentHasher() = default;
ContentHasher::ContentHasher(ContentHasher&&) noexcept = default;
ContentHasher& ContentHasher::operator=(ContentHasher&&) noexcept = default;

void ContentHasher::Update(ByteView bytes) {
  if (!bytes.empty()) blake2b_update(&state_->blake, bytes.data(), bytes.size());
}

void ContentHasher::UpdateInteger(uint64_t value) {
  uint8_t little_endian[sizeof(value)];
  Store(little_endian, value);
  Update(ByteView(little_endian, sizeof(value)));
}

void ContentHasher::UpdateSized(absl::string_view text) {
  UpdateInteger(text.size());
  Update(text);
}

ContentId ContentHasher::Finish() {
  ContentId id;
  blake2b_final(&state_->blake, id.bytes.data(), id.bytes.size());
  return id;
}

ContentId HashContent(ByteView bytes) {
  ContentId id;
  blake2b(id.bytes.data(), bytes.data(), nullptr, id.bytes.size(), bytes.size(), 0);
  return id;
}

QuickDigest DigestQuickly(ByteView bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

uint64_t HashQuickly(ByteView bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

uint64_t FnvWords(ByteView bytes, uint64_t seed) {
  uint64_t hash = seed;
  const uint8_t* p = bytes.data();
  size_t left = bytes.size();
  // A multiplication carries nothing downwards: without the shift, what differs in the last bytes of words alone would
  // meet in the hash's last byte.
  const auto mix = [&](uint64_t word) {
    hash = (hash ^ word) * kFnvPrime;
    hash ^= hash >> 32;
  };
  for (; left >= 8; p += 8, left -= 8) mix(Load<uint64_t>(p));
  if (left != 0) {
    uint64_t word = 0;
    std::memcpy(&word, p, left);
    mix(word);
  }
  mix(bytes.size());
  return hash;
}

}  // namespace kitlink
