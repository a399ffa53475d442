// Watches the inputs of one session with inotify(7).
#ifndef DAEMON_FILE_WATCH_H_
#define DAEMON_FILE_WATCH_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "core/base/input_watch.h"
#include "daemon/watch_bell.h"

namespace kitlink::daemon {

// One inotify instance, one watch a folder. The kernel queues an event before the system call that caused it returns, so
// what Changed reads is complete: for files of local file systems that have one name and are no symbolic links. Others
// are told as changed each time. Not seen, and so not told: a store through a mapping that is still mapped, and a write
// through a second name that a file was given after Watch.
//
// That a folder's name still leads to the folder that is watched is checked by each Changed, which therefore costs the
// events and the folders.
class FileWatch : public InputWatch {
 public:
  // With a `bell`, which must outlive this, `rung` is called when something has happened in the folders since Changed was
  // last asked: once, until it is asked again.
  explicit FileWatch(WatchBell* bell = nullptr, std::function<void()> rung = nullptr) : bell_(bell), rung_(std::move(rung)) {}
  ~FileWatch() override;
  FileWatch(const FileWatch&) = delete;
  FileWatch& operator=(const FileWatch&) = delete;

  // What relative paths are relative to: at the next Watch, and at each Changed, where another folder than then ends
  // the watch.
  void SetFolder(absl::string_view folder) { folder_ = std::string(folder); }

  bool Watch(const std::vector<std::string>& paths) override;
  bool WatchMore(const std::vector<std::string>& paths) override;
  bool Changed(std::vector<uint32_t>* files) override;
  // Who writes a file closes it, or puts it in its place, in the end.
  bool Calm() const override { return writing_.empty(); }
  // Somebody asks for a link: who has not closed a file by now is not waited for. Not all that seems to begin has an end
  // (link(2), truncate(2)).
  void ForgetWriters() { writing_.clear(); }

 private:
  struct Folder {
    std::string path;
    uint64_t device = 0, inode = 0;
    absl::flat_hash_map<std::string, uint32_t> files;  // by name
  };

  void Stop();
  bool Add(const std::vector<std::string>& paths, bool replace);
  bool AddFolder(const std::string& path, uint32_t* index);
  // True when the events of its folder tell all that happens to the file.
  static bool Watchable(const std::string& path, const Folder& folder);
  // Reads what is queued. False when something was lost.
  bool Drain(std::vector<uint32_t>* files);
  bool HandleEvent(int wd, uint32_t mask, absl::string_view name, std::vector<uint32_t>* files);
  bool FoldersAreTheSame() const;

  WatchBell* const bell_;
  const std::function<void()> rung_;
  std::string folder_ = "/";
  std::string watched_from_;  // folder_ at the last Watch
  int fd_ = -1;
  uint32_t count_ = 0;  // files watched
  std::vector<Folder> folders_;
  absl::flat_hash_map<std::string, uint32_t> folder_of_;        // path -> index in folders_, or kUnwatched
  absl::flat_hash_map<int, std::vector<uint32_t>> folders_at_;  // watch descriptor -> folders (one may have two names)
  absl::flat_hash_set<uint32_t> writing_;  // files that somebody has written to, and not closed since
  std::vector<uint32_t> always_;  // files that cannot be watched; perhaps more than once
};

}  // namespace kitlink::daemon

#endif  // DAEMON_FILE_WATCH_H_
