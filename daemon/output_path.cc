#include "daemon/output_path.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {

absl::StatusOr<std::string> CanonicalOutput(absl::string_view folder, absl::string_view output) {
  std::string path = !output.empty() && output[0] == '/' ? std::string(output) : absl::StrCat(folder, "/", output);
  size_t slash = path.rfind('/');
  std::string name = path.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", output, ": it names a folder"));
  }
  std::string parent = slash == 0 ? "/" : path.substr(0, slash);
  char buffer[PATH_MAX];
  if (realpath(parent.c_str(), buffer) == nullptr) {
    return absl::NotFoundError(absl::StrCat("cannot open output file ", output, ": ", strerror(errno)));
  }
  return strcmp(buffer, "/") == 0 ? absl::StrCat("/", name) : absl::StrCat(buffer, "/", name);
}

}  // namespace kitlink::daemon
