#include "core/output/elf/hot_rela.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kitlink::elf {

HotRela::HotRela(const RelaPlan& plan, ByteView table, uint64_t file_offset, const DynamicTypes& types)
    : file_offset_(file_offset), types_(types) {
  parts_[0].count = plan.relative;
  parts_[0].capacity = plan.relative_capacity;
  parts_[1].first = plan.relative_capacity;
  parts_[1].count = plan.other;
  parts_[1].capacity = plan.other_capacity;
  for (Part& part : parts_) {
    std::vector<std::pair<uint64_t, uint32_t>> order;
    for (uint32_t i = 0; i < part.count; ++i) {
      const auto rela = Load<Elf64_Rela>(&table[(uint64_t{part.first} + i) * sizeof(Elf64_Rela)]);
      part.address_of.push_back(rela.r_offset);
      part.rows.push_back({rela.r_info, static_cast<uint64_t>(rela.r_addend)});
      order.push_back({rela.r_offset, i});
    }
    std::sort(order.begin(), order.end());
    part.row_of = absl::btree_map<uint64_t, uint32_t>(order.begin(), order.end());
  }
}

void HotRela::Begin() {
  for (Staged& staged : staged_) staged = Staged();
}

std::pair<uint64_t, RelaRow> HotRela::RowAt(int part, uint32_t row) const {
  auto it = staged_[part].rows.find(row);
  if (it != staged_[part].rows.end()) return it->second;
  return {parts_[part].address_of[row], parts_[part].rows[row]};
}

void HotRela::RemoveRow(int part, uint64_t address, uint32_t row) {
  Staged& staged = staged_[part];
  const uint32_t last = Count(part) - 1;
  if (row != last) {
    const auto moved = RowAt(part, last);
    staged.rows[row] = moved;
    staged.row_of[moved.first] = row;
  }
  staged.rows[last] = {0, {types_.none, 0}};
  staged.row_of[address] = -1;
  --staged.delta;
}

int64_t HotRela::RowOf(int part, uint64_t address) const {
  if (auto it = staged_[part].row_of.find(address); it != staged_[part].row_of.end()) return it->second;
  auto it = parts_[part].row_of.find(address);
  return it == parts_[part].row_of.end() ? -1 : int64_t{it->second};
}

std::vector<uint64_t> HotRela::WordsIn(int part, WordRange range) const {
  std::vector<uint64_t> words;
  const auto& known = parts_[part].row_of;
  const auto& staged = staged_[part].row_of;
  for (auto it = known.lower_bound(range.begin); it != known.end() && it->first < range.end; ++it) {
    words.push_back(it->first);
  }
  for (auto it = staged.lower_bound(range.begin); it != staged.end() && it->first < range.end; ++it) {
    if (!known.contains(it->first)) words.push_back(it->first);
  }
  return words;
}

void HotRela::Remove(WordRange range) { RemoveOthers({range}, {}); }

void HotRela::RemoveOthers(absl::Span<const WordRange> ranges, const absl::flat_hash_set<uint64_t>& kept) {
  for (int p = 0; p < 2; ++p) {
    for (const WordRange& range : ranges) {
      for (uint64_t word : WordsIn(p, range)) {
        if (kept.contains(word)) continue;
        const int64_t row = RowOf(p, word);
        if (row >= 0) RemoveRow(p, word, static_cast<uint32_t>(row));
      }
    }
  }
}

void HotRela::Move(WordRange range, const std::vector<WordMove>& moves) {
  const auto to = [&](uint64_t word) -> const WordMove* {
    const auto it = std::upper_bound(moves.begin(), moves.end(), word,
                                     [](uint64_t address, const WordMove& move) { return address < move.from.begin; });
    return it == moves.begin() || word >= std::prev(it)->from.end ? nullptr : &*std::prev(it);
  };
  for (int p = 0; p < 2; ++p) {
    const std::vector<uint64_t> words = WordsIn(p, range);
    for (uint64_t word : words) {
      const int64_t row = RowOf(p, word);
      if (row >= 0 && to(word) == nullptr) RemoveRow(p, word, static_cast<uint32_t>(row));
    }
    std::vector<std::pair<uint32_t, std::pair<uint64_t, RelaRow>>> moved;
    for (uint64_t word : words) {
      const WordMove* move = to(word);
      const int64_t row = RowOf(p, word);
      if (row < 0 || move == nullptr) continue;
      auto content = RowAt(p, static_cast<uint32_t>(row));
      content.first = word - move->from.begin + move->to;
      moved.push_back({static_cast<uint32_t>(row), content});
      staged_[p].row_of[word] = -1;
    }
    for (const auto& [row, content] : moved) {
      staged_[p].rows[row] = content;
      staged_[p].row_of[content.first] = row;
    }
  }
}

bool HotRela::Rewrite(uint64_t address, bool relative, uint64_t info, uint64_t addend) {
  const int p = relative ? 0 : 1;
  const int64_t row = RowOf(p, address);
  if (row < 0) return false;
  staged_[p].rows[static_cast<uint32_t>(row)] = {address, {info, addend}};
  return true;
}

void HotRela::Renumber(const absl::flat_hash_map<uint32_t, uint32_t>& rows) {
  for (uint32_t row = 0; row < Count(1); ++row) {
    auto [word, content] = RowAt(1, row);
    const auto it = rows.find(ELF64_R_SYM(content.info));
    if (it == rows.end()) continue;
    content.info = ELF64_R_INFO(uint64_t{it->second}, ELF64_R_TYPE(content.info));
    staged_[1].rows[row] = {word, content};
  }
}

bool HotRela::Names(uint32_t symbol) const {
  for (uint32_t row = 0; row < Count(1); ++row) {
    if (ELF64_R_SYM(RowAt(1, row).second.info) == symbol) return true;
  }
  return false;
}

const RelaRow* HotRela::Find(uint64_t address) const {
  for (int p = 0; p < 2; ++p) {
    const int64_t row = RowOf(p, address);
    if (row < 0) continue;
    auto it = staged_[p].rows.find(static_cast<uint32_t>(row));
    return it != staged_[p].rows.end() ? &it->second.second : &parts_[p].rows[row];
  }
  return nullptr;
}

absl::Status HotRela::Add(uint64_t address, bool relative, uint64_t info, uint64_t addend) {
  const int p = relative ? 0 : 1;
  const uint32_t row = Count(p);
  if (row >= parts_[p].capacity) {
    return absl::ResourceExhaustedError(absl::StrCat(".rela.dyn: no free ", relative ? "RELATIVE" : "symbolic", " row"));
  }
  staged_[p].rows[row] = {address, {info, addend}};
  staged_[p].row_of[address] = row;
  ++staged_[p].delta;
  return absl::OkStatus();
}

void HotRela::Emit(std::vector<Mutation>* mutations) const {
  for (int p = 0; p < 2; ++p) {
    for (const auto& [row, content] : staged_[p].rows) {
      Elf64_Rela rela{};
      rela.r_offset = content.first;
      rela.r_info = content.second.info;
      rela.r_addend = static_cast<int64_t>(content.second.addend);
      Mutation mutation;
      mutation.offset = file_offset_ + (uint64_t{parts_[p].first} + row) * sizeof(rela);
      mutation.phase = PatchPhase::kTables;
      mutation.bytes.resize(sizeof(rela));
      Store(mutation.bytes.data(), rela);
      mutations->push_back(std::move(mutation));
    }
  }
}

void HotRela::Accept() {
  for (int p = 0; p < 2; ++p) {
    Part& part = parts_[p];
    part.count += staged_[p].delta;
    part.address_of.resize(std::max<size_t>(part.address_of.size(), part.count));
    part.rows.resize(part.address_of.size());
    for (const auto& [row, content] : staged_[p].rows) {
      if (row >= part.count) continue;
      part.address_of[row] = content.first;
      part.rows[row] = content.second;
    }
    part.address_of.resize(part.count);
    part.rows.resize(part.count);
    for (const auto& [word, row] : staged_[p].row_of) {
      if (row < 0) {
        part.row_of.erase(word);
      } else {
        part.row_of[word] = static_cast<uint32_t>(row);
      }
    }
    staged_[p] = Staged();
  }
}

uint64_t HotRela::bytes_held() const {
  uint64_t total = 0;
  for (const Part& part : parts_) total += part.address_of.capacity() * 8 + part.rows.capacity() * 16 + part.row_of.size() * 14;
  return total;
}

}  // namespace kitlink::elf
