// The rows of .dynsym that others bind to, with the hash tables and versions beside them, in a hot image.
//
// The hash tables want the rows of a bucket side by side, and nothing else: which bucket stands where is free. So a bucket
// that gets a row moves behind all others, and another of its size, from near the end, takes the place it leaves. Few rows
// change their numbers, though the tables are encoded anew: O(exports) of memory for a plan in which a name comes or goes.
#ifndef CORE_OUTPUT_ELF_HOT_EXPORTS_H_
#define CORE_OUTPUT_ELF_HOT_EXPORTS_H_

#include <elf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "core/output/elf/dynamic_tables.h"
#include "core/output/elf/table_fields.h"
#include "core/output/hot_tables.h"
#include "core/symbols/program.h"

namespace kitlink::elf {

// File offsets; 0 for tables that the image has not. `*_size`: their sh_size.
struct ExportsHome {
  uint64_t dynsym = 0, dynsym_size = 0;
  uint64_t versym = 0, versym_size = 0;
  uint64_t gnu_hash = 0, gnu_hash_size = 0;
  uint64_t hash = 0, hash_size = 0;

  KITLINK_FIELDS(dynsym, dynsym_size, versym, versym_size, gnu_hash, gnu_hash_size, hash, hash_size)
};

class HotExports {
 public:
  // To be read from disk.
  HotExports() = default;
  // `rows`: the definitions' rows as they were written.
  HotExports(const Program& program, const DynamicTables& tables, ByteView rows, const ExportsHome& home);

  struct Row {
    SymbolId symbol;
    uint32_t gnu_hash = 0, sysv_hash = 0;
    uint32_t name_bytes = 0;  // of a name that can be given out again
    uint16_t version = VER_NDX_GLOBAL;
    Elf64_Sym row{};

    KITLINK_FIELDS(symbol, gnu_hash, sysv_hash, name_bytes, version, row)
  };

  void Begin();
  // The row of a symbol if this plan gave it another one, or none (0).
  std::optional<uint32_t> NewRow(SymbolId symbol) const;
  // Symbols whose row is another since the last call; 0 for none. O(exports) when some came or went.
  struct Moved {
    SymbolId symbol;
    uint32_t from = 0, to = 0;
  };
  std::vector<Moved> TakeMoved();
  // Adds a definition. ResourceExhausted when no row is free, NotFound when the image defines no such version.
  absl::StatusOr<uint32_t> Add(const NewSymbol& symbol, uint32_t name, uint32_t name_bytes);
  // Adds an import that has an address in the image: `row` says all but the hashes of its `name`. ResourceExhausted.
  absl::Status AddFixed(absl::string_view name, Row row);
  // Takes away the definition in `row`; what it was.
  Row Remove(uint32_t row);
  // Makes a definition another kind of symbol. NotFound as in Add.
  absl::Status Rewrite(uint32_t row, const NewSymbol& symbol);
  // Says how large the definition in `row` is; where it is only if it is `placed` anew.
  void Define(uint32_t row, const SymbolUpdate& update, uint64_t address, bool placed, uint64_t tls_begin);
  // An IFUNC's row says what others are to know of it: its PLT entry, which is a function, or its resolver.
  void DefineIfunc(uint32_t row, int type, uint64_t address, uint16_t section);
  void Emit(std::vector<Mutation>* mutations) const;
  // Whether there is a unique symbol, without the plan and with it.
  bool had_unique() const { return unique_ != 0; }
  bool has_unique() const { return staged_unique_ != 0; }
  void Accept();
  uint64_t bytes_held() const;

  KITLINK_FIELDS_BUT((staged_rows_, changed_, new_row_, told_, reordered_, staged_unique_), home_, shape_, first_,
                     capacity_, versions_, rows_, unique_)

 private:
  uint32_t BucketOf(const Row& row) const { return row.gnu_hash % shape_.buckets; }
  const std::vector<Row>& rows() const { return staged_rows_ ? *staged_rows_ : rows_; }
  Row& Stage(uint32_t row);
  uint32_t Insert(const Row& fresh);
  void Reorder();
  void Place(size_t index, const Row& row);
  void MoveDown(size_t from, size_t count);
  size_t RunOf(size_t count, size_t from) const;
  absl::StatusOr<uint16_t> VersionOf(const NewSymbol& symbol) const;
  void EmitTables(std::vector<Mutation>* mutations) const;

  ExportsHome home_;
  HashShape shape_;
  uint32_t first_ = 0, capacity_ = 0;
  absl::btree_map<std::string, uint16_t> versions_;  // that the image defines
  std::vector<Row> rows_;
  uint32_t unique_ = 0;  // definitions that are so in the whole process

  std::optional<std::vector<Row>> staged_rows_;  // when one came or went
  absl::btree_map<uint32_t, Row> changed_;       // else: index -> later contents
  absl::flat_hash_map<SymbolId, uint32_t> new_row_;
  std::vector<SymbolId> told_;                   // the symbols by row, when TakeMoved was last called
  bool reordered_ = false;                       // since then
  uint32_t staged_unique_ = 0;
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_EXPORTS_H_
