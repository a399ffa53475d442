// A batch linker: one cold link to a file, without a session or a daemon. For tests and comparisons.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/parallel.h"
#include "core/input/command_line.h"
#include "core/session/cold.h"
#include "core/session/side_files.h"

namespace kitlink {
namespace {

class MappedFile : public InputBytes {
 public:
  MappedFile(const FileStamp& stamp, ByteView bytes) : stamp_(stamp), bytes_(bytes) {}
  ~MappedFile() override {
    if (!bytes_.empty()) munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
  }
  ByteView bytes() const override { return bytes_; }
  const FileStamp& stamp() const override { return stamp_; }
  bool torn() const override { return false; }

 private:
  FileStamp stamp_;
  ByteView bytes_;
};

FileStamp StampOf(const struct stat& info) {
  FileStamp stamp;
  stamp.device = info.st_dev;
  stamp.inode = info.st_ino;
  stamp.size = static_cast<uint64_t>(info.st_size);
  stamp.mtime_ns = int64_t{info.st_mtim.tv_sec} * 1000000000 + info.st_mtim.tv_nsec;
  stamp.ctime_ns = int64_t{info.st_ctim.tv_sec} * 1000000000 + info.st_ctim.tv_nsec;
  return stamp;
}

class DiskFiles : public FileSource {
 public:
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override {
    const int fd = open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return absl::NotFoundError("no such file");
    struct stat info;
    void* bytes = nullptr;
    const bool regular = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    const size_t size = regular ? static_cast<size_t>(info.st_size) : 0;
    if (size != 0) bytes = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    if (!regular) return absl::InvalidArgumentError("not a regular file");
    if (bytes == MAP_FAILED) return absl::InternalError("cannot be mapped");
    return std::make_shared<MappedFile>(StampOf(info), ByteView(static_cast<uint8_t*>(bytes), size));
  }
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override {
    struct stat info;
    if (stat(std::string(path).c_str(), &info) != 0) return absl::NotFoundError("no such file");
    return StampOf(info);
  }
};

bool WriteText(const SideFile& file) {
  FILE* out = file.path == "-" ? stdout : fopen(file.path.c_str(), "w");
  if (out == nullptr) return false;
  const bool written = fwrite(file.text.data(), 1, file.text.size(), out) == file.text.size();
  return (out == stdout ? fflush(out) : fclose(out)) == 0 && written;
}

// Writes the image to a new file that replaces the output.
absl::Status WriteOutput(const LinkOptions& options, ColdLink& link, Diagnostics& diagnostics) {
  const size_t size = link.image->size();
  const std::string temporary = options.output + ".tmp" + std::to_string(getpid());
  const int fd = open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0777);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) return absl::InternalError("cannot write " + temporary);
  void* bytes = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (bytes == MAP_FAILED) return absl::InternalError("cannot map " + temporary);
  const absl::StatusOr<WrittenImage> written =
      link.image->Write(MutableBytes(static_cast<uint8_t*>(bytes), size), diagnostics);
  munmap(bytes, size);
  if (!written.ok()) {
    unlink(temporary.c_str());
    return written.status();
  }
  if (rename(temporary.c_str(), options.output.c_str()) != 0) return absl::InternalError("cannot write " + options.output);
  return absl::OkStatus();
}

int Fail(const absl::Status& status, Diagnostics& diagnostics) {
  if (!diagnostics.has_errors()) diagnostics.Error(std::string(status.message()));
  return 1;
}

int Link(const LinkOptions& options, FileSource& files, Diagnostics& diagnostics) {
  absl::StatusOr<ColdLink> link = PlanColdLink(options, files, diagnostics);
  if (!link.ok()) return Fail(link.status(), diagnostics);
  const absl::Status written = WriteOutput(options, *link, diagnostics);
  if (!written.ok()) return Fail(written, diagnostics);
  for (const SideFile& file : SideFiles(options, *link)) {
    if (!WriteText(file)) return Fail(absl::InternalError("cannot write " + file.path), diagnostics);
  }
  return 0;
}

int Main(int argc, char** argv) {
  DiskFiles files;
  Diagnostics early;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  absl::StatusOr<LinkOptions> options = ParseCommandLine(arguments, files, early);
  int status = 2;
  Diagnostics diagnostics(options.ok() ? static_cast<size_t>(options->error_limit) : 20);
  if (!options.ok()) {
    diagnostics.Error(std::string(options.status().message()));
  } else if (options->print_version && options->inputs.empty()) {
    printf("kitlink cold_ld (compatible with GNU ld)\n");
    status = 0;
  } else {
    WithThreadLimit(options->threads, [&] { status = Link(*options, files, diagnostics); });
  }
  for (Diagnostics* list : {&early, &diagnostics}) {
    for (const Diagnostic& diagnostic : list->Take()) {
      fprintf(stderr, "cold_ld: %s\n", FormatDiagnostic(diagnostic).c_str());
    }
  }
  return status;
}

}  // namespace
}  // namespace kitlink

int main(int argc, char** argv) { return kitlink::Main(argc, argv); }
