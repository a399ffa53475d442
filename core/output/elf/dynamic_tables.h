// What the dynamic loader reads of symbols: .dynsym, .dynstr, hashes and versions.
//
// Sources: gABI chapter 5 ("Dynamic Linking"); LSB Core, "Symbol Versioning".
#ifndef CORE_OUTPUT_ELF_DYNAMIC_TABLES_H_
#define CORE_OUTPUT_ELF_DYNAMIC_TABLES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "core/base/ids.h"
#include "core/input/options.h"
#include "core/output/elf/cells.h"
#include "core/output/elf/hash_tables.h"
#include "core/symbols/program.h"
#include "core/symbols/scan.h"

namespace kitlink::elf {

// A string table under construction: offset 0 is the empty string, equal strings share a place.
class StringTableBuilder {
 public:
  StringTableBuilder() : bytes_(1, '\0') {}
  uint32_t Add(absl::string_view text);
  // Appends room for later strings; returns where it begins.
  uint32_t Reserve(size_t bytes);
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
  absl::flat_hash_map<std::string, uint32_t> offsets_;
};

struct DynamicTables {
  bool present = false;             // the image has a dynamic section
  // Rows that later imports may take, from the last one on. They stand first, being local symbols to whoever reads the
  // table: nothing is hashed anew, no name and no version is missing.
  uint32_t spare_symbols = 0;
  std::vector<SymbolId> symbols;    // rows from first_row() on; imports first
  std::vector<uint32_t> names;      // beside `symbols`: offsets in .dynstr
  uint32_t first_defined = 1;       // row of the first symbol that .gnu.hash covers
  // Room behind the last row, and in the tables beside .dynsym, for later definitions; section headers do not speak of it.
  uint32_t spare_exports = 0;
  HashShape shape;
  StringTableBuilder strings;
  uint32_t spare_strings = 0;       // where the room for later names begins in .dynstr
  std::vector<uint8_t> gnu_hash;    // whole sections, with the room; empty when not wanted
  std::vector<uint8_t> sysv_hash;
  std::vector<uint16_t> versym;     // by row, with the room; empty when no symbol has a version
  std::vector<uint8_t> verneed;
  uint32_t verneed_count = 0;
  uint32_t spare_verneed = 0;       // where the room for later versions begins in .gnu.version_r
  std::vector<uint8_t> verdef;      // versions that this image defines; empty when it names none
  uint32_t verdef_count = 0;
  std::vector<uint32_t> needed;     // DT_NEEDED names in .dynstr
  uint32_t soname = 0, runpath = 0;

  uint32_t first_row() const { return 1 + spare_symbols; }
  uint32_t end_row() const { return first_row() + static_cast<uint32_t>(symbols.size()); }
};

// Chooses and orders the dynamic symbols and sets CellSet::dynsym.
DynamicTables BuildDynamicTables(const LinkOptions& options, const Program& program, const Demands& demands,
                                 Cells* cells);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_DYNAMIC_TABLES_H_
