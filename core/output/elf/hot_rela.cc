#include "core/output/elf/hot_rela.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace kitlink::elf {
namespace {

constexpr uint32_t kMoreRows = 1024;

}  // namespace

HotRela::HotRela(const RelaPlan& plan, ByteView table, uint64_t file_offset, const DynamicTypes& types)
    : file_offset_(file_offset), types_(types) {
  parts_[0].count = plan.relative;
  parts_[0].capacity = plan.relative_capacity;
  parts_[1].first = plan.relative_capacity;
  parts_[1].count = plan.other;
  parts_[1].capacity = plan.other_capacity;
  for (Part& part : parts_) {
    std::vector<std::pair<uint64_t, uint32_t>> order;
    part.rows.resize(part.count);
    for (uint32_t i = 0; i < part.count; ++i) {
      const auto rela = Load<Elf64_Rela>(&table[(uint64_t{part.first} + i) * sizeof(Elf64_Rela)]);
      part.rows[i] = {rela.r_offset, {rela.r_info, static_cast<uint64_t>(rela.r_addend)}};
      order.push_back({rela.r_offset, i});
    }
    std::sort(order.begin(), order.end());
    part.order.resize(order.size());
    for (size_t i = 0; i < order.size(); ++i) part.order[i] = {order[i].first, order[i].second};
  }
}

void HotRela::Begin() {
  for (Staged& staged : staged_) staged = Staged();
  expected_ = {};
  lacks_ = false;
}

void HotRela::Expect(uint32_t relative, uint32_t others) {
  expected_[0] += relative;
  expected_[1] += others;
}

uint32_t HotRela::LargerPart(int part) const {
  const uint32_t count = parts_[part].count;
  return std::max(parts_[part].capacity, count + 2 * expected_[part] + std::max(kMoreRows, count / 8));
}

uint64_t HotRela::Larger() const {
  return lacks_ ? (uint64_t{LargerPart(0)} + LargerPart(1)) * sizeof(Elf64_Rela) : 0;
}

void HotRela::MoveTable(uint64_t offset) {
  for (int p = 0; p < 2; ++p) parts_[p].capacity = LargerPart(p);
  parts_[1].first = parts_[0].capacity;
  file_offset_ = offset;
  moves_ = true;
  lacks_ = false;
}

std::pair<uint64_t, RelaRow> HotRela::RowAt(int part, uint32_t row) const {
  auto it = staged_[part].rows.find(row);
  if (it != staged_[part].rows.end()) return it->second;
  const Filled& filled = parts_[part].rows[row];
  return {filled.word, filled.row};
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
  return KnownRowOf(part, address);
}

int64_t HotRela::KnownRowOf(int part, uint64_t address) const {
  if (auto it = parts_[part].later.find(address); it != parts_[part].later.end()) return it->second;
  const auto& order = parts_[part].order;
  const size_t at = OrderBound(part, address);
  return at == order.size() || order[at].word != address ? -1 : int64_t{order[at].row};
}

size_t HotRela::OrderBound(int part, uint64_t address) const {
  const auto& order = parts_[part].order;
  size_t low = 0, high = order.size();
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (order[middle].word < address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

std::vector<uint64_t> HotRela::WordsIn(int part, WordRange range) const {
  std::vector<uint64_t> words;
  const auto& order = parts_[part].order;
  for (size_t at = OrderBound(part, range.begin); at < order.size() && order[at].word < range.end; ++at) {
    words.push_back(order[at].word);
  }
  const auto add = [&](const auto& map) {
    for (auto it = map.lower_bound(range.begin); it != map.end() && it->first < range.end; ++it) words.push_back(it->first);
  };
  add(parts_[part].later);
  add(staged_[part].row_of);
  std::sort(words.begin(), words.end());
  words.erase(std::unique(words.begin(), words.end()), words.end());
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
    return it != staged_[p].rows.end() ? &it->second.second : &std::as_const(parts_[p].rows)[row].row;
  }
  return nullptr;
}

absl::Status HotRela::Add(uint64_t address, bool relative, uint64_t info, uint64_t addend) {
  const int p = relative ? 0 : 1;
  const uint32_t row = Count(p);
  if (row >= parts_[p].capacity) {
    lacks_ = true;
    expected_[p] = std::max<uint32_t>(expected_[p], 1);
    return absl::ResourceExhaustedError(absl::StrCat(".rela.dyn: no free ", relative ? "RELATIVE" : "symbolic", " row"));
  }
  staged_[p].rows[row] = {address, {info, addend}};
  staged_[p].row_of[address] = row;
  ++staged_[p].delta;
  return absl::OkStatus();
}

void HotRela::EmitRows(int part, uint32_t first, absl::Span<const Filled> rows, std::vector<Mutation>* mutations) const {
  Mutation mutation;
  mutation.offset = file_offset_ + (uint64_t{parts_[part].first} + first) * sizeof(Elf64_Rela);
  mutation.phase = PatchPhase::kTables;
  mutation.bytes.resize(rows.size() * sizeof(Elf64_Rela));
  for (size_t i = 0; i < rows.size(); ++i) {
    Elf64_Rela rela{};
    rela.r_offset = rows[i].word;
    rela.r_info = rows[i].row.info;
    rela.r_addend = static_cast<int64_t>(rows[i].row.addend);
    Store(&mutation.bytes[i * sizeof(rela)], rela);
  }
  mutations->push_back(std::move(mutation));
}

void HotRela::Emit(std::vector<Mutation>* mutations) const {
  for (int p = 0; p < 2; ++p) {
    const Part& part = parts_[p];
    // In a new place there are zeros until now.
    if (moves_) {
      std::vector<Filled> all(part.capacity, Filled{0, {types_.none, 0}});
      for (uint32_t row = 0; row < part.count; ++row) all[row] = part.rows[row];
      EmitRows(p, 0, all, mutations);
    }
    for (const auto& [row, content] : staged_[p].rows) EmitRows(p, row, {{content.first, content.second}}, mutations);
  }
}

void HotRela::Accept() {
  for (int p = 0; p < 2; ++p) {
    Part& part = parts_[p];
    part.count += staged_[p].delta;
    part.rows.resize(part.count);
    for (const auto& [row, content] : staged_[p].rows) {
      if (row < part.count) part.rows[row] = {content.first, content.second};
    }
    for (const auto& [word, row] : staged_[p].row_of) part.later[word] = row;
    staged_[p] = Staged();
  }
  moves_ = false;
}

uint64_t HotRela::bytes_held() const {
  uint64_t total = 0;
  for (const Part& part : parts_) total += part.rows.bytes() + part.order.bytes() + part.later.size() * 18;
  return total;
}

}  // namespace kitlink::elf
