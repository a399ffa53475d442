#include "core/input/inputs.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "core/base/parallel.h"
#include "core/input/archive.h"
#include "core/input/elf_shared.h"
#include "core/input/file_type.h"
#include "core/input/input_search.h"
#include "core/input/linker_script.h"

namespace kitlink {
namespace {

// Scripts that name scripts; deeper means that one names itself.
constexpr int kMaxScriptDepth = 16;

// A file to be parsed, in one of three lists by what it is.
struct PendingFile {
  std::string path;
  std::string given_name;  // what DT_NEEDED says without a DT_SONAME
  std::shared_ptr<InputBytes> file;
};

// A file's identity: that of the inode where there is one, else its path.
using FileKey = std::tuple<uint64_t, uint64_t, std::string>;

class InputReader {
 public:
  InputReader(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics)
      : options_(options), files_(files), diagnostics_(diagnostics), search_(options, files, diagnostics) {}

  absl::StatusOr<Inputs> Read();

 private:
  void OpenArguments();
  void AddArgument(size_t index);
  void AddFile(FoundFile found, const std::string& given_name, const InputFlags& flags, int depth);
  void AddScript(const FoundFile& found, const InputFlags& flags, int depth);
  void AddScriptInput(const std::string& script, const ScriptInput& input, InputFlags flags, int depth);
  void AddEntry(InputEntry::Kind kind, uint32_t index, const InputFlags& flags);
  uint32_t AddOnce(FoundFile found, const std::string& given_name, std::vector<PendingFile>& list,
                   absl::flat_hash_map<FileKey, uint32_t>& known);
  void RecordOpened(const FoundFile& found, OpenedFile::Role role);

  void ParseAll();
  void MergeLibraries();

  const LinkOptions& options_;
  FileSource& files_;
  Diagnostics& diagnostics_;
  InputSearch search_;
  Inputs inputs_;
  std::vector<absl::StatusOr<FoundFile>> arguments_;  // what OpenPath said of each argument that is no -l
  std::vector<PendingFile> objects_, archives_, libraries_;
  absl::flat_hash_map<FileKey, uint32_t> known_archives_, known_libraries_;
  absl::flat_hash_set<std::string> recorded_;  // paths of files that may be met twice
  int next_group_ = 0;
  uint32_t argument_ = 0;  // that is being added
};

// Opening ten thousand files is mostly waiting for the kernel, so the threads share it.
void InputReader::OpenArguments() {
  const std::vector<InputArgument>& list = options_.inputs;
  arguments_.assign(list.size(), absl::NotFoundError(""));
  ParallelFor(list.size(), 16, [&](size_t i) {
    if (!list[i].library) arguments_[i] = search_.OpenPath(list[i].name);
  });
}

void InputReader::AddArgument(size_t index) {
  argument_ = static_cast<uint32_t>(index);
  const InputArgument& argument = options_.inputs[index];
  absl::StatusOr<FoundFile> found = argument.library
                                        ? search_.FindLibrary(argument.name, argument.flags.link_static)
                                        : std::move(arguments_[index]);
  if (!found.ok()) {
    diagnostics_.Error(std::string(found.status().message()));
    return;
  }
  // A library found by searching goes by its base name, so that the loader searches too.
  const std::string given = argument.library ? found->path.substr(found->path.rfind('/') + 1) : argument.name;
  AddFile(*std::move(found), given, argument.flags, 0);
}

void InputReader::RecordOpened(const FoundFile& found, OpenedFile::Role role) {
  if (role != OpenedFile::Role::kObject && !recorded_.insert(found.path).second) return;
  OpenedFile opened;
  opened.path = found.path;
  opened.role = role;
  opened.stamp = found.file->stamp();
  inputs_.bytes_read += found.file->bytes().size();
  inputs_.opened.push_back(std::move(opened));
}

void InputReader::AddEntry(InputEntry::Kind kind, uint32_t index, const InputFlags& flags) {
  InputEntry entry;
  entry.kind = kind;
  entry.index = index;
  entry.argument = argument_;
  entry.flags = flags;
  inputs_.order.push_back(entry);
}

uint32_t InputReader::AddOnce(FoundFile found, const std::string& given_name, std::vector<PendingFile>& list,
                              absl::flat_hash_map<FileKey, uint32_t>& known) {
  const FileStamp& stamp = found.file->stamp();
  FileKey key(stamp.device, stamp.inode, stamp.inode == 0 ? found.path : std::string());
  auto [entry, fresh] = known.try_emplace(std::move(key), static_cast<uint32_t>(list.size()));
  if (fresh) {
    PendingFile pending;
    pending.path = std::move(found.path);
    pending.given_name = given_name;
    pending.file = std::move(found.file);
    list.push_back(std::move(pending));
  }
  return entry->second;
}

void InputReader::AddFile(FoundFile found, const std::string& given_name, const InputFlags& flags, int depth) {
  switch (DetectFileType(found.file->bytes())) {
    case FileType::kElfObject: {
      RecordOpened(found, OpenedFile::Role::kObject);
      AddEntry(InputEntry::Kind::kObject, static_cast<uint32_t>(objects_.size()), flags);
      PendingFile pending;
      pending.path = std::move(found.path);
      pending.file = std::move(found.file);
      objects_.push_back(std::move(pending));
      return;
    }
    case FileType::kArchive:
    case FileType::kThinArchive:
      RecordOpened(found, OpenedFile::Role::kArchive);
      AddEntry(InputEntry::Kind::kArchive, AddOnce(std::move(found), given_name, archives_, known_archives_), flags);
      return;
    case FileType::kElfShared:
      if (options_.is_static) {
        diagnostics_.Error(absl::StrCat("attempted static link of dynamic object ", found.path));
        return;
      }
      RecordOpened(found, OpenedFile::Role::kShared);
      AddEntry(InputEntry::Kind::kShared, AddOnce(std::move(found), given_name, libraries_, known_libraries_), flags);
      return;
    case FileType::kText:
      RecordOpened(found, OpenedFile::Role::kScript);
      AddScript(found, flags, depth);
      return;
    case FileType::kBitcode:
      diagnostics_.Error(absl::StrCat(
          found.path, ": was compiled with -flto; kitlink does not do link-time optimisation"));
      return;
    case FileType::kElfExecutable:
      diagnostics_.Error(absl::StrCat(found.path, ": is neither an object file nor a shared library"));
      return;
    case FileType::kEmpty:
      diagnostics_.Error(absl::StrCat(found.path, ": is empty"));
      return;
    case FileType::kUnknown:
      diagnostics_.Error(absl::StrCat(found.path, ": file format not recognized"));
      return;
  }
}

void InputReader::AddScript(const FoundFile& found, const InputFlags& flags, int depth) {
  if (depth >= kMaxScriptDepth) {
    diagnostics_.Error(absl::StrCat(found.path, ": linker scripts name each other without end"));
    return;
  }
  absl::StatusOr<LinkerScript> script = ParseLinkerScript(found.path, AsString(found.file->bytes()));
  if (found.file->torn()) {
    diagnostics_.Error(absl::StrCat(found.path, ": was cut short while it was being read"));
    return;
  }
  if (!script.ok()) {
    diagnostics_.Error(std::string(script.status().message()));
    return;
  }
  for (std::string& folder : script->search_dirs) search_.AddLibraryPath(std::move(folder));
  const int first_group = next_group_;
  for (const ScriptInput& input : script->inputs) {
    InputFlags input_flags = flags;
    input_flags.as_needed = flags.as_needed || input.as_needed;
    // A group within a group is part of the outer one.
    if (flags.group == 0 && input.group != 0) {
      input_flags.group = first_group + input.group;
      next_group_ = std::max(next_group_, input_flags.group);
    }
    AddScriptInput(found.path, input, input_flags, depth + 1);
  }
}

void InputReader::AddScriptInput(const std::string& script, const ScriptInput& input, InputFlags flags, int depth) {
  absl::StatusOr<FoundFile> found = input.library ? search_.FindLibrary(input.name, flags.link_static)
                                                  : search_.FindScriptInput(script, input.name);
  if (!found.ok()) {
    diagnostics_.Error(std::string(found.status().message()));
    return;
  }
  const std::string given = found->path.substr(found->path.rfind('/') + 1);
  AddFile(*std::move(found), given, flags, depth);
}

void InputReader::ParseAll() {
  const size_t objects = objects_.size(), archives = archives_.size(), libraries = libraries_.size();
  inputs_.objects.resize(objects);
  inputs_.archives.resize(archives);
  inputs_.libraries.resize(libraries);
  std::vector<absl::Status> results(objects + archives + libraries);
  std::vector<std::vector<OpenedFile>> thin(archives);
  auto parse = [&](size_t i) -> absl::Status {
    if (i < archives) {
      absl::StatusOr<std::unique_ptr<Archive>> archive =
          ReadArchive(archives_[i].path, archives_[i].file, files_, thin[i]);
      if (archive.ok()) inputs_.archives[i] = *std::move(archive);
      return archive.status();
    }
    i -= archives;
    if (i < libraries) {
      PendingFile& pending = libraries_[i];
      absl::StatusOr<std::unique_ptr<SharedFile>> library =
          elf::ReadSharedFile(pending.path, pending.given_name, pending.file);
      if (library.ok()) inputs_.libraries[i] = *std::move(library);
      return library.status();
    }
    i -= libraries;
    absl::StatusOr<std::unique_ptr<ObjectFile>> object =
        ReadObject(objects_[i].path, "", objects_[i].file, objects_[i].file->bytes());
    if (object.ok()) inputs_.objects[i] = *std::move(object);
    return object.status();
  };
  // The largest files, which archives and libraries are, go first.
  ParallelFor(results.size(), [&](size_t i) { results[i] = parse(i); });
  for (const absl::Status& result : results) {
    if (!result.ok()) diagnostics_.Error(std::string(result.message()));
  }
  for (std::vector<OpenedFile>& members : thin) {
    for (OpenedFile& member : members) {
      inputs_.bytes_read += member.stamp.size;
      inputs_.opened.push_back(std::move(member));
    }
  }
}

// Copies of one library under one soname are one to the loader, and so to the link.
void InputReader::MergeLibraries() {
  absl::flat_hash_map<std::string, uint32_t> by_soname;
  std::vector<uint32_t> moved(inputs_.libraries.size());
  std::vector<std::unique_ptr<SharedFile>> kept;
  for (size_t i = 0; i < inputs_.libraries.size(); ++i) {
    if (inputs_.libraries[i] == nullptr) continue;  // reported
    auto [entry, fresh] =
        by_soname.try_emplace(inputs_.libraries[i]->soname, static_cast<uint32_t>(kept.size()));
    if (fresh) kept.push_back(std::move(inputs_.libraries[i]));
    moved[i] = entry->second;
  }
  inputs_.libraries = std::move(kept);
  for (InputEntry& entry : inputs_.order) {
    if (entry.kind == InputEntry::Kind::kShared) entry.index = moved[entry.index];
  }
}

absl::StatusOr<Inputs> InputReader::Read() {
  const size_t errors_before = diagnostics_.error_count();
  if (options_.inputs.empty()) diagnostics_.Error("no input files");
  for (const InputArgument& argument : options_.inputs) next_group_ = std::max(next_group_, argument.flags.group);
  OpenArguments();
  for (size_t i = 0; i < options_.inputs.size(); ++i) AddArgument(i);
  ParseAll();
  MergeLibraries();
  if (diagnostics_.error_count() != errors_before) {
    return absl::FailedPreconditionError("the inputs could not be read");
  }
  return std::move(inputs_);
}

}  // namespace

absl::StatusOr<Inputs> ReadInputs(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics) {
  return InputReader(options, files, diagnostics).Read();
}

}  // namespace kitlink
