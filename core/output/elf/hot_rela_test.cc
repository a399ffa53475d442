#include "core/output/elf/hot_rela.h"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "core/arch/arch.h"
#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

constexpr uint64_t kFileOffset = 640;
constexpr uint64_t kRelative = 8, kSymbolic = uint64_t{3} << 32 | 1;

class HotRelaTest : public ::testing::Test {
 protected:
  HotRelaTest() {
    types_.none = 0;
    types_.relative = kRelative;
    plan_.relative = 6;
    plan_.relative_capacity = 20;
    plan_.other = 3;
    plan_.other_capacity = 10;
    file_.assign(kFileOffset + plan_.rows() * sizeof(Elf64_Rela), 0);
    for (uint32_t i = 0; i < plan_.relative; ++i) Put(i, 0x1000 + 8 * i, kRelative, i);
    for (uint32_t i = 0; i < plan_.other; ++i) Put(plan_.relative_capacity + i, 0x2000 + 8 * i, kSymbolic, i);
    rela_ = std::make_unique<HotRela>(plan_, ByteView(file_).subspan(kFileOffset), kFileOffset, types_);
  }

  void Put(uint32_t row, uint64_t address, uint64_t info, uint64_t addend) {
    Elf64_Rela rela{};
    rela.r_offset = address;
    rela.r_info = info;
    rela.r_addend = static_cast<int64_t>(addend);
    Store(&file_[kFileOffset + row * sizeof(rela)], rela);
    (info == kRelative ? relative_ : other_)[address] = {info, addend};
  }

  void Commit() {
    std::vector<Mutation> mutations;
    rela_->Emit(&mutations);
    for (const Mutation& mutation : mutations) {
      ASSERT_GE(mutation.offset, kFileOffset);
      ASSERT_LE(mutation.offset + mutation.bytes.size(), file_.size());
      std::copy(mutation.bytes.begin(), mutation.bytes.end(), file_.begin() + static_cast<ptrdiff_t>(mutation.offset));
    }
    rela_->Accept();
  }

  // What a loader reads: the first `relative_count` rows are all RELATIVE, the rest of them are not, and each word of the
  // model is relocated once.
  void Check() const {
    std::map<uint64_t, std::pair<uint64_t, uint64_t>> relative, other;
    for (uint32_t i = 0; i < plan_.rows(); ++i) {
      const auto row = Load<Elf64_Rela>(&file_[kFileOffset + i * sizeof(Elf64_Rela)]);
      if (i < rela_->relative_count()) {
        ASSERT_EQ(row.r_info, kRelative) << "row " << i;
      }
      if (row.r_info == 0) continue;
      auto& into = row.r_info == kRelative ? relative : other;
      if (row.r_info == kRelative) {
        ASSERT_LT(i, rela_->relative_count());
      }
      ASSERT_TRUE(into.insert({row.r_offset, {row.r_info, static_cast<uint64_t>(row.r_addend)}}).second) << "twice";
    }
    ASSERT_EQ(relative, relative_);
    ASSERT_EQ(other, other_);
  }

  DynamicTypes types_{};
  RelaPlan plan_;
  std::vector<uint8_t> file_;
  std::unique_ptr<HotRela> rela_;
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> relative_, other_;
};

TEST_F(HotRelaTest, ReadsWhatIsThere) {
  EXPECT_EQ(rela_->relative_count(), 6u);
  Check();
}

TEST_F(HotRelaTest, ForgetsAPlanThatWasNotAccepted) {
  rela_->Begin();
  rela_->Remove({0x1000, 0x1020});
  ASSERT_TRUE(rela_->Add(0x9000, true, kRelative, 1).ok());
  EXPECT_EQ(rela_->relative_count(), 3u);
  rela_->Begin();
  EXPECT_EQ(rela_->relative_count(), 6u);
  Commit();
  Check();
}

TEST_F(HotRelaTest, SaysWhenAPartIsFull) {
  rela_->Begin();
  for (uint64_t i = 0; i < 7; ++i) ASSERT_TRUE(rela_->Add(0x3000 + 8 * i, false, kSymbolic, 0).ok());
  EXPECT_EQ(rela_->Add(0x4000, false, kSymbolic, 0).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(rela_->Add(0x4000, true, kRelative, 0).ok());
}

TEST_F(HotRelaTest, AFullTableMovesToWhereThereIsMoreRoom) {
  rela_->Begin();
  EXPECT_EQ(rela_->Larger(), 0u) << "nothing is lacking";
  rela_->Expect(0, 3000);
  absl::Status status;
  for (uint64_t i = 0; status.ok(); ++i) status = rela_->Add(0x4000 + 8 * i, false, kSymbolic, i);
  const uint64_t size = rela_->Larger();
  EXPECT_GE(size, (plan_.rows() + 3000) * sizeof(Elf64_Rela));
  const uint64_t offset = file_.size();
  rela_->MoveTable(offset);
  EXPECT_EQ(rela_->size(), size);
  file_.resize(offset + size);
  for (bool accepted : {false, true}) {  // a plan that comes to nothing moves nothing
    rela_->Begin();
    EXPECT_EQ(rela_->Larger(), 0u);
    EXPECT_TRUE(rela_->moves());
    rela_->Remove({0x1008, 0x1010});
    for (uint64_t i = 0; i < 3000; ++i) ASSERT_TRUE(rela_->Add(0x4000 + 8 * i, false, kSymbolic, i).ok());
    if (!accepted) continue;
    relative_.erase(0x1008);
    for (uint64_t i = 0; i < 3000; ++i) other_[0x4000 + 8 * i] = {kSymbolic, i};
    Commit();
  }
  EXPECT_FALSE(rela_->moves());
  file_.erase(file_.begin() + kFileOffset, file_.begin() + static_cast<ptrdiff_t>(offset));  // where Check looks
  plan_.other_capacity = static_cast<uint32_t>(size / sizeof(Elf64_Rela)) - plan_.relative_capacity;
  Check();
}

TEST_F(HotRelaTest, WordsMoveAcrossEachOther) {
  rela_->Begin();
  // Three relative words: the second and third one go up by one place, the first one goes; so for the symbolic ones.
  rela_->Move({0x1000, 0x1018}, {{{0x1008, 0x1010}, 0x1010}, {{0x1010, 0x1018}, 0x1008}});
  rela_->Move({0x2000, 0x2018}, {{{0x2000, 0x2010}, 0x2008}});
  const auto relative = relative_, other = other_;
  relative_.erase(0x1000);
  relative_[0x1010] = relative.at(0x1008);
  relative_[0x1008] = relative.at(0x1010);
  other_ = {{0x2008, other.at(0x2000)}, {0x2010, other.at(0x2008)}};
  EXPECT_EQ(rela_->relative_count(), 5u);
  Commit();
  Check();
}

TEST_F(HotRelaTest, RandomUseAgainstAModel) {
  std::mt19937 random(3);
  for (int round = 0; round < 3000; ++round) {
    rela_->Begin();
    auto relative = relative_;
    auto other = other_;
    for (int step = 0; step < 4; ++step) {
      const uint64_t begin = 0x1000 + 8 * (random() % 40), end = begin + 8 * (random() % 12);
      rela_->Remove({begin, end});
      for (auto* model : {&relative, &other}) model->erase(model->lower_bound(begin), model->lower_bound(end));
      for (uint64_t word = begin; word < end; word += 8) {
        if (random() % 3 != 0) continue;
        const bool is_relative = random() % 2;
        const uint64_t info = is_relative ? kRelative : kSymbolic, addend = random();
        auto& model = is_relative ? relative : other;
        const absl::Status status = rela_->Add(word, is_relative, info, addend);
        ASSERT_EQ(status.ok(), model.size() < (is_relative ? 20u : 10u));
        if (status.ok()) model[word] = {info, addend};
      }
    }
    if (random() % 4 == 0) continue;  // not committed
    relative_ = relative;
    other_ = other;
    Commit();
    if (HasFatalFailure()) return;
    Check();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace kitlink::elf
