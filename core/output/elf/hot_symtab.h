// .symtab and .strtab of a hot image: rows of local symbols by unit, global rows added, moved and removed.
//
// Locals stand before globals, as sh_info demands. The file has room behind the last global row, of which the section
// header does not speak: a row is added there, and one that goes is overwritten by the last.
#ifndef CORE_OUTPUT_ELF_HOT_SYMTAB_H_
#define CORE_OUTPUT_ELF_HOT_SYMTAB_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "core/base/paged_table.h"
#include "core/output/elf/free_rooms.h"
#include "core/output/elf/image.h"
#include "core/output/elf/table_fields.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

// File offsets, and what turns addresses into symbol values.
struct SymtabHome {
  uint64_t symtab = 0;
  uint64_t strtab = 0;
  uint64_t strtab_size = 0;
  uint64_t size_field = 0;  // sh_size of .symtab
  uint64_t info_field = 0;  // sh_info of .symtab
  uint64_t tls_begin = 0;

  KITLINK_FIELDS(symtab, strtab, strtab_size, size_field, info_field, tls_begin)
};

class HotSymtab {
 public:
  // To be read from disk.
  HotSymtab() = default;
  // `globals`: the global rows as they were written, plan.globals of them. Without a table, all calls succeed and do
  // nothing.
  HotSymtab(const SymtabPlan& plan, ByteView globals, const SymtabHome& home);

  void Begin();
  // Rewrites the rows of the unit's local symbols. ResourceExhausted when there is no room for rows or names.
  absl::Status UpdateLocals(const LinkOptions& options, const UnitUpdate& update, std::vector<Mutation>* mutations);
  // Gives a symbol a row that is undefined as yet, or makes the one it has such. ResourceExhausted when there is no room.
  absl::Status Add(const NewSymbol& symbol);
  // Takes a symbol's row away, if it has one.
  void Remove(SymbolId symbol);
  // Says where a symbol is, if it has a row.
  void Define(const SymbolUpdate& update);
  bool Has(SymbolId symbol) const { return RowOf(symbol) >= 0; }
  // What the table and its names would need; of size 0 where the plan found room.
  TableRoom MoreRows() const;
  TableRoom MoreNames() const;
  // They get it at that place of the file: there are more rows for locals, and globals stand behind these.
  void MoveRows(uint64_t offset);
  void MoveNames(uint64_t offset);
  // Adds what is under all that a plan writes, where the table moves.
  void PublishMove(std::vector<Mutation>* mutations) const;
  // Adds the mutations of all global rows that the plan touched.
  void Emit(std::vector<Mutation>* mutations) const;
  void Accept();
  uint64_t bytes_held() const;

  KITLINK_FIELDS_BUT((staged_locals_, staged_rows_, staged_row_of_, staged_names_, staged_count_, staged_free_locals_,
                      staged_free_names_, lack_),
                     present_, home_, first_global_, capacity_, locals_, rows_, row_of_, free_locals_, free_names_, moves_,
                     kept_rows_)

 private:
  static constexpr uint32_t kNoRow = 0xffffffffu;

  struct Row {
    Elf64_Sym symbol{};
    SymbolId id;
    uint32_t name_bytes = 0;
    KITLINK_FIELDS(symbol, id, name_bytes)
  };

  // What a plan did not find room for.
  struct Lack {
    uint32_t locals = 0, globals = 0;  // rows
    uint64_t names = 0;                // bytes
  };
  // Rows, once there are more of them.
  struct Shape {
    uint32_t first_global = 0, capacity = 0;
  };

  Shape Larger() const;
  uint64_t LongerNames() const;
  void ReserveRowOf(uint32_t symbol);
  int64_t RowOf(SymbolId symbol) const;  // in `rows_`; -1: none
  const Row& At(uint32_t row) const;
  Row& Stage(uint32_t row);
  bool Holds(const LocalRows& rows) const;
  absl::Status PlaceLocals(uint32_t used, LocalRows* rows, std::vector<Mutation>* mutations);
  absl::Status ReserveNames(uint64_t bytes, LocalRows* rows);
  void WriteLocals(const UnitUpdate& update, const std::vector<uint32_t>& kept, const LocalRows& rows,
                   std::vector<Mutation>* mutations) const;
  Elf64_Sym LocalRow(const UnitUpdate& update, const InputSymbol& symbol, uint32_t name) const;
  void FillLocals(uint32_t first, uint32_t count, std::vector<Mutation>* mutations) const;

  bool present_ = false;
  SymtabHome home_;
  uint32_t first_global_ = 1, capacity_ = 0;  // rows of the table
  PagedTable<LocalRows, 256> locals_;       // by UnitId
  PagedTable<Row, 512> rows_;               // global ones
  PagedTable<uint32_t, 4096> row_of_;       // by SymbolId: in rows_, kNoRow for none
  FreeRooms free_locals_, free_names_;
  bool moves_ = false;      // the next plan that is accepted moves the table
  uint32_t kept_rows_ = 0;  // then: rows that are as they were
  Lack lack_;

  absl::flat_hash_map<uint32_t, LocalRows> staged_locals_;
  absl::btree_map<uint32_t, Row> staged_rows_;            // later contents of rows
  absl::flat_hash_map<SymbolId, int64_t> staged_row_of_;  // -1: removed
  absl::btree_map<uint64_t, std::string> staged_names_;   // offset in .strtab -> text
  uint32_t staged_count_ = 0;                             // of global rows
  FreeRooms staged_free_locals_, staged_free_names_;
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_SYMTAB_H_
