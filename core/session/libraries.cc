#include "core/session/libraries.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "core/base/digest.h"
#include "core/session/memory.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

bool IsFunction(const SharedSymbol& symbol) {
  return symbol.type == SymbolType::kFunction || symbol.type == SymbolType::kIfunc ||
         (symbol.type == SymbolType::kNone && symbol.size == 0);
}

uint64_t Digest(absl::string_view text, uint64_t seed) { return FnvWords(AsBytes(text), seed ^ (text.size() << 32)); }

// What a reference that is bound at run time depends on.
uint64_t BindingDigest(const SharedSymbol& symbol) {
  return Digest(symbol.version, 1 + 2 * static_cast<uint64_t>(symbol.type) + IsFunction(symbol));
}

// What one name of an object adds to the digest of its copy.
uint64_t NameDigest(const SharedSymbol& name) {
  return Digest(name.name, BindingDigest(name) + name.size * 8 + static_cast<uint64_t>(name.binding));
}

// A name that a reference to the object may have.
bool NamesObject(const SharedSymbol& symbol) { return symbol.default_version && symbol.type != SymbolType::kTls; }

template <typename T>
const T* FindIn(const std::vector<std::pair<SymbolId, T>>& list, SymbolId symbol) {
  const auto it = std::lower_bound(list.begin(), list.end(), symbol,
                                   [](const std::pair<SymbolId, T>& entry, SymbolId wanted) { return entry.first < wanted; });
  return it == list.end() || it->first != symbol ? nullptr : &it->second;
}

// The first entry of each symbol, sorted.
template <typename T>
void SortFirst(std::vector<std::pair<SymbolId, T>>* list) {
  const auto less = [](const auto& a, const auto& b) { return a.first < b.first; };
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  std::stable_sort(list->begin(), list->end(), less);
  list->erase(std::unique(list->begin(), list->end(), same), list->end());
  list->shrink_to_fit();
}

// Calls `each(symbol, was, is)` for the entries that differ; nullptr where there is none.
template <typename T, typename Each>
Refusal Differences(const std::vector<std::pair<SymbolId, T>>& was, const std::vector<std::pair<SymbolId, T>>& is, Each each) {
  for (size_t w = 0, i = 0; w < was.size() || i < is.size();) {
    const bool old_only = i == is.size() || (w < was.size() && was[w].first < is[i].first);
    const bool new_only = !old_only && (w == was.size() || is[i].first < was[w].first);
    const T* before = new_only ? nullptr : &was[w++].second;
    const T* now = old_only ? nullptr : &is[i++].second;
    if (before != nullptr && now != nullptr && *before == *now) continue;
    const SymbolId symbol = now != nullptr ? is[i - 1].first : was[w - 1].first;
    if (Refusal refusal = each(symbol, before, now)) return refusal;
  }
  return std::nullopt;
}

// All objects that go by one name alone.
std::vector<std::pair<SymbolId, CopyShape>> ObjectsOf(const SharedFile& file,
                                                      absl::FunctionRef<SymbolId(absl::string_view)> intern) {
  absl::flat_hash_map<uint64_t, uint32_t> names;  // by value
  for (const SharedSymbol& symbol : file.defined) names[symbol.value] += NamesObject(symbol);
  std::vector<std::pair<SymbolId, CopyShape>> objects;
  for (const SharedSymbol& symbol : file.defined) {
    if (!NamesObject(symbol) || IsFunction(symbol) || symbol.size == 0) continue;
    CopyShape shape{symbol.size, std::max<uint32_t>(symbol.alignment, 1), symbol.readonly, 0};
    shape.digest = symbol.size * 2 + symbol.readonly + NameDigest(symbol);
    if (names[symbol.value] != 1) shape.size = 0;
    objects.push_back({intern(symbol.name), shape});
  }
  return objects;
}

}  // namespace

bool LibraryMemory::Defines(SymbolId symbol) const { return FindIn(defined, symbol) != nullptr; }

const CopyShape* LibraryMemory::ObjectNamed(SymbolId symbol) const { return FindIn(objects, symbol); }

bool LibraryMemory::LeavesOpen(SymbolId symbol, bool strongly) const {
  const bool* strong = FindIn(undefined, symbol);
  return strong != nullptr && (*strong || !strongly);
}

LibraryMemory RememberLibrary(const SharedFile& file, absl::FunctionRef<SymbolId(absl::string_view)> intern) {
  LibraryMemory memory;
  memory.soname = file.soname;
  for (const std::string& name : file.needed) memory.dependencies = Digest(name, memory.dependencies + 1);
  for (const SharedSymbol& symbol : file.defined) {
    if (symbol.default_version) {
      memory.defined.push_back({intern(symbol.name), BindingDigest(symbol)});
    } else {
      memory.versioned += Digest(symbol.name, BindingDigest(symbol));
    }
  }
  for (absl::string_view name : file.undefined_strong) memory.undefined.push_back({intern(name), true});
  for (absl::string_view name : file.undefined) memory.undefined.push_back({intern(name), false});
  memory.objects = ObjectsOf(file, intern);
  SortFirst(&memory.objects);
  std::erase_if(memory.objects, [](const auto& object) { return object.second.size == 0; });
  SortFirst(&memory.defined);
  SortFirst(&memory.undefined);
  return memory;
}

uint64_t CopyDigest(const SharedFile& file, uint32_t index) {
  const SharedSymbol& object = file.defined[index];
  uint64_t digest = object.size * 2 + object.readonly;
  for (const SharedSymbol& other : file.defined) {
    if (other.value == object.value && NamesObject(other)) digest += NameDigest(other);
  }
  return digest;
}

LibraryOffer OfferOf(uint32_t library, const SharedSymbol& symbol, Memory* memory) {
  LibraryOffer offer;
  offer.library = library;
  offer.import_group = memory->ImportGroup(library, symbol.version);
  offer.version = std::string(symbol.version);
  offer.type = symbol.type;
  offer.function = IsFunction(symbol);
  return offer;
}

absl::flat_hash_set<SymbolId> PinnedNames(const Memory& memory) {
  absl::flat_hash_set<SymbolId> pinned;
  for (const LibraryMemory& library : memory.libraries) {
    for (const auto& [symbol, strong] : library.undefined) {
      if (!strong) continue;
      bool provided = false, spare = false;
      for (const LibraryMemory& other : memory.libraries) {
        if (!other.Defines(symbol)) continue;
        provided = true;
        spare |= other.as_needed;
      }
      if (provided ? spare : !memory.options->allow_shlib_undefined) pinned.insert(symbol);
    }
  }
  return pinned;
}

LibraryUpdate::LibraryUpdate(Memory* memory) : memory_(*memory) {}

LibraryUpdate::~LibraryUpdate() {
  if (kept_) return;
  for (auto it = libraries_.rbegin(); it != libraries_.rend(); ++it) memory_.libraries[it->first] = std::move(it->second);
  for (auto it = shared_.rbegin(); it != shared_.rend(); ++it) memory_.symbols[it->first.value].shared = it->second;
  for (auto it = offers_.rbegin(); it != offers_.rend(); ++it) {
    memory_.library_offers.erase(it->first);
    if (it->second) memory_.library_offers.emplace(it->first, saved_offers_[*it->second]);
  }
  if (pinned_) memory_.pinned = *std::move(pinned_);
}

// The first library that defines a name; -1 when none does.
int64_t LibraryUpdate::Provider(SymbolId id) const {
  for (size_t l = 0; l < memory_.libraries.size(); ++l) {
    if (memory_.libraries[l].Defines(id)) return static_cast<int64_t>(l);
  }
  return -1;
}

// True when some library must find the name elsewhere.
bool LibraryUpdate::AskedFor(SymbolId id) const {
  return std::any_of(memory_.libraries.begin(), memory_.libraries.end(),
                     [&](const LibraryMemory& library) { return library.LeavesOpen(id, true); });
}

// True when a library has it that is only needed if somebody asks.
bool LibraryUpdate::OptionalProvider(SymbolId id) const {
  return std::any_of(memory_.libraries.begin(), memory_.libraries.end(),
                     [&](const LibraryMemory& library) { return library.as_needed && library.Defines(id); });
}

// True when an archive has the name, or its definition is an archive member's: which might not be taken any more.
bool LibraryUpdate::OwnerMayGo(SymbolId id) const {
  const SymbolMemory& symbol = memory_.symbols[id.value];
  return symbol.lazy || (symbol.owner.valid() && symbol.owner.value < memory_.units.size() &&
                         memory_.units[symbol.owner.value].lazy);
}

void LibraryUpdate::SetShared(SymbolId id) {
  bool known = false;
  for (const LibraryMemory& library : memory_.libraries) known |= library.Defines(id) || library.LeavesOpen(id, false);
  SymbolMemory& symbol = memory_.symbols[id.value];
  if (symbol.shared == known) return;
  shared_.push_back({id, symbol.shared});
  symbol.shared = known;
  const bool defined = symbol.kind == SymbolMemory::kDefined || symbol.kind == SymbolMemory::kAbsolute;
  if (defined) reconsider_.push_back(id);
}

// What the first library that has a name offers. One that has not changed is not read: its offer is forgotten.
void LibraryUpdate::SetOffer(uint32_t library, SymbolId id, const SharedSymbol* has) {
  const int64_t first = Provider(id);
  const auto known = memory_.library_offers.find(id);
  if (known != memory_.library_offers.end() && first == known->second.library && first != library) return;
  if (known != memory_.library_offers.end()) {
    offers_.push_back({id, static_cast<uint32_t>(saved_offers_.size())});
    saved_offers_.push_back(known->second);
    memory_.library_offers.erase(known);
  } else {
    offers_.push_back({id, std::nullopt});
  }
  if (has == nullptr || first != library || !memory_.libraries[library].needed) return;
  memory_.library_offers.emplace(id, OfferOf(library, *has, &memory_));
}

Refusal LibraryUpdate::CheckCopies(const LibraryMemory& was, const SharedFile& now) const {
  if (was.copies.empty()) return std::nullopt;
  absl::flat_hash_map<absl::string_view, uint32_t> index;
  for (uint32_t i = 0; i < now.defined.size(); ++i) {
    if (now.defined[i].default_version) index.emplace(now.defined[i].name, i);
  }
  for (const auto& [id, digest] : was.copies) {
    const auto it = index.find(memory_.names.Name(id));
    const uint64_t address = memory_.symbols[id.value].address;
    const auto aligned = [&](const SharedSymbol& object) {
      return address % std::max<uint32_t>(object.alignment, 1) == 0;
    };
    if (it == index.end() || CopyDigest(now, it->second) != digest || !aligned(now.defined[it->second])) {
      return GateRefusal{GateReason::kSharedLibraryChanged,
                         absl::StrCat(now.path, ": ", memory_.names.Name(id), ", which is copied, is another object")};
    }
  }
  return std::nullopt;
}

Refusal LibraryUpdate::Apply(uint32_t library, const SharedFile& now) {
  const auto refuse = [&](absl::string_view what) {
    return GateRefusal{GateReason::kSharedLibraryChanged, absl::StrCat(now.path, what)};
  };
  LibraryMemory is = RememberLibrary(now, [&](absl::string_view name) { return memory_.Intern(name); });
  LibraryMemory& known = memory_.libraries[library];
  if (is.soname != known.soname) return refuse(": has another name for the loader");
  if (is.dependencies != known.dependencies) return refuse(": depends on other libraries");
  if (is.versioned != known.versioned && memory_.versioned_imports) return refuse(": has other old versions");
  if (Refusal refusal = CheckCopies(known, now)) return refusal;
  is.file = known.file;
  is.as_needed = known.as_needed;
  is.needed = known.needed;
  is.copies = known.copies;
  absl::flat_hash_map<SymbolId, const SharedSymbol*> by_id;
  for (const SharedSymbol& symbol : now.defined) {
    if (symbol.default_version) by_id.emplace(memory_.names.Find(symbol.name), &symbol);
  }
  libraries_.push_back({library, std::move(known)});
  memory_.libraries[library] = is;
  if (!pinned_) pinned_ = memory_.pinned;
  memory_.pinned = PinnedNames(memory_);
  const LibraryMemory& was = libraries_.back().second;
  Refusal refusal = Differences(was.defined, is.defined, [&](SymbolId id, const uint64_t* had, const uint64_t* has) {
    return Redefine(library, id, had != nullptr, has != nullptr ? by_id.at(id) : nullptr);
  });
  if (!refusal) {
    refusal = Differences(was.undefined, is.undefined, [&](SymbolId id, const bool* had, const bool* has) {
      return LeaveOpen(id, had != nullptr && *had, has != nullptr && *has);
    });
  }
  if (refusal) refusal->detail = absl::StrCat(now.path, ": ", refusal->detail);
  return refusal;
}

Refusal LibraryUpdate::Redefine(uint32_t library, SymbolId id, bool had, const SharedSymbol* has) {
  const SymbolMemory symbol = memory_.symbols[id.value];
  const LibraryMemory& changed = memory_.libraries[library];
  const auto refuse = [&](absl::string_view what) {
    return GateRefusal{GateReason::kSharedLibraryChanged, absl::StrCat(memory_.names.Name(id), what)};
  };
  const auto offer = memory_.library_offers.find(id);
  const bool bound = symbol.kind == SymbolMemory::kShared && offer != memory_.library_offers.end() &&
                     offer->second.library == library;
  if (had != (has != nullptr)) {
    if (OwnerMayGo(id)) return refuse(" is an archive's, too");
    const bool lacking = has == nullptr && Provider(id) < 0 && !memory_.options->allow_shlib_undefined;
    if (AskedFor(id) && (changed.as_needed || OptionalProvider(id) || lacking)) return refuse(" is asked for by a library");
    if (symbol.kind == SymbolMemory::kLinker || symbol.kind == SymbolMemory::kAbsolute) return refuse(" is defined without a unit");
  }
  switch (symbol.kind) {
    case SymbolMemory::kNone:
    case SymbolMemory::kDefined:
    case SymbolMemory::kAbsolute:
    case SymbolMemory::kLinker:
      break;
    case SymbolMemory::kUndefined:
      if (has == nullptr || had) break;
      if (symbol.strong) return refuse(" was left to run time");
      if (changed.needed && symbol.visibility == Visibility::kDefault) reconsider_.push_back(id);
      break;
    case SymbolMemory::kShared:
      if (offer == memory_.library_offers.end()) return refuse(" is imported");
      if (!bound) {
        if (has != nullptr && library < offer->second.library) return refuse(" is imported from a later library");
        break;
      }
      if (has == nullptr) return refuse(", which is imported, is gone");
      if (has->type != offer->second.type || IsFunction(*has) != offer->second.function || symbol.idle || symbol.address != 0) {
        return refuse(", which is imported, is of another kind");
      }
      reconsider_.push_back(id);
      break;
  }
  SetShared(id);
  SetOffer(library, id, has);
  return std::nullopt;
}

Refusal LibraryUpdate::LeaveOpen(SymbolId id, bool was_strong, bool is_strong) {
  const SymbolMemory symbol = memory_.symbols[id.value];
  const auto refuse = [&](absl::string_view what) {
    return GateRefusal{GateReason::kSharedLibraryChanged, absl::StrCat(memory_.names.Name(id), what)};
  };
  if (was_strong != is_strong) {
    if (OwnerMayGo(id)) return refuse(" is an archive's, too");
    const bool defined = symbol.kind != SymbolMemory::kNone && symbol.kind != SymbolMemory::kUndefined;
    const bool lacking = is_strong && Provider(id) < 0 && !memory_.options->allow_shlib_undefined;
    if (!defined && (OptionalProvider(id) || lacking)) return refuse(" is asked for by a library");
  }
  const bool before = symbol.shared;
  SetShared(id);
  if (symbol.kind == SymbolMemory::kAbsolute && memory_.symbols[id.value].shared != before) {
    return refuse(" is defined without a unit");
  }
  return std::nullopt;
}

}  // namespace kitlink
