// Merged sections: strings and constants that several objects share.
//
// No string is ever moved or tail-merged, so that a session can go on appending to the section.
#ifndef CORE_SYMBOLS_MERGE_H_
#define CORE_SYMBOLS_MERGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/base/bytes.h"
#include "core/base/ids.h"
#include "core/input/model.h"

namespace kitlink {

// One distinct string or constant.
struct MergedPiece {
  const uint8_t* data = nullptr;  // in the input that has it first
  uint32_t size = 0;
  uint32_t offset = 0;  // in the merged section
};

// One output section's worth of pieces with the same name, flags and entry size.
struct MergedSection {
  std::string name;  // of the output section
  uint32_t flags = 0;
  uint32_t entry_size = 1;
  uint32_t alignment = 1;
  uint64_t size = 0;
  std::vector<MergedPiece> pieces;  // in order of offset
};

// Where the pieces of one input section went.
struct MergedInput {
  uint32_t merged = 0;  // index in Program::merged
  std::vector<uint32_t> starts;   // offsets in the input section, ascending
  std::vector<uint32_t> targets;  // offsets in the merged section, one for each start

  // The offset in the merged section of the byte at `offset` of the input section. An offset at or past the end
  // counts from the last piece.
  uint64_t Map(uint64_t offset) const;
};

// A mergeable section cut into pieces: the start of each. False when it cannot be cut (an unterminated string, a size
// that is no multiple of the entry size): such a section is linked whole.
bool SplitPieces(const InputSection& section, std::vector<uint32_t>* starts);

// One input of a merge.
struct MergeSource {
  AtomId atom;
  const InputSection* section = nullptr;
  MergedInput* input = nullptr;  // with `starts` filled; `targets` are set
};

// Lays out one merged section from its inputs in order. Which copy of a string stays, and where, depends on the
// inputs' order and contents alone. `alignment` and the like are set by the caller.
void MergePieces(absl::Span<MergeSource> sources, MergedSection* merged);

}  // namespace kitlink

#endif  // CORE_SYMBOLS_MERGE_H_
