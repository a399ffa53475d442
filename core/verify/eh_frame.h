// Call frame information of an image, found the way libgcc's unwinder finds it.
//
// Formats: LSB core, chapter 10 (.eh_frame, .eh_frame_hdr), and DWARF 5, section 6.4.
#ifndef CORE_VERIFY_EH_FRAME_H_
#define CORE_VERIFY_EH_FRAME_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/bytes.h"
#include "core/verify/loader.h"

namespace kitlink::verify {

// One FDE with what it needs of its CIE.
struct FrameEntry {
  uint64_t address = 0;          // of the FDE
  uint64_t start = 0, size = 0;  // the pcs it covers
  std::string augmentation;
  uint64_t code_alignment = 0;
  int64_t data_alignment = 0;
  uint64_t return_register = 0;
  Value personality;  // kConstant 0: none
  std::optional<uint64_t> lsda;
  ByteView cie_program, program;  // without the trailing DW_CFA_nop
  bool Covers(uint64_t pc) const { return pc >= start && pc - start < size; }
};

// The unwind tables of one image. Immutable; views point into the image's bytes.
class FrameTable {
 public:
  static FrameTable Read(const LoadedImage& image);

  // What is malformed: unreadable entries, a search table that is unsorted or disagrees with .eh_frame.
  const std::vector<std::string>& problems() const { return problems_; }
  // Every FDE that covers something, in the order of .eh_frame.
  const std::vector<FrameEntry>& entries() const { return entries_; }
  // The FDE that libgcc's binary search in .eh_frame_hdr settles on, if it covers `pc`.
  const FrameEntry* Search(uint64_t pc) const;
  bool present() const { return present_; }

 private:
  struct Row {
    uint64_t start, fde;
  };
  void ReadHeader(uint64_t address, uint64_t size);
  void ReadEntries(uint64_t address);
  void CheckTable();
  void Problem(std::string what);

  const LoadedImage* image_ = nullptr;
  bool present_ = false;
  std::optional<uint64_t> frames_;
  std::vector<Row> rows_;
  std::vector<uint64_t> all_;        // addresses of all FDEs, those that cover nothing included; sorted
  std::vector<FrameEntry> entries_;  // in file order, hence sorted by `address`
  std::vector<std::string> problems_;
};

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_EH_FRAME_H_
