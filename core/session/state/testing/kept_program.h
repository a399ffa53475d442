// A small program whose session is kept in memory: linked, forgotten, taken up again.
#ifndef CORE_SESSION_STATE_TESTING_KEPT_PROGRAM_H_
#define CORE_SESSION_STATE_TESTING_KEPT_PROGRAM_H_

#include <algorithm>
#include <string>
#include <vector>

#include "core/base/memory_files.h"
#include "core/input/command_line.h"
#include "core/input/testing/obj_builder.h"
#include "core/session/link_session.h"
#include "core/session/state/testing/memory_state.h"

namespace kitlink::testing {

// An image in memory, and the store of its session's state.
class KeptSink : public ImageSink, public MemoryState {
 public:
  absl::StatusOr<MutableBytes> BeginImage(uint64_t size) override {
    staged_.assign(size, 0);
    return absl::MakeSpan(staged_);
  }
  absl::Status PublishImage(bool) override {
    image = staged_;
    return absl::OkStatus();
  }
  void AbandonImage() override { staged_.clear(); }
  absl::Status CheckPatchable() override { return absl::OkStatus(); }
  absl::Status Commit(const ImagePatch& patch) override {
    if (patch.image_size > kMostBytes) return absl::ResourceExhaustedError("too large");
    std::vector<uint8_t> now = image;
    if (patch.image_size > now.size()) now.resize(patch.image_size);
    for (const Mutation& mutation : patch.mutations) {
      if (!InBounds(mutation.offset, mutation.bytes.size(), now.size())) return absl::OutOfRangeError("outside");
      std::copy(mutation.bytes.begin(), mutation.bytes.end(), now.begin() + static_cast<ptrdiff_t>(mutation.offset));
    }
    image = std::move(now);
    return absl::OkStatus();
  }
  absl::Status ReadBack(uint64_t offset, MutableBytes into) override {
    if (!InBounds(offset, into.size(), image.size())) return absl::OutOfRangeError("outside");
    std::copy_n(image.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
    return absl::OkStatus();
  }
  void Settle() override {}

  std::vector<uint8_t> image;

 private:
  static constexpr uint64_t kMostBytes = 16 << 20;
  std::vector<uint8_t> staged_;
};

class KeptProgram {
 public:
  KeptProgram() {
    const std::string call("\xe8\0\0\0\0\xc3", 6);
    files_.Put("start.o", ObjBuilder()
                              .Section(".text._start", call)
                              .Symbol("_start", ".text._start")
                              .Reloc(".text._start", 1, R_X86_64_PLT32, "work", -4)
                              .Section(".data.table", std::string(16, '\0'))
                              .Symbol("table", ".data.table")
                              .Reloc(".data.table", 8, R_X86_64_64, "value", 0)
                              .StackNote()
                              .Build());
    files_.Put("more.o", ObjBuilder().Section(".text.more", call).Symbol("more", ".text.more").StackNote().Build());
    PutWork(1, 1);
    Diagnostics diagnostics;
    options_ = *ParseCommandLine({"-o", "out", "-pie", "start.o", "work.o", "more.o"}, files_, diagnostics);
  }

  // work.o, whose function is `length` instructions long and refers to all there is.
  void PutWork(int length, char value) {
    std::string code;
    for (int i = 0; i < length; ++i) code += std::string("\xb8") + value + std::string("\0\0\0", 3);
    const uint64_t at = code.size() + 1;
    code += std::string("\xe8\0\0\0\0\x48\x8b\x05\0\0\0\0\xc3", 13);
    ObjBuilder work;
    work.Section(".text.work", code).Symbol("work", ".text.work").Reloc(".text.work", at, R_X86_64_PLT32, "more", -4);
    work.Reloc(".text.work", at + 7, R_X86_64_PC32, "table", -4);
    work.Section(".data.value", "12345678").Symbol("value", ".data.value").StackNote();
    files_.Put("work.o", work.Build());
  }

  // One link by a session that takes up what `sink` has kept, and leaves its own state there.
  absl::StatusOr<LinkReport> Link(KeptSink* sink) {
    LinkSession session(sink, nullptr, sink);
    Diagnostics diagnostics;
    absl::StatusOr<LinkReport> report = session.Link({options_, std::nullopt}, files_, diagnostics);
    session.Settle();
    session.Keep();
    return report;
  }

 private:
  MemoryFiles files_;
  LinkOptions options_;
};

}  // namespace kitlink::testing

#endif  // CORE_SESSION_STATE_TESTING_KEPT_PROGRAM_H_
