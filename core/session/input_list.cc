#include "core/session/input_list.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"

namespace kitlink {
namespace {

constexpr uint32_t kNone = InputListChange::kNew;

bool Same(const InputArgument& a, const InputArgument& b) {
  return a.library == b.library && a.flags == b.flags && a.name == b.name;
}

GateRefusal Refuse(absl::string_view what) { return {GateReason::kInputListChanged, std::string(what)}; }

// The places of a longest ascending subsequence of `values`.
std::vector<size_t> LongestAscending(const std::vector<uint32_t>& values) {
  std::vector<size_t> ends, before(values.size());  // of subsequences by length: where the one with the least end stops
  for (size_t i = 0; i < values.size(); ++i) {
    const auto it = std::lower_bound(ends.begin(), ends.end(), i, [&](size_t a, size_t b) { return values[a] < values[b]; });
    before[i] = it == ends.begin() ? i : *(it - 1);
    if (it == ends.end()) {
      ends.push_back(i);
    } else {
      *it = i;
    }
  }
  std::vector<size_t> places;
  for (size_t i = ends.empty() ? 0 : ends.back(), n = ends.size(); n > 0; --n, i = before[i]) places.push_back(i);
  std::reverse(places.begin(), places.end());
  return places;
}

class ListComparer {
 public:
  ListComparer(const Memory& memory, const std::vector<InputArgument>& now)
      : memory_(memory), was_(memory.options->inputs), now_(now) {}

  std::variant<InputListChange, GateRefusal> Run() {
    const size_t most = std::min(was_.size(), now_.size());
    while (begin_ < most && Same(was_[begin_], now_[begin_])) ++begin_;
    while (end_ < most - begin_ && Same(was_[was_.size() - 1 - end_], now_[now_.size() - 1 - end_])) ++end_;
    if (begin_ + end_ == was_.size() && was_.size() == now_.size()) return std::move(change_);
    if (was_.size() == now_.size() && RenameAll()) return std::move(change_);
    change_.renamed.clear();
    if (!Match()) return Refuse(problem_);
    if (!RenameInGaps() || !TellRest() || !Rank()) return Refuse(problem_);
    return std::move(change_);
  }

 private:
  bool Problem(const std::string& name) {
    problem_ = name;
    return false;
  }

  // The plain object that an argument of the old list stands for, if that is what it is.
  const FileMemory* ObjectOf(const InputArgument& argument, uint32_t* index = nullptr) const {
    const auto it = memory_.file_of.find(argument.name);
    if (argument.library || it == memory_.file_of.end()) return nullptr;
    const FileMemory& file = memory_.files[it->second];
    if (index != nullptr) *index = it->second;
    return file.role == OpenedFile::Role::kObject && file.units.size() == 1 ? &file : nullptr;
  }

  // True when the argument at `now` is the object at `was` under another name.
  bool Rename(size_t was, size_t now) {
    uint32_t file = 0;
    if (was_[was].library || now_[now].library || !(was_[was].flags == now_[now].flags)) return false;
    if (ObjectOf(was_[was], &file) == nullptr || memory_.file_of.contains(now_[now].name)) return false;
    change_.renamed.push_back({file, now_[now].name});
    return true;
  }

  // What compilers do that name their objects anew: the same number, in the same places.
  bool RenameAll() {
    for (size_t i = begin_; i < now_.size() - end_; ++i) {
      if (!Same(was_[i], now_[i]) && !Rename(i, i)) return false;
    }
    return true;
  }

  // Finds the arguments of the middle by name. Those that would have to pass each other have moved.
  bool Match() {
    const size_t was_end = was_.size() - end_, now_end = now_.size() - end_;
    absl::flat_hash_map<std::pair<bool, absl::string_view>, uint32_t> places;
    for (size_t i = begin_; i < was_end; ++i) {
      if (!places.emplace(std::make_pair(was_[i].library, absl::string_view(was_[i].name)), static_cast<uint32_t>(i)).second) {
        return Problem(was_[i].name);
      }
    }
    change_.origins.assign(now_.size(), kNone);
    std::vector<uint32_t> olds;
    std::vector<size_t> news;
    for (size_t i = begin_; i < now_end; ++i) {
      const auto it = places.find(std::make_pair(now_[i].library, absl::string_view(now_[i].name)));
      if (it == places.end()) continue;
      if (!(was_[it->second].flags == now_[i].flags)) return Problem(now_[i].name);
      olds.push_back(it->second);
      news.push_back(i);
      places.erase(it);
    }
    const std::vector<size_t> stay = LongestAscending(olds);
    for (size_t k : stay) change_.origins[news[k]] = olds[k];
    for (size_t k = 0, s = 0; k < olds.size(); ++k) {
      if (s < stay.size() && stay[s] == k) {
        ++s;
        continue;
      }
      uint32_t file = 0;
      if (now_[news[k]].flags.lazy || ObjectOf(was_[olds[k]], &file) == nullptr) return Problem(now_[news[k]].name);
      moved_.push_back({olds[k], news[k], file});
    }
    for (size_t i = 0; i < begin_; ++i) change_.origins[i] = static_cast<uint32_t>(i);
    for (size_t i = 0; i < end_; ++i) {
      change_.origins[now_.size() - 1 - i] = static_cast<uint32_t>(was_.size() - 1 - i);
    }
    return true;
  }

  // Where as many went as came between two that stayed, they have other names.
  bool RenameInGaps() {
    absl::flat_hash_map<size_t, uint32_t> moved_from, moved_to;
    for (const Moved& moved : moved_) moved_from[moved.was] = moved.file, moved_to[moved.now] = moved.file;
    size_t was = begin_;
    std::vector<size_t> came;
    for (size_t now = begin_; now <= now_.size() - end_; ++now) {
      const bool last = now == now_.size() - end_;
      if (!last && moved_to.contains(now)) continue;
      if (!last && change_.origins[now] == kNone) {
        came.push_back(now);
        continue;
      }
      const size_t stop = last ? was_.size() - end_ : change_.origins[now];
      std::vector<size_t> went;
      for (; was < stop; ++was) {
        if (!moved_from.contains(was)) went.push_back(was);
      }
      was = stop + 1;
      const bool as_many = came.size() == went.size();
      for (size_t k = 0; k < came.size(); ++k) {
        if (as_many && Rename(went[k], came[k])) change_.origins[came[k]] = static_cast<uint32_t>(went[k]);
        else added_.push_back(came[k]);
      }
      for (size_t k = 0; k < went.size(); ++k) {
        if (!as_many || change_.origins[came[k]] == kNone) removed_.push_back(went[k]);
      }
      came.clear();
    }
    return true;
  }

  bool TellRest() {
    for (size_t was : removed_) {
      const auto it = memory_.file_of.find(was_[was].name);
      if (was_[was].library || it == memory_.file_of.end()) return Problem(was_[was].name);
      const FileMemory& file = memory_.files[it->second];
      const bool object = file.role == OpenedFile::Role::kObject && file.units.size() <= 1;
      const bool archive = file.role == OpenedFile::Role::kArchive && !was_[was].flags.whole_archive;
      // Named once more, it stays.
      const bool again = std::any_of(now_.begin(), now_.end(), [&](const InputArgument& a) { return a.name == was_[was].name; });
      if ((!object && !archive) || again) return Problem(was_[was].name);
      change_.removed.push_back(it->second);
    }
    for (size_t now : added_) {
      if (now_[now].library || memory_.file_of.contains(now_[now].name)) return Problem(now_[now].name);
      for (size_t other : added_) {
        if (other != now && now_[other].name == now_[now].name) return Problem(now_[now].name);
      }
    }
    return true;
  }

  // Gives ranks between those of their neighbours to what is new or has moved.
  bool Rank() {
    change_.ranks.assign(now_.size(), 0);
    for (size_t begin = 0; begin < now_.size();) {
      if (change_.origins[begin] != kNone) {
        change_.ranks[begin] = memory_.input_ranks[change_.origins[begin]];
        ++begin;
        continue;
      }
      size_t end = begin;
      while (end < now_.size() && change_.origins[end] == kNone) ++end;
      const uint64_t low = begin == 0 ? 0 : change_.ranks[begin - 1];
      const uint64_t count = end - begin + 1;
      const uint64_t high = end == now_.size() ? low + count * UnitRank::kStride : memory_.input_ranks[change_.origins[end]];
      const uint64_t step = (high - low) / count;
      if (step < 2 * UnitRank::kMostOfOne) return Problem("too many inputs came at one place");
      for (size_t i = begin; i < end; ++i) change_.ranks[i] = low + step * (i - begin + 1);
      begin = end;
    }
    for (size_t now : added_) change_.added.push_back({static_cast<uint32_t>(now), change_.ranks[now]});
    for (const Moved& moved : moved_) {
      change_.moved.push_back({moved.file, change_.ranks[moved.now]});
      change_.origins[moved.now] = moved.was;
    }
    return true;
  }

  struct Moved {
    uint32_t was;
    size_t now;
    uint32_t file;
  };

  const Memory& memory_;
  const std::vector<InputArgument>& was_;
  const std::vector<InputArgument>& now_;
  size_t begin_ = 0, end_ = 0;  // how many are the same at both ends
  std::vector<Moved> moved_;
  std::vector<size_t> added_, removed_;
  InputListChange change_;
  std::string problem_;
};

}  // namespace

std::variant<InputListChange, GateRefusal> CompareInputLists(const Memory& memory, const std::vector<InputArgument>& now) {
  return ListComparer(memory, now).Run();
}

}  // namespace kitlink
