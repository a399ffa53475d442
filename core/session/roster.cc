#include "core/session/roster.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/input/archive.h"
#include "core/input/file_type.h"
#include "core/session/name_changes.h"

namespace kitlink {
namespace {

GateRefusal Refuse(GateReason reason, absl::string_view what) { return {reason, std::string(what)}; }

// A unit that takes no part as yet.
UnitId NewUnit(uint32_t file, UnitRank rank, bool lazy, Memory* memory) {
  UnitMemory unit;
  unit.file = file;
  unit.rank = rank;
  unit.lazy = lazy;
  unit.captured = unit.gone = true;
  memory->units.push_back(std::move(unit));
  return UnitId(static_cast<uint32_t>(memory->units.size() - 1));
}

class RosterReader {
 public:
  RosterReader(FileSource& files, Memory* memory, ChangedUnits* changed) : files_(files), memory_(*memory), changed_(*changed) {}

  std::optional<GateRefusal> Come(const InputArgument& argument, uint64_t rank, RosterChange* undo) {
    absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files_.Open(argument.name);
    if (!bytes.ok()) return Refuse(GateReason::kUnreadableInput, bytes.status().message());
    changed_.bytes.push_back(*bytes);
    changed_.bytes_read += (*bytes)->bytes().size();
    FileMemory file;
    file.path = argument.name;
    file.stamp = (*bytes)->stamp();
    file.rank = rank;
    switch (DetectFileType((*bytes)->bytes())) {
      case FileType::kElfObject:
        if (argument.flags.lazy) return Refuse(GateReason::kInputListChanged, argument.name);
        return ComeObject(*bytes, std::move(file), undo);
      case FileType::kArchive:
        if (argument.flags.whole_archive) return Refuse(GateReason::kInputListChanged, argument.name);
        return ComeArchive(*bytes, std::move(file), undo);
      default:
        return Refuse(GateReason::kInputListChanged, argument.name);
    }
  }

  // Files that thin archives name and that nobody has heard of yet are inputs from now on.
  std::optional<GateRefusal> ComeThinMembers(RosterChange* undo) {
    absl::flat_hash_set<std::string> seen;
    for (uint32_t f : changed_.new_files) seen.insert(memory_.files[f].path);
    for (const OpenedFile& opened : changed_.thin_members) {
      if (seen.contains(opened.path)) return Refuse(GateReason::kInputListChanged, opened.path);
    }
    for (const OpenedFile& opened : std::exchange(changed_.thin_members, {})) {
      if (!seen.insert(opened.path).second) continue;
      FileMemory file;
      file.path = opened.path;
      file.stamp = opened.stamp;
      file.role = opened.role;
      AddFile(std::move(file), undo);
    }
    return std::nullopt;
  }

  // Members that are new in an archive of which all take part.
  std::optional<GateRefusal> JoinAll(ChangedUnits::Relisted* relisted) {
    for (const auto& [m, ordinal] : relisted->joining) {
      UnitId unit;
      if (auto refusal = Join(*relisted->archive, relisted->file, m, ordinal, /*lazy=*/false, &unit)) return refusal;
      relisted->places.push_back({unit, m});
    }
    return std::nullopt;
  }

  std::optional<GateRefusal> Pull(SymbolId name) {
    const MemberOffer offer = memory_.offers.at(name);
    const FileMemory& file = memory_.files[offer.file];
    const std::vector<uint32_t>& leaving = changed_.leaving_files;
    if (file.gone || std::find(leaving.begin(), leaving.end(), offer.file) != leaving.end()) {
      return Refuse(GateReason::kArchiveChanged, memory_.names.Name(name));
    }
    return file.role == OpenedFile::Role::kArchive ? PullMember(name, offer, file) : PullObject(name, offer, file);
  }

 private:
  std::optional<GateRefusal> ComeObject(const std::shared_ptr<InputBytes>& bytes, FileMemory file, RosterChange* undo) {
    absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadObject(file.path, "", bytes, bytes->bytes());
    if (!object.ok()) return Refuse(GateReason::kUnreadableInput, object.status().message());
    file.role = OpenedFile::Role::kObject;
    const UnitRank rank{file.rank, 0};
    const uint32_t index = AddFile(std::move(file), undo);
    const UnitId unit = NewUnit(index, rank, false, &memory_);
    changed_.joining.push_back({index, unit});
    changed_.units.push_back({unit, *std::move(object)});
    return std::nullopt;
  }

  // Nobody has looked into it yet: it is as if all its names were offered newly.
  std::optional<GateRefusal> ComeArchive(const std::shared_ptr<InputBytes>& bytes, FileMemory file, RosterChange* undo) {
    const bool known = std::any_of(memory_.files.begin(), memory_.files.end(), [&](const FileMemory& other) {
      return !other.gone && other.role == OpenedFile::Role::kArchive && other.stamp.device == file.stamp.device &&
             other.stamp.inode == file.stamp.inode;
    });
    if (known) return Refuse(GateReason::kInputListChanged, file.path);  // under another name: one archive to the link
    std::vector<OpenedFile> opened;
    absl::StatusOr<std::unique_ptr<Archive>> archive = ReadArchive(file.path, bytes, files_, opened);
    if (!archive.ok()) return Refuse(GateReason::kUnreadableInput, archive.status().message());
    if (!changed_.NoteThinMembers(**archive, opened, memory_, /*compared=*/false)) return Refuse(GateReason::kInputListChanged, file.path);
    file.role = OpenedFile::Role::kArchive;
    file.thin = (*archive)->thin;
    ChangedUnits::Relisted relisted;
    relisted.member_list = MemberListDigest(**archive);
    relisted.members = MembersOf(**archive);
    relisted.file = AddFile(std::move(file), undo);
    for (const ArchiveMember& member : (*archive)->members) {
      for (absl::string_view name : member.defines) relisted.names.emplace_back(OfferedName(name));
    }
    relisted.archive = *std::move(archive);
    changed_.relisted.push_back(std::move(relisted));
    return std::nullopt;
  }

  // Whether a unit that was read defines a name.
  bool Defines(UnitId unit, absl::string_view name) const {
    for (const auto& [known, object] : changed_.units) {
      if (known != unit) continue;
      return std::any_of(object->symbols.begin() + object->first_global, object->symbols.end(), [&](const InputSymbol& symbol) {
        return symbol.defined() && OfferedName(symbol.name) == name;
      });
    }
    return false;
  }

  // `ordinal`: how many members before it have its name.
  std::optional<GateRefusal> Join(const Archive& archive, uint32_t file, uint32_t m, uint32_t ordinal, bool lazy, UnitId* unit) {
    const ArchiveMember& member = archive.members[m];
    absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadArchiveMember(archive, member);
    if (!object.ok()) return Refuse(GateReason::kUnreadableInput, object.status().message());
    *unit = NewUnit(file, {memory_.files[file].rank, m}, lazy, &memory_);
    UnitMemory& memory = memory_.units[unit->value];
    memory.member = member.name;
    memory.ordinal = ordinal;
    memory.content = DigestQuickly(member.bytes);
    changed_.joining.push_back({file, *unit});
    changed_.units.push_back({*unit, *std::move(object)});
    return std::nullopt;
  }

  uint32_t AddFile(FileMemory file, RosterChange* undo) {
    const FileStamp stamp = file.stamp;
    const uint32_t index = undo->AddFile(std::move(file));
    changed_.new_files.push_back(index);
    changed_.stamps.push_back({index, stamp});
    return index;
  }

  std::optional<GateRefusal> PullObject(SymbolId name, const MemberOffer& offer, const FileMemory& file) {
    for (const auto& [joined, unit] : changed_.joining) {
      if (joined == offer.file) return std::nullopt;
    }
    if (!file.units.empty()) return Refuse(GateReason::kUndefinedSetChanged, file.path);
    absl::StatusOr<std::shared_ptr<InputBytes>> bytes = Open(offer.file, file);
    if (!bytes.ok()) return Refuse(GateReason::kUnreadableInput, bytes.status().message());
    absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadObject(file.path, "", *bytes, (*bytes)->bytes());
    if (!object.ok()) return Refuse(GateReason::kUnreadableInput, object.status().message());
    const absl::string_view wanted = memory_.names.Name(name);
    const std::vector<InputSymbol>& symbols = (*object)->symbols;
    if (std::none_of(symbols.begin() + (*object)->first_global, symbols.end(), [&](const InputSymbol& symbol) {
          return symbol.defined() && OfferedName(symbol.name) == wanted;
        })) {
      return Refuse(GateReason::kArchiveChanged, absl::StrCat(file.path, " does not define ", wanted, " any more"));
    }
    const UnitId unit = NewUnit(offer.file, {file.rank, 0}, true, &memory_);
    changed_.joining.push_back({offer.file, unit});
    changed_.units.push_back({unit, *std::move(object)});
    return std::nullopt;
  }

  std::optional<GateRefusal> PullMember(SymbolId name, const MemberOffer& offer, const FileMemory& file) {
    const Archive* archive = nullptr;
    for (const ChangedUnits::Relisted& relisted : changed_.relisted) {
      if (relisted.file == offer.file) archive = relisted.archive.get();
    }
    for (const std::unique_ptr<Archive>& read : changed_.archives) {
      if (read->path == file.path) archive = read.get();
    }
    if (archive == nullptr) {
      absl::StatusOr<std::shared_ptr<InputBytes>> bytes = Open(offer.file, file);
      if (!bytes.ok()) return Refuse(GateReason::kArchiveChanged, bytes.status().message());
      std::vector<OpenedFile> opened;
      absl::StatusOr<std::unique_ptr<Archive>> read = ReadArchive(file.path, *bytes, files_, opened);
      if (!read.ok()) return Refuse(GateReason::kUnreadableInput, read.status().message());
      if (!changed_.NoteThinMembers(**read, opened, memory_, /*compared=*/false) || !changed_.thin_members.empty()) {
        return Refuse(GateReason::kArchiveChanged, file.path);
      }
      changed_.archives.push_back(*std::move(read));
      archive = changed_.archives.back().get();
      if (MemberListDigest(*archive) != file.member_list) return Refuse(GateReason::kArchiveChanged, file.path);
    }
    if (offer.member >= archive->members.size()) return Refuse(GateReason::kArchiveChanged, file.path);
    const ArchiveMember& member = archive->members[offer.member];
    const absl::string_view wanted = memory_.names.Name(name);
    if (std::none_of(member.defines.begin(), member.defines.end(), [&](absl::string_view n) { return OfferedName(n) == wanted; })) {
      return Refuse(GateReason::kArchiveChanged, absl::StrCat(file.path, " does not define ", wanted, " any more"));
    }
    for (const auto& [joined, unit] : changed_.joining) {
      if (joined != offer.file || memory_.RankOf(unit).member != offer.member) continue;
      // What the index of a thin archive says need not be so any more.
      if (Defines(unit, wanted)) return std::nullopt;
      return Refuse(GateReason::kArchiveChanged, absl::StrCat(file.path, " does not define ", wanted, " any more"));
    }
    uint32_t ordinal = 0;
    for (uint32_t m = 0; m < offer.member; ++m) ordinal += archive->members[m].name == member.name;
    UnitId unit;
    return Join(*archive, offer.file, offer.member, ordinal, /*lazy=*/true, &unit);
  }

  // A file that is what it was when it was last looked at, by this relink if it did.
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(uint32_t index, const FileMemory& file) {
    absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files_.Open(file.path);
    if (!bytes.ok()) return bytes;
    const std::pair<uint32_t, FileStamp> seen(index, (*bytes)->stamp());
    const bool looked_at = std::any_of(changed_.stamps.begin(), changed_.stamps.end(), [&](const auto& read) { return read.first == index; });
    const bool same = looked_at ? std::find(changed_.stamps.begin(), changed_.stamps.end(), seen) != changed_.stamps.end()
                                : seen.second == file.stamp;
    if (!same) return absl::AbortedError(absl::StrCat(file.path, " has changed"));
    changed_.bytes.push_back(*bytes);
    changed_.stamps.push_back(seen);
    return bytes;
  }

  FileSource& files_;
  Memory& memory_;
  ChangedUnits& changed_;
};

// What the members of an archive that take no part offer now. The archive may have offered other names before; that is
// found out when somebody asks for one (PullMember).
void NoteOffers(const ChangedUnits::Relisted& relisted, const absl::flat_hash_set<UnitId>& leaving, Memory* memory) {
  absl::flat_hash_set<uint32_t> taking_part;
  for (const auto& [unit, place] : relisted.places) {
    if (!leaving.contains(unit)) taking_part.insert(place);
  }
  absl::flat_hash_set<SymbolId> renewed;
  for (uint32_t m = 0; m < relisted.archive->members.size(); ++m) {
    if (taking_part.contains(m)) continue;
    for (absl::string_view name : relisted.archive->members[m].defines) {
      const SymbolId id = memory->Intern(OfferedName(name));
      const auto it = memory->offers.find(id);
      if (it != memory->offers.end() && it->second.file == relisted.file && renewed.insert(id).second) {
        it->second.member = m;
      } else {
        renewed.insert(id);
        NoteOffer(name, relisted.file, m, memory);
      }
    }
  }
}

// In another order, another member may be the first to define a name that is needed.
std::optional<GateRefusal> CheckOrder(const ChangedUnits::Relisted& relisted, const Memory& memory) {
  absl::flat_hash_set<uint32_t> taking_part;
  for (const auto& [unit, place] : relisted.places) taking_part.insert(place);
  for (uint32_t m = 0; m < relisted.archive->members.size(); ++m) {
    if (taking_part.contains(m)) continue;
    for (absl::string_view name : relisted.archive->members[m].defines) {
      const SymbolId id = memory.names.Find(OfferedName(name));
      if (!id.valid() || id.value >= memory.symbols.size()) continue;
      const UnitId owner = memory.symbols[id.value].owner;
      if (!owner.valid() || owner.value >= memory.units.size() || !memory.units[owner.value].lazy) continue;
      return Refuse(GateReason::kArchiveChanged, absl::StrCat("members that define ", name, " changed places"));
    }
  }
  return std::nullopt;
}

}  // namespace

RosterChange::~RosterChange() {
  for (auto it = ranks_.rbegin(); it != ranks_.rend(); ++it) memory_->units[it->first.value].rank = it->second;
  for (uint32_t file : files_) memory_->files[file].gone = true;
}

void RosterChange::SetRank(UnitId unit, UnitRank rank) {
  ranks_.push_back({unit, memory_->RankOf(unit)});
  memory_->units[unit.value].rank = rank;
}

uint32_t RosterChange::AddFile(FileMemory file) {
  const uint32_t index = static_cast<uint32_t>(memory_->files.size());
  memory_->files.push_back(std::move(file));
  files_.push_back(index);
  return index;
}

void RosterChange::Keep() {
  ranks_.clear();
  files_.clear();
}

std::optional<GateRefusal> ReadRoster(const InputListChange& list, const LinkOptions& options, FileSource& files,
                                      Memory* memory, ChangedUnits* changed, RosterChange* undo) {
  RosterReader reader(files, memory, changed);
  for (const NewArgument& added : list.added) {
    if (auto refusal = reader.Come(options.inputs[added.argument], added.rank, undo)) return refusal;
  }
  changed->leaving_files = list.removed;
  if (auto refusal = reader.ComeThinMembers(undo)) return refusal;
  for (ChangedUnits::Relisted& archive : changed->relisted) {
    if (auto refusal = reader.JoinAll(&archive)) return refusal;
  }
  for (uint32_t f : list.removed) {
    for (UnitId unit : memory->files[f].units) changed->Leave(unit, *memory);
  }
  for (const auto& [unit, rank] : changed->moved) undo->SetRank(unit, rank);
  absl::flat_hash_map<UnitId, absl::flat_hash_set<absl::string_view>> defined;  // by changed units
  for (const auto& [unit, object] : changed->units) {
    if (changed->relisted.empty()) break;
    absl::flat_hash_set<absl::string_view>& names = defined[unit];
    for (size_t s = object->first_global; s < object->symbols.size(); ++s) {
      if (object->symbols[s].defined()) names.insert(OfferedName(object->symbols[s].name));
    }
  }
  const auto defines = [&](UnitId unit, absl::string_view name) {
    const auto it = defined.find(unit);
    return it == defined.end() || it->second.contains(name);
  };
  for (const ChangedUnits::Relisted& archive : changed->relisted) {
    if (auto refusal = CheckOffers(archive.names, memory, defines)) return refusal;
    if (archive.reordered) {
      if (auto refusal = CheckOrder(archive, *memory)) return refusal;
    }
    for (const auto& [unit, place] : archive.places) undo->SetRank(unit, {memory->RankOf(unit).input, place});
    NoteOffers(archive, changed->leaving, memory);
  }
  return std::nullopt;
}

std::optional<GateRefusal> PullMembers(const std::vector<SymbolId>& names, FileSource& files, Memory* memory,
                                       ChangedUnits* changed) {
  RosterReader reader(files, memory, changed);
  for (SymbolId name : names) {
    if (auto refusal = reader.Pull(name)) return refusal;
  }
  return std::nullopt;
}

void AdoptRoster(const InputListChange& list, const ChangedUnits& changed, Memory* memory) {
  for (uint32_t f : changed.new_files) memory->file_of[memory->files[f].path] = f;
  for (const auto& [file, unit] : changed.joining) {
    if (changed.leaving.contains(unit)) continue;
    memory->files[file].units.push_back(unit);
    const UnitMemory& joined = memory->units[unit.value];
    for (const GlobalMemory& global : joined.globals) {
      const auto it = global.symbol.valid() ? memory->offers.find(global.symbol) : memory->offers.end();
      if (it == memory->offers.end() || it->second.file != file || it->second.member != joined.rank.member) continue;
      if (it->second.several) continue;
      memory->symbols[global.symbol.value].lazy = false;
      memory->offers.erase(it);
    }
  }
  // any order: the order of those that stay does not hang on it.
  for (UnitId unit : changed.leaving) {
    const UnitMemory& gone = memory->units[unit.value];
    if (gone.file < memory->files.size()) std::erase(memory->files[gone.file].units, unit);
  }
  for (const auto& [unit, name] : changed.dropped) {
    const UnitMemory& gone = memory->units[unit.value];
    if (!memory->files[gone.file].gone) NoteOffer(memory->names.Name(name), gone.file, gone.rank.member, memory);
  }
  for (uint32_t f : list.removed) {
    memory->files[f].gone = true;
    memory->file_of.erase(memory->files[f].path);
    memory->files[f].units.clear();
    if (memory->files[f].rank == UnitRank().input) continue;  // it offers nothing
    // any order: each name is marked by itself.
    for (const auto& [name, offer] : memory->offers) {
      if (offer.file == f && !offer.several) memory->symbols[name.value].lazy = false;
    }
    absl::erase_if(memory->offers, [&](const auto& entry) { return entry.second.file == f && !entry.second.several; });
  }
  if (list.same_places()) return;
  PagedTable<std::string, 1024> found;
  for (uint32_t origin : list.origins) {
    found.push_back(origin == InputListChange::kNew ? std::string() : std::move(memory->library_found[origin]));
  }
  memory->library_found = std::move(found);
  memory->input_ranks = list.ranks;
}

}  // namespace kitlink
