// What a link answers with.
#ifndef CORE_SESSION_LINK_REPORT_H_
#define CORE_SESSION_LINK_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/output/image_sink.h"
#include "core/session/gate_reason.h"

namespace kitlink {

enum class Outcome : uint8_t {
  kFull,          // there was no prior state
  kPatched,       // the image was patched, or nothing had changed
  kFellBackFull,  // prior state, but the gate said no
};

// "FULL", "PATCHED", "FELL_BACK_FULL".
const char* OutcomeName(Outcome outcome);

struct AtomCounts {
  uint64_t total = 0;    // live atoms after the link
  uint64_t changed = 0;  // rewritten in their slot
  uint64_t moved = 0;    // rewritten in another slot
  uint64_t added = 0;
  uint64_t removed = 0;
};

// What the link did, in numbers that do not depend on the machine. Per link, but for full_resolves.
struct LinkCounters {
  uint64_t full_resolves = 0;  // whole-program resolutions in this session's life
  uint64_t inputs_read = 0;
  uint64_t bytes_read = 0;
  uint64_t symbols_resolved = 0;
  uint64_t relocations_applied = 0;
};

// Wall time in microseconds.
struct LinkTimings {
  uint64_t total = 0, detect = 0, read = 0, diff = 0, gate = 0, plan = 0, commit = 0;
  uint64_t prepared = 0;  // what was planned before the link was asked for took so much; not in total
};

// Text that a link writes besides its output (-Map, --dependency-file); the owner of the session writes it.
struct SideFile {
  std::string path;  // "-": the standard output
  std::string text;
};

struct LinkReport {
  std::string output;
  Outcome outcome = Outcome::kFull;
  GateReason reason = GateReason::kNone;
  std::string reason_detail;  // names the file, section or symbol; empty when there is nothing to add
  AtomCounts atoms;
  std::vector<ByteRange> patched_ranges;  // file offsets, sorted, disjoint
  uint64_t bytes_written = 0;
  uint64_t generation = 0;  // 1 for the first link of a session, one more for each successful link
  std::string build_id;     // lower-case hexadecimal
  LinkCounters counters;
  LinkTimings timings_us;
  std::vector<SideFile> side_files;
};

}  // namespace kitlink

#endif  // CORE_SESSION_LINK_REPORT_H_
