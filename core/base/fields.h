// Which fields of a struct are written to disk: said once, in the struct, and used by writing, reading and the digest of
// the format alike, so that none of them can forget a field.
#ifndef CORE_BASE_FIELDS_H_
#define CORE_BASE_FIELDS_H_

#include <cstddef>
#include <type_traits>
#include <utility>

// Inside a struct: lists its fields, in the order in which they are written. Whoever adds a field adds it here: the
// compiler insists (core/base/codec.h).
#define KITLINK_FIELDS(...)                            \
  template <typename Visitor>                          \
  void VisitFields(Visitor&& visit) {                  \
    visit(#__VA_ARGS__, __VA_ARGS__);                  \
  }                                                    \
  template <typename Visitor>                          \
  void VisitFields(Visitor&& visit) const {            \
    visit(#__VA_ARGS__, __VA_ARGS__);                  \
  }

// Inside a class with private fields: the same, of all fields.
#define KITLINK_ALL_FIELDS(...) \
  KITLINK_FIELDS(__VA_ARGS__)   \
  KITLINK_COUNT_FIELDS(__VA_ARGS__)

// The same, but for those in parentheses: what is made anew, or means something to a plan only.
#define KITLINK_FIELDS_BUT(left_out, ...) \
  KITLINK_FIELDS(__VA_ARGS__)             \
  KITLINK_COUNT_FIELDS(__VA_ARGS__, KITLINK_UNWRAP left_out)

// Inside a class: does not compile with another number of fields than it has. For what writes them by hand, beside that.
#define KITLINK_COUNT_FIELDS(...)                       \
  static constexpr bool kAllFieldsNamed = true;         \
  void CountFields() const {                            \
    [[maybe_unused]] const auto& [__VA_ARGS__] = *this; \
  }
#define KITLINK_UNWRAP(...) __VA_ARGS__

// The same for an aggregate of a header that everybody includes: stands outside of it, in its namespace. Does not compile
// with another number of fields than it has.
#define KITLINK_FIELDS_OF(Type, ...)                        \
  template <typename Visitor>                               \
  void VisitFieldsOf(Type& value, Visitor&& visit) {        \
    auto& [__VA_ARGS__] = value;                            \
    visit(#__VA_ARGS__, __VA_ARGS__);                       \
  }                                                         \
  template <typename Visitor>                               \
  void VisitFieldsOf(const Type& value, Visitor&& visit) {  \
    auto& [__VA_ARGS__] = value;                            \
    visit(#__VA_ARGS__, __VA_ARGS__);                       \
  }

namespace kitlink {

namespace fields_internal {

struct AnyField {
  template <typename T>
  constexpr operator T() const noexcept;  // NOLINT: converts to whatever a field is; never defined
};

template <size_t>
using AnyFieldAt = AnyField;

template <typename T, size_t... I>
constexpr bool Braces(std::index_sequence<I...>) {
  return requires { T{AnyFieldAt<I>{}...}; };
}

}  // namespace fields_internal

// The number of fields of an aggregate that has no arrays among them.
template <typename T, size_t kAtLeast = 0>
constexpr size_t FieldCount() {
  static_assert(std::is_aggregate_v<T>);
  if constexpr (fields_internal::Braces<T>(std::make_index_sequence<kAtLeast + 1>())) {
    return FieldCount<T, kAtLeast + 1>();
  } else {
    return kAtLeast;
  }
}

struct IgnoreFields {
  template <typename... Fields>
  void operator()(const char*, Fields&...) const {}
};

// True for what lists its fields, inside or outside.
template <typename T>
concept HasFieldsInside = requires(T& value) { value.VisitFields(IgnoreFields()); };
template <typename T>
concept HasFields = HasFieldsInside<T> || requires(T& value) { VisitFieldsOf(value, IgnoreFields()); };

template <typename T, typename Visitor>
void VisitAllFields(T& value, Visitor&& visit) {
  if constexpr (HasFieldsInside<T>) {
    value.VisitFields(std::forward<Visitor>(visit));
  } else {
    VisitFieldsOf(value, std::forward<Visitor>(visit));
  }
}

// Fields of an aggregate that somebody else writes: T::kFieldsElsewhere, 0 when there is no such thing.
template <typename T>
constexpr size_t FieldsElsewhere() {
  if constexpr (requires { T::kFieldsElsewhere; }) {
    return T::kFieldsElsewhere;
  } else {
    return 0;
  }
}

// Fails to compile when a struct has another number of fields than it lists.
template <typename T, size_t kListed>
constexpr void CheckFieldCount() {
  if constexpr (HasFieldsInside<T> && std::is_aggregate_v<T>) {
    static_assert(FieldCount<T>() == kListed + FieldsElsewhere<T>(),
                  "a field is missing in KITLINK_FIELDS: it would not be written to disk");
  } else if constexpr (HasFieldsInside<T>) {
    static_assert(T::kAllFieldsNamed, "a class with private fields says what it leaves out: KITLINK_FIELDS_BUT");
  }
}

}  // namespace kitlink

#endif  // CORE_BASE_FIELDS_H_
