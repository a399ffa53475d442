// Shared libraries among the inputs: what is remembered of them, and what it means when one was built anew.
#ifndef CORE_SESSION_LIBRARIES_H_
#define CORE_SESSION_LIBRARIES_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "core/base/fields.h"
#include "core/base/ids.h"
#include "core/input/model.h"
#include "core/session/gate_reason.h"

namespace kitlink {

struct Memory;
struct LibraryOffer;

// What a copy of a library's object takes.
struct CopyShape {
  uint64_t size = 0;
  uint32_t alignment = 1;
  bool readonly = false;  // belongs in RELRO
  uint64_t digest = 0;    // as CopyDigest

  KITLINK_FIELDS(size, alignment, readonly, digest)
};

// What a library says of names. Digests are 64 bits of FNV; sorted by symbol.
struct LibraryMemory {
  uint32_t file = 0;  // index in Memory::files
  std::string soname;
  bool as_needed = false, needed = false;
  uint64_t dependencies = 0;  // digest of its own DT_NEEDED
  uint64_t versioned = 0;     // digest of the definitions that only "name@version" means
  std::vector<std::pair<SymbolId, uint64_t>> defined;  // all others, with a digest of version and kind
  std::vector<std::pair<SymbolId, bool>> undefined;    // left to others; true: they must be found
  std::vector<std::pair<SymbolId, uint64_t>> copies;   // objects that live in the image, with a digest of all that a copy needs
  std::vector<std::pair<SymbolId, CopyShape>> objects;  // that may be copied, and have one name

  KITLINK_FIELDS(file, soname, as_needed, needed, dependencies, versioned, defined, undefined, copies, objects)

  bool Defines(SymbolId symbol) const;
  // nullptr for what is no object, or has other names, too.
  const CopyShape* ObjectNamed(SymbolId symbol) const;
  bool LeavesOpen(SymbolId symbol, bool strongly) const;
};

// The memory of a library as read from `file`. `intern` gives names ids. Fills neither `file` nor `copies`.
LibraryMemory RememberLibrary(const SharedFile& file, absl::FunctionRef<SymbolId(absl::string_view)> intern);

// Digest of what a copy of the object `index` of `file` depends on, but for its alignment: size, whether it is read-only,
// and the names that mean the same object.
uint64_t CopyDigest(const SharedFile& file, uint32_t index);

// What the library offers under the name of `symbol`.
LibraryOffer OfferOf(uint32_t library, const SharedSymbol& symbol, Memory* memory);

// Names whose definedness decides which libraries are needed, or whether one of them lacks something (Memory::pinned).
absl::flat_hash_set<SymbolId> PinnedNames(const Memory& memory);

// A change of the session's knowledge of libraries, undone unless it is kept: a relink that comes to nothing must not know
// what the next one has to find out.
class LibraryUpdate {
 public:
  explicit LibraryUpdate(Memory* memory);
  LibraryUpdate(const LibraryUpdate&) = delete;
  LibraryUpdate& operator=(const LibraryUpdate&) = delete;
  ~LibraryUpdate();

  // Makes `now` what is known of `library`, an index in Memory::libraries. Refuses where a full link might decide something
  // in another way than by looking at the names of reconsider() again: which libraries are needed, which archive members
  // take part, what a copy looks like. O(symbols of the library).
  std::optional<GateRefusal> Apply(uint32_t library, const SharedFile& now);
  // Names that mean something else, or that others see in another way, though no unit changed.
  const std::vector<SymbolId>& reconsider() const { return reconsider_; }
  void Keep() { kept_ = true; }

 private:
  std::optional<GateRefusal> Redefine(uint32_t library, SymbolId id, bool had, const SharedSymbol* has);
  std::optional<GateRefusal> LeaveOpen(SymbolId id, bool was_strong, bool is_strong);
  std::optional<GateRefusal> CheckCopies(const LibraryMemory& was, const SharedFile& now) const;
  void SetShared(SymbolId id);
  void SetOffer(uint32_t library, SymbolId id, const SharedSymbol* has);
  int64_t Provider(SymbolId id) const;
  bool AskedFor(SymbolId id) const;
  bool OptionalProvider(SymbolId id) const;
  bool OwnerMayGo(SymbolId id) const;

  Memory& memory_;
  std::vector<SymbolId> reconsider_;
  std::vector<std::pair<uint32_t, LibraryMemory>> libraries_;  // as they were
  std::vector<std::pair<SymbolId, bool>> shared_;
  std::vector<std::pair<SymbolId, std::optional<uint32_t>>> offers_;  // index in saved_offers_
  std::vector<LibraryOffer> saved_offers_;
  std::optional<absl::flat_hash_set<SymbolId>> pinned_;
  bool kept_ = false;
};

}  // namespace kitlink

#endif  // CORE_SESSION_LIBRARIES_H_
