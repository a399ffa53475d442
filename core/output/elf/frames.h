// .eh_frame and .eh_frame_hdr of the output.
//
// Sources: LSB Core, "Exception Frames" and "Eh_frame_hdr"; DWARF 5, 6.4.
#ifndef CORE_OUTPUT_ELF_FRAMES_H_
#define CORE_OUTPUT_ELF_FRAMES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "core/base/bytes.h"
#include "core/base/ids.h"
#include "core/input/options.h"
#include "core/symbols/program.h"

namespace kitlink::elf {

// One record of the output: where it comes from and where it goes.
struct FrameRecord {
  UnitId unit;
  uint32_t frame = 0;   // index in Unit::eh_frames
  uint32_t record = 0;  // index in its cies or fdes
  uint32_t offset = 0;  // in the output section
  uint32_t capacity = 0;  // with padding to eight bytes
  uint32_t cie_offset = 0;  // of a frame description: its CIE in the output
  AtomId function;      // of a frame description
};

struct Frames {
  std::vector<FrameRecord> cies;  // one for each distinct CIE
  std::vector<FrameRecord> fdes;  // of live functions, in order of units
  std::vector<uint32_t> unit_start;  // by UnitId: where its records begin
  uint32_t used = 0;      // bytes of records
  uint32_t reserve = 0;   // bytes of padding behind them
  uint32_t size = 0;      // with the terminator
  uint32_t header_rows = 0;  // capacity of the search table

  bool empty() const { return fdes.empty() && cies.empty(); }
};

// Lays the records of live functions out.
Frames PlanFrames(const LinkOptions& options, const Program& program);

// Rows of the search table: .eh_frame_hdr minus its header.
struct FrameRow {
  uint64_t function = 0;  // addresses in the image
  uint64_t record = 0;
  bool empty = false;     // the function has no code, so another one may begin at its address
};
inline constexpr uint32_t kFrameHeaderSize = 12;

// Writes .eh_frame_hdr: `rows` are sorted here. `at` holds header_rows rows; those behind the last are zeros that
// nobody counts. Where there is room, each 16th row is there twice: a row that comes later finds a place nearby.
void WriteFrameHeader(MutableBytes at, uint64_t address, uint64_t eh_frame, std::vector<FrameRow> rows);

// Writes the fields before the rows, but for their number.
void WriteFrameHead(MutableBytes at, uint64_t address, uint64_t eh_frame);

// Makes records that lay at `from` lead where they led from `to`. Unimplemented for pointers of another kind than compilers use;
// `pic`: the loader relocates pointers that are no distances.
absl::Status MoveFrameRecords(MutableBytes records, uint64_t from, uint64_t to, bool pic);

// True when a frame description, relocated, is of a function without code. `field` is the offset of the function's
// address in `record`, `width` its size in bytes: the length follows, in the same encoding.
bool DescribesNoCode(ByteView record, uint64_t field, uint64_t width);

// Makes a hole of `size` bytes (at least 12, a multiple of 4) a CIE that nobody refers to and that does nothing. `bytes` is
// the hole, or its first 16 bytes, behind which it is zeros already.
void FillFrameHole(MutableBytes bytes, uint64_t size);

}  // namespace kitlink::elf

#endif  // CORE_OUTPUT_ELF_FRAMES_H_
