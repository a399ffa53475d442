// Compares what an unwinder finds for each function, and for each island, with the cold link.
#ifndef CORE_VERIFY_UNWIND_H_
#define CORE_VERIFY_UNWIND_H_

#include <vector>

#include "core/verify/eh_frame.h"
#include "core/verify/walk.h"

namespace kitlink::verify {

class UnwindComparison {
 public:
  // `walk` must outlive this, which becomes its visitor: functions lead to their exception tables.
  explicit UnwindComparison(Walk& walk);
  // After the walk: islands.
  void Finish();

 private:
  static void Visit(Walk& walk, uint32_t atom, void* self);
  void CompareAtom(uint32_t atom);
  void CompareEntry(uint32_t atom, const FrameEntry& cold);

  Walk& walk_;
  FrameTable cold_, here_;
  std::vector<uint32_t> by_start_;  // entries of cold_, by their first pc
};

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_UNWIND_H_
