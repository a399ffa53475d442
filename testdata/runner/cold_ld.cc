// A batch linker: one cold link to a file, without a session or a daemon. For tests and comparisons.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/base/parallel.h"
#include "core/input/command_line.h"
#include "core/session/cold.h"
#include "core/session/side_files.h"
#include "core/session/testing/disk_files.h"

namespace kitlink {
namespace {

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
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0)
    return absl::InternalError("cannot write " + temporary);
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
  if (rename(temporary.c_str(), options.output.c_str()) != 0)
    return absl::InternalError("cannot write " + options.output);
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
  testing::DiskFiles files;
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
