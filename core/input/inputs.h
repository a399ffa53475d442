// The Read step: from the command line's list to parsed inputs.
#ifndef CORE_INPUT_INPUTS_H_
#define CORE_INPUT_INPUTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/base/diagnostics.h"
#include "core/base/file_source.h"
#include "core/base/unit_rank.h"
#include "core/input/model.h"
#include "core/input/options.h"

namespace kitlink {

// One member of an archive, not parsed until resolution wants it.
struct ArchiveMember {
  std::string name;
  uint64_t offset = 0;  // of the member's bytes in the archive; 0 for a thin archive
  ByteView bytes;       // of the member (for a thin archive: of the file it names)
  std::shared_ptr<InputBytes> file;
  // Global names that the member defines, from the archive's symbol index (or, without an index, from its own
  // symbol table). Views into the archive.
  std::vector<absl::string_view> defines;
};

struct Archive {
  std::string path;
  std::shared_ptr<InputBytes> file;
  bool thin = false;
  uint64_t rank = UnitRank().input;  // where the command line first names it
  std::vector<ArchiveMember> members;
};

// One thing on the command line after searching and after linker scripts have been expanded, in order.
struct InputEntry {
  enum class Kind : uint8_t { kObject, kArchive, kShared };
  Kind kind = Kind::kObject;
  uint32_t index = 0;  // into objects, archives or libraries of Inputs
  uint32_t argument = 0;  // of LinkOptions::inputs: a linker script stands for several entries
  InputFlags flags;
};

// A file that was opened on the way, for change detection: objects, archives, thin members, libraries, scripts.
struct OpenedFile {
  enum class Role : uint8_t { kObject, kArchive, kThinMember, kShared, kScript, kOther };
  std::string path;
  Role role = Role::kObject;
  FileStamp stamp;
};

struct Inputs {
  std::vector<InputEntry> order;
  std::vector<std::unique_ptr<ObjectFile>> objects;  // on the command line, --start-lib ones included
  std::vector<std::unique_ptr<Archive>> archives;
  std::vector<std::unique_ptr<SharedFile>> libraries;  // one a file, however often it is named
  std::vector<OpenedFile> opened;
  uint64_t bytes_read = 0;
};

// Opens and parses everything that `options` names. Objects and shared libraries are parsed in parallel; archive
// members are only indexed. Every file that cannot be found or read is reported to `diagnostics`
// ("cannot find -lfoo", "main.o: section 7 reaches past the end of the file").
absl::StatusOr<Inputs> ReadInputs(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics);

// Parses one archive member. Thread safe.
absl::StatusOr<std::unique_ptr<ObjectFile>> ReadArchiveMember(const Archive& archive, const ArchiveMember& member);

// Parses one relocatable object of whatever format it is. `member` is empty for a plain file.
// InvalidArgument naming file, section and symbol when it is malformed.
absl::StatusOr<std::unique_ptr<ObjectFile>> ReadObject(std::string path, std::string member,
                                                       std::shared_ptr<InputBytes> file, ByteView image);

}  // namespace kitlink

#endif  // CORE_INPUT_INPUTS_H_
