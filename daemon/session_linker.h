// The real linker behind the service: a LinkSession over real files and an output file.
#ifndef DAEMON_SESSION_LINKER_H_
#define DAEMON_SESSION_LINKER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "daemon/linker.h"
#include "daemon/option_cache.h"
#include "daemon/store/state_files.h"
#include "daemon/watch_bell.h"

namespace kitlink::daemon {

// Thread safe; its linkers are as Linker says.
class SessionLinkerFactory final : public LinkerFactory {
 public:
  // Sessions are kept below `state_folder` and taken up from there; empty: they end with the process.
  explicit SessionLinkerFactory(const std::string& state_folder = "");
  ~SessionLinkerFactory() override;
  absl::StatusOr<SharedOptions> Parse(absl::Span<const std::string> args, const ClientView& client,
                                    Diagnostics& diagnostics) override;
  std::unique_ptr<Linker> Create(absl::string_view output, std::function<void()> touched) override;
  int bell() const override { return bell_.fd(); }
  void BellRang() override { bell_.Ring(); }
  void Flush() override;

 private:
  OptionCache cache_;
  WatchBell bell_;
  std::atomic<bool> preparing_{false};  // one of the linkers is
  std::unique_ptr<StateFiles> state_;
};

}  // namespace kitlink::daemon

#endif  // DAEMON_SESSION_LINKER_H_
