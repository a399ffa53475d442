#include "core/session/symbol_names.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/digest.h"

namespace kitlink {
namespace {

// Names are found by it on disk: it must not depend on the process. The multiplication of its last step does not reach
// the low bits, from which the place in the table is taken.
uint32_t HashOf(absl::string_view name) {
  const uint64_t hash = FnvWords(AsBytes(name));
  return static_cast<uint32_t>(hash ^ (hash >> 32));
}

}  // namespace

SymbolId SymbolNames::FindFrozen(absl::string_view name) const {
  if (slots_.empty()) return SymbolId();
  const uint32_t hash = HashOf(name);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash & mask, step = 0; step <= mask; at = (at + 1) & mask, ++step) {
    const Slot& slot = slots_[at];
    if (slot.id == 0) break;
    if (slot.hash == hash && names_[slot.id - 1] == name) return SymbolId(slot.id - 1);
  }
  return SymbolId();
}

SymbolId SymbolNames::Find(absl::string_view name) const {
  const SymbolId id = table_ ? table_->Find(name) : FindFrozen(name);
  if (id.valid()) return id;
  const auto it = later_ids_.find(name);
  return it == later_ids_.end() ? SymbolId() : it->second;
}

SymbolId SymbolNames::Intern(absl::string_view name) {
  if (const SymbolId id = Find(name); id.valid()) return id;
  const SymbolId id(count());
  later_.push_back(std::string(name));
  later_ids_.emplace(later_.back(), id);
  return id;
}

absl::string_view SymbolNames::Name(SymbolId id) const {
  if (id.value >= taken_) return later_[id.value - taken_];
  return table_ ? table_->Name(id) : names_[id.value];
}

uint64_t SymbolNames::bytes() const {
  uint64_t total = names_.bytes() + slots_.bytes() + later_.bytes() + (table_ ? table_->bytes() : 0);
  names_.ForEachLoaded([&](const std::string& name) { total += name.capacity(); });
  later_.ForEachLoaded([&](const std::string& name) { total += 32 + name.capacity(); });
  return total;
}

bool SymbolNames::Freeze(absl::FunctionRef<bool()> stop) {
  if (!table_) return true;
  const uint32_t capacity = table_->capacity();
  const SymbolId empty = table_->Find("");
  PagedTable<std::string, 256> names;
  names.resize(capacity);
  size_t count = 0;
  for (uint32_t i = 0; i < capacity; ++i) {
    if (i % 4096 == 0 && stop()) return false;
    names[i] = std::string(table_->Name(SymbolId(i)));
    count += !names[i].empty() || SymbolId(i) == empty;
  }
  size_t places = 16;
  while (2 * places < 3 * count) places *= 2;
  PagedTable<Slot, 2048> slots;
  slots.resize(places);
  for (uint32_t i = 0; i < capacity; ++i) {
    if (i % 4096 == 0 && stop()) return false;
    if (names[i].empty() && SymbolId(i) != empty) continue;
    const uint32_t hash = HashOf(names[i]);
    size_t at = hash & (places - 1);
    while (slots[at].id != 0) at = (at + 1) & (places - 1);
    slots[at] = {hash, i + 1};
  }
  names_ = std::move(names);
  slots_ = std::move(slots);
  table_.reset();
  return true;
}

bool SymbolNames::Decode(Decoder& decoder) {
  table_.reset();
  later_ids_.clear();
  if (!decoder.Get(&taken_, &names_, &slots_, &later_)) return false;
  if ((slots_.size() & (slots_.size() - 1)) != 0 || names_.size() > taken_) return false;
  for (size_t i = 0; i < later_.size(); ++i) {
    const std::string& name = std::as_const(later_)[i];
    if (!later_ids_.emplace(name, SymbolId(taken_ + static_cast<uint32_t>(i))).second) return false;
  }
  return true;
}

std::string SymbolNames::Schema() {
  return absl::StrCat("names(", SchemaOf<decltype(names_)>(), SchemaOf<decltype(slots_)>(), SchemaOf<decltype(later_)>(), ")");
}

}  // namespace kitlink
