#include "core/session/piece_index.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/digest.h"

namespace kitlink {

PieceDigest DigestPiece(ByteView bytes) {
  const ContentId id = HashContent(bytes);
  return {Load<uint64_t>(&id.bytes[0]), Load<uint64_t>(&id.bytes[8])};
}

void PieceIndex::Place::Encode(Encoder& encoder) const {
  encoder.Put(offset);
  if (offset != 0) encoder.PutRaw(ByteView(reinterpret_cast<const uint8_t*>(digest.data()), sizeof(digest)));
}

bool PieceIndex::Place::Decode(Decoder& decoder) {
  ByteView raw;
  digest = {};
  if (!decoder.Get(&offset)) return false;
  if (offset == 0) return true;
  if (!decoder.GetRaw(sizeof(digest), &raw)) return false;
  std::memcpy(digest.data(), raw.data(), sizeof(digest));
  return true;
}

size_t PieceIndex::PlaceOf(const PieceDigest& digest) const {
  const auto wanted = std::bit_cast<Place::Digest>(digest);
  size_t at = places_.empty() ? 0 : FirstPlace(digest);
  for (size_t step = 0; step < places_.size(); ++step) {
    const Place& place = places_[at];
    if (place.offset == 0 || place.digest == wanted) return at;
    if (++at == places_.size()) at = 0;
  }
  return places_.size();
}

void PieceIndex::Reserve(size_t count) {
  if (5 * count <= 4 * places_.size()) return;
  // Seven of ten are taken when it is made, and it lasts until eight of ten are; then it grows by half.
  const size_t wanted = std::max({size_t{16}, count * 10 / 7 + 1, places_.size() * 3 / 2});
  PagedTable<Place, 1024> old = std::move(places_);
  places_ = {};
  places_.resize(wanted);
  for (const Place& place : std::as_const(old)) {
    if (place.offset != 0) places_[PlaceOf(std::bit_cast<PieceDigest>(place.digest))] = place;
  }
}

std::optional<uint32_t> PieceIndex::Find(const PieceDigest& digest) const {
  const size_t at = PlaceOf(digest);
  if (at == places_.size() || places_[at].offset == 0) return std::nullopt;
  return places_[at].offset - 1;
}

void PieceIndex::Add(const PieceDigest& digest, uint32_t offset) {
  Reserve(count_ + 1);
  const size_t at = PlaceOf(digest);
  if (at == places_.size() || std::as_const(places_)[at].offset != 0 || offset + 1 == 0) return;
  Place& place = places_[at];
  place.digest = std::bit_cast<Place::Digest>(digest);
  place.offset = offset + 1;
  ++count_;
}

bool PieceIndex::Decode(Decoder& decoder) {
  return decoder.Get(&count_, &places_) && count_ <= places_.size();
}

std::string PieceIndex::Schema() { return absl::StrCat("pieces by part(", SchemaOf<decltype(places_)>(), ")"); }

}  // namespace kitlink
