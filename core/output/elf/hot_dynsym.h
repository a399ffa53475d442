// .dynsym of a hot image, with the names and versions beside it: rows of imports come and go. (Definitions: hot_exports.h)
//
// Imports are not hashed, so nothing has to be rebuilt. The spare rows stand first and are local; the last of them
// becomes a new import's, and sh_info one less. The first import moves to where one went.
#ifndef CORE_OUTPUT_ELF_HOT_DYNSYM_H_
#define CORE_OUTPUT_ELF_HOT_DYNSYM_H_

#include <elf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/output/elf/dynamic_tables.h"
#include "core/output/elf/free_rooms.h"
#include "core/output/elf/table_fields.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

// File offsets; 0 for tables that the image has not.
struct DynsymHome {
  uint64_t dynsym = 0;
  uint64_t info_field = 0;  // sh_info of .dynsym
  uint64_t dynstr = 0;
  uint64_t versym = 0;
  uint64_t verneed = 0;
  std::vector<uint64_t> verneed_counts;  // fields of four bytes that hold its number of libraries: DT_VERNEEDNUM, sh_info

  KITLINK_FIELDS(dynsym, info_field, dynstr, versym, verneed, verneed_counts)
};

class HotDynsym {
 public:
  // To be read from disk.
  HotDynsym() = default;
  // `rows`: those of imports, from tables.first_row() on, as they were written.
  HotDynsym(const DynamicTables& tables, ByteView rows, const DynsymHome& home);

  void Begin();
  // Adds an undefined row; its number. See HotTables::AddImport.
  absl::StatusOr<uint32_t> Add(const NewImport& import, std::vector<Mutation>* mutations);
  // True for rows of imports, which nobody finds by name.
  bool IsImport(uint32_t row) const { return row >= first_row() && row < first_defined_; }
  // An import whose row is another from now on.
  struct Moved {
    SymbolId symbol;  // invalid: none is
    uint32_t from = 0, to = 0;
  };
  // Takes an import's row away. Unimplemented when its library would be left without versions.
  absl::StatusOr<Moved> Remove(uint32_t row, std::vector<Mutation>* mutations);
  // What a definition's row takes over of an import's.
  struct Kind {
    Elf64_Sym row{};
    uint16_t version = VER_NDX_GLOBAL;
    uint32_t name_bytes = 0;  // as in Name
  };
  Kind KindOf(uint32_t row) { return {At(row).row, At(row).version, At(row).name_bytes}; }
  // Takes away the row of an import whose name and version are a definition's now.
  Moved Forget(uint32_t row, std::vector<Mutation>* mutations);
  // A place in .dynstr for a symbol's name: where it is already, or out of the reserve. ResourceExhausted.
  struct Name {
    uint32_t offset = 0;
    uint32_t bytes = 0;  // when it can be given out again: with its end
  };
  absl::StatusOr<Name> AddName(SymbolId symbol, absl::string_view text, std::vector<Mutation>* mutations);
  // The symbol has no row any more.
  void GiveName(SymbolId symbol, const Name& name);
  // Makes an import's row say what kind of symbol it is, and of which version. As for Add and Remove.
  absl::Status Rewrite(uint32_t row, const NewImport& import, std::vector<Mutation>* mutations);
  void Accept() {
    if (staged_) plan_ = *std::exchange(staged_, std::nullopt);
  }
  uint64_t bytes_held() const;

  KITLINK_FIELDS_BUT((staged_), home_, has_versym_, has_verdef_, first_defined_, needed_, plan_)

 private:
  struct Import {
    SymbolId symbol;
    Elf64_Sym row{};
    uint16_t version = VER_NDX_GLOBAL;
    uint32_t name_bytes = 0;  // as in Name
    KITLINK_FIELDS(symbol, row, version, name_bytes)
  };
  struct Version {
    Elf64_Vernaux aux{};
    std::string name;
    uint32_t users = 0;
    KITLINK_FIELDS(aux, name, users)
  };
  // The versions that the image needs of one library, by where they are in .gnu.version_r: links lead forward only.
  struct Needed {
    uint32_t at = 0;  // of its Elf64_Verneed
    absl::btree_map<uint32_t, Version> versions;
    KITLINK_FIELDS(at, versions)
  };
  struct Plan {
    std::vector<Import> imports;            // the last row first
    FreeRooms strings;                      // spare bytes of .dynstr
    FreeRooms verneed;                      // spare bytes of .gnu.version_r
    uint16_t next_version = 2;
    absl::btree_map<std::string, Needed> needed;  // by soname
    absl::flat_hash_map<SymbolId, uint32_t> names;  // of symbols that went: offsets in .dynstr
    KITLINK_FIELDS(imports, strings, verneed, next_version, needed, names)
  };

  // What holds after the plan so far.
  const Plan& now() const { return staged_ ? *staged_ : plan_; }
  // The same, to be changed. Most patches change no import and copy nothing.
  Plan& Stage() { return staged_ ? *staged_ : staged_.emplace(plan_); }
  uint32_t first_row() const { return first_defined_ - static_cast<uint32_t>(now().imports.size()); }
  Import& At(uint32_t row) { return Stage().imports[first_defined_ - 1 - row]; }
  void ReadVersions(const DynamicTables& tables);
  void WriteLinks(const Needed& needed, std::vector<Mutation>* mutations) const;
  void WriteLibraries(std::vector<Mutation>* mutations) const;
  absl::StatusOr<Needed*> LibraryOf(const NewImport& import, std::vector<Mutation>* mutations);
  void WriteRow(uint32_t row, std::vector<Mutation>* mutations);
  void SetKind(uint32_t row, const NewImport& import);
  absl::Status Release(uint16_t version, std::vector<Mutation>* mutations);
  absl::StatusOr<uint16_t> VersionOf(const NewImport& import, std::vector<Mutation>* mutations);
  absl::StatusOr<uint32_t> AddString(absl::string_view text, std::vector<Mutation>* mutations);

  DynsymHome home_;
  bool has_versym_ = false, has_verdef_ = false;
  uint32_t first_defined_ = 1;
  absl::btree_map<std::string, uint32_t> needed_;  // DT_NEEDED -> offset in .dynstr
  Plan plan_;
  std::optional<Plan> staged_;  // once it differs
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_DYNSYM_H_
