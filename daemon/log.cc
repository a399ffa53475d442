#include "daemon/log.h"

#include <sys/stat.h>
#include <sys/types.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/sinks/rotating_file_sink.h"
#include "spdlog/spdlog.h"

namespace kitlink::daemon {
namespace {

constexpr size_t kFileSize = 1 << 20;
constexpr size_t kOldFiles = 2;

class NullLog final : public Log {
 public:
  void Info(absl::string_view) override {}
  void Warning(absl::string_view) override {}
};

class FileLog final : public Log {
 public:
  explicit FileLog(std::shared_ptr<spdlog::logger> logger) : logger_(std::move(logger)) {}
  void Info(absl::string_view line) override { Write(spdlog::level::info, line); }
  void Warning(absl::string_view line) override { Write(spdlog::level::warn, line); }

 private:
  void Write(spdlog::level::level_enum level, absl::string_view line) {
    logger_->log(level, spdlog::string_view_t(line.data(), line.size()));
  }
  std::shared_ptr<spdlog::logger> logger_;
};

bool MakeFolders(const std::string& path) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    std::string part = path.substr(0, slash);
    if (mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) return false;
    if (slash == std::string::npos) return true;
  }
}

std::string Environment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr || value[0] != '/' ? std::string() : std::string(value);
}

}  // namespace

std::unique_ptr<Log> NoLog() { return std::make_unique<NullLog>(); }

std::unique_ptr<Log> OpenLog(const std::string& folder) {
  if (folder.empty() || !MakeFolders(folder)) return NoLog();
  // spdlog reports a file that cannot be opened by throwing.
  try {
    auto sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(absl::StrCat(folder, "/kitlinkd.log"), kFileSize,
                                                                        kOldFiles);
    auto logger = std::make_shared<spdlog::logger>("kitlinkd", std::move(sink));
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e [%P] %^%l%$ %v");
    logger->flush_on(spdlog::level::info);
    // A full disk must not end a link, nor write to a standard error that is not there.
    logger->set_error_handler([](const std::string&) {});
    return std::make_unique<FileLog>(std::move(logger));
  } catch (const std::exception&) {
    return NoLog();
  }
}

std::string StateFolder() {
  if (std::string given = Environment("KITLINK_STATE_DIR"); !given.empty()) return given;
  if (std::string xdg = Environment("XDG_STATE_HOME"); !xdg.empty()) return absl::StrCat(xdg, "/kitlink");
  if (std::string home = Environment("HOME"); !home.empty()) return absl::StrCat(home, "/.local/state/kitlink");
  return "";
}

}  // namespace kitlink::daemon
