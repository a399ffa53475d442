// Who says which inputs may have changed, so that a relink need not look at each. The core watches nothing by itself:
// the daemon supplies a watch over real files, tests supply one that says what they like.
#ifndef CORE_BASE_INPUT_WATCH_H_
#define CORE_BASE_INPUT_WATCH_H_

#include <cstdint>
#include <string>
#include <vector>

namespace kitlink {

// Not thread safe.
class InputWatch {
 public:
  virtual ~InputWatch() = default;
  // Watches these files from now on and no others; they are known by their index. Must be called before the files are
  // looked at: whatever changes afterwards is told, what changed before is not. False when nothing can be watched.
  virtual bool Watch(const std::vector<std::string>& paths) = 0;
  // Watches these files as well: their indices follow on those of the others. One of a path that is watched already takes
  // its place. False when that cannot be done, and the watch has ended.
  virtual bool WatchMore(const std::vector<std::string>& paths) = 0;
  // Appends the indices of files that may have changed since this was last asked, in no order, perhaps more than once.
  // Files that cannot be watched are told each time. False when changes may have been missed: any file may be another,
  // and the watch has ended.
  virtual bool Changed(std::vector<uint32_t>* files) = 0;
  // As far as Changed has told: false while somebody is writing one of the files. A guess, on which nothing but speed depends.
  virtual bool Calm() const { return true; }
};

}  // namespace kitlink

#endif  // CORE_BASE_INPUT_WATCH_H_
