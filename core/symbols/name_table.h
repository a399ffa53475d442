// Global names, each stored once and numbered.
#ifndef CORE_SYMBOLS_NAME_TABLE_H_
#define CORE_SYMBOLS_NAME_TABLE_H_

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/strings/string_view.h"
#include "core/base/ids.h"

namespace kitlink {

// Maps names to SymbolIds. The same calls give the same ids in any process and with any number of threads: what relinks
// append is in order of ids. Names are copied, because the files that they come from may be rewritten while the session
// lives.
//
// The low bits of an id are its shard, the others its place in it.
class NameTable {
 public:
  using Names = std::vector<absl::string_view>;
  using Ids = std::vector<SymbolId>;

  NameTable();
  ~NameTable();
  NameTable(NameTable&&) noexcept;
  NameTable& operator=(NameTable&&) noexcept;

  // The id of `name`, new if it was not there.
  SymbolId Intern(absl::string_view name);
  // The ids of all names of `lists`, the same as if they were interned one after the other; in parallel.
  std::vector<Ids> InternLists(const std::vector<Names>& lists);
  // Thread safe with other Finds only. An invalid id when the name is not there.
  SymbolId Find(absl::string_view name) const;

  // Every id is below this; some below it may be unused.
  uint32_t capacity() const;
  absl::string_view Name(SymbolId id) const;
  uint64_t bytes() const;  // memory held, for accounting

 private:
  static constexpr uint32_t kShardBits = 6;
  static constexpr uint32_t kShards = 1u << kShardBits;
  struct Shard;
  std::unique_ptr<std::array<Shard, kShards>> shards_;
};

}  // namespace kitlink

#endif  // CORE_SYMBOLS_NAME_TABLE_H_
