#include "core/output/elf/hot_symtab.h"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/output/elf/symtab.h"
#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

constexpr uint32_t kUnits = 3, kGlobals = 5;

// Name, type and binding, visibility, section, value, size.
using Shown = std::tuple<std::string, int, int, int, uint64_t, uint64_t>;

// A table as a full link writes it, in a file of its own: [sh_size][rows][names].
class HotSymtabTest : public ::testing::Test {
 protected:
  HotSymtabTest() {
    plan_.present = true;
    home_.symtab = 16;
    home_.info_field = 8;
    home_.tls_begin = 0x7000;
    std::string names(1, '\0');
    uint32_t row = 1;
    for (uint32_t u = 0; u < kUnits; ++u) {
      plan_.locals.push_back({row, 0, 4, static_cast<uint32_t>(names.size()), 0});
      row += 4;
    }
    plan_.spare_locals = {row, 0, 30, 0, 0};
    plan_.first_global = row + 30;
    for (uint32_t g = 0; g < kGlobals; ++g) {
      plan_.globals.push_back(SymbolId(g * 2));
      plan_.names.push_back(static_cast<uint32_t>(names.size()));
      names += absl::StrCat("global", g) + '\0';
    }
    plan_.rows = plan_.first_global + kGlobals;
    plan_.capacity = plan_.rows + 6;
    plan_.name_bytes = names.size();
    plan_.strtab_size = names.size() + 600;
    home_.strtab = home_.symtab + uint64_t{plan_.capacity} * sizeof(Elf64_Sym);
    home_.strtab_size = plan_.strtab_size;
    file_.assign(home_.strtab + plan_.strtab_size, 0);
    std::copy(names.begin(), names.end(), file_.begin() + static_cast<ptrdiff_t>(home_.strtab));
    Store(&file_[0], uint64_t{plan_.rows} * sizeof(Elf64_Sym));
    for (uint32_t r = 1; r < plan_.first_global; ++r) Store(At(r), FillerRow());
    for (uint32_t g = 0; g < kGlobals; ++g) {
      Elf64_Sym symbol = MakeGlobalRow(SymbolType::kFunction, SymbolBinding::kGlobal, Visibility::kDefault);
      symbol.st_name = plan_.names[g];
      symbol.st_shndx = 3;
      symbol.st_value = 0x1000 + 16 * g;
      symbol.st_size = 8;
      Store(At(plan_.first_global + g), symbol);
      globals_[g * 2] = {absl::StrCat("global", g), symbol.st_info, 0, 3, symbol.st_value, 8};
    }
    const ByteView rows = ByteView(file_).subspan(home_.symtab + uint64_t{plan_.first_global} * sizeof(Elf64_Sym),
                                                  kGlobals * sizeof(Elf64_Sym));
    hot_ = std::make_unique<HotSymtab>(plan_, rows, home_);
    hot_->Begin();
  }

  uint8_t* At(uint32_t row) { return &file_[home_.symtab + uint64_t{row} * sizeof(Elf64_Sym)]; }

  void Apply(const std::vector<Mutation>& mutations) {
    for (const Mutation& mutation : mutations) {
      ASSERT_LE(mutation.offset + mutation.bytes.size(), file_.size());
      std::copy(mutation.bytes.begin(), mutation.bytes.end(), file_.begin() + static_cast<ptrdiff_t>(mutation.offset));
    }
  }

  void Commit() {
    hot_->Emit(&mutations_);
    Apply(mutations_);
    mutations_.clear();
    hot_->Accept();
  }

  // Makes room at the end of the file and copies what is kept, as a session does.
  void Move(const TableRoom& room, uint64_t* at) {
    const uint64_t from = *at;
    *at = file_.size();
    file_.resize(file_.size() + room.size);
    std::copy_n(file_.begin() + static_cast<ptrdiff_t>(from), room.kept, file_.begin() + static_cast<ptrdiff_t>(*at));
  }

  NewSymbol New(uint32_t id, absl::string_view name) const {
    NewSymbol symbol;
    symbol.symbol = SymbolId(id);
    symbol.name = name;
    symbol.type = SymbolType::kObject;
    symbol.binding = SymbolBinding::kWeak;
    symbol.visibility = Visibility::kHidden;
    return symbol;
  }

  void Define(uint32_t id, uint64_t value, bool tls = false) {
    SymbolUpdate update;
    update.symbol = SymbolId(id);
    update.body = value;
    update.size = value / 16;
    update.output_section = 6;
    update.tls = tls;
    hot_->Define(update);
  }

  // The unit's locals are `count` objects at `value` and behind it.
  absl::Status Locals(uint32_t unit, uint32_t count, const std::string& stem) {
    ObjectFile object;
    std::vector<std::string> names;
    for (uint32_t i = 0; i < count; ++i) names.push_back(absl::StrCat(stem, i));
    object.symbols.resize(1);
    for (uint32_t i = 0; i < count; ++i) {
      InputSymbol symbol;
      symbol.name = names[i];
      symbol.type = SymbolType::kObject;
      symbol.binding = SymbolBinding::kLocal;
      symbol.section = 1;
      symbol.value = 8 * i;
      symbol.size = 4;
      object.symbols.push_back(symbol);
    }
    object.first_global = static_cast<uint32_t>(object.symbols.size());
    const std::vector<SectionPlace> places = {{}, {true, true, 4, 0x5000, 0x100}};
    UnitUpdate update;
    update.unit = UnitId(unit);
    update.object = &object;
    update.sections = places;
    return hot_->UpdateLocals(LinkOptions(), update, &mutations_);
  }

  static std::multiset<Shown> LocalsOf(uint32_t count, const std::string& stem) {
    std::multiset<Shown> rows;
    for (uint32_t i = 0; i < count; ++i) {
      rows.insert({absl::StrCat(stem, i), ELF64_ST_INFO(STB_LOCAL, STT_OBJECT), 0, 5, 0x5000 + 8 * i, 4});
    }
    return rows;
  }

  // What a reader of the file sees is what the model says, locals before globals, nothing behind the last row.
  void Check() {
    const uint64_t size = Load<uint64_t>(&file_[0]);
    ASSERT_EQ(size % sizeof(Elf64_Sym), 0u);
    ASSERT_LE(size, plan_.capacity * sizeof(Elf64_Sym));
    std::multiset<Shown> locals, globals, expected_locals, expected_globals;
    for (uint32_t r = 1; r < plan_.capacity; ++r) {
      const auto row = Load<Elf64_Sym>(At(r));
      if (r >= size / sizeof(Elf64_Sym)) {
        ASSERT_EQ(row.st_name + row.st_info + row.st_value + row.st_shndx, 0u) << "behind the last row";
        continue;
      }
      ASSERT_EQ(ELF64_ST_BIND(row.st_info) == STB_LOCAL, r < plan_.first_global) << r;
      if (ELF64_ST_TYPE(row.st_info) == STT_FILE) continue;
      ASSERT_LT(row.st_name, plan_.strtab_size);
      const std::string name(reinterpret_cast<const char*>(&file_[home_.strtab + row.st_name]));
      (r < plan_.first_global ? locals : globals)
          .insert({name, row.st_info, row.st_other, row.st_shndx, row.st_value, row.st_size});
    }
    for (const auto& [unit, rows] : locals_) expected_locals.insert(rows.begin(), rows.end());
    for (const auto& [id, row] : globals_) expected_globals.insert(row);
    ASSERT_EQ(locals, expected_locals);
    ASSERT_EQ(globals, expected_globals);
  }

  SymtabPlan plan_;
  SymtabHome home_;
  std::vector<uint8_t> file_;
  std::unique_ptr<HotSymtab> hot_;
  std::vector<Mutation> mutations_;
  std::map<uint32_t, Shown> globals_;
  std::map<uint32_t, std::multiset<Shown>> locals_;
};

TEST_F(HotSymtabTest, WritesNothingWithoutChanges) {
  hot_->Emit(&mutations_);
  EXPECT_TRUE(mutations_.empty());
  Check();
}

TEST_F(HotSymtabTest, ASymbolWithALargeIdGetsARow) {
  EXPECT_FALSE(hot_->Has(SymbolId(100000)));
  ASSERT_TRUE(hot_->Add(New(100000, "fresh")).ok());
  Define(100000, 0x9000);
  Commit();
  EXPECT_TRUE(hot_->Has(SymbolId(100000)));
  globals_[100000] = {"fresh", ELF64_ST_INFO(STB_WEAK, STT_OBJECT), STV_HIDDEN, 7, 0x9000, 0x900};
  Check();
}

TEST_F(HotSymtabTest, FullTablesMoveToWhereThereIsMoreRoom) {
  ASSERT_TRUE(Locals(1, 3, "before").ok());
  Commit();
  locals_[1] = LocalsOf(3, "before");
  Check();
  EXPECT_EQ(hot_->MoreRows().size, 0u);
  EXPECT_EQ(hot_->MoreNames().size, 0u);
  EXPECT_FALSE(Locals(2, 500, "many").ok());
  const TableRoom rows = hot_->MoreRows();
  ASSERT_GE(rows.size, (plan_.capacity + 500) * sizeof(Elf64_Sym));
  EXPECT_EQ(rows.kept, plan_.first_global * sizeof(Elf64_Sym));
  Move(rows, &home_.symtab);
  hot_->MoveRows(home_.symtab);
  hot_->Begin();
  EXPECT_FALSE(Locals(2, 500, "many").ok()) << "there are rows, but no names";
  EXPECT_EQ(hot_->MoreRows().size, 0u);
  const TableRoom names = hot_->MoreNames();
  ASSERT_GE(names.size, plan_.strtab_size + 4000);
  Move(names, &home_.strtab);
  hot_->MoveNames(home_.strtab);
  hot_->Begin();
  mutations_.clear();
  hot_->PublishMove(&mutations_);
  ASSERT_TRUE(Locals(2, 500, "many").ok());
  ASSERT_TRUE(hot_->Add(New(90, "fresh")).ok());
  Define(90, 0x9000);
  hot_->Remove(SymbolId(2));
  Commit();
  locals_[2] = LocalsOf(500, "many");
  globals_.erase(2);
  globals_[90] = {"fresh", ELF64_ST_INFO(STB_WEAK, STT_OBJECT), STV_HIDDEN, 7, 0x9000, 0x900};
  plan_.first_global = Load<Elf64_Word>(&file_[8]);
  plan_.capacity = static_cast<uint32_t>(rows.size / sizeof(Elf64_Sym));
  plan_.strtab_size = names.size;
  Check();
  mutations_.clear();
  hot_->Emit(&mutations_);
  EXPECT_TRUE(mutations_.empty()) << "it has moved";
}

TEST_F(HotSymtabTest, TheLastRowFillsTheHole) {
  hot_->Remove(SymbolId(2));
  Commit();
  globals_.erase(2);
  Check();
  Define(8, 0x4440);  // the one that moved
  Commit();
  globals_[8] = {"global4", ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, 7, 0x4440, 0x444};
  Check();
}

TEST_F(HotSymtabTest, AddedAgainItKeepsItsRowAndChangesItsKind) {
  ASSERT_TRUE(hot_->Add(New(4, "global2")).ok());
  Define(4, 0x7010, true);
  hot_->Emit(&mutations_);
  EXPECT_EQ(mutations_.size(), 1u) << "the row alone";
  Commit();
  globals_[4] = {"global2", ELF64_ST_INFO(STB_WEAK, STT_OBJECT), STV_HIDDEN, 7, 0x10, 0x701};
  Check();
}

TEST_F(HotSymtabTest, ForgetsAPlanThatWasNotAccepted) {
  ASSERT_TRUE(hot_->Add(New(50, "fresh")).ok());
  hot_->Remove(SymbolId(0));
  ASSERT_TRUE(Locals(0, 7, "l").ok());
  mutations_.clear();
  hot_->Begin();
  EXPECT_TRUE(hot_->Has(SymbolId(0)));
  EXPECT_FALSE(hot_->Has(SymbolId(50)));
  hot_->Emit(&mutations_);
  EXPECT_TRUE(mutations_.empty());
}

TEST_F(HotSymtabTest, SaysWhenThereIsNoRoom) {
  for (uint32_t i = 0; i < 6; ++i) ASSERT_TRUE(hot_->Add(New(20 + i, "x")).ok());
  EXPECT_EQ(hot_->Add(New(90, "x")).code(), absl::StatusCode::kResourceExhausted);
  hot_->Begin();
  EXPECT_EQ(hot_->Add(New(90, std::string(700, 'x'))).code(), absl::StatusCode::kResourceExhausted);
  hot_->Begin();
  EXPECT_EQ(Locals(0, 40, "l").code(), absl::StatusCode::kResourceExhausted);
}

// Else what follows would seem to be of its file.
TEST_F(HotSymtabTest, ARowWithoutANameIsBehindTheLocalsOfAUnit) {
  for (uint32_t count = 1; count < 6; ++count) {
    ASSERT_TRUE(Locals(0, count, "first").ok());
    ASSERT_TRUE(Locals(1, 6 - count, "second").ok());
    Commit();
    const auto name = [&](uint32_t row) {
      return absl::string_view(reinterpret_cast<const char*>(&file_[home_.strtab + Load<Elf64_Sym>(At(row)).st_name]));
    };
    for (uint32_t row = 1; row + 1 < plan_.first_global; ++row) {
      if (name(row).empty() || name(row + 1).empty()) continue;
      EXPECT_EQ(name(row)[0], name(row + 1)[0]) << count;
    }
  }
}

TEST_F(HotSymtabTest, NamesOfWhatIsGoneAreReused) {
  for (int round = 0; round < 100; ++round) {
    ASSERT_TRUE(hot_->Add(New(30, "a_rather_long_name")).ok());
    hot_->Remove(SymbolId(30));
    ASSERT_TRUE(hot_->Add(New(31, "another_rather_long_name")).ok());
    Commit();
    hot_->Remove(SymbolId(31));
    ASSERT_TRUE(Locals(1, round % 7, "local").ok());
    Commit();
  }
  locals_[1] = LocalsOf(99 % 7, "local");
  Check();
}

TEST_F(HotSymtabTest, ANameThatCameAndWentIsNotWrittenOverAnothers) {
  ASSERT_TRUE(hot_->Add(New(30, "a_rather_long_name")).ok());
  hot_->Remove(SymbolId(30));
  ASSERT_TRUE(Locals(1, 3, "local").ok());
  Commit();
  locals_[1] = LocalsOf(3, "local");
  Check();
}

TEST_F(HotSymtabTest, WithoutATableNothingHappens) {
  HotSymtab none(SymtabPlan(), {}, SymtabHome());
  none.Begin();
  EXPECT_TRUE(none.Add(New(3, "x")).ok());
  none.Remove(SymbolId(3));
  std::vector<Mutation> mutations;
  none.Emit(&mutations);
  EXPECT_TRUE(mutations.empty());
  none.Accept();
}

TEST_F(HotSymtabTest, RandomUseAgainstAModel) {
  std::mt19937 random(7);
  int full = 0;
  for (int round = 0; round < 4000; ++round) {
    hot_->Begin();
    mutations_.clear();
    auto globals = globals_;
    auto locals = locals_;
    bool ok = true;
    for (int step = 0; ok && step < 5; ++step) {
      const uint32_t id = random() % 16;
      const uint64_t value = 0x8000 + 16 * (random() % 64);
      switch (random() % 4) {
        case 0: {
          const std::string name = absl::StrCat("n", id, std::string(random() % 20, 'x'));
          auto known = globals.find(id);
          const bool has = known != globals.end();
          ok = hot_->Add(New(id, has ? std::get<0>(known->second) : name)).ok();
          Define(id, value);
          globals[id] = {has ? std::get<0>(known->second) : name, ELF64_ST_INFO(STB_WEAK, STT_OBJECT), STV_HIDDEN, 7,
                         value, value / 16};
          break;
        }
        case 1:
          hot_->Remove(SymbolId(id));
          globals.erase(id);
          break;
        case 2: {
          Define(id, value);
          auto it = globals.find(id);
          if (it != globals.end()) {
            std::get<3>(it->second) = 7;
            std::get<4>(it->second) = value;
            std::get<5>(it->second) = value / 16;
          }
          break;
        }
        case 3: {
          const uint32_t unit = random() % 6, count = random() % 9;
          const std::string stem(random() % 8 + 1, static_cast<char>('a' + random() % 26));
          ok = Locals(unit, count, stem).ok();
          locals[unit] = LocalsOf(count, stem);
          break;
        }
      }
    }
    full += ok ? 0 : 1;
    if (!ok || random() % 4 == 0) continue;  // not committed
    globals_ = globals;
    locals_ = locals;
    Commit();
    if (HasFatalFailure()) return;
    Check();
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(full, 20) << "room never ran out: the test is too kind";
  EXPECT_LT(full, 3000) << "room is lost";
}

}  // namespace
}  // namespace kitlink::elf
