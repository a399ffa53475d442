// .dynsym of a hot image, with the names and versions beside it: rows for imports that are new.
//
// Imports are not hashed, so nothing has to be rebuilt. The spare rows stand first and are local; the last of them
// becomes the new import's and sh_info one less.
#ifndef CORE_OUTPUT_ELF_HOT_DYNSYM_H_
#define CORE_OUTPUT_ELF_HOT_DYNSYM_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/output/elf/dynamic_tables.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

// File offsets; 0 for tables that the image has not.
struct DynsymHome {
  uint64_t dynsym = 0;
  uint64_t info_field = 0;  // sh_info of .dynsym
  uint64_t dynstr = 0;
  uint64_t versym = 0;
  uint64_t verneed = 0;
};

class HotDynsym {
 public:
  HotDynsym(const DynamicTables& tables, const DynsymHome& home);

  void Begin();
  // Adds an undefined row; its number. See HotTables::AddImport.
  absl::StatusOr<uint32_t> Add(const NewImport& import, std::vector<Mutation>* mutations);
  // True for rows of imports, which nobody finds by name.
  bool IsImport(uint32_t row) const { return row >= staged_.first_row && row < first_defined_; }
  // Makes an import's row say what kind of symbol it is.
  void Rewrite(uint32_t row, const NewImport& import, std::vector<Mutation>* mutations) const;
  // Moves or resizes a definition's row.
  void Define(uint32_t row, const SymbolUpdate& update, uint64_t tls_begin, std::vector<Mutation>* mutations) const;
  void Accept() { plan_ = staged_; }
  uint64_t bytes_held() const;

 private:
  // The versions that the image needs of one library.
  struct Needed {
    uint32_t at = 0;        // of its Elf64_Verneed in .gnu.version_r
    uint16_t count = 0;     // of versions
    uint32_t last_aux = 0;  // of the last of them
    absl::btree_map<std::string, uint16_t> numbers;
  };
  struct Plan {
    uint32_t first_row = 1;  // behind the spare rows
    uint32_t strings = 0, strings_end = 0;  // spare bytes of .dynstr
    uint32_t verneed = 0, verneed_end = 0;  // spare bytes of .gnu.version_r
    uint16_t next_version = 2;
    absl::btree_map<std::string, Needed> versions;  // by soname
  };

  void ReadVersions(const DynamicTables& tables);
  absl::StatusOr<uint16_t> VersionOf(const NewImport& import, std::vector<Mutation>* mutations);
  absl::StatusOr<uint32_t> AddString(absl::string_view text, std::vector<Mutation>* mutations);

  const DynsymHome home_;
  const bool has_versym_, has_verdef_;
  const uint32_t first_defined_;
  absl::btree_set<std::string> needed_;  // DT_NEEDED
  Plan plan_, staged_;
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_DYNSYM_H_
