// Splitting .eh_frame into its records, so that each frame description follows its function.
//
// Source: LSB Core, "Exception Frames"; DWARF 5, 6.4.
#ifndef CORE_INPUT_EH_FRAME_H_
#define CORE_INPUT_EH_FRAME_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/input/model.h"

namespace kitlink {

struct EhRecord {
  uint32_t offset = 0;       // in the input section
  uint32_t size = 0;         // with the length field
  uint32_t first_reloc = 0;  // range of the section's relocations that lie in the record
  uint32_t reloc_count = 0;
  int32_t cie = -1;          // of a frame description: index in EhFrame::cies
  // Of a frame description: where the function is, as symbol and addend of the relocation at its first field.
  uint32_t function_symbol = 0;
  int64_t function_addend = 0;
};

// One input .eh_frame section.
struct EhFrame {
  uint32_t section = 0;  // index in ObjectFile::sections
  std::vector<EhRecord> cies;
  std::vector<EhRecord> fdes;
  bool terminator = false;  // ends with a zero length (crtend.o)
  std::vector<Reloc> sorted;  // the relocations in order of offset; EhRecord ranges index this
};

// InvalidArgument naming the object when the records do not fit the section.
absl::StatusOr<EhFrame> SplitEhFrame(const ObjectFile& object, uint32_t section);

}  // namespace kitlink

#endif  // CORE_INPUT_EH_FRAME_H_
