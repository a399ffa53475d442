// Symbols, imports and cells of hot images: after any plan, what a loader makes of the file is what the plan asked for.
#include "core/output/elf/hot_elf.h"

#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/output/elf/testing/hot_image.h"
#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

using testing::HotElfTest;
using testing::Known;
using testing::Loaded;
using testing::VersionName;
using testing::kLibraryFunctions;

TEST_P(HotElfTest, TheImageIsReadAsItWasWritten) {
  ASSERT_NE(hot_, nullptr);
  Check();
  hot_->Begin();
  std::vector<uint8_t> before = linked_.file;
  Commit();
  EXPECT_EQ(linked_.file, before) << "a plan without changes changes nothing";
}

TEST_P(HotElfTest, AnImportGetsItsRows) {
  hot_->Begin();
  const SymbolId id(5000);
  ASSERT_TRUE(Import(id, 9).ok());  // V1 is known
  Known known{"f9@V1", true, 0, kNeedGot | kNeedPlt};
  ASSERT_TRUE(Need(id, known, known.needs).ok());
  EXPECT_NE(CellsOf(id).plt, 0u) << "within the plan as well";
  Commit();
  symbols_[id] = known;
  Check();
  EXPECT_EQ(Loaded(linked_.file).Symtab().count("f9 0 0"), 1u);
}

TEST_P(HotElfTest, AVersionThatIsNewJoinsItsLibrarysList) {
  hot_->Begin();
  const SymbolId id(5000);
  ASSERT_TRUE(Import(id, 2).ok());
  ASSERT_TRUE(Need(id, {"", true, 0, 0}, kNeedGot).ok());
  Commit();
  symbols_[id] = {"f2@V3", true, 0, kNeedGot};
  Check();
}

TEST_P(HotElfTest, AnImportThatIsGoneLeavesNothingToLookUp) {
  hot_->Begin();
  ASSERT_TRUE(Import(SymbolId(5000), 9).ok());
  ASSERT_TRUE(Need(SymbolId(5000), {"", true, 0, 0}, kNeedGot | kNeedPlt).ok());
  Commit();
  const TargetValue cells = CellsOf(SymbolId(5000));
  hot_->Begin();
  const SymbolId f1 = linked_.program->names.Find("f1");
  ASSERT_TRUE(hot_->RemoveSymbol(SymbolId(5000), &mutations_).ok());
  // The only one of its version, while there is another.
  ASSERT_TRUE(hot_->RemoveSymbol(f1, &mutations_).ok());
  EXPECT_EQ(hot_->RemoveSymbol(linked_.program->names.Find("f0"), &mutations_).code(),
            absl::StatusCode::kUnimplemented) << "the library would be left without versions";
  hot_->Begin();
  mutations_.clear();
  ASSERT_TRUE(hot_->RemoveSymbol(SymbolId(5000), &mutations_).ok());
  ASSERT_TRUE(hot_->RemoveSymbol(f1, &mutations_).ok());
  Commit();
  symbols_.erase(f1);
  Check();
  const Loaded loaded(linked_.file);
  EXPECT_EQ(loaded.Meaning(cells.got), "= 0");
  EXPECT_EQ(loaded.PltTarget(cells.plt), "") << "names the first row, for which nothing is looked up";
  hot_->Begin();
  ASSERT_TRUE(Import(SymbolId(5000), 9).ok());
  Commit();
  symbols_[SymbolId(5000)] = {"f9@V1", true, 0, kNeedGot | kNeedPlt};
  Check();
}

TEST_P(HotElfTest, CellsAndWordsFollowTheImportThatFillsTheHole) {
  const ObjectFile object;
  UnitUpdate update;
  update.unit = UnitId(0);
  update.object = &object;
  const uint64_t word = linked_.image.placement.sections[data_].address;
  hot_->Begin();
  ASSERT_TRUE(Import(SymbolId(5000), 9).ok());
  ASSERT_TRUE(Import(SymbolId(5001), 12).ok());
  ASSERT_TRUE(Need(SymbolId(5001), {"", true, 0, 0}, kNeedGot | kNeedPlt).ok());
  update.words = {{word, SymbolId(5001), 4}};
  ASSERT_TRUE(hot_->Update(update, &mutations_).ok());
  Commit();
  hot_->Begin();
  ASSERT_TRUE(hot_->RemoveSymbol(SymbolId(5000), &mutations_).ok());
  Commit();
  symbols_[SymbolId(5001)] = {"f12@V1", true, 0, kNeedGot | kNeedPlt};
  Check();
  EXPECT_EQ(Loaded(linked_.file).Meaning(word), absl::StrCat("type ", R_X86_64_64, " f12@V1 + 4"));
}

TEST_P(HotElfTest, AnImportStaysWhileAWordRefersToIt) {
  const ObjectFile object;
  UnitUpdate update;
  update.unit = UnitId(0);
  update.object = &object;
  const SymbolId f1 = linked_.program->names.Find("f1");
  const uint64_t word = linked_.image.placement.sections[data_].address;
  update.words = {{word, f1, 0}};
  update.stale_words = {{word, word + 8}};
  hot_->Begin();
  ASSERT_TRUE(hot_->Update(update, &mutations_).ok());
  EXPECT_EQ(hot_->RemoveSymbol(f1, &mutations_).code(), absl::StatusCode::kUnimplemented);
  update.words.clear();
  hot_->Begin();
  mutations_.clear();
  ASSERT_TRUE(hot_->Update(update, &mutations_).ok());
  EXPECT_TRUE(hot_->RemoveSymbol(f1, &mutations_).ok());
}

TEST_P(HotElfTest, RefusesLibrariesThatAreNotThere) {
  hot_->Begin();
  EXPECT_EQ(Import(SymbolId(5000), 2, "liby.so").code(), absl::StatusCode::kNotFound);
}

TEST_P(HotElfTest, ThreadVariablesGetTheirCells) {
  constexpr uint16_t kAll = kNeedGotTp | kNeedTlsGd | kNeedTlsDesc;
  const SymbolId own = linked_.program->names.Find("own_thread"), other(5000);
  const ImageValues& values = linked_.image.values;
  hot_->Begin();
  NewImport import;
  import.symbol = other;
  import.name = "thread";
  import.version = "V1";
  import.soname = "libx.so";
  import.type = SymbolType::kTls;
  ASSERT_TRUE(hot_->AddImport(import, &mutations_).ok());
  CellRequest request;
  request.symbol = other;
  request.needs = kAll;
  request.traits.imported = request.traits.tls = true;
  ASSERT_TRUE(hot_->NeedCells(request, &mutations_).ok());
  request.symbol = own;
  request.traits.imported = false;
  request.address = values.tls_begin + 4;
  ASSERT_TRUE(hot_->NeedCells(request, &mutations_).ok());
  Commit();
  const Loaded loaded(linked_.file);
  const TargetValue theirs = CellsOf(other), ours = CellsOf(own);
  EXPECT_EQ(loaded.Meaning(theirs.gottp), absl::StrCat("type ", R_X86_64_TPOFF64, " thread@V1 + 0"));
  EXPECT_EQ(loaded.Meaning(theirs.tlsgd), absl::StrCat("type ", R_X86_64_DTPMOD64, " thread@V1 + 0"));
  EXPECT_EQ(loaded.Meaning(theirs.tlsgd + 8), absl::StrCat("type ", R_X86_64_DTPOFF64, " thread@V1 + 0"));
  EXPECT_EQ(loaded.Meaning(theirs.tlsdesc), absl::StrCat("type ", R_X86_64_TLSDESC, " thread@V1 + 0"));
  const bool shared = GetParam() == OutputKind::kShared;
  EXPECT_EQ(loaded.Meaning(ours.gottp), shared ? absl::StrCat("type ", R_X86_64_TPOFF64, "  + 4")
                                               : absl::StrCat("= ", absl::Hex(request.address - values.tls_pointer)));
  EXPECT_EQ(loaded.Meaning(ours.tlsgd), shared ? absl::StrCat("type ", R_X86_64_DTPMOD64, "  + 0") : "= 1");
  EXPECT_EQ(loaded.Meaning(ours.tlsgd + 8), "= 4");
  EXPECT_EQ(loaded.Meaning(ours.tlsdesc), absl::StrCat("type ", R_X86_64_TLSDESC, "  + 4"));
  request.needs = kNeedStaticTls;
  EXPECT_EQ(hot_->NeedCells(request, &mutations_).ok(), !shared) << "the library was not marked so";
}

TEST_P(HotElfTest, ACellNeedsARowFirst) {
  hot_->Begin();
  EXPECT_EQ(Need(SymbolId(5000), {"", true, 0, 0}, kNeedGot).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Need(SymbolId(5000), {"", false, 0x1000, 0}, kNeedPlt).code(), absl::StatusCode::kUnimplemented);
}

TEST_P(HotElfTest, CellsFollowADefinitionThatIsPublishedElsewhere) {
  const SymbolId here = linked_.program->names.Find("here");
  hot_->Begin();
  ASSERT_TRUE(Update(here, 0x5550, 0).ok());
  Commit();
  Check();  // only the body moved
  hot_->Begin();
  ASSERT_TRUE(Update(here, 0x6660, 0x6660).ok());
  Commit();
  symbols_[here].address = 0x6660;
  Check();
}

TEST_P(HotElfTest, ASymbolThatIsGoneLeavesAHarmlessCell) {
  const SymbolId here = linked_.program->names.Find("here");
  const uint64_t cell = CellsOf(here).got;
  hot_->Begin();
  ASSERT_TRUE(hot_->RemoveSymbol(here, &mutations_).ok());
  Commit();
  EXPECT_EQ(Loaded(linked_.file).Meaning(cell), "= 0") << "what an undefined weak symbol's cell holds";
  symbols_.erase(here);
  Check();
  hot_->Begin();
  ASSERT_TRUE(Add(here, "here").ok());
  ASSERT_TRUE(Update(here, 0x7770, 0).ok());
  Commit();
  symbols_[here] = {"here", false, 0x7770, kNeedGot};
  Check();
  EXPECT_EQ(CellsOf(here).got, cell);
  EXPECT_EQ(Loaded(linked_.file).Symtab().count(absl::StrCat("here ", data_ + 1, " 7770")), 1u);
}

TEST_P(HotElfTest, ADefinitionIsFoundByItsNameAsLongAsItIsExported) {
  const SymbolId id(6000);
  hot_->Begin();
  ASSERT_TRUE(Add(id, "f17", true).ok());
  ASSERT_TRUE(Update(id, 0x7770, 0).ok());
  Commit();
  symbols_[id] = {"f17", false, 0x7770, 0, true, GetParam() == OutputKind::kShared};
  Check();
  hot_->Begin();
  ASSERT_TRUE(Add(id, "f17", false).ok()) << "hidden";
  ASSERT_TRUE(Update(id, 0x7770, 0).ok());
  ASSERT_TRUE(hot_->DropStaleRows(&mutations_).ok());
  Commit();
  symbols_[id] = {"f17", false, 0x7770, 0};
  Check();
  EXPECT_FALSE(hot_->RemoveSymbol(linked_.program->names.Find("chosen"), &mutations_).ok()) << "its resolver runs";
}

TEST_P(HotElfTest, AnImportIsDefinedHereAndComesBack) {
  const SymbolId f1 = linked_.program->names.Find("f1");
  const uint64_t cell = CellsOf(f1).got;
  for (bool exported : {true, false}) {
    hot_->Begin();
    ASSERT_TRUE(Add(f1, "f1", exported).ok());
    ASSERT_TRUE(Update(f1, 0x7770, 0).ok());
    ASSERT_TRUE(hot_->DropStaleRows(&mutations_).ok());
    Commit();
    symbols_[f1] = {"f1", false, 0x7770, kNeedGot, exported, exported && GetParam() == OutputKind::kShared};
    Check();
    hot_->Begin();
    ASSERT_TRUE(Import(f1, 1).ok());
    ASSERT_TRUE(hot_->DropStaleRows(&mutations_).ok());
    Commit();
    symbols_[f1] = {"f1@V2", true, 0, kNeedGot};
    Check();
    EXPECT_EQ(CellsOf(f1).got, cell);
  }
}

TEST_P(HotElfTest, MoreDefinitionsThanThereIsRoomFor) {
  hot_->Begin();
  uint32_t added = 0;
  while (added < 1000 && Add(SymbolId(6000 + added), absl::StrCat("e", added), true).ok()) {
    ASSERT_TRUE(Update(SymbolId(6000 + added), 0x8000 + added, 0).ok());
    symbols_[SymbolId(6000 + added)] = {absl::StrCat("e", added), false, 0x8000 + added, 0, true, false};
    ++added;
  }
  EXPECT_GE(added, 64u);
  EXPECT_LT(added, 200u);
  Commit();
  Check();
}

TEST_P(HotElfTest, TheEntryPointFollows) {
  if (GetParam() == OutputKind::kShared) return;
  hot_->Begin();
  ASSERT_TRUE(Update(linked_.program->names.Find("main"), 0x9990, 0x9990).ok());
  Commit();
  EXPECT_EQ(Loaded(linked_.file).header().e_entry, 0x9990u);
  hot_->Begin();
  EXPECT_FALSE(hot_->RemoveSymbol(linked_.program->names.Find("main"), &mutations_).ok());
}

TEST_P(HotElfTest, AnUnacceptedPlanIsForgotten) {
  const std::vector<uint8_t> before = linked_.file;
  for (int round = 0; round < 200; ++round) {
    hot_->Begin();
    mutations_.clear();
    ASSERT_TRUE(Import(SymbolId(5000), 2).ok()) << "room was lost in round " << round;
    ASSERT_TRUE(Need(SymbolId(5000), {"", true, 0, 0}, kNeedGot | kNeedPlt).ok());
    ASSERT_TRUE(hot_->RemoveSymbol(linked_.program->names.Find("here"), &mutations_).ok());
  }
  hot_->Begin();
  mutations_.clear();
  EXPECT_EQ(CellsOf(SymbolId(5000)).got, 0u);
  Commit();
  EXPECT_EQ(linked_.file, before);
}

TEST_P(HotElfTest, RandomPlansAgainstAModel) {
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    Start();
    std::mt19937 random(seed);
    int refused = 0, done = 0;
    for (int round = 0; round < 60; ++round) {
      hot_->Begin();
      mutations_.clear();
      auto symbols = symbols_;
      auto left = left_;
      bool ok = true;
      for (uint32_t step = random() % 4 + 1; ok && step > 0; --step) {
        const uint32_t function = random() % (seed % 2 ? 8 : kLibraryFunctions);
        const SymbolId known_import = linked_.program->names.Find(absl::StrCat("f", function));
        const SymbolId import(function < 2 ? known_import : SymbolId(1000 + function)), own(2000 + random() % 20);
        const uint64_t address = 0x10000 + 16 * (random() % 1000);
        const std::string name = absl::StrCat("own", own.value);
        const bool exported = random() % 2, preemptible = exported && GetParam() == OutputKind::kShared;
        switch (random() % 6) {
          case 0: {
            ok = Import(import, function).ok();
            Known& known = symbols[import];
            known.name = absl::StrCat("f", function, "@", VersionName(function));
            known.imported = true;
            known.needs |= left[import];
            known.exported = known.preemptible = false;
            break;
          }
          case 5: {  // of another visibility, or defined here now
            const SymbolId id = random() % 2 ? import : own;
            auto it = symbols.find(id);
            if (it == symbols.end()) break;
            Known& known = it->second;
            known.name = known.name.substr(0, known.name.find('@'));
            ok = Add(id, known.name, exported).ok() && Update(id, address, 0).ok();
            known.address = address;
            known.imported = false;
            known.exported = exported;
            known.preemptible = preemptible;
            if (CellsOf(id).got != 0) known.needs |= kNeedGot;
            known.needs &= ~kNeedPlt;
            break;
          }
          case 1: {
            auto it = symbols.find(random() % 2 ? import : own);
            if (it == symbols.end()) break;
            const uint16_t needs = it->second.imported && random() % 2 ? kNeedGot | kNeedPlt : kNeedGot;
            ok = Need(it->first, it->second, needs).ok();
            it->second.needs |= needs;
            break;
          }
          case 2: {
            if (symbols.count(own) != 0) break;
            ok = Add(own, name, exported).ok() && Update(own, address, 0).ok();
            // A cell from an earlier life means the symbol again.
            symbols[own] = {name, false, address, static_cast<uint16_t>(CellsOf(own).got != 0 ? kNeedGot : 0), exported, preemptible};
            break;
          }
          case 3: {
            if (symbols.count(own) == 0) break;
            ok = Update(own, address + 4, address).ok();
            symbols[own].address = address;
            break;
          }
          case 4: {
            const SymbolId id = random() % 2 ? import : own;
            ok = hot_->RemoveSymbol(id, &mutations_).ok();
            if (symbols.count(id)) left[id] |= symbols[id].needs;
            symbols.erase(id);
            break;
          }
        }
      }
      ok = ok && hot_->DropStaleRows(&mutations_).ok();
      refused += !ok;
      if (!ok || random() % 4 == 0) continue;
      symbols_ = std::move(symbols);
      left_ = std::move(left);
      Commit();
      Check();
      ++done;
      if (::testing::Test::HasFailure()) return;
    }
    EXPECT_GT(done, 10) << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, HotElfTest,
                         ::testing::Values(OutputKind::kExecutable, OutputKind::kPie, OutputKind::kShared));

}  // namespace
}  // namespace kitlink::elf
