#include "core/session/link_session.h"

#include <algorithm>
#include <chrono>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "core/base/parallel.h"
#include "core/input/command_line.h"
#include "core/session/cold.h"
#include "core/session/detect.h"
#include "core/session/diff.h"
#include "core/session/draft.h"
#include "core/session/fragmentation.h"
#include "core/session/gate.h"
#include "core/session/growth.h"
#include "core/session/libraries.h"
#include "core/session/library_search.h"
#include "core/session/memory.h"
#include "core/session/plan.h"
#include "core/session/referrers.h"
#include "core/session/roster.h"
#include "core/session/side_files.h"
#include "core/session/sites.h"
#include "core/session/state/elsewhere.h"
#include "core/session/state/state.h"
#include "core/session/take_part.h"
#include "core/session/watched_inputs.h"

namespace kitlink {
namespace {

// Microseconds since it was made, or since the last lap.
class Stopwatch {
 public:
  uint64_t Lap() {
    const Clock::time_point now = Clock::now();
    const auto elapsed = now - last_;
    last_ = now;
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count());
  }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point last_ = Clock::now();
};

void ListRanges(const ImagePatch& patch, LinkReport* report) {
  for (const Mutation& mutation : patch.mutations) {
    report->patched_ranges.push_back({mutation.offset, mutation.bytes.size()});
    report->bytes_written += mutation.bytes.size();
  }
}

// A unit is read and written in some tens of microseconds: beyond so many, a full link is as good.
constexpr size_t kMostReferrers = 512;

// How often what is to be republished may grow, until a relink gives up; and how often members may ask for others.
constexpr int kMostRounds = 8, kMostPulls = 1000;

// Nobody may have looked at the output since.
void WarnOfMismatch(const GateRefusal& why_cold, Diagnostics& diagnostics) {
  if (why_cold.reason != GateReason::kShadowMismatch) return;
  diagnostics.Warning(absl::StrCat("the output of the last relink was wrong, it is linked from scratch now; please report this: ",
                                   why_cold.detail));
}

// Names that mean something else than the units say: a relink takes them as they stand in the units.
bool RenamesSymbols(const LinkOptions& options) {
  const auto named = [](const auto& defsym) { return defsym.second.empty() || !absl::ascii_isdigit(defsym.second[0]); };
  return !options.wrap.empty() || std::any_of(options.defsym.begin(), options.defsym.end(), named);
}

}  // namespace

const char* OutcomeName(Outcome outcome) {
  switch (outcome) {
    case Outcome::kFull: return "FULL";
    case Outcome::kPatched: return "PATCHED";
    case Outcome::kFellBackFull: return "FELL_BACK_FULL";
  }
  return "FULL";
}

struct LinkSession::Impl {
  Impl(ImageSink* image_sink, InputWatch* watch, StateStore* state_store)
      : sink(image_sink), watched(watch), store(state_store) {}

  absl::StatusOr<LinkReport> Link(const LinkRequest& request, FileSource& files, Diagnostics& diagnostics);
  absl::StatusOr<std::variant<LinkReport, GateRefusal>> Patch(const LinkRequest& request, FileSource& files);
  absl::StatusOr<std::variant<std::unique_ptr<Draft>, GateRefusal>> MakeDraft(const LinkRequest& request, const Changes& changes,
                                                                             FileSource& files);
  bool Prepare(FileSource& files);
  void DropPrepared();
  std::optional<GateRefusal> CompareLibraries(const ChangedUnits& changed, LibraryUpdate* update);
  std::variant<std::vector<UnitDiff>, GateRefusal> Diff(const LinkRequest& request, const InputListChange& list,
                                                        FileSource& files, ChangedUnits* changed, RosterChange* roster);
  std::optional<GateRefusal> DecideUnits(FileSource& files, ChangedUnits* changed);
  std::variant<Plan, GateRefusal> PlanWithReferrers(const LinkOptions& options, std::vector<UnitDiff> diffs,
                                                    const std::vector<SymbolId>& reconsider, FileSource& files,
                                                    ChangedUnits* changed, LinkTimings* timings);
  std::optional<ChangedUnits> ReadThoseWithoutSites(const GateRefusal& refusal, const std::vector<UnitDiff>& diffs,
                                                    bool exact, const ChangedUnits& changed, FileSource& files);
  std::optional<GateRefusal> CheckPrior(const LinkRequest& request) const;
  std::optional<GateRefusal> CheckRequest(const LinkRequest& request) const;
  std::optional<Changes> ChangesToPrepare(const LinkRequest& request, FileSource& files);
  absl::StatusOr<LinkReport> LinkInFull(const LinkRequest& request, FileSource& files, Diagnostics& diagnostics);
  void Adopt(const LinkRequest& request, const Changes& changes, const ChangedUnits& read, FileSource& files, Plan plan);
  void CaptureLink();
  void Restore(const LinkRequest& request, FileSource& files);
  void TakeUp(RestoredState state, const LinkRequest& request, FileSource& files);
  void Forget(GateRefusal why);
  std::optional<GateRefusal> CheckWhole() const;
  void Persist();

  ImageReader Reader() {
    return [this](uint64_t offset, MutableBytes into) { return sink->ReadBack(offset, into); };
  }

  ImageSink* const sink;
  WatchedInputs watched;
  LibrarySearch libraries_found;
  StateStore* const store;  // nullptr: the session ends with the process
  std::unique_ptr<Memory> memory;  // nullptr: nothing to patch, `why_cold` says why
  std::unique_ptr<Draft> prepared;  // for the next link, of `memory` as it is; nullptr: none
  std::vector<std::pair<uint32_t, FileStamp>> tried;  // what there was when something was last prepared, or could not be
  bool preparing = false;           // what is being planned may come to nothing: units and sections stay those that there are
  GateRefusal why_cold{GateReason::kFirstLink, ""};
  std::string fragmented;             // what WhyFragmented says
  std::optional<GateRefusal> renewal;  // the next link is to be a full one, though it could be patched
  bool linked_before = false;      // an incremental link was published: the next full one is a fall-back

  bool restored = false;                // the store was asked
  std::shared_ptr<PageSource> source;   // of a memory that was read from disk
  uint64_t saved_generation = 0;

  // The last full link, until it is captured.
  struct Pending {
    ColdLink link;
    WrittenImage written;
    int64_t started_ns;
    FileSource* files;
  };
  std::optional<Pending> pending;

  std::optional<SharedOptions> options;  // of the last successful link
  std::vector<std::string> inputs;     // files that it opened
  std::string output;                  // as it was called then
  FileSource* last_files = nullptr;    // of the last link
  uint64_t generation = 0;
  uint64_t bytes_held = 0;  // by `memory`, about: measured after a full link, followed by relinks
  uint64_t input_bytes = 0;  // of the units of the last full link; not known to a session that was taken up
  uint64_t full_resolves = 0;
  int64_t started_ns = 0;  // when the current link began, since the epoch
};

// How a link flows. Whatever refuses leads to the full link, whose verdict counts.
absl::StatusOr<LinkReport> LinkSession::Impl::Link(const LinkRequest& request, FileSource& files,
                                                   Diagnostics& diagnostics) {
  last_files = &files;
  Stopwatch watch;
  CaptureLink();
  Restore(request, files);
  started_ns = absl::GetCurrentTimeNanos();
  absl::StatusOr<std::variant<LinkReport, GateRefusal>> patched = Patch(request, files);
  if (!patched.ok()) return patched.status();
  LinkReport report;
  if (LinkReport* done = std::get_if<LinkReport>(&*patched)) {
    report = std::move(*done);
  } else {
    // What bad rows made of it means nothing.
    if (auto damage = CheckWhole()) patched->emplace<GateRefusal>(*std::move(damage));
    absl::StatusOr<LinkReport> full = LinkInFull(request, files, diagnostics);
    if (!full.ok()) return full.status();
    report = *std::move(full);
    GateRefusal refusal = std::get<GateRefusal>(*std::move(patched));
    report.reason = refusal.reason;
    report.reason_detail = refusal.detail;
  }
  options = request.options;
  output = request.output;
  report.output = request.output.empty() ? request.options->output : request.output;
  report.generation = ++generation;
  report.counters.full_resolves = full_resolves;
  report.timings_us.total = watch.Lap();
  return report;
}

absl::StatusOr<std::variant<LinkReport, GateRefusal>> LinkSession::Impl::Patch(const LinkRequest& request,
                                                                              FileSource& files) {
  std::unique_ptr<Draft> draft = std::move(prepared);  // whatever becomes of this link, it serves no other
  tried.clear();
  if (auto refusal = CheckPrior(request)) return {*std::move(refusal)};
  LinkReport report;
  report.outcome = Outcome::kPatched;
  Stopwatch watch;

  const bool look_at_all = request.distrust_watch || request.distrust_stamps;
  auto detected = DetectChanges(*memory, request, look_at_all ? std::nullopt : watched.Suspects(), &libraries_found, files);
  if (!detected.ok()) return detected.status();
  if (auto* refusal = std::get_if<GateRefusal>(&*detected)) return {std::move(*refusal)};
  const Changes changes = std::get<Changes>(*std::move(detected));
  report.timings_us.detect = watch.Lap();

  if (draft != nullptr && !renewal && draft->Serves(request, changes, *memory, files)) {
    report.timings_us.prepared = draft->timings_us.total;
    report.timings_us.read = watch.Lap();
  } else {
    draft = nullptr;
    auto made = MakeDraft(request, changes, files);
    if (!made.ok()) return made.status();
    if (auto* refusal = std::get_if<GateRefusal>(&*made)) return {std::move(*refusal)};
    draft = std::get<std::unique_ptr<Draft>>(*std::move(made));
    const uint64_t detect = report.timings_us.detect;
    report.timings_us = draft->timings_us;
    report.timings_us.detect = detect;
    watch.Lap();
  }
  if (auto refusal = CheckUnchanged(draft->changed, changes, *memory, files)) return {*std::move(refusal)};
  if (auto refusal = CheckWhole()) return {*std::move(refusal)};
  report.timings_us.plan += watch.Lap();

  // Beyond this point the output changes.
  if (absl::Status status = sink->Commit(draft->plan.patch); !status.ok()) {
    return {GateRefusal{GateReason::kCommitFailed, std::string(status.message())}};
  }
  report.timings_us.commit = watch.Lap();
  ListRanges(draft->plan.patch, &report);
  report.atoms = draft->plan.atoms;
  report.counters.symbols_resolved = draft->symbols_resolved;
  report.counters.inputs_read = draft->changed.bytes.size();
  report.counters.bytes_read = draft->changed.bytes_read;
  report.counters.relocations_applied = draft->plan.relocations;
  draft->roster.Keep();
  Adopt(request, changes, draft->changed, files, std::move(draft->plan));
  draft->libraries.Keep();
  report.build_id = memory->tables->build_id();
  // Rows that nobody looked at before the commit: the image is right, what is remembered of it is not.
  if (auto damage = CheckWhole()) {
    draft = nullptr;  // it knows the memory
    Forget(*std::move(damage));
  }
  return {std::move(report)};
}

// The steps that find out what is to be written.
absl::StatusOr<std::variant<std::unique_ptr<Draft>, GateRefusal>> LinkSession::Impl::MakeDraft(const LinkRequest& request,
                                                                                              const Changes& changes,
                                                                                              FileSource& files) {
  memory->tables->Begin();  // what came to nothing before leaves nothing behind
  auto draft = std::make_unique<Draft>(request.options, absl::GetCurrentTimeNanos(), memory.get());
  LinkTimings& timings = draft->timings_us;
  Stopwatch watch;
  auto read = ReadChanges(*memory, changes, request, files);
  if (!read.ok()) return read.status();
  if (auto* refusal = std::get_if<GateRefusal>(&*read)) return {std::move(*refusal)};
  draft->changed = std::get<ChangedUnits>(*std::move(read));
  if (renewal && !(changes.files.empty() && changes.list.same_places())) {
    // Asked for once: when a full link fails for lack of disk space, say, a patch may still do.
    GateRefusal why = *std::move(renewal);
    renewal.reset();
    return {std::move(why)};
  }
  timings.read = watch.Lap();

  if (auto refusal = CompareLibraries(draft->changed, &draft->libraries)) return {*std::move(refusal)};
  auto compared = Diff(request, changes.list, files, &draft->changed, &draft->roster);
  if (auto* refusal = std::get_if<GateRefusal>(&compared)) return {std::move(*refusal)};
  std::vector<UnitDiff> diffs = std::get<std::vector<UnitDiff>>(std::move(compared));
  for (const UnitDiff& diff : diffs) draft->symbols_resolved += diff.globals.size();
  timings.diff = watch.Lap();

  auto planned = PlanWithReferrers(request.options, std::move(diffs), draft->libraries.reconsider(), files, &draft->changed, &timings);
  if (auto* refusal = std::get_if<GateRefusal>(&planned)) return {std::move(*refusal)};
  draft->plan = std::get<Plan>(std::move(planned));
  timings.plan = watch.Lap() - timings.gate;
  return {std::move(draft)};
}

// Whatever stands in the way, the link that may come finds out again, and says it. The output is left alone: whether it can
// be patched is the link's business.
bool LinkSession::Impl::Prepare(FileSource& files) {
  if (memory == nullptr || pending || renewal || !options || !watched.watches()) return false;
  LinkRequest request;
  request.options = *options;
  request.output = output;
  Stopwatch watch;
  std::optional<Changes> changes = ChangesToPrepare(request, files);
  if (!changes) return false;
  DropPrepared();
  preparing = true;
  auto made = MakeDraft(request, *changes, files);
  preparing = false;
  if (made.ok() && std::holds_alternative<std::unique_ptr<Draft>>(*made)) {
    prepared = std::get<std::unique_ptr<Draft>>(*std::move(made));
  }
  if (prepared == nullptr || !prepared->CanWait(*changes) || CheckWhole()) {
    DropPrepared();
    return false;
  }
  prepared->ahead = *std::move(changes);
  prepared->timings_us.total = watch.Lap();
  return true;
}

// What is worth planning ahead: a few plain objects that changed since that was last tried, and nothing else.
std::optional<Changes> LinkSession::Impl::ChangesToPrepare(const LinkRequest& request, FileSource& files) {
  if (CheckRequest(request)) return std::nullopt;
  const std::optional<std::vector<uint32_t>> suspects = watched.Suspects();
  if (!watched.watches() || !watched.Calm()) return std::nullopt;
  const auto plain = [&](uint32_t f) {
    const FileMemory& file = std::as_const(memory->files)[f];
    return file.role == OpenedFile::Role::kObject && !file.thin && file.members.empty();
  };
  size_t most = suspects ? suspects->size() : 0;
  // Libraries and scripts would be compared by their content.
  for (uint32_t f : suspects.value_or(std::vector<uint32_t>())) {
    const FileMemory& file = std::as_const(memory->files)[f];
    if (plain(f)) continue;
    const absl::StatusOr<FileStamp> stamp = files.Stat(file.path);
    if (!stamp.ok() || *stamp != file.stamp || !file.settled) return std::nullopt;
    --most;
  }
  if (most > Draft::kMostFiles) return std::nullopt;
  auto detected = DetectChanges(*memory, request, suspects, &libraries_found, files);
  if (!detected.ok() || !std::holds_alternative<Changes>(*detected)) return std::nullopt;
  Changes changes = std::get<Changes>(*std::move(detected));
  if (changes.files.empty() || changes.files.size() > Draft::kMostFiles) return std::nullopt;
  std::vector<std::pair<uint32_t, FileStamp>> stamps;
  uint64_t bytes = 0;
  for (uint32_t f : changes.files) {
    const absl::StatusOr<FileStamp> stamp = files.Stat(changes.PathOf(*memory, f));
    if (!stamp.ok() || !plain(f)) return std::nullopt;
    bytes += stamp->size;
    stamps.push_back({f, *stamp});
  }
  if (bytes > Draft::kMostBytes || stamps == tried) return std::nullopt;
  tried = std::move(stamps);
  return changes;
}

// Also what was planned by halves.
void LinkSession::Impl::DropPrepared() {
  prepared = nullptr;
  if (memory != nullptr) memory->tables->Begin();
}

// What libraries that were built anew say of names.
std::optional<GateRefusal> LinkSession::Impl::CompareLibraries(const ChangedUnits& changed, LibraryUpdate* update) {
  for (const ChangedUnits::Rebuilt& rebuilt : changed.libraries) {
    for (uint32_t l = 0; l < memory->libraries.size(); ++l) {
      if (memory->libraries[l].file != rebuilt.file) continue;
      if (auto refusal = update->Apply(l, *rebuilt.library)) return refusal;
    }
  }
  return std::nullopt;
}

// Which units take part: inputs come and go, and with references members of archives. Each that comes or goes may bring or
// take references to others.
std::optional<GateRefusal> LinkSession::Impl::DecideUnits(FileSource& files, ChangedUnits* changed) {
  for (int round = 0; round < kMostPulls; ++round) {
    std::vector<std::pair<UnitId, const ObjectFile*>> objects;
    for (const auto& [unit, object] : changed->units) {
      if (object->ids.empty()) InternNames(unit, object.get(), memory.get());
      objects.push_back({unit, object.get()});
    }
    auto decided = DecideParts(*memory, objects, changed->leaving);
    if (auto* refusal = std::get_if<GateRefusal>(&decided)) return std::move(*refusal);
    const PartDecision& parts = std::get<PartDecision>(decided);
    if (parts.wanted.empty() && parts.dropped.empty()) return std::nullopt;
    if (preparing) return GateRefusal{GateReason::kUndefinedSetChanged, "members come or go"};
    if (auto refusal = PullMembers(parts.wanted, files, memory.get(), changed)) return refusal;
    for (UnitId unit : parts.dropped) changed->Drop(unit, *memory);
  }
  return GateRefusal{GateReason::kUndefinedSetChanged, "members come and go without end"};
}

// The changed units and what became of each. Exactly: also those that a COMDAT group passes to or from.
std::variant<std::vector<UnitDiff>, GateRefusal> LinkSession::Impl::Diff(const LinkRequest& request,
                                                                         const InputListChange& list, FileSource& files,
                                                                         ChangedUnits* changed, RosterChange* roster) {
  if (request.options->gate != GatePolicy::kExact) return DiffStrictly(std::move(changed->units), *memory);
  if (auto refusal = ReadRoster(list, request.options, files, memory.get(), changed, roster)) return *std::move(refusal);
  if (auto refusal = DecideUnits(files, changed)) return *std::move(refusal);
  for (int round = 0;; ++round) {
    std::vector<std::pair<UnitId, const ObjectFile*>> objects;
    for (const auto& [unit, object] : changed->units) objects.push_back({unit, object.get()});
    GroupDecision decision = DecideGroups(*memory, objects);
    if (decision.wanted.empty()) {
      std::vector<UnitDiff> diffs = DiffExactly(std::move(changed->units), decision.groups, *memory);
      for (UnitDiff& diff : diffs) {
        diff.leaves = changed->leaving.contains(diff.unit);
        diff.moved = std::any_of(changed->moved.begin(), changed->moved.end(), [&](const auto& m) { return m.first == diff.unit; });
      }
      return diffs;
    }
    const absl::btree_set<UnitId> wanted(decision.wanted.begin(), decision.wanted.end());
    std::optional<ChangedUnits> more = ReadUnits(*memory, wanted, kMostReferrers, files, *changed);
    if (!more || round == kMostRounds) return GateRefusal{GateReason::kComdatSetChanged, "a group is another unit's now"};
    for (const auto& [unit, object] : more->units) InternNames(unit, object.get(), memory.get());
    changed->Append(*std::move(more));
  }
}

// Gate and Plan. Where only the referrers of something stand in the way, they follow: by their sites, or read and written
// as if they had changed.
std::variant<Plan, GateRefusal> LinkSession::Impl::PlanWithReferrers(const LinkOptions& options,
                                                                     std::vector<UnitDiff> diffs,
                                                                     const std::vector<SymbolId>& reconsider, FileSource& files,
                                                                     ChangedUnits* changed, LinkTimings* timings) {
  const bool exact = options.gate == GatePolicy::kExact;
  MoveRules rules;
  rules.policy = options.move;
  rules.ask = true;
  for (int round = 0;; ++round) {
    // Which of them were read first, some because their stamps were young, must not decide where anything goes.
    std::sort(diffs.begin(), diffs.end(), [](const UnitDiff& a, const UnitDiff& b) { return a.unit < b.unit; });
    Stopwatch watch;
    memory->tables->Begin();  // nor does an earlier round: the gate asks about what is in the image
    auto gate = exact ? CheckExactGate(*memory, &diffs, reconsider) : CheckStrictGate(*memory, std::move(diffs));
    timings->gate += watch.Lap();
    std::variant<Plan, GateRefusal> planned = GateRefusal();
    if (auto* pass = std::get_if<GatePass>(&gate)) {
      planned = PlanPatch(*pass, *memory, rules, Reader());
      if (std::holds_alternative<Plan>(planned)) return planned;
      diffs = std::move(*pass).TakeUnits();
    } else {
      planned = std::get<GateRefusal>(std::move(gate));
    }
    GateRefusal* refusal = std::get_if<GateRefusal>(&planned);
    const bool preference = refusal->preference;
    if (preparing && refusal->grow.valid()) return planned;
    if (exact && refusal->grow.valid() && round < kMostRounds) {
      if (!GrowSection(refusal->grow, refusal->grow_bytes, memory.get())) return planned;
      continue;
    }
    if (exact && !preparing && round < kMostRounds && GrowTables(memory.get())) continue;
    if (refusal->republish.empty() && refusal->rewrite.empty()) return planned;
    if ((!exact || round >= kMostRounds) && !preference) return planned;
    std::optional<ChangedUnits> more;
    if (round < kMostRounds) more = ReadThoseWithoutSites(*refusal, diffs, exact, *changed, files);
    if (!more && !preference) return planned;
    if (!more) {
      rules.ask = false;
      continue;
    }
    rules.republish.insert(refusal->republish.begin(), refusal->republish.end());
    for (auto& [unit, object] : more->units) diffs.push_back(DiffUnit(*memory, unit, std::move(object)));
    more->units.clear();
    changed->Append(*std::move(more));
  }
}

// The units, other than those of `diffs`, that must be written whole for what `refusal` asks: those that cannot follow by
// the sites that are remembered.
std::optional<ChangedUnits> LinkSession::Impl::ReadThoseWithoutSites(const GateRefusal& refusal,
                                                                     const std::vector<UnitDiff>& diffs, bool exact,
                                                                     const ChangedUnits& changed, FileSource& files) {
  absl::flat_hash_set<UnitId> known;
  for (const UnitDiff& diff : diffs) known.insert(diff.unit);
  const std::vector<SymbolId> without = WithoutSites(*memory, refusal.republish, known);
  if (without.empty() && refusal.rewrite.empty()) return ChangedUnits();
  if (!exact) return std::nullopt;
  return ReadReferrers(*memory, without, known, kMostReferrers, files, changed, refusal.rewrite);
}

// What can be known before any input is looked at.
std::optional<GateRefusal> LinkSession::Impl::CheckPrior(const LinkRequest& request) const {
  if (auto refusal = CheckRequest(request)) return refusal;
  if (absl::Status status = sink->CheckPatchable(); !status.ok()) {
    return GateRefusal{GateReason::kOutputChanged, std::string(status.message())};
  }
  return std::nullopt;
}

std::optional<GateRefusal> LinkSession::Impl::CheckRequest(const LinkRequest& request) const {
  if (!request.options->incremental) return GateRefusal{GateReason::kIncrementalOff, ""};
  if (memory == nullptr) return why_cold;
  if (!memory->options.Is(request.options) && !SameLinkOptions(memory->options, request.options)) return GateRefusal{GateReason::kOptionsChanged, ""};
  if (!request.options->map_file.empty() || !request.options->dependency_file.empty() || request.options->trace) {
    return GateRefusal{GateReason::kNotIncrementalOutput, "a map or list of the whole link was asked for"};
  }
  if (request.options->gc_sections && request.options->print_gc_sections) {
    return GateRefusal{GateReason::kNotIncrementalOutput, "a list of all that is left out was asked for"};
  }
  if (RenamesSymbols(request.options)) {
    return GateRefusal{GateReason::kNotIncrementalOutput, "--wrap, or --defsym with the value of another symbol"};
  }
  return std::nullopt;
}

void LinkSession::Impl::Adopt(const LinkRequest& request, const Changes& changes, const ChangedUnits& read,
                              FileSource& files, Plan plan) {
  for (const auto& [id, unit] : plan.units) {
    bytes_held += unit.bytes_held();
    if (id.value < memory->units.size()) bytes_held -= memory->units[id.value].bytes_held();
  }
  AdoptPlan(std::move(plan), memory.get());
  AdoptRoster(changes.list, read, memory.get());
  AdoptFiles(changes, read, started_ns, memory.get());
  memory->options = request.options;
  if (request.changed) watched.Came(*memory, read.new_files, files);
  else watched.Adopted(*memory, changes, read.new_files, files);
  if (changes.list.same_places() && read.new_files.empty() && changes.vanished.empty()) return;
  inputs.clear();
  for (const FileMemory& file : memory->files) {
    if (!file.gone) inputs.push_back(file.path);
  }
}

absl::StatusOr<LinkReport> LinkSession::Impl::LinkInFull(const LinkRequest& request, FileSource& files,
                                                         Diagnostics& diagnostics) {
  WarnOfMismatch(why_cold, diagnostics);
  ++full_resolves;
  LinkReport report;
  report.outcome = linked_before && request.options->incremental ? Outcome::kFellBackFull : Outcome::kFull;
  Stopwatch watch;
  absl::StatusOr<ColdLink> link = absl::InternalError("not linked");
  WithThreadLimit(request.options->threads, [&] { link = PlanColdLink(request.options, files, diagnostics); });
  if (!link.ok()) return link.status();
  report.timings_us.plan = watch.Lap();

  absl::StatusOr<MutableBytes> bytes = sink->BeginImage(link->image->size());
  if (!bytes.ok()) return bytes.status();
  absl::StatusOr<WrittenImage> written = absl::InternalError("not written");
  WithThreadLimit(request.options->threads, [&] { written = link->image->Write(*bytes, diagnostics); });
  if (!written.ok()) {
    sink->AbandonImage();
    return written.status();
  }
  if (absl::Status status = CheckInputsWhole(*link->program); !status.ok()) {
    sink->AbandonImage();
    return status;
  }
  if (absl::Status status = sink->PublishImage(true); !status.ok()) return status;
  report.timings_us.commit = watch.Lap();
  Forget({GateReason::kPriorLinkFailed, ""});
  report.bytes_written = link->image->size();
  report.build_id = written->build_id;
  report.counters.inputs_read = link->program->opened.size();
  report.counters.bytes_read = link->program->bytes_read;
  report.counters.symbols_resolved = link->program->symbols.size();
  report.counters.relocations_applied = written->relocations;
  report.side_files = SideFiles(request.options, *link);
  for (const Atom& atom : link->program->atoms) report.atoms.total += atom.state == Atom::kLive && !atom.eh_frame;
  inputs.clear();
  for (const OpenedFile& opened : link->program->opened) inputs.push_back(opened.path);
  input_bytes = 0;
  for (const Unit& unit : link->program->units) input_bytes += unit.object->image.size();
  linked_before = request.options->incremental;
  if (request.options->incremental) {
    pending = Pending{*std::move(link), *std::move(written), started_ns, &files};
  } else {
    why_cold = {GateReason::kIncrementalOff, ""};
  }
  return report;
}

// There is nothing to patch from now on.
void LinkSession::Impl::Forget(GateRefusal why) {
  prepared.reset();
  tried.clear();
  memory.reset();
  source.reset();
  watched.Stop();
  libraries_found.Forget();
  fragmented.clear();
  renewal.reset();
  why_cold = std::move(why);
}

// Takes up what an earlier process left: here, else what was linked in another folder and is the same. A full link after
// that is a fall-back.
void LinkSession::Impl::Restore(const LinkRequest& request, FileSource& files) {
  if (store == nullptr || std::exchange(restored, true)) return;
  if (const absl::StatusOr<std::string> manifest = store->ReadManifest(); manifest.ok()) {
    linked_before = true;
    absl::StatusOr<RestoredState> state = LoadState(*manifest, store);
    if (!state.ok()) {
      why_cold = {GateReason::kStateUnusable, std::string(state.status().message())};
    } else if (absl::Status status = store->TakeUp(state->facts.image, state->facts.output); !status.ok()) {
      why_cold = {GateReason::kStateStale, std::string(status.message())};
    } else {
      TakeUp(*std::move(state), request, files);
      return;
    }
  }
  // Whatever is wrong with this one, it is no worse than none.
  const absl::StatusOr<StateStore::Portable> portable = store->ReadPortable();
  if (!portable.ok() || store->folder().empty()) return;
  absl::StatusOr<RestoredState> state = LoadState(portable->manifest, store);
  if (!state.ok() || !store->TakeUpCopy(state->facts.image, portable->output).ok()) return;
  if (!MoveMemory(state->facts.folder, store->folder(), files, state->memory.get()).ok()) return;
  linked_before = true;
  TakeUp(*std::move(state), request, files);
}

void LinkSession::Impl::TakeUp(RestoredState state, const LinkRequest& request, FileSource& files) {
  // What scripts say is read anew. That they are what they were, as inputs, is found out with the others.
  std::vector<OpenedFile> scripts;
  absl::StatusOr<ExportRules> exports = ReadExportRules(*state.memory->options, files, &scripts);
  if (!exports.ok()) {
    why_cold = {GateReason::kStateUnusable, std::string(exports.status().message())};
    return;
  }
  state.memory->exports = *std::move(exports);
  memory = std::move(state.memory);
  source = std::move(state.source);
  options = memory->options;
  output = request.output;
  generation = state.facts.generation;
  bytes_held = memory->bytes_held();
  inputs.clear();
  for (const FileMemory& file : std::as_const(memory->files)) {
    if (!file.gone) inputs.push_back(file.path);
  }
}

// Refuses when rows that were needed could not be read from disk.
std::optional<GateRefusal> LinkSession::Impl::CheckWhole() const {
  if (source == nullptr || !source->damaged()) return std::nullopt;
  return GateRefusal{GateReason::kStateUnusable, source->what()};
}

// Writes what is not on disk yet. What cannot be written is no loss now, and a full link later.
void LinkSession::Impl::Persist() {
  if (store == nullptr || memory == nullptr || saved_generation == generation || CheckWhole()) return;
  DropPrepared();  // it is of the memory as it was
  tried.clear();
  absl::StatusOr<std::string> image = store->Record();
  if (!image.ok()) return;
  const std::string folder = store->folder();
  const SessionFacts facts{generation, output, *std::move(image), folder};
  absl::Status status = SaveState(facts, memory.get(), store);
  // What others need can wait: this takes as long as reading all inputs, the first time.
  const auto stop = [&] { return store->Interrupted(); };
  if (status.ok() && !folder.empty()) {
    const size_t identified = IdentifyInputs(*last_files, stop, memory.get());
    if (stop()) return;
    if (identified != 0) status = SaveState(facts, memory.get(), store);
  }
  if (status.ok()) saved_generation = generation;
}

// Makes the last full link hot.
void LinkSession::Impl::CaptureLink() {
  if (!pending) return;
  Pending last = *std::move(pending);
  pending.reset();
  if (absl::Status status = sink->CheckPatchable(); !status.ok()) {
    why_cold = {GateReason::kNotIncrementalOutput, std::string(status.message())};
    return;
  }
  absl::StatusOr<std::unique_ptr<Memory>> captured =
      CaptureMemory(*options, &last.link, last.written, last.started_ns, *last.files, Reader());
  if (captured.ok()) {
    memory = *std::move(captured);
    bytes_held = memory->bytes_held();
    memory->idle_at_first = IdleBytes(*memory);
  } else {
    why_cold = {GateReason::kPriorLinkFailed, std::string(captured.status().message())};
  }
}

LinkSession::LinkSession(ImageSink* sink, InputWatch* watch, StateStore* store)
    : impl_(std::make_unique<Impl>(sink, watch, store)) {}
LinkSession::~LinkSession() = default;

absl::StatusOr<LinkReport> LinkSession::Link(const LinkRequest& request, FileSource& files, Diagnostics& diagnostics) {
  return impl_->Link(request, files, diagnostics);
}

absl::StatusOr<LinkReport> LinkSession::Relink(std::optional<std::vector<ChangedInput>> changed, FileSource& files,
                                               Diagnostics& diagnostics) {
  if (!impl_->options) return absl::FailedPreconditionError("nothing was linked to this output yet");
  LinkRequest request;
  request.options = *impl_->options;
  request.output = impl_->output;
  request.changed = std::move(changed);
  return impl_->Link(request, files, diagnostics);
}

void LinkSession::MoveTo(std::string output) { impl_->output = std::move(output); }

void LinkSession::Distrust(std::string detail) {
  impl_->pending.reset();
  impl_->Forget({GateReason::kShadowMismatch, std::move(detail)});
  // Nor is the next process to believe it.
  if (impl_->store != nullptr) impl_->store->Forget();
}

void LinkSession::Confirm(uint64_t of_generation) {
  if (impl_->generation != of_generation || impl_->fragmented.empty()) return;
  impl_->renewal.emplace(GateReason::kFragmented, impl_->fragmented);
}

bool LinkSession::Prepare(FileSource& files) { return impl_->Prepare(files); }

void LinkSession::Settle() {
  impl_->CaptureLink();
  impl_->fragmented = impl_->memory == nullptr ? "" : WhyFragmented(*impl_->memory);
  if (impl_->memory != nullptr && impl_->last_files != nullptr) impl_->watched.Start(*impl_->memory, *impl_->last_files);
  impl_->sink->Settle();
}

void LinkSession::Keep() { impl_->Persist(); }

SessionStatus LinkSession::Status() const {
  SessionStatus status;
  status.generation = impl_->generation;
  status.hot = impl_->memory != nullptr || impl_->pending.has_value();
  status.fragmented = impl_->fragmented;
  status.renewal = impl_->renewal.has_value();
  if (impl_->memory != nullptr) {
    status.units = impl_->memory->units.size();
    status.atoms = impl_->memory->atom_count;
    status.symbols = impl_->memory->symbols.size();
    status.bytes_held = impl_->bytes_held + (impl_->prepared != nullptr ? impl_->prepared->changed.bytes_read : 0);
    status.input_bytes = impl_->input_bytes;
  }
  return status;
}

std::vector<std::string> LinkSession::InputPaths() const { return impl_->inputs; }

const LinkOptions* LinkSession::options() const { return impl_->options ? &**impl_->options : nullptr; }

}  // namespace kitlink
