// What a session remembers of its last link: enough to rewrite any unit without reading the old inputs again.
//
// Made from a cold link after its reply was sent. Owns everything (names are copied), because inputs are truncated,
// rewritten and deleted while the session lives.
#ifndef CORE_SESSION_MEMORY_H_
#define CORE_SESSION_MEMORY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/arch/arch.h"
#include "core/base/file_source.h"
#include "core/base/digest.h"
#include "core/base/fields.h"
#include "core/base/ids.h"
#include "core/base/paged_table.h"
#include "core/base/unit_rank.h"
#include "core/input/options.h"
#include "core/layout/placement.h"
#include "core/layout/space.h"
#include "core/output/hot_tables.h"
#include "core/output/model_fields.h"
#include "core/session/cold.h"
#include "core/session/libraries.h"
#include "core/session/piece_index.h"
#include "core/session/references.h"
#include "core/session/site_list.h"
#include "core/session/symbol_names.h"
#include "core/session/users.h"
#include "core/symbols/export_rules.h"

namespace kitlink {

// One input section of one unit.
struct AtomMemory {
  std::string name;
  uint32_t flags = 0;  // SectionFlag
  SectionKind kind = SectionKind::kProgbits;
  enum State : uint8_t { kPlaced, kMerged, kFrames, kDead, kDiscarded } state = kPlaced;
  uint32_t alignment = 1;
  uint64_t size = 0;
  SectionId section;      // when kPlaced
  uint64_t offset = 0;    // of the slot in the section
  uint64_t capacity = 0;
  bool movable = false;  // of a row: its bytes and words may go to another address as they are (see rows.h)

  KITLINK_FIELDS(name, flags, kind, state, alignment, size, section, offset, capacity, movable)
  bool thread_piece() const { return (flags & kSecTls) != 0 && state == kPlaced && size != 0; }
};

// A slot that a function has left: jumps stand at the addresses that were published.
struct IslandMemory {
  SectionId section;
  uint64_t offset = 0;
  uint64_t capacity = 0;
  std::vector<SymbolId> symbols;  // whose published addresses lie in it

  KITLINK_FIELDS(section, offset, capacity, symbols)
};

// What a unit says of a global name.
struct GlobalMemory {
  SymbolId symbol;
  enum Role : uint8_t { kUndefined, kDefined, kCommon, kAbsolute } role = kUndefined;
  SymbolBinding binding = SymbolBinding::kGlobal;
  SymbolType type = SymbolType::kNone;
  Visibility visibility = Visibility::kDefault;
  // Bits, as there is one of these for each name of each unit.
  bool owner : 1 = false;     // its definition is the one that counts
  bool copied : 1 = false;    // code or data of the unit needs a library's symbol to be at a fixed place in this image
  bool lost : 1 = false;      // its definition went with a COMDAT group: it is only a reference
  bool unloaded : 1 = false;  // debug information of the unit refers to it; only with --gc-sections
  uint8_t alignment = 0;      // of a COMMON symbol, as a power of two
  uint32_t index = 0;         // in the symbols of the object that was read last
  uint64_t value = 0;         // of an absolute symbol; a COMMON one's size

  KITLINK_COUNT_FIELDS(symbol, role, binding, type, visibility, owner, copied, lost, unloaded, alignment, index, value)
  void Encode(Encoder& encoder) const;
  bool Decode(Decoder& decoder);
  static std::string Schema();
};
static_assert(sizeof(GlobalMemory) == 24);

struct UnitMemory {
  uint32_t file = 0;      // index in Memory::files
  std::string member;     // empty for plain objects
  uint32_t ordinal = 0;   // of the member in its archive
  UnitRank rank;
  QuickDigest content;    // of an archive member's bytes
  bool captured = false;  // the file was as it was when it was linked while this was made
  bool gone = false;      // takes no part any more, or not yet; ids are never given out twice
  UnitTraits traits;
  std::vector<AtomMemory> atoms;      // linkable sections, in order
  std::vector<GlobalMemory> globals;  // sorted by symbol
  std::vector<SymbolId> kept_groups, lost_groups;  // COMDAT signatures, sorted
  std::vector<IslandMemory> islands;
  SiteList sites;  // of names that it does not define
  bool local_cells = false;  // local symbols own GOT cells
  bool local_ifuncs = false;  // some of them are IFUNCs
  bool static_tls = false;  // of a library: it must be loaded at start-up for this unit's sake
  bool lazy = false;  // takes part only as long as somebody needs what it defines: an archive member
  References references;  // by index in `atoms`; only with --gc-sections

  KITLINK_FIELDS(file, member, ordinal, rank, content, captured, gone, traits, atoms, globals, kept_groups, lost_groups, islands,
                 sites, local_cells, local_ifuncs, static_tls, lazy, references)

  // What the unit says of `symbol`; nullptr when it does not name it.
  const GlobalMemory* Find(SymbolId symbol) const;
  uint64_t bytes_held() const;
};

struct SymbolMemory {
  static constexpr uint32_t kNoImportGroup = 0xffffffffu;
  enum Kind : uint8_t {
    kNone,       // no unit names it
    kUndefined,  // nobody defines it: a weak reference, or a library's that is left to run time
    kDefined,    // in a section of `owner`
    kAbsolute,   // by `owner`
    kShared,     // by a shared library
    kLinker,     // by the linker
  } kind = kNone;
  Visibility visibility = Visibility::kDefault;  // the strictest that any unit asks for
  bool lazy = false;      // an archive member that takes no part defines it
  bool shared = false;    // a shared library defines it or refers to it
  bool exported = false;  // in the dynamic symbol table as a definition
  bool strong = false;    // some unit refers to it strongly; kept for what is not kDefined
  bool idle = false;      // an import that is still there, though nobody refers to it any more
  bool dead = false;      // kDefined, but garbage collection left the definition out: it has no address
  uint32_t import_group = kNoImportGroup;  // of a strong import: index in Memory::import_uses
  UnitId owner;
  uint64_t address = 0;  // that was published: what code and data refer to
  uint64_t body = 0;     // where the definition is now
  uint64_t size = 0;
  TargetTraits traits;
  bool interior = false;    // others refer to the middle of the function
  bool sized = false;       // others refer to its size
  bool executable = false;  // defined in code
  bool described = false;   // debug information of others refers to it

  KITLINK_FIELDS(kind, visibility, lazy, shared, exported, strong, idle, dead, import_group, owner, address, body, size,
                 traits, interior, sized, executable, described)
};

// A piece of a section that holds rows.
struct RowMemory {
  uint32_t priority = 0;  // 0 unless the section goes by priority; of debug tables: where it is
  UnitId unit;
  uint32_t atom = 0;  // index in UnitMemory::atoms

  KITLINK_FIELDS(priority, unit, atom)
};

// An output section's room, and what a relink needs to know of the section.
struct SectionMemory {
  std::string name;
  uint32_t flags = 0;
  bool nobits = false, exact = true, padded = false, rows = false;  // as in OutputSection
  bool by_priority = false;  // of rows: those of a smaller number come first
  uint32_t alignment = 1;
  uint64_t address = 0, offset = 0, size = 0;
  uint64_t used = 0;                 // of rows: the bytes that they take
  uint64_t thread_pieces = 0;        // of thread variables: how many pieces of units are in it
  std::vector<RowMemory> row_list;  // in order
  uint64_t min_hole = 0;  // of filled debug sections
  bool relro = false;
  // Growth (growth.h): what was set aside and is not in the image before a plan uses it.
  SectionId growth_of;     // the section that this one continues
  bool announced = false;
  uint64_t moved_from = 0, moved_size = 0;  // of one that is not loaded and has to move: its offset and size in the image
  Space space;

  KITLINK_FIELDS(name, flags, nobits, exact, padded, rows, by_priority, alignment, address, offset, size, used, thread_pieces,
                 row_list, min_hole, relro, growth_of, announced, moved_from, moved_size, space)
  bool alloc() const { return (flags & kSecAlloc) != 0; }
};

struct MergedMemory {
  std::string name;  // of the output section
  uint32_t flags = 0, entry_size = 1, alignment = 1;
  SectionId section;
  uint64_t used = 0;
  PieceIndex offsets;

  KITLINK_FIELDS(name, flags, entry_size, alignment, section, used, offsets)
};

// The room of a COMMON symbol that counts.
struct CommonMemory {
  SectionId section;
  uint64_t offset = 0, capacity = 0;
  uint64_t alignment = 1;  // the strictest that any unit asks for

  KITLINK_FIELDS(section, offset, capacity, alignment)
};

// A member of an archive, whether it takes part or not. Digests are 64 bits of FNV: they tell what changed, not what is
// the same in the face of malice; members that take part are compared by content.
struct MemberMemory {
  uint64_t name = 0;   // digest of its name
  uint64_t offer = 0;  // OfferDigest

  KITLINK_FIELDS(name, offer)
};

struct FileMemory {
  std::string path;
  bool gone = false;  // no input any more
  uint64_t rank = UnitRank().input;  // of an archive or an object used like one: where the command line first names it
  OpenedFile::Role role = OpenedFile::Role::kObject;
  FileStamp stamp;
  ContentId content;     // of a library or script; objects are compared atom by atom
  bool settled = false;  // the stamp is old enough to be trusted when it is equal
  QuickDigest young;     // of an object whose stamp is not: tells whether it is the same when its stamp is
  ContentId identity;    // of all its bytes as they were linked; for who has it under another stamp. Often not known
  bool thin = false;          // an archive whose members are files of their own
  std::vector<UnitId> units;  // of an object: its one; of an archive: the members that take part
  uint64_t member_list = 0;   // of an archive: digest of all members' names and what they define
  std::vector<MemberMemory> members;  // of an archive, in order

  // The stamp means something on this machine only (FileHere), and what it tells of a young one for a moment.
  static constexpr size_t kFieldsElsewhere = 3;
  KITLINK_FIELDS(path, gone, rank, role, content, identity, thin, units, member_list, members)
};

// What only this machine knows of a file.
struct FileHere {
  FileStamp stamp;
  bool settled = false;

  KITLINK_FIELDS(stamp, settled)
};

// What a full link would take, were a name needed that nobody defines: a member of an archive, or an object between
// --start-lib and --end-lib, that takes no part.
struct MemberOffer {
  uint32_t file = 0;     // index in Memory::files
  uint32_t member = 0;   // place in the archive
  bool several = false;  // others offer the name, too; this is the first

  KITLINK_FIELDS(file, member, several)
};

// What is merged over all inputs: as long as some unit has the same to say, the image's say does not hang on one that
// comes or goes.
struct TraitsKey {
  UnitTraits traits;
  bool static_tls = false;
  friend bool operator==(const TraitsKey& a, const TraitsKey& b) { return a.Tie() == b.Tie(); }
  friend bool operator<(const TraitsKey& a, const TraitsKey& b) { return a.Tie() < b.Tie(); }

  KITLINK_FIELDS(traits, static_tls)
  template <typename H>
  friend H AbslHashValue(H h, const TraitsKey& key) {
    return H::combine(std::move(h), key.Tie());
  }

 private:
  std::tuple<bool, bool, bool, uint32_t, uint32_t, bool> Tie() const {
    return {traits.has_stack_note, traits.exec_stack, traits.has_feature_note, traits.x86_feature_1_and, traits.machine_flags, static_tls};
  }
};

// What the first shared library that has a name offers under it. Only of libraries that are needed anyway.
struct LibraryOffer {
  uint32_t library = 0;  // index in Memory::libraries
  uint32_t import_group = SymbolMemory::kNoImportGroup;
  std::string version;
  SymbolType type = SymbolType::kNone;
  bool function = false;  // as in TargetTraits

  KITLINK_FIELDS(library, import_group, version, type, function)
};

struct Memory {
  SharedOptions options;
  const Arch* arch = nullptr;
  OutputTraits output;
  ImageValues values;
  SymbolNames names;
  PagedTable<UnitMemory, 4> units;        // by UnitId
  PagedTable<SymbolMemory, 512> symbols;  // by SymbolId
  Users users;         // of the units' globals
  Users group_users;   // of COMDAT signatures: kept and lost
  Users site_users;    // of names: units that have sites of them
  // Units with sections that __start_NAME is about, in the image or not, by NAME; only with --gc-sections.
  absl::flat_hash_map<std::string, std::vector<UnitId>> sets;
  // How many strong imports the units refer to, of each version of each library: as long as there are some, a library is
  // needed and a version asked for, whatever becomes of the others.
  // With --gc-sections only what live code refers to counts.
  std::vector<uint32_t> import_uses;
  absl::flat_hash_map<std::pair<uint32_t, std::string>, uint32_t> import_groups;  // (library, version) -> index there
  std::vector<SymbolId> idle_imports;  // as SymbolMemory::idle says
  std::vector<LibraryMemory> libraries;
  absl::flat_hash_map<SymbolId, LibraryOffer> library_offers;
  ExportRules exports;
  // Names that libraries leave to others, and that may not be defined here or not: another library might be needed then,
  // or one of them lack something.
  absl::flat_hash_set<SymbolId> pinned;
  bool versioned_imports = false;  // some unit refers to "name@version" of a library
  PagedTable<SectionMemory, 4> sections;  // by SectionId
  UnitId common_unit;  // the linker's own, which owns all COMMON symbols; invalid when there were none
  absl::flat_hash_map<SymbolId, CommonMemory> commons;  // but for thread variables
  std::vector<MergedMemory> merged;
  PagedTable<FileMemory, 128> files;
  PagedTable<FileHere, 128> files_here;  // beside `files`; brought up to date to be written
  absl::flat_hash_map<std::string, uint32_t> file_of;  // path -> index in files
  PagedTable<std::string, 1024> library_found;  // beside options.inputs: what -l found
  std::vector<uint64_t> input_ranks;            // beside options.inputs, ascending
  absl::flat_hash_map<SymbolId, MemberOffer> offers;  // of names that SymbolMemory::lazy is true of; may be stale
  // Some name that is needed is defined by several members, and which of them took part depended on the order in which
  // references were met: no member may come or go without asking anew.
  bool members_contested = false;
  absl::flat_hash_map<TraitsKey, uint32_t> traits;  // how many units there are of each kind
  std::unique_ptr<HotTables> tables;
  uint64_t padding_abbrev = 0;  // offset in .debug_abbrev
  bool has_padding_abbrev = false;
  uint64_t atom_count = 0;
  uint64_t idle_at_first = 0;  // bytes of the image that the full link left empty (IdleBytes)
  uint64_t image_size = 0;  // bytes of the published image

  // Where a unit stands in the order of the link; ids say nothing about it.
  const UnitRank& RankOf(UnitId unit) const { return units[unit.value].rank; }
  bool Before(UnitId a, UnitId b) const { return RankOf(a) < RankOf(b); }

  // Of these, the options, the machine and the format's tables are written by core/session/state itself; paths are
  // found again by reading the files, and rules of exports by reading the scripts that the options name.
  static constexpr size_t kFieldsElsewhere = 5;
  KITLINK_FIELDS(output, values, names, units, symbols, users, group_users, site_users, sets, import_uses, import_groups,
                 idle_imports, libraries, library_offers, pinned, versioned_imports, sections, common_unit, commons, merged,
                 files, files_here, library_found, input_ranks, offers, members_contested, traits, padding_abbrev,
                 has_padding_abbrev, atom_count, idle_at_first, image_size)

  // The id of a name, with room for what is known of it.
  SymbolId Intern(absl::string_view name);
  // Takes note of a unit's sites, which are new.
  void NoteSites(UnitId unit);
  // The index in import_uses of a version of a library.
  uint32_t ImportGroup(uint32_t library, absl::string_view version);
  // The library whose version it is. O(versions).
  uint32_t LibraryOfGroup(uint32_t group) const;
  // An estimate. Walks all units: ask once, after a full link.
  uint64_t bytes_held() const;
};

// The entry of a sorted list of globals that is about `symbol`; nullptr when there is none.
const GlobalMemory* FindGlobal(const std::vector<GlobalMemory>& globals, SymbolId symbol);

// Makes the memory of `link`, whose image was written and published. Takes the program's name table. `read` reads the
// published image. Units whose files have changed since are left uncaptured. `started_ns` is when the link began, since
// the epoch: before any input was read.
absl::StatusOr<std::unique_ptr<Memory>> CaptureMemory(const SharedOptions& options, ColdLink* link,
                                                      const WrittenImage& written, int64_t started_ns,
                                                      FileSource& files, const ImageReader& read);

// True when a relocation against a function means its entry, not a place in it: a field that counts from its own end
// has an addend of minus its width.
bool IsEntryReference(const Arch& arch, const Reloc& reloc);

// Notes which of a unit's globals need a library's symbol to have an address in this image: a copy, or a PLT entry that is
// the function's address. `symbol_of` gives the id behind one of the object's symbols, `live` says which of its sections are
// in the image.
void NoteCopies(const Memory& memory, const ObjectFile& object, absl::FunctionRef<SymbolId(uint32_t)> symbol_of,
                absl::FunctionRef<bool(uint32_t)> live, std::vector<GlobalMemory>* globals);

// True when code of `object` counts on thread variables at fixed offsets, which a library cannot have once a program runs.
// `live` says which sections are in the image.
bool UsesStaticTls(const Arch& arch, const ObjectFile& object, const OutputTraits& output,
                   absl::FunctionRef<bool(uint32_t)> live);

// Notes which of a unit's globals its debug information refers to.
void NoteUnloaded(const ObjectFile& object, std::vector<GlobalMemory>* globals);

// Notes that member `member` of `file` offers `name`, if no file before it does.
void NoteOffer(absl::string_view name, uint32_t file, uint32_t member, Memory* memory);

// "name@@VERSION" defines what "name" means.
absl::string_view OfferedName(absl::string_view name);

// What a member offers: its name and the names it defines.
uint64_t OfferDigest(const ArchiveMember& member);
std::vector<MemberMemory> MembersOf(const Archive& archive);
// What an archive offers: all its members do, in order.
uint64_t MemberListDigest(const Archive& archive);

// What `object` says of its global names, sorted by symbol. `id` gives the symbol behind an index of object.symbols; those
// of names that are not known are invalid.
std::vector<GlobalMemory> GlobalsOf(const ObjectFile& object, absl::FunctionRef<SymbolId(uint32_t)> id);

// The symbol behind global symbol `index` of `object`; invalid when the session does not know the name.
SymbolId GlobalId(const Memory& memory, const ObjectFile& object, uint32_t index);

}  // namespace kitlink

#endif  // CORE_SESSION_MEMORY_H_
