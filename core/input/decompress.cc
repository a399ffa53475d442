#include "core/input/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <new>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace kitlink {
namespace {

// zlib's own limit is 1032 bytes for one. zstd has none to speak of, but debug information compresses 3:1 to 10:1,
// so four thousand to one, on top of a mebibyte, is already nobody's object file.
constexpr uint64_t kFreeBytes = 1 << 20;
constexpr uint64_t kMaxRatio[] = {1100, 4096};

absl::Status InflateZlib(ByteView packed, uint8_t* out, uint64_t size) {
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) return absl::ResourceExhaustedError("zlib cannot start");
  constexpr uint64_t kChunk = 1u << 30;  // zlib counts in 32 bits
  const uint8_t* in = packed.data();
  uint64_t in_left = packed.size();
  uint64_t out_left = size;
  stream.next_out = out;
  int result = Z_OK;
  while (result == Z_OK) {
    if (stream.avail_in == 0) {
      stream.next_in = const_cast<uint8_t*>(in);
      stream.avail_in = static_cast<uInt>(std::min(in_left, kChunk));
      in += stream.avail_in;
      in_left -= stream.avail_in;
    }
    if (stream.avail_out == 0) {
      stream.avail_out = static_cast<uInt>(std::min(out_left, kChunk));
      out_left -= stream.avail_out;
    }
    result = inflate(&stream, Z_NO_FLUSH);
  }
  const bool complete = result == Z_STREAM_END && out_left == 0 && stream.avail_out == 0;
  inflateEnd(&stream);
  if (!complete) return absl::InvalidArgumentError("damaged zlib data");
  return absl::OkStatus();
}

absl::Status InflateZstd(ByteView packed, uint8_t* out, uint64_t size) {
  const size_t result = ZSTD_decompress(out, size, packed.data(), packed.size());
  if (ZSTD_isError(result) || result != size) return absl::InvalidArgumentError("damaged zstd data");
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<uint8_t[]>> Decompress(Compression method, ByteView packed, uint64_t size) {
  const uint64_t ratio = kMaxRatio[static_cast<int>(method)];
  if (size > kFreeBytes && (size - kFreeBytes) / ratio > packed.size()) {
    return absl::ResourceExhaustedError(
        absl::StrCat(packed.size(), " compressed bytes cannot stand for ", size, " bytes"));
  }
  // Not zeroed: pages that a bomb only claims are never touched.
  std::unique_ptr<uint8_t[]> out(new (std::nothrow) uint8_t[std::max<uint64_t>(size, 1)]);
  if (out == nullptr) return absl::ResourceExhaustedError("no memory for decompressed data");
  const absl::Status status = method == Compression::kZlib ? InflateZlib(packed, out.get(), size)
                                                           : InflateZstd(packed, out.get(), size);
  if (!status.ok()) return status;
  return out;
}

}  // namespace kitlink
