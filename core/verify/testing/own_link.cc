#include "core/verify/testing/own_link.h"

#include <sys/stat.h>

#include <fstream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "core/base/memory_files.h"
#include "core/input/command_line.h"
#include "core/session/cold_link.h"
#include "gtest/gtest.h"

namespace kitlink::verify {
namespace {

// The files of this machine, read whole.
class DiskFiles : public FileSource {
 public:
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override {
    absl::StatusOr<FileStamp> stamp = Stat(path);
    if (!stamp.ok()) return stamp.status();
    return std::shared_ptr<InputBytes>(std::make_shared<MemoryBytes>(ReadBytes(std::string(path)), *stamp));
  }
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override {
    struct stat st;
    if (stat(std::string(path).c_str(), &st) != 0 || !S_ISREG(st.st_mode)) return absl::NotFoundError(path);
    FileStamp stamp;
    stamp.device = st.st_dev;
    stamp.inode = st.st_ino;
    stamp.size = static_cast<uint64_t>(st.st_size);
    return stamp;
  }
};

}  // namespace

// A stand-in for `ld` writes its arguments down.
std::vector<std::string> DriverArguments(Objects& objects) {
  std::ofstream(objects.folder() + "/ld") << "#!/bin/sh\nfor a; do echo \"$a\"; done > arguments\n";
  EXPECT_TRUE(objects.Run("chmod +x ld && cp ld ld.bfd"));  // -fuse-ld=bfd looks for the latter
  objects.Link("bfd", absl::StrCat("-B", objects.folder()));
  std::ifstream in(objects.folder() + "/arguments");
  std::vector<std::string> arguments;
  for (std::string line; std::getline(in, line);) {
    const bool object = line.size() > 2 && line.substr(line.size() - 2) == ".o" && line[0] != '/';
    arguments.push_back(object ? absl::StrCat(objects.folder(), "/", line) : line);
  }
  return arguments;
}

absl::StatusOr<Reference> LinkOwn(const std::vector<std::string>& arguments, absl::string_view more) {
  std::vector<std::string> all = arguments;
  all.push_back(std::string(more));
  DiskFiles files;
  Diagnostics diagnostics;
  absl::StatusOr<LinkOptions> options = ParseCommandLine(all, files, diagnostics);
  if (!options.ok()) return options.status();
  absl::StatusOr<Reference> reference = LinkReference(*options, files, diagnostics);
  for (const Diagnostic& d : diagnostics.Take()) ADD_FAILURE() << FormatDiagnostic(d);
  return reference;
}

}  // namespace kitlink::verify
