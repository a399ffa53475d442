// .eh_frame and .eh_frame_hdr of a hot image.
//
// Records live in slots; free room is one padding CIE at the end and holes that are padding CIEs. The search table is
// sorted and counted: a row that is no longer wanted becomes a copy of its predecessor, which searches accept, and
// gives its room to the next row that belongs near it.
#ifndef CORE_OUTPUT_ELF_HOT_FRAMES_H_
#define CORE_OUTPUT_ELF_HOT_FRAMES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "core/base/paged_table.h"
#include "core/output/elf/image.h"
#include "core/output/elf/table_fields.h"
#include "core/output/hot_tables.h"

namespace kitlink::elf {

class HotFrames {
 public:
  // To be read from disk.
  explicit HotFrames(const Arch& arch) : arch_(&arch) {}
  HotFrames(const Program& program, const ElfImage& image, const Arch& arch, const OutputTraits& output,
            ByteView header);

  void Begin();
  // Replaces the unit's records by those of its new object. Unimplemented or ResourceExhausted when that cannot be.
  absl::Status Update(const UnitUpdate& update, std::vector<Mutation>* mutations);
  // Bytes that records, and the search table, should have; 0 where the plan found room, or where they cannot move: their
  // distances must be told in 32 bits, `end` being where the image ends.
  uint64_t MoreRecords(uint64_t end) const;
  uint64_t MoreRows(uint64_t end) const;
  uint64_t kept() const { return state_.used; }  // bytes of records that are copied
  // Of the records, where code says where they begin; else 0.
  uint64_t start() const { return present_ && referred_to_ ? address_ : 0; }
  // They get them, at that place.
  void MoveRecords(const GrowthPlace& place, uint64_t size);
  void MoveHeader(const GrowthPlace& place, uint64_t size);
  bool header_moves() const { return header_moves_; }
  GrowthPlace header() const { return {header_address_, header_offset_}; }
  uint64_t header_size() const { return kFrameHeaderSize + uint64_t{row_capacity_} * 8; }
  // The copied records lead where they led. Unimplemented for pointers of another kind than compilers use.
  absl::Status Follow(MutableBytes records) const;
  // Adds the mutations of the search table and of the free room.
  void Emit(std::vector<Mutation>* mutations) const;
  void Accept();
  uint64_t bytes_held() const;

  KITLINK_FIELDS_BUT((arch_, staged_state_, staged_rows_, staged_units_, staged_cies_, rewritten_cies_, lack_), output_, values_,
                     present_, has_header_, address_, file_offset_, header_address_, header_offset_, room_end_,
                     row_capacity_, base_, published_address_, referred_to_, records_move_, header_moves_, state_, rows_, units_,
                     cies_)

 private:
  struct Slot {
    uint32_t offset = 0;
    uint32_t capacity = 0;
    uint64_t function = 0;  // address that its row says
    bool empty = false;     // the function has no code: another one may begin at its address, and has the row
    KITLINK_FIELDS(offset, capacity, function, empty)
  };
  struct Row {
    int32_t function = 0;  // relative to the header, as in the file
    int32_t record = 0;
    KITLINK_FIELDS(function, record)
    friend bool operator==(const Row& a, const Row& b) { return a.function == b.function && a.record == b.record; }
  };
  struct State {
    uint32_t used = 0;  // records end here, the padding begins
    std::vector<Slot> free;
    uint32_t plain_cie = 0xffffffffu;  // the CIE of islands
    uint32_t row_count = 0;
    KITLINK_FIELDS(used, free, plain_cie, row_count)
  };

  // What a plan did not find room for.
  struct Lack {
    uint64_t records = 0;  // bytes
    uint32_t rows = 0;
  };

  bool Reaches(uint64_t end, uint64_t size) const;
  void NoteLack(const UnitUpdate& update, bool rows);
  void EmitMovedHeader(std::vector<Mutation>* mutations) const;
  // A free slot behind the record at `cie`: the distance back to it is unsigned, and not every unwinder lets it wrap.
  absl::Status Allocate(uint32_t size, uint32_t cie, Slot* slot);
  void Release(const Slot& slot, std::vector<Mutation>* mutations);
  absl::Status WriteRecords(const UnitUpdate& update, const EhFrame& frame, std::vector<Slot>* old,
                            std::vector<Slot>* now, std::vector<Mutation>* mutations);
  absl::Status CieFor(const UnitUpdate& update, const EhFrame& frame, const EhRecord& cie,
                      std::vector<Mutation>* mutations, uint32_t* offset);
  absl::Status WriteRecord(const UnitUpdate& update, const EhFrame& frame, const EhRecord& in, const Slot& slot,
                           const uint32_t* cie_offset, std::vector<Mutation>* mutations) const;
  absl::Status AddIsland(const IslandRange& island, std::vector<Slot>* old, std::vector<Slot>* now,
                         std::vector<Mutation>* mutations);
  absl::Status UpdateRows(const std::vector<Slot>& before, const std::vector<Slot>& now);
  void PutBytes(uint32_t offset, std::vector<uint8_t> bytes, std::vector<Mutation>* mutations) const;

  // The search table, staged rows considered.
  Row RowAt(uint32_t i) const;
  Row RowOf(uint64_t function, uint32_t record) const;
  void SetRow(uint32_t i, Row row);
  uint32_t LowerBound(int32_t function) const;
  bool IsFiller(uint32_t i) const { return i > 0 && RowAt(i) == RowAt(i - 1); }
  bool ReplaceRows(const std::vector<Row>& from, const std::vector<Row>& to);
  void RemoveRow(Row row);
  absl::Status PutRow(uint64_t function, uint32_t record);

  const Arch* arch_;
  OutputTraits output_;
  ImageValues values_;
  bool present_ = false, has_header_ = false;
  uint64_t address_ = 0, file_offset_ = 0;                  // of .eh_frame
  uint64_t header_address_ = 0, header_offset_ = 0;         // of .eh_frame_hdr
  uint32_t room_end_ = 0;     // where the terminator stands
  uint32_t row_capacity_ = 0;
  uint64_t base_ = 0;                // where the image begins
  uint64_t published_address_ = 0;   // of .eh_frame, as the image has it
  bool referred_to_ = false;         // code says where .eh_frame begins
  bool records_move_ = false, header_moves_ = false;  // with the next plan that is accepted

  State state_, staged_state_;
  Lack lack_;
  PagedTable<Row, 2048> rows_;
  absl::flat_hash_map<uint32_t, Row> staged_rows_;
  PagedTable<std::vector<Slot>, 16> units_;                           // by UnitId value
  absl::flat_hash_map<uint32_t, std::vector<Slot>> staged_units_;
  absl::flat_hash_map<std::string, Slot> cies_, staged_cies_;  // by key
  absl::flat_hash_set<uint32_t> rewritten_cies_;               // offsets of those that the plan has written
};

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_HOT_FRAMES_H_
