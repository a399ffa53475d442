// Finding the file that an argument means: -l along the library paths, script entries beside their script.
#ifndef CORE_INPUT_INPUT_SEARCH_H_
#define CORE_INPUT_INPUT_SEARCH_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "core/base/diagnostics.h"
#include "core/base/file_source.h"
#include "core/input/options.h"

namespace kitlink {

struct FoundFile {
  std::string path;
  std::shared_ptr<InputBytes> file;
};

// Not thread safe, but for OpenPath.
class InputSearch {
 public:
  InputSearch(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics)
      : options_(options), files_(files), diagnostics_(diagnostics), library_paths_(options.library_paths) {}

  // -lNAME, or -l:FILE where `name` starts with ":". Files of another machine are passed over with a note.
  // NotFound "cannot find -lNAME".
  absl::StatusOr<FoundFile> FindLibrary(const std::string& name, bool link_static);
  // A path on the command line, as it stands. Thread safe. NotFound "cannot find PATH: ...".
  absl::StatusOr<FoundFile> OpenPath(const std::string& path);
  // A path in the linker script `script`: under the sysroot where it asks for that, else beside the script, in the
  // current folder, along the library paths.
  absl::StatusOr<FoundFile> FindScriptInput(const std::string& script, const std::string& name);
  // SEARCH_DIR.
  void AddLibraryPath(std::string path) { library_paths_.push_back(ExpandSysroot(path)); }

 private:
  std::string ExpandSysroot(const std::string& path) const;
  // Null when there is none at `path`, or it cannot be opened.
  std::shared_ptr<InputBytes> TryOpen(const std::string& path);

  const LinkOptions& options_;
  FileSource& files_;
  Diagnostics& diagnostics_;
  std::vector<std::string> library_paths_;
  absl::flat_hash_map<std::string, std::shared_ptr<InputBytes>> opened_;  // by path; null: not there
};

// Where -lNAME (an argument with `library` set) is looked for, in order.
std::vector<std::string> LibraryCandidates(const LinkOptions& options, const InputArgument& argument);

// Whether `file` can take part in the link at all: ELF files by class and machine, archives by their first ELF
// member, scripts by OUTPUT_FORMAT. Anything else is for the reader to judge.
bool IsCompatible(absl::string_view path, ByteView file);

}  // namespace kitlink

#endif  // CORE_INPUT_INPUT_SEARCH_H_
