#include "daemon/repro.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace kitlink::daemon {
namespace {

namespace fs = std::filesystem;

// Links all steps beside it in turn, as they were linked: a session sees one edit after the other.
constexpr char kReplay[] = R"sh(#!/bin/sh
# replay [LINKER [OPTION...]]: links this step's inputs. Without a session that is a link from scratch; to repeat a
# series, run the steps' scripts one after the other: they share the folder ../work and so one session.
here=$(cd "$(dirname "$0")" && pwd) || exit 2
work=$(dirname "$here")/work
mkdir -p "$work" && cp -Rp "$here/inputs/." "$work/" && cd "$work/$(cat "$here/folder")" || exit 2
sed "s|@ROOT@|$work|g" "$here/arguments" >"$work/arguments"
linker=${1:-ld.kit}
[ $# -eq 0 ] || shift
"$linker" "$@" "@$work/arguments" -o "$work/output" || exit
echo "linked $work/output; what came out then is $here/after"
)sh";

absl::Status Failed(const std::string& what, const std::error_code& code) {
  return absl::InternalError(absl::StrCat(what, ": ", code.message()));
}

absl::Status Copy(const std::string& from, const fs::path& to) {
  std::error_code code;
  fs::create_directories(to.parent_path(), code);
  if (!code) fs::copy_file(from, to, fs::copy_options::overwrite_existing, code);
  return code ? Failed(from, code) : absl::OkStatus();
}

absl::Status Write(const fs::path& path, absl::string_view text) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  return out ? absl::OkStatus() : absl::InternalError(absl::StrCat("cannot write ", path.string()));
}

std::string Quoted(absl::string_view word) {
  std::string text = "\"";
  for (char c : word) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + "\"\n";
}

// An argument with its absolute path, if it has one that was read or is looked into, below the copy's root.
std::string Rooted(absl::string_view argument, bool path_follows, const absl::flat_hash_set<std::string>& inputs) {
  const auto known = [&](absl::string_view path) { return inputs.contains(std::string(path)); };
  if (absl::StartsWith(argument, "/") && (path_follows || known(argument))) return absl::StrCat("@ROOT@", argument);
  if (absl::StartsWith(argument, "-L/")) return absl::StrCat("-L@ROOT@", argument.substr(2));
  const size_t equals = argument.find("=/");
  if (equals != absl::string_view::npos && known(argument.substr(equals + 1))) {
    return absl::StrCat(argument.substr(0, equals + 1), "@ROOT@", argument.substr(equals + 1));
  }
  return std::string(argument);
}

std::string Arguments(const Repro& repro) {
  const absl::flat_hash_set<std::string> inputs(repro.inputs.begin(), repro.inputs.end());
  std::string text;
  bool path_follows = false;
  for (const std::string& argument : repro.arguments) {
    text += Quoted(Rooted(argument, path_follows, inputs));
    path_follows = argument == "-L" || argument == "--library-path";
  }
  return text;
}

}  // namespace

absl::Status SaveRepro(const Repro& repro, const std::string& folder) {
  const fs::path root(folder);
  std::error_code code;
  fs::create_directories(root.parent_path(), code);
  if (code || !fs::create_directory(root, code)) return Failed(folder, code ? code : std::make_error_code(std::errc::file_exists));
  for (const std::string& input : repro.inputs) {
    if (absl::Status status = Copy(input, root / "inputs" / fs::path(input).relative_path()); !status.ok()) return status;
  }
  fs::create_directories(root / "inputs" / fs::path(repro.folder).relative_path(), code);
  if (code) return Failed(repro.folder, code);
  if (!repro.before.empty()) {
    if (absl::Status status = Copy(repro.before, root / "before"); !status.ok()) return status;
  }
  if (absl::Status status = Copy(repro.output, root / "after"); !status.ok()) return status;
  std::string environment;
  for (const std::string& entry : repro.environment) absl::StrAppend(&environment, "environment: ", entry, "\n");
  const std::pair<const char*, std::string> texts[] = {
      {"arguments", Arguments(repro)},
      {"folder", absl::StrCat(fs::path(repro.folder).relative_path().string(), "\n")},
      {"remarks", absl::StrCat("output: ", repro.output, "\n", environment, repro.remarks)},
      {"replay", kReplay}};
  for (const auto& [name, text] : texts) {
    if (absl::Status status = Write(root / name, text); !status.ok()) return status;
  }
  fs::permissions(root / "replay", fs::perms::owner_exec, fs::perm_options::add, code);
  return absl::OkStatus();
}

absl::StatusOr<std::string> NextReproFolder(const std::string& folder, const std::string& output) {
  std::error_code code;
  fs::create_directories(folder, code);
  if (code) return Failed(folder, code);
  int last = 0;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
    last = std::max(last, std::atoi(entry.path().filename().c_str()));
  }
  if (code) return Failed(folder, code);
  std::string number = absl::StrCat(last + 1);
  number.insert(0, number.size() < 4 ? 4 - number.size() : 0, '0');
  return absl::StrCat(folder, "/", number, "-", fs::path(output).filename().string());
}

}  // namespace kitlink::daemon
