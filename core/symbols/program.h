// What resolution makes of the inputs: which objects take part, what each global name means, which sections are in.
//
// Filled step by step (Resolve, MarkLive, ScanRelocations), immutable from then on. Cold links only: a session keeps
// the compact core/session/memory.h instead.
#ifndef CORE_SYMBOLS_PROGRAM_H_
#define CORE_SYMBOLS_PROGRAM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/arch/arch.h"
#include "core/base/ids.h"
#include "core/base/unit_rank.h"
#include "core/input/eh_frame.h"
#include "core/input/inputs.h"
#include "core/input/model.h"
#include "core/symbols/export_rules.h"
#include "core/symbols/merge.h"
#include "core/symbols/name_table.h"

namespace kitlink {

enum class SymbolKind : uint8_t {
  kUndefined,  // nobody defines it: weak, or left to run time in a shared library
  kDefined,    // at `value` in `atom`
  kAbsolute,   // `value`
  kShared,     // by library `file`
  kLinker,     // by the linker itself: a boundary of the image, known after placement
};

// The points of the image that linker-defined symbols name.
enum class Boundary : uint8_t {
  kNone, kImageStart, kTextEnd, kDataEnd, kBssStart, kImageEnd, kDynamic, kGot, kEhFrameHdr, kTlsStart,
  kSectionStart, kSectionEnd,  // of the output section that the symbol's `boundary_section` names
  kIpltStart, kIpltEnd,
};

struct Symbol {
  absl::string_view name;     // in the name table; empty for promoted locals
  absl::string_view version;  // of a shared symbol, or the one that a definition gets; "" when it has none
  bool hidden_version = false;  // only "name@version" refers to it
  SymbolKind kind = SymbolKind::kUndefined;
  SymbolBinding binding = SymbolBinding::kGlobal;
  SymbolType type = SymbolType::kNone;
  Visibility visibility = Visibility::kDefault;  // the strictest of all references and definitions
  Boundary boundary = Boundary::kNone;
  bool used = false;            // some live unit names it
  bool strongly_referenced = false;  // by a live unit, not only weakly
  bool shared_reference = false;     // a shared library refers to it or defines it too
  bool imported = false;        // bound at run time
  bool exported = false;        // in the dynamic symbol table as a definition
  uint32_t file = Id<void>::kNone;  // UnitId or LibraryId value
  uint32_t index = 0;           // in that file's symbols
  AtomId atom;
  uint64_t value = 0;           // in the atom; the image's address once `kLinker` symbols are placed
  uint64_t size = 0;
  absl::string_view boundary_section;
};

// Symbols of all names are in Program::symbols, indexed by SymbolId.

// One object that takes part.
struct Unit {
  std::unique_ptr<ObjectFile> object;
  uint32_t first_atom = 0;           // its section i is atom first_atom + i
  std::vector<SymbolId> globals;     // for object->symbols[first_global + i]
  std::vector<EhFrame> eh_frames;    // usually one
  // Local symbols that got a Symbol of their own, because they need cells.
  absl::flat_hash_map<uint32_t, SymbolId> promoted;
  bool synthetic = false;            // made by the linker: COMMON symbols, copies
  UnitRank rank;
  bool lazy = false;                 // takes part only as long as somebody needs what it defines
};

// One input section, or a synthetic piece, that may be in the output.
struct Atom {
  UnitId unit;
  uint32_t section = 0;
  enum State : uint8_t {
    kAbsent,     // not linkable: symbol tables, groups, excluded
    kDiscarded,  // lost its COMDAT group
    kDead,       // dropped by garbage collection
    kLive,
  } state = kAbsent;
  bool merged = false;     // its pieces live in a MergedSection; it has no place of its own
  bool eh_frame = false;   // split into records; it has no place of its own
  uint32_t relative_relocs = 0;  // dynamic relocations its words need
  uint32_t symbolic_relocs = 0;
};

// An object between --start-lib and --end-lib that nobody needed.
struct OfferedObject {
  std::string path;
  UnitRank rank;
  std::vector<SymbolId> defines;
};

struct Library {
  std::unique_ptr<SharedFile> file;
  bool as_needed = false;
  bool needed = false;
};

struct Program {
  NameTable names;
  std::vector<Symbol> symbols;  // by SymbolId
  std::vector<Unit> units;      // by UnitId, in order of precedence
  std::vector<Atom> atoms;      // by AtomId
  std::vector<Library> libraries;
  std::vector<MergedSection> merged;
  absl::flat_hash_map<uint32_t, MergedInput> merged_inputs;  // by AtomId value
  std::vector<OpenedFile> opened;
  ExportRules exports;
  std::vector<std::unique_ptr<Archive>> archives;
  std::vector<OfferedObject> offered;
  uint64_t bytes_read = 0;

  const InputSection& section(AtomId id) const {
    const Atom& atom = atoms[id.value];
    return units[atom.unit.value].object->sections[atom.section];
  }
  const ObjectFile& object(UnitId id) const { return *units[id.value].object; }
  // The global symbol behind symbol `index` of `unit`, or the promoted local; invalid for other locals.
  SymbolId GlobalOf(const Unit& unit, uint32_t index) const {
    if (index >= unit.object->first_global) return unit.globals[index - unit.object->first_global];
    if (unit.promoted.empty()) return SymbolId();
    auto it = unit.promoted.find(index);
    return it == unit.promoted.end() ? SymbolId() : it->second;
  }
};

// A unit that the linker makes up: its sections become atoms like any other's.
class SyntheticUnit {
 public:
  // `name` stands for the object in messages: "<common symbols>".
  explicit SyntheticUnit(std::string name);
  // Adds a section and returns the atom that it will be. REQUIRES: nothing else adds atoms before AddTo.
  AtomId Add(const Program& program, const InputSection& section);
  bool empty() const { return object_->sections.size() <= 1; }
  // Appends the unit and its atoms to `program`.
  void AddTo(Program* program);

 private:
  std::unique_ptr<ObjectFile> object_;
};

}  // namespace kitlink

#endif  // CORE_SYMBOLS_PROGRAM_H_
