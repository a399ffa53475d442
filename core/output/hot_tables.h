// A format's tables (symbol table, unwind tables, dynamic relocations, build id), kept so that they can be patched.
//
// A relink tells what became of each changed unit; the tables answer with mutations of the image. Nothing sticks until
// Accept: planning is pure.
#ifndef CORE_OUTPUT_HOT_TABLES_H_
#define CORE_OUTPUT_HOT_TABLES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/arch/arch.h"
#include "core/base/ids.h"
#include "core/input/eh_frame.h"
#include "core/input/model.h"
#include "core/output/image_sink.h"

namespace kitlink {

// Where symbol references of one changed unit lead. Which way a function that moved is meant depends on who asks: code
// and data mean the address that was published first, unwind tables mean the body.
class UnitTargets {
 public:
  virtual ~UnitTargets() = default;
  virtual TargetValue Target(uint32_t symbol, int64_t addend) const = 0;
  virtual TargetValue BodyTarget(uint32_t symbol, int64_t addend) const = 0;
  // The global id of a symbol, invalid for locals.
  virtual SymbolId Global(uint32_t symbol) const = 0;
};

// Where a section of a changed unit is now. Not placed: it is not in the image.
struct SectionPlace {
  bool placed = false;
  bool alloc = false;
  uint32_t output_section = 0;  // SectionId value
  uint64_t address = 0;
  uint64_t size = 0;
};

// One word that the loader relocates.
struct DynamicWord {
  uint64_t address = 0;
  SymbolId symbol;      // invalid: relative
  uint64_t addend = 0;  // of a relative word: the address it holds
};

// A range of addresses whose words are replaced as a whole: an atom's old or new slot.
struct WordRange {
  uint64_t begin = 0, end = 0;
};

// A range of addresses whose words lie elsewhere from now on.
struct WordMove {
  WordRange from;
  uint64_t to = 0;
};

// More room for an output section that is used up: as a section in a segment of its own, or, when it is not loaded, by moving
// to the end of the file.
struct GrowthRequest {
  uint32_t output_section = 0;  // SectionId value: of the new section, or of the one that moves
  std::string name;             // of the section that is used up
  uint32_t flags = 0;           // SectionFlag
  bool nobits = false;
  bool moves = false;  // though it is loaded, it is the section itself that goes into the new segment
  uint32_t alignment = 1;
  uint64_t size = 0;
};
struct GrowthPlace {
  uint64_t address = 0, offset = 0;
};

// A table that is to move to where there is more room.
struct TableRoom {
  uint32_t output_section = 0;  // SectionId value
  uint64_t size = 0;            // that it wants to have
  uint64_t kept = 0;            // bytes at its beginning that are to be copied; the table writes the others
};

// A published slot of a function that holds jumps now.
struct IslandRange {
  uint64_t begin = 0, end = 0;  // what an unwinder may find a pc in
};

// What became of one unit.
struct UnitUpdate {
  UnitId unit;
  const ObjectFile* object = nullptr;          // as it is now
  bool gone = false;                           // it takes no part any more: `object` is empty
  absl::Span<const SectionPlace> sections;     // beside object->sections
  const UnitTargets* targets = nullptr;
  std::vector<WordRange> stale_words;          // slots whose dynamic relocations are void
  std::vector<DynamicWord> words;              // all that the unit's written atoms need now
  std::vector<IslandRange> islands;            // all that the unit has now, older ones included
};

// A global symbol whose row changed.
struct SymbolUpdate {
  SymbolId symbol;
  uint64_t body = 0;  // address of its definition
  uint64_t size = 0;
  uint32_t output_section = 0;
  bool tls = false;
  bool absolute = false;  // `body` is a value that does not move with the image
  bool ifunc = false;     // `body` is a resolver; the loader does not look the symbol up for the image's own sake
  // Set when the address that code and data refer to is another from now on: cells and exported rows follow.
  bool republished = false;
  uint64_t address = 0;  // that address
};

// A global definition that is new to the image.
struct NewSymbol {
  SymbolId symbol;
  absl::string_view name;
  SymbolType type = SymbolType::kNone;
  SymbolBinding binding = SymbolBinding::kGlobal;
  Visibility visibility = Visibility::kDefault;
  bool exported = false;      // other modules see it
  bool preemptible = false;   // and the image's own references are left to the loader
  absl::string_view version;  // that it has there: one that the image defines; "" for none
};

// A symbol of a shared library that the program refers to from now on.
struct NewImport {
  SymbolId symbol;
  absl::string_view name;
  absl::string_view soname;   // of the library that defines it; "" when none does
  absl::string_view version;  // "" when it has none
  SymbolType type = SymbolType::kNone;
  bool weak = false;  // all references are
};

// An import that gets an address in the image: of its copy, or of its PLT entry.
struct FixedImport {
  SymbolId symbol;
  absl::string_view name;
  bool copy = false;
  uint64_t address = 0;         // of the copy
  uint64_t size = 0;            // of the copy
  uint32_t output_section = 0;  // that the copy lies in
};

// Cells that a symbol lacks.
struct CellRequest {
  SymbolId symbol;
  uint16_t needs = 0;  // bits of Need
  uint64_t address = 0;  // of a symbol that is defined here
  TargetTraits traits;
};

class HotTables {
 public:
  virtual ~HotTables() = default;

  // Starts a plan; forgets one that was not accepted. Until then AddCells may tell cells of that plan.
  virtual void Begin() = 0;
  // Words of `range` that are in `moves` (sorted, disjoint) are relocated where they go, all others not any more. Call it
  // before Update for units that have words there.
  virtual void MoveWords(WordRange range, const std::vector<WordMove>& moves) = 0;
  // A section that has a reserve behind its last piece has `used` bytes of pieces now.
  virtual void ResizeRows(uint32_t output_section, uint64_t used, std::vector<Mutation>* mutations) = 0;
  // Sets room aside behind everything that is in the image or was set aside: not part of a plan, and of no effect on the
  // image until a plan publishes it. Nothing when no header is free.
  virtual std::optional<GrowthPlace> Grow(const GrowthRequest& request) = 0;
  // Tables that had no room left when the last plan was made: more than one plan may be needed to find all.
  virtual std::vector<TableRoom> Cramped() const = 0;
  // A table gets the room that was set aside for it. Each plan moves it there until one is accepted.
  virtual void MoveTable(const TableRoom& room, const GrowthPlace& place) = 0;
  // What is copied to a table's new place has to lead where it led. Unimplemented for what cannot.
  virtual absl::Status FollowMove(uint32_t output_section, MutableBytes kept) const = 0;
  // Brings all room that was set aside into the image: headers, names, its size; and what tables write where they move to.
  virtual void PublishGrowth(std::vector<Mutation>* mutations) = 0;
  // True when what is loaded cannot be given more room, because others have all there was.
  virtual bool OutOfSegments() const = 0;
  // Bytes of the image, as this plan makes it.
  virtual uint64_t image_size() const = 0;
  // Adds the mutations for one unit. ResourceExhausted when a table has no room, Unimplemented for what cannot be
  // patched; the message says what.
  virtual absl::Status Update(const UnitUpdate& update, std::vector<Mutation>* mutations) = 0;
  // Gives a word of a unit that has not changed, and that has a dynamic relocation, new contents. NotFound when it has
  // none.
  virtual absl::Status RewriteWord(const DynamicWord& word) = 0;
  virtual absl::Status UpdateSymbol(const SymbolUpdate& update, std::vector<Mutation>* mutations) = 0;
  // Gives a definition its row in the symbol table, and in the dynamic one if it is exported: call it before Update for
  // units that refer to it. UpdateSymbol, later in the same plan, says where it is and brings
  // cells up to date that the symbol has from an earlier life. A symbol that has a row already keeps it and its name, and
  // gets the rest anew; without UpdateSymbol it is undefined, as weak references that nobody satisfies are. A row of
  // .dynsym that it should not have any more stays until DropStaleRows.
  // ResourceExhausted when there is no room, NotFound for a version that the image does not define.
  virtual absl::Status AddSymbol(const NewSymbol& symbol, std::vector<Mutation>* mutations) = 0;
  // Takes the rows of a symbol away to which nobody refers, or only weakly: its cells hold 0 from then on and are its
  // own when it comes back. Unimplemented for a definition that has a PLT entry of its own or is where the
  // program begins. Call it after Update for all units: Unimplemented while a word refers to what is imported or
  // exported, and when a library would be left without versions.
  virtual absl::Status RemoveSymbol(SymbolId symbol, std::vector<Mutation>* mutations) = 0;
  // Gives an imported symbol its rows; call it before Update for units that refer to it. Cells that it has already are
  // filled by the loader from then on, others are asked for by NeedCells. An import that has rows gets their kind and
  // binding anew. The row of an exported definition stays until DropStaleRows. ResourceExhausted when there is no room,
  // NotFound when the image does not depend on the library, or on none of its versions.
  virtual absl::Status AddImport(const NewImport& import, std::vector<Mutation>* mutations) = 0;
  // Makes other modules find an import's address in the image, and has the loader fill its copy; without one, gives it a
  // PLT entry, which AddCells tells from then on. It stays so. Call it after AddImport and before Update.
  // ResourceExhausted when there is no room, FailedPrecondition for what is no import.
  virtual absl::Status FixImport(const FixedImport& import, std::vector<Mutation>* mutations) = 0;
  // Takes away the rows of .dynsym that AddSymbol and AddImport left, once Update was called for all units that refer to
  // their symbols. Unimplemented while a word refers to one, and when a library would be left without versions.
  virtual absl::Status DropStaleRows(std::vector<Mutation>* mutations) = 0;
  // Gives a symbol the cells that it lacks; AddCells tells them from then on, within this plan as well. Bits that ask for
  // nothing of the kind are ignored. ResourceExhausted when there is no room, FailedPrecondition for an import without
  // rows, Unimplemented for kinds of cells that only a full link makes.
  virtual absl::Status NeedCells(const CellRequest& request, std::vector<Mutation>* mutations) = 0;
  // Gives an IFUNC that is defined here, and whose resolver is at `resolver`, a PLT entry if it has none; the address of
  // that. Call it before AddSymbol and Update. ResourceExhausted when there is no room.
  virtual absl::StatusOr<uint64_t> AddIfunc(SymbolId symbol, uint64_t resolver, std::vector<Mutation>* mutations) = 0;
  // Takes an IFUNC's PLT entry away, if it has one: nobody runs its resolver any more. Call it before AddIfunc for others.
  virtual void RemoveIfunc(SymbolId symbol, std::vector<Mutation>* mutations) = 0;
  // Whether an IFUNC has a PLT entry, without the plan.
  virtual bool HasIfunc(SymbolId symbol) const = 0;
  // Bytes by which the table of resolvers grows with each, where start-up code goes by the linker's name for its end; else 0.
  virtual uint64_t ifunc_row_size() const = 0;
  // Adds what depends on all updates (counts, tables that units share).
  virtual void Finish(std::vector<Mutation>* mutations) = 0;
  // Adds the build id of the image, which `read` gives, after `mutations`. Called last, when no mutation is there in vain.
  virtual absl::Status StampBuildId(const ImageReader& read, std::vector<Mutation>* mutations) = 0;
  // The plan was committed.
  virtual void Accept() = 0;

  // Cells of a symbol, for Arch::Apply; the address and traits are the caller's. Local symbols have none that a relink
  // could use.
  virtual void AddCells(SymbolId symbol, TargetValue* value) const = 0;
  // Where unwind records begin, for code that has referred to it all along and that nothing moves them away from; else 0.
  virtual uint64_t records_start() const = 0;
  // True of a symbol that the loader looks up in libraries for the image's sake.
  virtual bool Imports(SymbolId symbol) const = 0;
  virtual std::string build_id() const = 0;
  virtual uint64_t bytes_held() const = 0;
};

}  // namespace kitlink

#endif  // CORE_OUTPUT_HOT_TABLES_H_
