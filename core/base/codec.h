// The encoding of persisted state: compact, canonical (equal values have equal bytes, and only those bytes are read), and
// safe to read from any bytes. docs/state-format.md says what it looks like.
//
// Encoder and Decoder know numbers, strings, containers and structs with KITLINK_FIELDS; SchemaOf describes a type in
// words, so that a format digest changes with any field.
#ifndef CORE_BASE_CODEC_H_
#define CORE_BASE_CODEC_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "core/base/blob_store.h"
#include "core/base/bytes.h"
#include "core/base/digest.h"
#include "core/base/fields.h"
#include "core/base/ids.h"
#include "core/base/page_source.h"

namespace kitlink {

namespace codec_internal {

template <typename T, template <typename...> class Template>
struct IsA : std::false_type {};
template <template <typename...> class Template, typename... Arguments>
struct IsA<Template<Arguments...>, Template> : std::true_type {};
template <typename T>
struct IsArray : std::false_type {};
template <typename T, size_t N>
struct IsArray<std::array<T, N>> : std::true_type {};

template <typename T>
struct IsShared : std::false_type {};
template <typename T>
struct IsShared<std::shared_ptr<const T>> : std::true_type {
  using Content = T;
};

template <typename T>
inline constexpr bool kIsMap = IsA<T, absl::flat_hash_map>::value || IsA<T, absl::btree_map>::value;
template <typename T>
inline constexpr bool kIsSet = IsA<T, absl::flat_hash_set>::value || IsA<T, absl::btree_set>::value;
template <typename T>
inline constexpr bool kIsList = IsA<T, std::vector>::value || IsA<T, std::deque>::value;
// Structs of a file format, without padding: they are bytes already.
template <typename T>
inline constexpr bool kIsPlain = std::is_class_v<T> && std::is_trivially_copyable_v<T> &&
                                 std::has_unique_object_representations_v<T>;

}  // namespace codec_internal

class Encoder {
 public:
  // `blobs`: where tables put their pages; may be nullptr when there are no tables. `all_pages`: also those that are
  // there already.
  explicit Encoder(BlobStore* blobs = nullptr, bool all_pages = false) : blobs_(blobs), all_pages_(all_pages) {}

  template <typename... T>
  void Put(const T&... values) {
    (PutOne(values), ...);
  }
  void PutVarint(uint64_t value) {
    char digits[10];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7) digits[count++] = static_cast<char>(value | 0x80);
    digits[count++] = static_cast<char>(value);
    bytes_.append(digits, count);
  }
  void PutRaw(ByteView bytes) { bytes_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); }

  // Keeps `bytes` in the store and returns their id; no id when that or anything before it failed, as status() tells.
  ContentId PutBlob(ByteView bytes) {
    if (status_.ok() && blobs_->Interrupted()) status_ = absl::CancelledError("somebody waits");
    if (!status_.ok()) return ContentId();
    const ContentId id = HashContent(bytes);
    status_ = blobs_->Put(id, bytes);
    return id;
  }

  bool all_pages() const { return all_pages_; }
  const absl::Status& status() const { return status_; }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }
  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  template <typename T>
  void PutOne(const T& value) {
    using namespace codec_internal;  // NOLINT
    if constexpr (requires { value.Encode(*this); }) {
      value.Encode(*this);
    } else if constexpr (HasFields<const T>) {
      VisitAllFields(value, [this](const char*, const auto&... fields) {
        CheckFieldCount<T, sizeof...(fields)>();
        (PutOne(fields), ...);
      });
    } else if constexpr (std::is_same_v<T, bool>) {
      bytes_.push_back(value ? 1 : 0);
    } else if constexpr (std::is_enum_v<T>) {
      PutVarint(static_cast<uint64_t>(value));
    } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
      const int64_t wide = value;
      PutVarint((static_cast<uint64_t>(wide) << 1) ^ static_cast<uint64_t>(wide >> 63));
    } else if constexpr (std::is_integral_v<T>) {
      PutVarint(value);
    } else if constexpr (IsA<T, Id>::value) {
      PutVarint(static_cast<uint32_t>(value.value + 1));
    } else if constexpr (std::is_same_v<T, ContentId>) {
      PutRaw(value.bytes);
    } else if constexpr (std::is_same_v<T, std::string>) {
      PutVarint(value.size());
      bytes_.append(value);
    } else if constexpr (IsShared<T>::value) {
      PutOne(value != nullptr);
      if (value != nullptr) PutOne(*value);
    } else if constexpr (IsA<T, std::pair>::value) {
      PutOne(value.first);
      PutOne(value.second);
    } else if constexpr (IsArray<T>::value) {
      for (const auto& element : value) PutOne(element);
    } else if constexpr (std::is_same_v<T, std::vector<uint8_t>>) {
      PutVarint(value.size());
      PutRaw(value);
    } else if constexpr (kIsList<T>) {
      PutVarint(value.size());
      for (const auto& element : value) PutOne(element);
    } else if constexpr (kIsMap<T>) {
      PutSorted(value, [](const auto& a, const auto& b) { return a->first < b->first; });
    } else if constexpr (kIsSet<T>) {
      PutSorted(value, [](const auto& a, const auto& b) { return *a < *b; });
    } else {
      static_assert(kIsPlain<T>, "this type has no encoding");
      PutRaw(ByteView(reinterpret_cast<const uint8_t*>(&value), sizeof(T)));
    }
  }

  // The order of a hash table is nobody's business.
  template <typename Container, typename Less>
  void PutSorted(const Container& container, Less less) {
    std::vector<const typename Container::value_type*> order;
    order.reserve(container.size());
    for (const auto& element : container) order.push_back(&element);
    std::sort(order.begin(), order.end(), less);
    PutVarint(order.size());
    for (const auto* element : order) PutOne(*element);
  }

  BlobStore* const blobs_;
  const bool all_pages_;
  std::string bytes_;
  absl::Status status_;
};

// Reads what an Encoder wrote. Any bytes may be given: what is not canonical, cut short or beyond the limits makes
// Get return false from then on. Thread compatible.
class Decoder {
 public:
  // `source` is where tables find their pages, and says how large ids may be; may be nullptr when there are no tables.
  explicit Decoder(ByteView bytes, std::shared_ptr<PageSource> source = nullptr)
      : bytes_(bytes), source_(std::move(source)) {}

  template <typename... T>
  bool Get(T*... values) {
    return (GetOne(values) && ...);
  }
  bool GetVarint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ == bytes_.size()) return Fail();
      const uint8_t byte = bytes_[at_++];
      if (shift == 63 && byte > 1) return Fail();
      *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return byte != 0 || shift == 0 || Fail();  // a shorter form would do
    }
    return Fail();
  }
  bool GetRaw(uint64_t size, ByteView* raw) {
    if (failed_ || size > left()) return Fail();
    *raw = bytes_.subspan(at_, size);
    at_ += size;
    return true;
  }

  uint64_t left() const { return bytes_.size() - at_; }
  bool failed() const { return failed_; }
  // True when everything was read and nothing was wrong.
  bool Done() const { return !failed_ && left() == 0; }
  const std::shared_ptr<PageSource>& source() const { return source_; }
  bool Fail() {
    failed_ = true;
    return false;
  }

 private:
  template <typename T>
  bool GetOne(T* value) {
    using namespace codec_internal;  // NOLINT
    if (failed_) return false;
    if constexpr (requires { value->Decode(*this); }) {
      return value->Decode(*this) || Fail();
    } else if constexpr (HasFields<T>) {
      VisitAllFields(*value, [this](const char*, auto&... fields) {
        CheckFieldCount<T, sizeof...(fields)>();
        (this->GetOne(&fields) && ...);
      });
      return !failed_;
    } else if constexpr (std::is_same_v<T, bool>) {
      uint64_t number = 0;
      if (!GetVarint(&number) || number > 1) return Fail();
      *value = number != 0;
      return true;
    } else if constexpr (std::is_enum_v<T>) {
      // Fixed, so that every number is a value.
      static_assert(requires { T{std::underlying_type_t<T>{0}}; });
      std::underlying_type_t<T> number{};
      if (!GetOne(&number)) return false;
      *value = static_cast<T>(number);
      return true;
    } else if constexpr (std::is_integral_v<T> && std::is_signed_v<T>) {
      uint64_t number = 0;
      if (!GetVarint(&number)) return false;
      const int64_t wide = static_cast<int64_t>(number >> 1) ^ -static_cast<int64_t>(number & 1);
      if (wide < std::numeric_limits<T>::min() || wide > std::numeric_limits<T>::max()) return Fail();
      *value = static_cast<T>(wide);
      return true;
    } else if constexpr (std::is_integral_v<T>) {
      uint64_t number = 0;
      if (!GetVarint(&number) || number > std::numeric_limits<T>::max()) return Fail();
      *value = static_cast<T>(number);
      return true;
    } else if constexpr (IsA<T, Id>::value) {
      uint64_t number = 0;
      if (!GetVarint(&number) || number > IdLimit<T>()) return Fail();
      *value = T(static_cast<uint32_t>(number) - 1);
      return true;
    } else if constexpr (std::is_same_v<T, ContentId>) {
      ByteView raw;
      if (!GetRaw(value->bytes.size(), &raw)) return false;
      std::copy(raw.begin(), raw.end(), value->bytes.begin());
      return true;
    } else if constexpr (std::is_same_v<T, std::string>) {
      uint64_t size = 0;
      ByteView raw;
      if (!GetVarint(&size) || !GetRaw(size, &raw)) return Fail();
      value->assign(reinterpret_cast<const char*>(raw.data()), raw.size());
      return true;
    } else if constexpr (IsShared<T>::value) {
      bool there = false;
      value->reset();
      if (!GetOne(&there) || !there) return !failed_;
      auto content = std::make_shared<typename IsShared<T>::Content>();
      if (!GetOne(content.get())) return false;
      *value = std::move(content);
      return true;
    } else if constexpr (IsA<T, std::pair>::value) {
      return GetOne(&value->first) && GetOne(&value->second);
    } else if constexpr (IsArray<T>::value) {
      for (auto& element : *value) {
        if (!GetOne(&element)) return false;
      }
      return true;
    } else if constexpr (std::is_same_v<T, std::vector<uint8_t>>) {
      uint64_t size = 0;
      ByteView raw;
      if (!GetVarint(&size) || !GetRaw(size, &raw)) return Fail();
      value->assign(raw.begin(), raw.end());
      return true;
    } else if constexpr (kIsList<T>) {
      uint64_t count = 0;
      if (!GetVarint(&count) || count > left()) return Fail();  // an element has at least one byte
      value->clear();
      value->resize(count);
      for (auto& element : *value) {
        if (!GetOne(&element)) return false;
      }
      return true;
    } else if constexpr (kIsMap<T>) {
      return GetMap(value);
    } else if constexpr (kIsSet<T>) {
      return GetSet(value);
    } else {
      static_assert(kIsPlain<T>, "this type has no encoding");
      ByteView raw;
      if (!GetRaw(sizeof(T), &raw)) return false;
      *value = Load<T>(raw.data());
      return true;
    }
  }

  template <typename Map>
  bool GetMap(Map* map) {
    uint64_t count = 0;
    if (!GetVarint(&count) || count > left()) return Fail();
    map->clear();
    typename Map::key_type last{};
    for (uint64_t i = 0; i < count; ++i) {
      typename Map::key_type key{};
      typename Map::mapped_type value{};
      if (!GetOne(&key) || !GetOne(&value)) return false;
      if (i != 0 && !(last < key)) return Fail();
      last = key;
      map->emplace(std::move(key), std::move(value));
    }
    return true;
  }

  template <typename Set>
  bool GetSet(Set* set) {
    uint64_t count = 0;
    if (!GetVarint(&count) || count > left()) return Fail();
    set->clear();
    typename Set::key_type last{};
    for (uint64_t i = 0; i < count; ++i) {
      typename Set::key_type key{};
      if (!GetOne(&key)) return false;
      if (i != 0 && !(last < key)) return Fail();
      last = key;
      set->insert(std::move(key));
    }
    return true;
  }

  // The largest number that stands for an id; 0 is the invalid one.
  template <typename T>
  uint64_t IdLimit() const {
    const IdLimits limits = source_ != nullptr ? source_->limits() : IdLimits();
    if constexpr (std::is_same_v<T, SectionId>) return limits.sections;
    if constexpr (std::is_same_v<T, UnitId>) return limits.units;
    if constexpr (std::is_same_v<T, SymbolId>) return limits.symbols;
    return Id<void>::kNone;
  }

  ByteView bytes_;
  uint64_t at_ = 0;
  bool failed_ = false;
  std::shared_ptr<PageSource> source_;
};

template <typename T>
std::string DescribeSchema(const T& value);

// What an encoded T looks like, in words: field names and kinds. Two types with one description have one encoding.
template <typename T>
std::string SchemaOf() {
  using namespace codec_internal;  // NOLINT
  if constexpr (requires { T::Schema(); }) {
    return T::Schema();
  } else if constexpr (HasFields<T>) {
    return DescribeSchema(T{});
  } else if constexpr (std::is_same_v<T, bool>) {
    return "bool";
  } else if constexpr (std::is_enum_v<T>) {
    return "enum";
  } else if constexpr (std::is_integral_v<T>) {
    return absl::StrCat(std::is_signed_v<T> ? "i" : "u", 8 * sizeof(T));
  } else if constexpr (IsA<T, Id>::value) {
    return "id";
  } else if constexpr (std::is_same_v<T, ContentId>) {
    return "digest";
  } else if constexpr (std::is_same_v<T, std::string>) {
    return "text";
  } else if constexpr (IsShared<T>::value) {
    return absl::StrCat("perhaps ", SchemaOf<typename IsShared<T>::Content>());
  } else if constexpr (IsA<T, std::pair>::value) {
    return absl::StrCat("(", SchemaOf<typename T::first_type>(), ",", SchemaOf<typename T::second_type>(), ")");
  } else if constexpr (IsArray<T>::value) {
    return absl::StrCat(SchemaOf<typename T::value_type>(), "*", std::tuple_size_v<T>);
  } else if constexpr (std::is_same_v<T, std::vector<uint8_t>>) {
    return "bytes";
  } else if constexpr (kIsList<T>) {
    return absl::StrCat("[", SchemaOf<typename T::value_type>(), "]");
  } else if constexpr (kIsMap<T>) {
    return absl::StrCat("map(", SchemaOf<typename T::key_type>(), ",", SchemaOf<typename T::mapped_type>(), ")");
  } else if constexpr (kIsSet<T>) {
    return absl::StrCat("set(", SchemaOf<typename T::key_type>(), ")");
  } else {
    static_assert(kIsPlain<T>, "this type has no encoding");
    return absl::StrCat("bytes", sizeof(T));
  }
}

// The same of a value whose type has no default.
template <typename T>
std::string DescribeSchema(const T& value) {
  if constexpr (HasFields<T>) {
    std::string text;
    VisitAllFields(value, [&](const char* names, const auto&... fields) {
      absl::StrAppend(&text, "{", names, ":");
      (absl::StrAppend(&text, DescribeSchema(fields), ","), ...);
      absl::StrAppend(&text, "}");
    });
    return text;
  } else {
    return SchemaOf<T>();
  }
}

}  // namespace kitlink

#endif  // CORE_BASE_CODEC_H_
