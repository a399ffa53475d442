#include "daemon/request_check.h"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kitlink::daemon {
namespace {

std::string ReadLink(const char* path) {
  char buffer[PATH_MAX];
  ssize_t length = readlink(path, buffer, sizeof(buffer));
  return length > 0 ? std::string(buffer, static_cast<size_t>(length)) : std::string();
}

bool Same(const v1::FileIdentity& client, const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && info.st_dev == client.device() && info.st_ino == client.inode();
}

v1::Refusal Refuse(v1::Refusal::Reason reason, std::string text) {
  v1::Refusal refusal;
  refusal.set_reason(reason);
  refusal.set_text(std::move(text));
  return refusal;
}

}  // namespace

ProgramWatch::ProgramWatch() : ProgramWatch(ReadLink("/proc/self/exe")) {}

ProgramWatch::ProgramWatch(std::string path) : path_(std::move(path)) {
  struct stat info;
  if (stat(path_.c_str(), &info) != 0) {
    path_.clear();
    return;
  }
  device_ = info.st_dev;
  inode_ = info.st_ino;
}

bool ProgramWatch::Replaced() const {
  struct stat info;
  if (path_.empty() || stat(path_.c_str(), &info) != 0) return false;
  return info.st_dev != device_ || info.st_ino != inode_;
}

std::optional<v1::Refusal> CheckRequest(const v1::LinkRequest& request, absl::string_view version,
                                        const ProgramWatch& program) {
  if (!request.client_version().empty() && request.client_version() != version) {
    return Refuse(v1::Refusal::OTHER_VERSION, absl::StrCat("this daemon is ", version, ", the client ",
                                                            request.client_version()));
  }
  if (program.Replaced()) {
    return Refuse(v1::Refusal::PROGRAM_REPLACED, "the daemon's program file was replaced");
  }
  const std::string& folder = request.working_directory();
  if ((request.has_root() && !Same(request.root(), "/")) ||
      (request.has_working_directory_identity() && !Same(request.working_directory_identity(), folder))) {
    return Refuse(v1::Refusal::OTHER_FILES, absl::StrCat(folder, " is another folder to the daemon"));
  }
  return std::nullopt;
}

}  // namespace kitlink::daemon
