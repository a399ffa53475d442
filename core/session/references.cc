#include "core/session/references.h"

#include <algorithm>

namespace kitlink {
namespace {

class Collector {
 public:
  Collector(const ObjectFile& object, absl::FunctionRef<SymbolId(uint32_t)> global)
      : object_(object), global_(global), lists_(object.sections.size()) {}

  References Run(absl::Span<const EhFrame> frames) {
    for (uint32_t s = 0; s < object_.sections.size(); ++s) {
      const InputSection& section = object_.sections[s];
      if (!Followed(s)) continue;
      for (const Reloc& reloc : section.relocs) Add(s, reloc.symbol);
      if ((section.flags & kSecLinkOrder) && section.link < lists_.size()) lists_[section.link].push_back(References::kOwn | s);
    }
    for (const SectionGroup& group : object_.groups) AddGroup(group);
    for (const EhFrame& frame : frames) AddFrame(frame);
    for (std::vector<uint32_t>& list : lists_) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
    }
    References references;
    references.Assign(lists_);
    return references;
  }

 private:
  bool Followed(uint32_t s) const {
    const InputSection& section = object_.sections[s];
    return (section.flags & kSecAlloc) && !(section.flags & kSecExclude) && section.kind != SectionKind::kEhFrame && section.kind != SectionKind::kNone;
  }

  void Add(uint32_t from, uint32_t symbol) {
    if (symbol >= object_.symbols.size()) return;  // the file is being rewritten under us
    if (symbol >= object_.first_global) {
      const SymbolId id = global_(symbol);
      if (id.valid()) lists_[from].push_back(id.value);
    } else if (object_.symbols[symbol].section < object_.sections.size()) {
      lists_[from].push_back(References::kOwn | object_.symbols[symbol].section);
    }
  }

  void AddGroup(const SectionGroup& group) {
    std::vector<uint32_t> members;
    for (uint32_t member : group.members) {
      if (member < lists_.size() && Followed(member)) members.push_back(member);
    }
    for (size_t m = 0; m < members.size(); ++m) {
      if (members.size() > 1) lists_[members[m]].push_back(References::kOwn | members[(m + 1) % members.size()]);
    }
  }

  // A function keeps its language-specific data and its personality routine.
  void AddFrame(const EhFrame& frame) {
    for (const EhRecord& fde : frame.fdes) {
      if (fde.function_symbol >= object_.symbols.size() || fde.cie < 0) continue;
      const uint32_t function = object_.symbols[fde.function_symbol].section;
      if (function >= lists_.size()) continue;
      for (uint32_t r = 1; r < fde.reloc_count; ++r) Add(function, frame.sorted[fde.first_reloc + r].symbol);
      const EhRecord& cie = frame.cies[static_cast<size_t>(fde.cie)];
      for (uint32_t r = 0; r < cie.reloc_count; ++r) Add(function, frame.sorted[cie.first_reloc + r].symbol);
    }
  }

  const ObjectFile& object_;
  absl::FunctionRef<SymbolId(uint32_t)> global_;
  std::vector<std::vector<uint32_t>> lists_;
};

}  // namespace

void References::Assign(const std::vector<std::vector<uint32_t>>& lists) {
  begin_.assign(1, 0);
  begin_.reserve(lists.size() + 1);
  targets_.clear();
  size_t total = 0;
  for (const std::vector<uint32_t>& list : lists) total += list.size();
  targets_.reserve(total);
  for (const std::vector<uint32_t>& list : lists) {
    targets_.insert(targets_.end(), list.begin(), list.end());
    begin_.push_back(static_cast<uint32_t>(targets_.size()));
  }
}

absl::Span<const uint32_t> References::Of(uint32_t from) const {
  if (from >= size()) return {};
  return absl::MakeSpan(targets_).subspan(begin_[from], begin_[from + 1] - begin_[from]);
}

void References::SetDefinitions(std::vector<std::pair<SymbolId, uint32_t>> definitions) {
  definitions_ = std::move(definitions);
  std::sort(definitions_.begin(), definitions_.end());
}

uint32_t References::HomeOf(SymbolId symbol) const {
  const auto it = std::lower_bound(definitions_.begin(), definitions_.end(), std::make_pair(symbol, uint32_t{0}));
  return it == definitions_.end() || it->first != symbol ? kOwn : it->second;
}

References References::Renumbered(const std::vector<uint32_t>& numbers, uint32_t count) const {
  std::vector<std::vector<uint32_t>> lists(count);
  for (uint32_t from = 0; from < size() && from < numbers.size(); ++from) {
    if (numbers[from] == kOwn) continue;
    std::vector<uint32_t>& list = lists[numbers[from]];
    for (uint32_t target : Of(from)) {
      if (!(target & kOwn)) {
        list.push_back(target);
      } else if (numbers[target & ~kOwn] != kOwn) {
        list.push_back(kOwn | numbers[target & ~kOwn]);
      }
    }
    std::sort(list.begin(), list.end());
  }
  References out;
  out.Assign(lists);
  std::vector<std::pair<SymbolId, uint32_t>> definitions;
  for (const auto& [symbol, in] : definitions_) {
    if (in < numbers.size() && numbers[in] != kOwn) definitions.push_back({symbol, numbers[in]});
  }
  out.SetDefinitions(std::move(definitions));
  return out;
}

References ReferencesOf(const ObjectFile& object, absl::Span<const EhFrame> frames,
                        absl::FunctionRef<SymbolId(uint32_t)> global) {
  return Collector(object, global).Run(frames);
}

std::vector<EhFrame> FramesOf(const ObjectFile& object) {
  std::vector<EhFrame> frames;
  for (uint32_t s = 0; s < object.sections.size(); ++s) {
    if (object.sections[s].kind != SectionKind::kEhFrame) continue;
    absl::StatusOr<EhFrame> frame = SplitEhFrame(object, s);
    if (frame.ok()) frames.push_back(*std::move(frame));
  }
  return frames;
}

}  // namespace kitlink
