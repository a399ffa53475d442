#include "core/session/referrers.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "core/input/archive.h"
#include "core/input/inputs.h"

namespace kitlink {
namespace {

class ReferrerReader {
 public:
  ReferrerReader(const Memory& memory, FileSource& files, const ChangedUnits& changed)
      : memory_(memory), files_(files), changed_(changed) {}

  bool Read(uint32_t f, const std::vector<UnitId>& units) {
    const FileMemory& file = memory_.files[f];
    absl::StatusOr<std::shared_ptr<InputBytes>> bytes = files_.Open(file.path);
    if (!bytes.ok() || !Expected(f, (*bytes)->stamp())) return false;
    result_.bytes.push_back(*bytes);
    result_.stamps.push_back({f, (*bytes)->stamp()});
    result_.bytes_read += (*bytes)->bytes().size();
    return file.role == OpenedFile::Role::kArchive ? ReadMembers(file, *bytes, units) : ReadPlain(file, *bytes, units);
  }

  ChangedUnits Take() { return std::move(result_); }

 private:
  // A member is known by its content, whatever became of others.
  bool Expected(uint32_t f, const FileStamp& stamp) const {
    if (stamp == memory_.files[f].stamp) return true;
    return memory_.files[f].role == OpenedFile::Role::kArchive &&
           std::any_of(changed_.stamps.begin(), changed_.stamps.end(), [&](const auto& read) { return read.first == f && read.second == stamp; });
  }

  bool ReadPlain(const FileMemory& file, const std::shared_ptr<InputBytes>& bytes, const std::vector<UnitId>& units) {
    absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadObject(file.path, "", bytes, bytes->bytes());
    if (!object.ok() || units.size() != 1 || file.units.size() != 1) return false;
    result_.units.push_back({units[0], *std::move(object)});
    return true;
  }

  bool ReadMembers(const FileMemory& file, const std::shared_ptr<InputBytes>& bytes, const std::vector<UnitId>& units) {
    std::vector<OpenedFile> opened;
    absl::StatusOr<std::unique_ptr<Archive>> archive = ReadArchive(file.path, bytes, files_, opened);
    if (!archive.ok() || (*archive)->thin) return false;
    for (UnitId id : units) {
      const UnitMemory& unit = memory_.units[id.value];
      uint32_t ordinal = 0;
      const ArchiveMember* found = nullptr;
      for (const ArchiveMember& member : (*archive)->members) {
        if (member.name == unit.member && ordinal++ == unit.ordinal) found = &member;
      }
      if (found == nullptr || DigestQuickly(found->bytes) != unit.content) return false;
      absl::StatusOr<std::unique_ptr<ObjectFile>> object = ReadArchiveMember(**archive, *found);
      if (!object.ok()) return false;
      result_.units.push_back({id, *std::move(object)});
    }
    return true;
  }

  const Memory& memory_;
  FileSource& files_;
  const ChangedUnits& changed_;
  ChangedUnits result_;
};

}  // namespace

std::optional<ChangedUnits> ReadUnits(const Memory& memory, const absl::btree_set<UnitId>& units, size_t most,
                                      FileSource& files, const ChangedUnits& changed) {
  if (units.size() > most) return std::nullopt;
  absl::btree_map<uint32_t, std::vector<UnitId>> by_file;
  for (UnitId id : units) {
    const UnitMemory& unit = memory.units[id.value];
    if (!unit.captured || unit.file >= memory.files.size()) return std::nullopt;
    by_file[unit.file].push_back(id);
  }
  ReferrerReader reader(memory, files, changed);
  for (const auto& [file, list] : by_file) {
    if (!reader.Read(file, list)) return std::nullopt;
  }
  return reader.Take();
}

std::optional<ChangedUnits> ReadReferrers(const Memory& memory, const std::vector<SymbolId>& symbols,
                                          const absl::flat_hash_set<UnitId>& known, size_t most, FileSource& files,
                                          const ChangedUnits& changed, const std::vector<UnitId>& units) {
  absl::btree_set<UnitId> wanted;
  for (UnitId unit : units) {
    if (!known.contains(unit)) wanted.insert(unit);
  }
  for (SymbolId symbol : symbols) {
    for (UnitId unit : memory.users.Of(symbol)) {
      if (!known.contains(unit) && memory.units[unit.value].Find(symbol) != nullptr) wanted.insert(unit);
      if (wanted.size() > most) return std::nullopt;
    }
  }
  return ReadUnits(memory, wanted, most, files, changed);
}

}  // namespace kitlink
