#include "core/input/input_search.h"

#include <ar.h>
#include <elf.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/input/elf_view.h"
#include "core/input/file_type.h"
#include "core/input/linker_script.h"

namespace kitlink {
namespace {

std::string Join(absl::string_view folder, absl::string_view name) {
  if (folder.empty()) return std::string(name);
  return absl::StrCat(folder, absl::EndsWith(folder, "/") ? "" : "/", name);
}

std::string FolderOf(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == absl::string_view::npos ? std::string() : std::string(path.substr(0, slash + 1));
}

// The files that -lNAME may mean in one folder, best first.
std::vector<std::string> LibraryFileNames(const std::string& name, bool link_static) {
  if (absl::StartsWith(name, ":")) return {name.substr(1)};
  std::vector<std::string> names;
  if (!link_static) names.push_back(absl::StrCat("lib", name, ".so"));
  names.push_back(absl::StrCat("lib", name, ".a"));
  return names;
}

std::string ExpandedFolder(const LinkOptions& options, const std::string& path) {
  absl::string_view rest = path;
  if (absl::ConsumePrefix(&rest, "=") || absl::ConsumePrefix(&rest, "$SYSROOT")) {
    return absl::StrCat(options.sysroot, rest);
  }
  return path;
}

bool IsCompatibleArchive(ByteView file) {
  uint64_t at = SARMAG;
  while (InBounds(at, sizeof(ar_hdr), file.size())) {
    const ar_hdr header = Load<ar_hdr>(file.data() + at);
    uint64_t size = 0;
    const absl::string_view field = absl::StripTrailingAsciiWhitespace(absl::string_view(header.ar_size, 10));
    at += sizeof(ar_hdr);
    if (!absl::SimpleAtoi(field, &size) || !InBounds(at, size, file.size())) return true;
    const ByteView data = file.subspan(at, size);
    if (absl::StartsWith(AsString(data), ELFMAG)) return elf::CheckIdentification(data).ok();
    at += size + (size & 1);
  }
  return true;
}

bool IsCompatibleScript(absl::string_view path, ByteView file) {
  absl::StatusOr<LinkerScript> script = ParseLinkerScript(path, AsString(file));
  return !script.ok() || script->output_format.empty() || script->output_format == "elf64-x86-64";
}

}  // namespace

bool IsCompatible(absl::string_view path, ByteView file) {
  switch (DetectFileType(file)) {
    case FileType::kElfObject:
    case FileType::kElfShared:
    case FileType::kElfExecutable:
      return elf::CheckIdentification(file).ok();
    case FileType::kArchive:
      return IsCompatibleArchive(file);
    case FileType::kText:
      return IsCompatibleScript(path, file);
    default:
      return true;
  }
}

std::vector<std::string> LibraryCandidates(const LinkOptions& options, const InputArgument& argument) {
  const std::vector<std::string> names = LibraryFileNames(argument.name, argument.flags.link_static);
  std::vector<std::string> candidates;
  for (const std::string& folder : options.library_paths) {
    for (const std::string& name : names) candidates.push_back(Join(ExpandedFolder(options, folder), name));
  }
  return candidates;
}

std::shared_ptr<InputBytes> InputSearch::TryOpen(const std::string& path) {
  auto [entry, fresh] = opened_.try_emplace(path);
  if (fresh) {
    absl::StatusOr<std::shared_ptr<InputBytes>> file = files_.Open(path);
    if (file.ok()) entry->second = *std::move(file);
  }
  return entry->second;
}

absl::StatusOr<FoundFile> InputSearch::FindLibrary(const std::string& name, bool link_static) {
  const std::vector<std::string> names = LibraryFileNames(name, link_static);
  for (const std::string& folder : library_paths_) {
    for (const std::string& candidate : names) {
      FoundFile found;
      found.path = Join(folder, candidate);
      found.file = TryOpen(found.path);
      if (found.file == nullptr) continue;
      if (IsCompatible(found.path, found.file->bytes())) return found;
      diagnostics_.Note(absl::StrCat("skipping incompatible ", found.path, " when searching for -l", name));
    }
  }
  return absl::NotFoundError(absl::StrCat("cannot find -l", name));
}

absl::StatusOr<FoundFile> InputSearch::OpenPath(const std::string& path) {
  absl::StatusOr<std::shared_ptr<InputBytes>> file = files_.Open(path);
  if (!file.ok()) {
    if (absl::IsNotFound(file.status())) {
      return absl::NotFoundError(absl::StrCat("cannot find ", path, ": no such file"));
    }
    return absl::Status(file.status().code(), absl::StrCat("cannot open ", path, ": ", file.status().message()));
  }
  FoundFile found;
  found.path = path;
  found.file = *std::move(file);
  return found;
}

std::string InputSearch::ExpandSysroot(const std::string& path) const { return ExpandedFolder(options_, path); }

absl::StatusOr<FoundFile> InputSearch::FindScriptInput(const std::string& script, const std::string& name) {
  std::vector<std::string> candidates;
  const std::string expanded = ExpandSysroot(name);
  if (expanded != name) {
    candidates.push_back(expanded);
  } else if (absl::StartsWith(name, "/")) {
    // A script inside the sysroot was written for a system whose root that is.
    const bool inside = !options_.sysroot.empty() && absl::StartsWith(script, options_.sysroot);
    candidates.push_back(inside ? absl::StrCat(options_.sysroot, name) : name);
  } else {
    candidates.push_back(Join(FolderOf(script), name));
    candidates.push_back(name);
    for (const std::string& folder : library_paths_) candidates.push_back(Join(folder, name));
  }
  for (std::string& candidate : candidates) {
    FoundFile found;
    found.file = TryOpen(candidate);
    if (found.file == nullptr) continue;
    found.path = std::move(candidate);
    return found;
  }
  return absl::NotFoundError(absl::StrCat("cannot find ", name, " (named by ", script, ")"));
}

}  // namespace kitlink
