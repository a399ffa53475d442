#include "core/session/detect.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/input/archive.h"
#include "core/input/read_library.h"

namespace kitlink {
namespace {

GateRefusal Refuse(GateReason reason, absl::string_view detail) { return {reason, std::string(detail)}; }

std::optional<GateRefusal> RefuseByRole(const FileMemory& file) {
  switch (file.role) {
    case OpenedFile::Role::kShared: return Refuse(GateReason::kSharedLibraryChanged, file.path);
    case OpenedFile::Role::kScript: return Refuse(GateReason::kScriptChanged, file.path);
    case OpenedFile::Role::kOther: return Refuse(GateReason::kOptionsChanged, file.path);
    default: return std::nullopt;
  }
}

// The stamp of a library or script whose content is what it was; nothing when it is not, or that cannot be told.
std::optional<FileStamp> StampIfSame(const FileMemory& file, FileSource& files) {
  if (!file.content.known()) return std::nullopt;
  const absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files.Open(file.path);
  if (!bytes.ok() || HashContent((*bytes)->bytes()) != file.content || (*bytes)->torn()) return std::nullopt;
  return (*bytes)->stamp();
}

// The file that a client means: by its path, else by what the path leads to.
std::optional<uint32_t> FindNamed(const Memory& memory, const std::string& path, FileSource& files) {
  if (auto it = memory.file_of.find(path); it != memory.file_of.end()) return it->second;
  const absl::StatusOr<FileStamp> wanted = files.Stat(path);
  if (!wanted.ok()) return std::nullopt;
  for (uint32_t f = 0; f < memory.files.size(); ++f) {
    if (memory.files[f].gone) continue;
    const absl::StatusOr<FileStamp> stamp = files.Stat(memory.files[f].path);
    if (stamp.ok() && stamp->device == wanted->device && stamp->inode == wanted->inode) return f;
  }
  return std::nullopt;
}

class ChangeReader {
 public:
  ChangeReader(const Memory& memory, const Changes& changes, const LinkRequest& request, FileSource& files)
      : memory_(memory), changes_(changes), request_(request), files_(files) {}

  absl::StatusOr<std::variant<ChangedUnits, GateRefusal>> Run() {
    for (uint32_t f : changes_.files) {
      const std::string& path = changes_.PathOf(memory_, f);
      absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files_.Open(path);
      if (!bytes.ok()) return {Refuse(GateReason::kUnreadableInput, bytes.status().message())};
      result_.bytes.push_back(*bytes);
      result_.bytes_read += (*bytes)->bytes().size();
      result_.stamps.push_back({f, (*bytes)->stamp()});
      if (absl::Status status = CheckContent(f, path, **bytes); !status.ok()) return status;
      if (std::optional<GateRefusal> refusal = ReadFile(f, path, *bytes)) return {*std::move(refusal)};
    }
    return {std::move(result_)};
  }

 private:
  absl::Status CheckContent(uint32_t f, const std::string& path, const InputBytes& bytes) {
    if (!request_.changed) return absl::OkStatus();
    for (const ChangedInput& input : *request_.changed) {
      if (!input.content.known() || FindNamed(memory_, input.path, files_) != f) continue;
      if (HashContent(bytes.bytes()) != input.content) {
        return absl::InvalidArgumentError(absl::StrCat(path, ": its content is not what the client says it is"));
      }
    }
    return absl::OkStatus();
  }

  std::optional<GateRefusal> ReadFile(uint32_t f, const std::string& path, const std::shared_ptr<InputBytes>& bytes) {
    switch (memory_.files[f].role) {
      case OpenedFile::Role::kArchive: return ReadArchiveUnits(f, bytes);
      case OpenedFile::Role::kShared: return ReadRebuilt(f, path, bytes);
      default: return ReadPlain(f, path, bytes);
    }
  }

  std::optional<GateRefusal> ReadRebuilt(uint32_t f, const std::string& path, const std::shared_ptr<InputBytes>& bytes) {
    const auto known = std::find_if(memory_.libraries.begin(), memory_.libraries.end(),
                                    [&](const LibraryMemory& library) { return library.file == f; });
    if (known == memory_.libraries.end()) return Refuse(GateReason::kSharedLibraryChanged, path);
    ChangedUnits::Rebuilt rebuilt;
    rebuilt.file = f;
    rebuilt.content = HashContent(bytes->bytes());
    absl::StatusOr<std::unique_ptr<SharedFile>> library = ReadLibrary(path, known->soname, bytes);
    if (!library.ok()) return Refuse(GateReason::kUnreadableInput, library.status().message());
    rebuilt.library = *std::move(library);
    result_.libraries.push_back(std::move(rebuilt));
    return std::nullopt;
  }

  std::optional<GateRefusal> ReadPlain(uint32_t f, const std::string& path, const std::shared_ptr<InputBytes>& bytes) {
    const FileMemory& file = memory_.files[f];
    if (bytes->copied()) {
      result_.digests.push_back({f, DigestQuickly(bytes->bytes())});
      const bool same = file.young.known() && bytes->stamp() == file.stamp && result_.digests.back().second == file.young;
      if (same && !Moved(f)) return std::nullopt;
    }
    absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadObject(path, "", bytes, bytes->bytes());
    if (!object.ok()) return Refuse(GateReason::kUnreadableInput, object.status().message());
    if (file.units.empty() && OffersTheSame(f, **object)) return std::nullopt;
    if (file.units.size() != 1) return Refuse(GateReason::kInputListChanged, path);
    for (const MovedArgument& moved : changes_.list.moved) {
      if (moved.file == f) result_.moved.push_back({file.units[0], {moved.rank, 0}});
    }
    result_.units.push_back({file.units[0], *std::move(object)});
    return std::nullopt;
  }

  bool Moved(uint32_t f) const {
    const std::vector<MovedArgument>& moved = changes_.list.moved;
    return std::any_of(moved.begin(), moved.end(), [&](const MovedArgument& m) { return m.file == f; });
  }

  // True of an object between --start-lib and --end-lib that nobody needs, as long as it defines nothing new.
  bool OffersTheSame(uint32_t f, const ObjectFile& object) const {
    for (size_t s = object.first_global; s < object.symbols.size(); ++s) {
      const InputSymbol& symbol = object.symbols[s];
      if (!symbol.defined() || symbol.common()) continue;
      const auto offer = memory_.offers.find(memory_.names.Find(OfferedName(symbol.name)));
      if (offer == memory_.offers.end() || (offer->second.file != f && !offer->second.several)) return false;
    }
    return request_.options->gate == GatePolicy::kExact;
  }

  std::optional<GateRefusal> ReadArchiveUnits(uint32_t f, const std::shared_ptr<InputBytes>& bytes) {
    const FileMemory& file = memory_.files[f];
    std::vector<OpenedFile> opened;
    absl::StatusOr<std::unique_ptr<Archive>> archive = ReadArchive(file.path, bytes, files_, opened);
    if (!archive.ok()) return Refuse(GateReason::kUnreadableInput, archive.status().message());
    if (!result_.NoteThinMembers(**archive, opened, memory_, /*compared=*/true) || (request_.changed && SharesChanged(f, opened))) {
      return Refuse(GateReason::kArchiveChanged, file.path);
    }
    if (MemberListDigest(**archive) != file.member_list || !result_.thin_members.empty()) {
      if (auto refusal = Relist(f, **archive)) return refusal;
    }
    absl::flat_hash_map<absl::string_view, std::vector<const ArchiveMember*>> by_name;
    for (const ArchiveMember& member : (*archive)->members) by_name[member.name].push_back(&member);
    const bool exact = request_.options->gate == GatePolicy::kExact;
    for (UnitId id : file.units) {
      const UnitMemory& unit = memory_.units[id.value];
      const auto it = by_name.find(unit.member);
      if (it == by_name.end() || unit.ordinal >= it->second.size()) {
        if (!exact) return Refuse(GateReason::kArchiveChanged, file.path);
        result_.Leave(id, memory_);
        continue;
      }
      const ArchiveMember& member = *it->second[unit.ordinal];
      const bool moves = std::any_of(result_.moved.begin(), result_.moved.end(), [&](const auto& moved) { return moved.first == id; });
      if (!moves && unit.content.known() && DigestQuickly(member.bytes) == unit.content) continue;
      absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadArchiveMember(**archive, member);
      if (!object.ok()) return Refuse(GateReason::kUnreadableInput, object.status().message());
      result_.units.push_back({id, *std::move(object)});
    }
    for (ChangedUnits::Relisted& relisted : result_.relisted) {
      if (relisted.file == f) relisted.archive = *std::move(archive);
    }
    return std::nullopt;
  }

  // Whether a file behind a member has changed, and may be one behind another archive's member that nobody looks at now.
  bool SharesChanged(uint32_t f, const std::vector<OpenedFile>& opened) const {
    const bool changed = std::any_of(opened.begin(), opened.end(), [&](const OpenedFile& file) {
      const auto known = memory_.file_of.find(file.path);
      return known != memory_.file_of.end() && memory_.files[known->second].stamp != file.stamp;
    });
    for (uint32_t other = 0; changed && other < memory_.files.size(); ++other) {
      const FileMemory& file = memory_.files[other];
      if (other == f || !file.thin || file.gone) continue;
      if (!std::binary_search(changes_.files.begin(), changes_.files.end(), other)) return true;
    }
    return false;
  }

  // Whether the command line says --whole-archive of an archive none of whose members takes part. Nothing when it is said of
  // some, and the archive is named by a script.
  std::optional<bool> SaysWhole(const std::string& path) const {
    const std::vector<InputArgument>& inputs = memory_.options->inputs;
    bool any = false, named = false, named_whole = false;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const bool whole = inputs[i].flags.whole_archive;
      any |= whole;
      if ((inputs[i].library ? memory_.library_found[i] : inputs[i].name) != path) continue;
      if (named && named_whole != whole) return std::nullopt;
      named = true;
      named_whole = whole;
    }
    if (!any) return false;
    return named ? std::optional<bool>(named_whole) : std::nullopt;
  }

  // An archive with other members than before, in another order, or that define other names. Where members that take part
  // pass each other, they have moved. Of members with one name (CMake keeps but the file's name) the first is taken for what
  // the first was, and so on: whichever it is, what is in it is compared.
  std::optional<GateRefusal> Relist(uint32_t f, const Archive& archive) {
    const FileMemory& file = memory_.files[f];
    const std::optional<bool> whole = file.units.empty() ? SaysWhole(file.path) : !memory_.units[file.units[0].value].lazy;
    if (request_.options->gate != GatePolicy::kExact || file.thin != archive.thin || !whole) {
      return Refuse(GateReason::kArchiveChanged, file.path);
    }
    ChangedUnits::Relisted relisted;
    relisted.file = f;
    relisted.member_list = MemberListDigest(archive);
    relisted.members = MembersOf(archive);
    absl::flat_hash_map<uint64_t, uint32_t> seen;
    absl::flat_hash_map<std::pair<uint64_t, uint32_t>, size_t> before;  // by name, and how many had it: place in the old list
    for (size_t m = 0; m < file.members.size(); ++m) before.emplace(std::make_pair(file.members[m].name, seen[file.members[m].name]++), m);
    absl::flat_hash_map<std::pair<absl::string_view, uint32_t>, UnitId> taking_part;
    // Whole, and named more than once: it may stand where it is named last, or take part twice.
    bool ambiguous = *whole && file.rank == UnitRank().input;
    for (UnitId unit : file.units) {
      const UnitMemory& known = memory_.units[unit.value];
      const bool once = taking_part.emplace(std::make_pair(absl::string_view(known.member), known.ordinal), unit).second;
      ambiguous |= *whole && (!once || known.rank.input != file.rank);
    }
    if (ambiguous) return Refuse(GateReason::kArchiveChanged, file.path);
    seen.clear();
    size_t next = 0;
    for (uint32_t m = 0; m < archive.members.size(); ++m) {
      const MemberMemory& member = relisted.members[m];
      const uint32_t ordinal = seen[member.name]++;
      const auto old = before.find(std::make_pair(member.name, ordinal));
      if (old != before.end() && old->second < next) relisted.reordered = true;
      if (old != before.end()) next = old->second + 1;
      const auto unit = taking_part.find(std::make_pair(absl::string_view(archive.members[m].name), ordinal));
      if (unit != taking_part.end()) {
        relisted.places.push_back({unit->second, m});
        continue;
      }
      if (*whole) {
        relisted.joining.push_back({m, ordinal});
        continue;
      }
      if (old != before.end() && file.members[old->second].offer == member.offer) continue;
      for (absl::string_view name : archive.members[m].defines) relisted.names.emplace_back(OfferedName(name));
    }
    for (size_t i = 0; i + 1 < relisted.places.size(); ++i) {
      if (memory_.Before(relisted.places[i].first, relisted.places[i + 1].first)) continue;
      for (const auto& [unit, place] : relisted.places) result_.moved.push_back({unit, {memory_.RankOf(unit).input, place}});
      break;
    }
    result_.relisted.push_back(std::move(relisted));
    return std::nullopt;
  }

  const Memory& memory_;
  const Changes& changes_;
  const LinkRequest& request_;
  FileSource& files_;
  ChangedUnits result_;
};

}  // namespace

void ChangedUnits::Append(ChangedUnits more) {
  const auto append = [](auto* to, auto& from) {
    to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  append(&units, more.units);
  append(&stamps, more.stamps);
  append(&digests, more.digests);
  append(&bytes, more.bytes);
  append(&relisted, more.relisted);
  append(&moved, more.moved);
  append(&archives, more.archives);
  append(&libraries, more.libraries);
  append(&thin_members, more.thin_members);
  bytes_read += more.bytes_read;
}

bool ChangedUnits::NoteThinMembers(const Archive& archive, const std::vector<OpenedFile>& opened, const Memory& memory, bool compared) {
  if (!archive.thin) return true;
  absl::flat_hash_map<uint32_t, FileStamp> looked_at;
  if (!compared) looked_at.insert(stamps.begin(), stamps.end());
  for (const ArchiveMember& member : archive.members) {
    bytes.push_back(member.file);
    bytes_read += member.bytes.size();
  }
  for (const OpenedFile& file : opened) {
    const auto known = memory.file_of.find(file.path);
    if (known == memory.file_of.end()) {
      thin_members.push_back(file);
      continue;
    }
    const FileMemory& was = memory.files[known->second];
    if (was.role != OpenedFile::Role::kThinMember) return false;
    const auto read = looked_at.find(known->second);
    const bool same = read != looked_at.end() ? read->second == file.stamp : was.settled && was.stamp == file.stamp;
    if (!compared && !same) return false;
    if (read == looked_at.end()) stamps.push_back({known->second, file.stamp});
  }
  return true;
}

void ChangedUnits::Leave(UnitId unit, const Memory& memory) {
  if (!leaving.insert(unit).second) return;
  const UnitMemory& was = memory.units[unit.value];
  auto nothing = std::make_unique<ObjectFile>();
  if (was.file < memory.files.size()) nothing->path = memory.files[was.file].path;
  nothing->member = was.member;
  nothing->sections.resize(1);
  nothing->symbols.resize(1);
  nothing->first_global = 1;
  for (auto& [known, object] : units) {
    if (known != unit) continue;
    replaced.push_back(std::exchange(object, std::move(nothing)));
    return;
  }
  units.push_back({unit, std::move(nothing)});
}

void ChangedUnits::Drop(UnitId unit, const Memory& memory) {
  for (const GlobalMemory& global : memory.units[unit.value].globals) {
    if (global.role != GlobalMemory::kUndefined && global.symbol.valid()) dropped.push_back({unit, global.symbol});
  }
  Leave(unit, memory);
}

const std::string& Changes::PathOf(const Memory& memory, uint32_t file) const {
  for (const Renamed& entry : list.renamed) {
    if (entry.file == file) return entry.path;
  }
  return memory.files[file].path;
}

absl::StatusOr<std::variant<Changes, GateRefusal>> DetectChanges(const Memory& memory, const LinkRequest& request,
                                                                 const std::optional<std::vector<uint32_t>>& suspects,
                                                                 LibrarySearch* libraries, FileSource& files) {
  Changes changes;
  if (!memory.options.Is(request.options)) {
    auto compared = CompareInputLists(memory, request.options->inputs);
    if (auto* refusal = std::get_if<GateRefusal>(&compared)) return {std::move(*refusal)};
    changes.list = std::get<InputListChange>(std::move(compared));
    if (!changes.list.same_places() && request.options->gate != GatePolicy::kExact) {
      return {Refuse(GateReason::kInputListChanged, "an input came, went or moved")};
    }
  }
  absl::flat_hash_set<uint32_t> gone(changes.list.removed.begin(), changes.list.removed.end());
  if (request.changed) {
    for (const ChangedInput& input : *request.changed) {
      const std::optional<uint32_t> file = FindNamed(memory, input.path, files);
      if (!file) return absl::InvalidArgumentError(absl::StrCat(input.path, " is not an input of this output"));
      changes.files.push_back(*file);
    }
  } else {
    if (auto refusal = libraries->Compare(memory, changes.list, request.options, files)) return {*std::move(refusal)};
    const size_t count = suspects ? suspects->size() : memory.files.size();
    for (size_t i = 0; i < count; ++i) {
      const uint32_t f = suspects ? (*suspects)[i] : static_cast<uint32_t>(i);
      const FileMemory& file = memory.files[f];
      if (file.gone || gone.contains(f)) continue;
      const absl::StatusOr<FileStamp> stamp = files.Stat(changes.PathOf(memory, f));
      if (absl::IsNotFound(stamp.status()) && file.role == OpenedFile::Role::kThinMember) {
        changes.vanished.push_back(f);
        changes.files.push_back(f);
        continue;
      }
      if (!stamp.ok()) return {Refuse(GateReason::kUnreadableInput, stamp.status().message())};
      if (*stamp != file.stamp || !file.settled || request.distrust_stamps) changes.files.push_back(f);
    }
  }
  for (const Renamed& entry : changes.list.renamed) changes.files.push_back(entry.file);
  for (const MovedArgument& moved : changes.list.moved) changes.files.push_back(moved.file);
  // A member of a thin archive is read through its archive.
  bool thin = false;
  for (uint32_t f : changes.files) thin |= memory.files[f].role == OpenedFile::Role::kThinMember;
  if (thin) {
    for (uint32_t f = 0; f < memory.files.size(); ++f) {
      if (memory.files[f].thin && !memory.files[f].gone && !gone.contains(f)) changes.files.push_back(f);
    }
    std::erase_if(changes.files, [&](uint32_t f) { return memory.files[f].role == OpenedFile::Role::kThinMember; });
  }
  std::sort(changes.files.begin(), changes.files.end());
  changes.files.erase(std::unique(changes.files.begin(), changes.files.end()), changes.files.end());
  std::vector<uint32_t> rebuilt;
  for (uint32_t f : changes.files) {
    std::optional<GateRefusal> refusal = RefuseByRole(memory.files[f]);
    if (!refusal) continue;
    const std::optional<FileStamp> stamp = StampIfSame(memory.files[f], files);
    if (stamp) {
      changes.same.push_back({f, *stamp});
    } else if (refusal->reason == GateReason::kSharedLibraryChanged && request.options->gate == GatePolicy::kExact) {
      rebuilt.push_back(f);
    } else {
      return {*std::move(refusal)};
    }
  }
  std::erase_if(changes.files, [&](uint32_t f) {
    return RefuseByRole(memory.files[f]).has_value() && !std::binary_search(rebuilt.begin(), rebuilt.end(), f);
  });
  return {std::move(changes)};
}

std::optional<GateRefusal> CheckUnchanged(const ChangedUnits& read, const Changes& changes, const Memory& memory,
                                          FileSource& files) {
  for (const std::shared_ptr<InputBytes>& bytes : read.bytes) {
    if (bytes->torn()) return Refuse(GateReason::kUnreadableInput, "an input was cut short while it was read");
  }
  for (uint32_t file : changes.vanished) {
    const std::string& path = memory.files[file].path;
    if (files.Stat(path).ok()) return Refuse(GateReason::kUnreadableInput, absl::StrCat(path, " is still changing"));
  }
  for (const auto& [file, stamp] : read.stamps) {
    const std::string& path = changes.PathOf(memory, file);
    const absl::StatusOr<FileStamp> now = files.Stat(path);
    if (!now.ok() || *now != stamp) return Refuse(GateReason::kUnreadableInput, absl::StrCat(path, " is still changing"));
  }
  return std::nullopt;
}

void AdoptFiles(const Changes& changes, const ChangedUnits& read, int64_t started_ns, Memory* memory) {
  for (const Renamed& entry : changes.list.renamed) {
    FileMemory& file = memory->files[entry.file];
    memory->file_of.erase(file.path);
    file.path = entry.path;
    memory->file_of[file.path] = entry.file;
  }
  for (const ChangedUnits::Relisted& relisted : read.relisted) {
    memory->files[relisted.file].member_list = relisted.member_list;
    memory->files[relisted.file].members = relisted.members;
  }
  for (const ChangedUnits::Rebuilt& rebuilt : read.libraries) memory->files[rebuilt.file].content = rebuilt.content;
  for (const auto* list : {&read.stamps, &changes.same}) {
    for (const auto& [f, stamp] : *list) {
      // Reading a thin archive looks at all of its members' files.
      const bool same = std::as_const(memory->files)[f].stamp == stamp && std::as_const(memory->files)[f].settled;
      memory->files[f].stamp = stamp;
      memory->files[f].settled = OldEnough(stamp, started_ns);
      memory->files[f].young = {};
      if (list == &read.stamps && !same) memory->files[f].identity = ContentId();
    }
  }
  for (const auto& [f, digest] : read.digests) memory->files[f].young = digest;
  for (uint32_t f : changes.vanished) {
    memory->file_of.erase(memory->files[f].path);
    memory->files[f].gone = true;
  }
}

absl::StatusOr<std::variant<ChangedUnits, GateRefusal>> ReadChanges(const Memory& memory, const Changes& changes,
                                                                    const LinkRequest& request, FileSource& files) {
  return ChangeReader(memory, changes, request, files).Run();
}

}  // namespace kitlink
