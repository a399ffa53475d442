// .rela.dyn of a hot image: rows found by the word they fill, replaced, added and removed in place.
//
// The loader trusts DT_RELACOUNT: the rows counted there must be RELATIVE and stand first, so a removed one is
// overwritten by the last one. Free rows behind each part are R_*_NONE.
#ifndef CORE_OUTPUT_ELF_HOT_RELA_H_
#define CORE_OUTPUT_ELF_HOT_RELA_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "core/base/paged_table.h"
#include "core/output/elf/image.h"
#include "core/output/elf/table_fields.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

// One row as it is or will be.
struct RelaRow {
  uint64_t info = 0;
  uint64_t addend = 0;

  KITLINK_FIELDS(info, addend)
};

class HotRela {
 public:
  // To be read from disk.
  HotRela() = default;
  // Reads the rows of a written table. `table` is the section's bytes.
  HotRela(const RelaPlan& plan, ByteView table, uint64_t file_offset, const DynamicTypes& types);

  void Begin();
  // Removes the rows of all words in `range`.
  void Remove(WordRange range);
  // Removes the rows of all words in `ranges`, but for those in `kept`.
  void RemoveOthers(absl::Span<const WordRange> ranges, const absl::flat_hash_set<uint64_t>& kept);
  // Gives the rows of words in `moves` (sorted, disjoint) the words' new addresses, and removes those of all others in
  // `range`.
  void Move(WordRange range, const std::vector<WordMove>& moves);
  // Gives a word that has a row of this kind new contents; false when it has none.
  bool Rewrite(uint64_t address, bool relative, uint64_t info, uint64_t addend);
  // Adds a row. ResourceExhausted when its part is full.
  absl::Status Add(uint64_t address, bool relative, uint64_t info, uint64_t addend);
  // So many rows will be added: should there be no room for all, Larger counts on them.
  void Expect(uint32_t relative, uint32_t others);
  // Bytes that the table should have; 0 where the plan found room.
  uint64_t Larger() const;
  // It gets them, at that place of the file.
  void MoveTable(uint64_t offset);
  bool moves() const { return moves_; }
  uint64_t size() const { return (uint64_t{parts_[0].capacity} + parts_[1].capacity) * sizeof(Elf64_Rela); }
  // Makes all rows that name some rows of the dynamic symbol table name others: `to` by `from`. O(symbolic rows).
  void Renumber(const absl::flat_hash_map<uint32_t, uint32_t>& rows);
  // True when a row names row `symbol` of the dynamic symbol table. O(symbolic rows).
  bool Names(uint32_t symbol) const;
  // The row of a word, in this plan; nullptr when it has none. Valid until the next change.
  const RelaRow* Find(uint64_t address) const;
  // Adds the mutations of all rows that the plan touched.
  void Emit(std::vector<Mutation>* mutations) const;
  uint32_t relative_count() const { return parts_[0].count + staged_[0].delta; }
  void Accept();
  uint64_t bytes_held() const;

  KITLINK_FIELDS_BUT((staged_, expected_, lacks_), file_offset_, types_, parts_, moves_)

 private:
  struct Filled {
    uint64_t word = 0;
    RelaRow row;
    KITLINK_FIELDS(word, row)
  };
  struct Order {
    uint64_t word = 0;
    uint32_t row = 0;
    KITLINK_FIELDS(word, row)
  };
  struct Part {
    uint32_t first = 0;     // row in the table
    uint32_t count = 0;     // rows in use
    uint32_t capacity = 0;
    PagedTable<Filled, 1024> rows;                // by row in the part
    PagedTable<Order, 1024> order;                // as it was captured, sorted by word
    absl::btree_map<uint64_t, int64_t> later;     // word -> row in the part, -1: none; counts before `order`
    KITLINK_FIELDS(first, count, capacity, rows, order, later)
  };
  // What a plan changed: later rows win.
  struct Staged {
    int32_t delta = 0;
    absl::btree_map<uint32_t, std::pair<uint64_t, RelaRow>> rows;  // row -> (word, contents); word 0: free
    absl::btree_map<uint64_t, int64_t> row_of;                     // word -> row, -1: removed
  };

  uint32_t Count(int part) const { return parts_[part].count + staged_[part].delta; }
  std::pair<uint64_t, RelaRow> RowAt(int part, uint32_t row) const;
  uint32_t LargerPart(int part) const;
  void EmitRows(int part, uint32_t first, absl::Span<const Filled> rows, std::vector<Mutation>* mutations) const;
  void RemoveRow(int part, uint64_t address, uint32_t row);
  std::vector<uint64_t> WordsIn(int part, WordRange range) const;
  size_t OrderBound(int part, uint64_t address) const;  // the first in `order` that is not before it
  int64_t KnownRowOf(int part, uint64_t address) const;  // without the plan; -1: none
  int64_t RowOf(int part, uint64_t address) const;  // -1: none

  uint64_t file_offset_ = 0;
  DynamicTypes types_{};
  std::array<Part, 2> parts_;  // relative, others
  bool moves_ = false;         // the next plan that is accepted moves the table
  std::array<uint32_t, 2> expected_{};  // rows to be added
  bool lacks_ = false;                  // some found no room
  Staged staged_[2];
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_RELA_H_
