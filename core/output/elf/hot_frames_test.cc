// Random edits of unwind tables against a model: after each, the bytes are read as an unwinder reads them.
#include "core/output/elf/hot_frames.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "core/arch/arch.h"
#include "core/output/elf/write.h"
#include "core/symbols/live.h"
#include "core/symbols/testing/program_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink::elf {
namespace {

using testing::ObjBuilder;
using testing::ProgramBuilder;

// One function of the model, and what its frame description says.
struct Function {
  uint64_t address = 0;
  uint64_t size = 0;
  int cie = 0;               // which of a few
  std::string instructions;  // of its description; no DW_CFA_nop (0) at the end

  uint64_t end() const { return address + size; }
};

struct ModelUnit {
  std::vector<Function> functions;
  std::vector<IslandRange> islands;
};

std::string Word(uint64_t value) {
  std::string bytes(4, '\0');
  Store(reinterpret_cast<uint8_t*>(bytes.data()), static_cast<uint32_t>(value));
  return bytes;
}

std::string Record(std::string body) {
  while (body.size() % 4 != 0) body.push_back('\0');
  return Word(body.size()) + body;
}

// A CIE "zR" of pc-relative pointers; `which` shows in the instructions.
std::string CieRecord(int which) {
  return Record(Word(0) + std::string("\1zR\0\1\x78\x10\1\x1b\x0c\7\x08\x90\1", 14) +
                std::string(which * 3, '\x0a'));
}

// An object with these functions, each in a section, and one .eh_frame.
ObjBuilder ObjectOf(const std::vector<Function>& functions, bool with_main) {
  ObjBuilder object;
  std::string frames;
  std::map<int, size_t> cies;
  std::vector<std::pair<uint64_t, std::string>> relocs;
  for (size_t f = 0; f < functions.size(); ++f) {
    const Function& function = functions[f];
    const std::string section = ".text.f" + std::to_string(f);
    object.Section(section, std::string(function.size, '\x90'));
    auto [cie, fresh] = cies.try_emplace(function.cie, frames.size());
    if (fresh) frames += CieRecord(function.cie);
    const uint64_t at = frames.size();
    frames +=
        Record(Word(at + 4 - cie->second) + Word(0) + Word(function.size) + '\0' + function.instructions);
    relocs.push_back({at + 8, section});
  }
  if (!functions.empty()) object.Section(".eh_frame", frames);
  for (const auto& [offset, section] : relocs) object.Reloc(".eh_frame", offset, R_X86_64_PC32, section, 0);
  if (with_main) object.Section(".text.main", "\xc3").Symbol("main", ".text.main");
  return object.StackNote();
}

// Answers with the model's addresses.
class ModelTargets : public UnitTargets {
 public:
  ModelTargets(const ObjectFile& object, std::vector<uint64_t> addresses)
      : object_(object), addresses_(std::move(addresses)) {}
  TargetValue Target(uint32_t symbol, int64_t) const override {
    TargetValue value;
    value.address = addresses_[object_.symbols[symbol].section] + object_.symbols[symbol].value;
    return value;
  }
  TargetValue BodyTarget(uint32_t symbol, int64_t addend) const override { return Target(symbol, addend); }
  SymbolId Global(uint32_t) const override { return SymbolId(); }

 private:
  const ObjectFile& object_;
  std::vector<uint64_t> addresses_;  // by section
};

class HotFramesTest : public ::testing::Test {
 protected:
  // Links units of some functions each.
  void Link(const std::vector<ModelUnit>& units) {
    model_ = units;
    for (size_t u = 0; u < units.size(); ++u) {
      builder_.Object("u" + std::to_string(u) + ".o", ObjectOf(units[u].functions, u == 0));
    }
    builder_.options.incremental = builder_.options.eh_frame_hdr = true;
    program_ = builder_.Resolve();
    ASSERT_TRUE(program_.has_value()) << builder_.messages;
    Diagnostics diagnostics;
    SplitFrames(&*program_, diagnostics);
    MarkLive(builder_.options, &*program_);
    Demands demands = ScanRelocations(builder_.options, X86_64(), &*program_, diagnostics);
    image_ = PlaceElf(builder_.options, X86_64(), std::move(demands), &*program_);
    file_.assign(image_.file_size, 0);
    const auto written =
        WriteElf(builder_.options, *program_, image_, X86_64(), absl::MakeSpan(file_), diagnostics);
    ASSERT_TRUE(written.ok()) << written.status();
    for (size_t u = 0; u < units.size(); ++u) {
      const Unit& unit = program_->units[u];
      for (size_t f = 0; f < units[u].functions.size(); ++f) {
        const std::string name = ".text.f" + std::to_string(f);
        for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
          if (unit.object->sections[s].name != name) continue;
          model_[u].functions[f].address = image_.placement.Address(AtomId(unit.first_atom + s));
        }
      }
    }
    const OutputSection* header = image_.Section(kEhFrameHdr);
    ASSERT_NE(header, nullptr);
    hot_ = std::make_unique<HotFrames>(*program_, image_, X86_64(), TraitsOf(builder_.options),
                                       ByteView(file_).subspan(header->offset, header->size));
  }

  // Plans the unit as `now`.
  absl::Status Update(uint32_t u, const ModelUnit& now, std::vector<Mutation>* mutations) {
    objects_.push_back(testing::ReadBytes(ObjectOf(now.functions, false).Build()));
    const ObjectFile& object = *objects_.back();
    std::vector<SectionPlace> places(object.sections.size());
    std::vector<uint64_t> addresses(object.sections.size());
    for (uint32_t s = 0; s < object.sections.size(); ++s) {
      if (object.sections[s].name.substr(0, 7) != ".text.f") continue;
      const size_t f = std::stoul(std::string(object.sections[s].name.substr(7)));
      places[s].placed = places[s].alloc = true;
      places[s].address = addresses[s] = now.functions[f].address;
      places[s].size = now.functions[f].size;
    }
    const ModelTargets targets(object, addresses);
    UnitUpdate update;
    update.unit = UnitId(u);
    update.object = &object;
    update.sections = places;
    update.targets = &targets;
    update.islands = now.islands;
    return hot_->Update(update, mutations);
  }

  void Commit(std::vector<Mutation> mutations) {
    hot_->Emit(&mutations);
    const OutputSection& frames = *image_.Section(kEhFrame);
    const OutputSection& header = *image_.Section(kEhFrameHdr);
    for (const Mutation& mutation : mutations) {
      const uint64_t begin = mutation.offset, end = begin + mutation.bytes.size();
      ASSERT_TRUE((begin >= frames.offset && end <= frames.offset + frames.size - 4) ||
                  (begin >= header.offset + 8 && end <= header.offset + header.size))
          << "a mutation of something else";
      std::copy(mutation.bytes.begin(), mutation.bytes.end(), file_.begin() + static_cast<ptrdiff_t>(begin));
    }
    hot_->Accept();
  }

  // A frame description as it stands in the image.
  struct Found {
    uint64_t begin = 0, end = 0;
    std::string cie, body;  // without lengths and pointers; trailing nops left out
    friend bool operator<(const Found& a, const Found& b) {
      return std::tie(a.begin, a.end, a.cie, a.body) < std::tie(b.begin, b.end, b.cie, b.body);
    }
    friend bool operator==(const Found& a, const Found& b) {
      return std::tie(a.begin, a.end, a.cie, a.body) == std::tie(b.begin, b.end, b.cie, b.body);
    }
  };

  static std::string Trimmed(std::string bytes) {
    while (!bytes.empty() && bytes.back() == '\0') bytes.pop_back();
    return bytes;
  }

  // Reads all records up to the terminator, which must be the section's last word. By address of the record.
  std::map<uint64_t, Found> ReadRecords() const {
    std::map<uint64_t, Found> found;
    const OutputSection& section = *image_.Section(kEhFrame);
    const ByteView bytes = ByteView(file_).subspan(section.offset, section.size);
    std::map<uint64_t, std::string> cies;
    uint64_t at = 0;
    while (at + 4 < bytes.size()) {
      const uint64_t length = Load<uint32_t>(&bytes[at]);
      if (length == 0 || at + 4 + length > bytes.size() - 4) {
        ADD_FAILURE() << "the table ends at " << at << " of " << bytes.size();
        return found;
      }
      const uint32_t id = Load<uint32_t>(&bytes[at + 4]);
      const std::string body(AsString(bytes.subspan(at + 8, length - 4)));
      if (id == 0) {
        EXPECT_EQ(body.front(), 1) << "version of the CIE at " << at;
        cies[at] = Trimmed(body);
      } else {
        Found fde;
        auto cie = cies.find(at + 4 - id);
        EXPECT_TRUE(cie != cies.end()) << "no CIE before " << at << " at " << at + 4 - id;
        if (cie != cies.end()) fde.cie = cie->second;
        const uint64_t field = section.address + at + 8;
        fde.begin = field + static_cast<uint64_t>(int64_t{Load<int32_t>(&bytes[at + 8])});
        fde.end = fde.begin + Load<uint32_t>(&bytes[at + 12]);
        fde.body = Trimmed(body.substr(8));
        found[section.address + at] = fde;
      }
      at += 4 + length;
    }
    EXPECT_EQ(Load<uint32_t>(&bytes[bytes.size() - 4]), 0u);
    EXPECT_EQ(at, bytes.size() - 4);
    return found;
  }

  // The rows (function, record) of the search table.
  std::vector<std::pair<uint64_t, uint64_t>> ReadRows() const {
    const OutputSection& header = *image_.Section(kEhFrameHdr);
    const uint32_t count = Load<uint32_t>(&file_[header.offset + 8]);
    EXPECT_LE(kFrameHeaderSize + uint64_t{count} * 8, header.size);
    std::vector<std::pair<uint64_t, uint64_t>> rows;
    for (uint32_t i = 0; i < count; ++i) {
      const uint8_t* row = &file_[header.offset + kFrameHeaderSize + i * 8];
      rows.push_back({header.address + static_cast<uint64_t>(int64_t{Load<int32_t>(row)}),
                      header.address + static_cast<uint64_t>(int64_t{Load<int32_t>(row + 4)})});
    }
    return rows;
  }

  void Check() const {
    const std::map<uint64_t, Found> records = ReadRecords();
    std::multiset<Found> wanted, is;
    for (const auto& [address, found] : records) is.insert(found);
    for (const ModelUnit& unit : model_) {
      for (const Function& f : unit.functions) {
        wanted.insert(
            {f.address, f.end(), Trimmed(CieRecord(f.cie).substr(8)), Trimmed('\0' + f.instructions)});
      }
      for (const IslandRange& island : unit.islands) {
        wanted.insert({island.begin, island.end, Trimmed(CieRecord(0).substr(8)), ""});
      }
    }
    ASSERT_TRUE(is == wanted) << is.size() << " descriptions, expected " << wanted.size();

    const auto rows = ReadRows();
    for (size_t i = 0; i < rows.size(); ++i) {
      const auto record = records.find(rows[i].second);
      ASSERT_TRUE(record != records.end()) << "row " << i << " leads to no description";
      ASSERT_EQ(record->second.begin, rows[i].first) << "row " << i;
      if (i == 0) continue;
      ASSERT_LE(rows[i - 1].first, rows[i].first) << "sorted";
      // Searches accept a row that repeats another, but not two of one key.
      if (rows[i - 1].first == rows[i].first) {
        ASSERT_EQ(rows[i - 1], rows[i]);
      }
    }
    for (const Found& found : wanted) {
      if (found.begin == found.end) continue;
      for (uint64_t pc : {found.begin, found.end - 1}) {
        // As libgcc's search does it: the last row that does not begin behind.
        auto row = std::upper_bound(rows.begin(), rows.end(), std::make_pair(pc, ~uint64_t{0}));
        ASSERT_TRUE(row != rows.begin()) << "nothing at or before " << pc;
        ASSERT_TRUE(records.at((--row)->second) == found) << "another description than the one of " << pc;
      }
    }
  }

  ProgramBuilder builder_;
  std::optional<Program> program_;
  ElfImage image_;
  std::vector<uint8_t> file_;
  std::vector<ModelUnit> model_;
  std::vector<std::unique_ptr<ObjectFile>> objects_;
  std::unique_ptr<HotFrames> hot_;
};

// Makes units out of random functions that lie where no other does, but empty ones.
class RandomUnits {
 public:
  explicit RandomUnits(unsigned seed) : random_(seed) {}

  unsigned operator()(unsigned limit) { return static_cast<unsigned>(random_() % limit); }

  Function MakeFunction() {
    Function function;
    function.size = (*this)(6) == 0 ? 0 : 1 + (*this)(kSlot);
    function.cie = (*this)(8) == 0 ? 1 + (*this)(3) : 0;
    function.instructions = std::string((*this)(4) == 0 ? (*this)(60) : (*this)(8), '\x0a');
    return function;
  }

  // A free place in the text; an empty function goes to where another one is, or was.
  uint64_t MakePlace(const Function& function) {
    if (function.size == 0 && !last_.empty()) return last_[(*this)(static_cast<unsigned>(last_.size()))];
    last_.push_back(kText + uint64_t{kSlot} * next_++);
    return last_.back();
  }

  static constexpr unsigned kSlot = 64;
  static constexpr uint64_t kText = 0x800000;

 private:
  std::mt19937 random_;
  uint64_t next_ = 0;
  std::vector<uint64_t> last_;
};

std::vector<ModelUnit> SomeUnits(RandomUnits& random, int count) {
  std::vector<ModelUnit> units(static_cast<size_t>(count));
  for (ModelUnit& unit : units) {
    for (unsigned f = 1 + random(10); f > 0; --f) unit.functions.push_back(random.MakeFunction());
  }
  return units;
}

// What an edit makes of a unit: functions come, go, are resized, move and leave islands.
ModelUnit Edited(ModelUnit unit, RandomUnits& random) {
  for (size_t f = 0; f < unit.functions.size();) {
    Function& function = unit.functions[f];
    const unsigned what = random(12);
    if (what == 0) {
      unit.functions.erase(unit.functions.begin() + static_cast<ptrdiff_t>(f));
      continue;
    }
    if (what == 1 && function.size != 0) {
      const bool has_island =
          std::any_of(unit.islands.begin(), unit.islands.end(),
                      [&](const IslandRange& island) { return island.begin == function.address; });
      if (!has_island && random(2) == 0) unit.islands.push_back({function.address, function.end()});
      function.address = random.MakePlace(function);
    }
    if (what == 2) function.instructions = std::string(random(40), '\x0a');
    if (what == 3 && function.size != 0) function.size = 1 + random(static_cast<unsigned>(function.size));
    if (what == 5 && random(3) == 0) function.size = 0;
    if (what == 6 && function.size == 0) {
      function.size = 1 + random(RandomUnits::kSlot);
      function.address = random.MakePlace(function);
    }
    if (what == 4) function.cie = static_cast<int>(random(4));
    ++f;
  }
  // As behind a function that grows: all move on a little, in the same order.
  if (random(4) == 0) {
    const unsigned by = random(16);
    for (Function& function : unit.functions) {
      if (function.size == 0 || function.address < RandomUnits::kText) continue;
      function.address = function.address / RandomUnits::kSlot * RandomUnits::kSlot + by;
      function.size = std::min<uint64_t>(function.size, RandomUnits::kSlot - by);
    }
  }
  if (!unit.islands.empty() && random(3) == 0) unit.islands.erase(unit.islands.begin());
  while (random(3) == 0 && unit.functions.size() < 14) {
    unit.functions.push_back(random.MakeFunction());
    unit.functions.back().address = random.MakePlace(unit.functions.back());
  }
  if (random(4) == 0) std::reverse(unit.functions.begin(), unit.functions.end());
  return unit;
}

TEST_F(HotFramesTest, FreshTablesAreWhatTheModelSays) {
  RandomUnits random(1);
  Link(SomeUnits(random, 5));
  ASSERT_NE(hot_, nullptr);
  Check();
}

TEST_F(HotFramesTest, PlanThatIsNotAcceptedIsForgotten) {
  RandomUnits random(2);
  Link(SomeUnits(random, 3));
  ASSERT_NE(hot_, nullptr);
  const std::vector<uint8_t> before = file_;
  hot_->Begin();
  std::vector<Mutation> mutations;
  ASSERT_TRUE(Update(1, {}, &mutations).ok());
  hot_->Begin();
  Commit({});
  EXPECT_EQ(file_, before);
  Check();
}

// Behind a function that grows, others of its unit move on: the rows between those of other units stay the unit's.
TEST_F(HotFramesTest, FunctionsThatMoveTogetherKeepTheirRows) {
  std::vector<ModelUnit> units(3);
  for (ModelUnit& unit : units) unit.functions = {{0, 16, 0, "\x0a"}, {0, 16, 0, "\x0a"}, {0, 16, 0, "\x0a"}};
  Link(units);
  ASSERT_NE(hot_, nullptr);
  const size_t rows = ReadRows().size();
  for (const uint64_t by : {4, 4, 8}) {
    ModelUnit now = model_[1];
    for (size_t f = 1; f < now.functions.size(); ++f) now.functions[f].address += by;
    hot_->Begin();
    std::vector<Mutation> mutations;
    ASSERT_TRUE(Update(1, now, &mutations).ok());
    model_[1] = now;
    Commit(std::move(mutations));
    Check();
    EXPECT_EQ(ReadRows().size(), rows) << "no row more";
  }
}

TEST_F(HotFramesTest, SaysWhenTheSearchTableIsFull) {
  RandomUnits random(3);
  Link(SomeUnits(random, 3));
  ASSERT_NE(hot_, nullptr);
  const uint32_t rows = static_cast<uint32_t>(ReadRows().size());
  image_.frames.header_rows = rows + 2;
  const OutputSection& header = *image_.Section(kEhFrameHdr);
  hot_ = std::make_unique<HotFrames>(*program_, image_, X86_64(), TraitsOf(builder_.options),
                                     ByteView(file_).subspan(header.offset, header.size));
  for (int more = 1; more <= 3; ++more) {
    ModelUnit now = model_[0];
    Function function;
    function.size = 8;
    function.address = random.MakePlace(function);
    now.functions.push_back(function);
    hot_->Begin();
    std::vector<Mutation> mutations;
    const absl::Status status = Update(0, now, &mutations);
    ASSERT_EQ(status.code(), more <= 2 ? absl::StatusCode::kOk : absl::StatusCode::kResourceExhausted)
        << status;
    if (!status.ok()) break;
    model_[0] = now;
    Commit(std::move(mutations));
    Check();
  }
}

TEST_F(HotFramesTest, EmptyFunctionTakesNoOtherUnitsRow) {
  // An edit of a unit whose empty function stands where another unit's function begins.
  std::vector<ModelUnit> units(2);
  units[0].functions = {{0, 0, 0, "\x0a"}, {0, 16, 0, "\x0a"}};
  units[1].functions = {{0, 32, 0, "\x0a\x0a"}};
  Link(units);
  ASSERT_NE(hot_, nullptr);
  for (bool empty_stays : {true, true, false}) {
    ModelUnit now = model_[0];
    now.functions[0].address = model_[1].functions[0].address;
    now.functions.back().instructions += '\x0a';
    if (!empty_stays) now.functions.erase(now.functions.begin());
    hot_->Begin();
    std::vector<Mutation> mutations;
    ASSERT_TRUE(Update(0, now, &mutations).ok());
    model_[0] = now;
    Commit(std::move(mutations));
    Check();
  }
}

class HotFramesModelTest : public HotFramesTest, public ::testing::WithParamInterface<unsigned> {};

TEST_P(HotFramesModelTest, RandomEdits) {
  RandomUnits random(GetParam());
  Link(SomeUnits(random, 6));
  ASSERT_NE(hot_, nullptr);
  Check();
  int committed = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(::testing::Message() << "round " << round);
    hot_->Begin();
    std::vector<ModelUnit> now = model_;
    std::vector<Mutation> mutations;
    absl::Status status;
    std::set<uint32_t> units{random(6)};
    if (random(2) == 0) units.insert(random(6));
    for (uint32_t u : units) {
      if (!status.ok()) break;
      now[u] = Edited(now[u], random);
      status = Update(u, now[u], &mutations);
    }
    ASSERT_TRUE(status.ok() || status.code() == absl::StatusCode::kResourceExhausted) << status;
    if (!status.ok() || random(6) == 0) continue;  // not committed
    model_ = std::move(now);
    Commit(std::move(mutations));
    if (HasFatalFailure()) return;
    ++committed;
    Check();
    if (HasFailure()) return;
  }
  EXPECT_GT(committed, kRounds / 4) << "hardly anything was tried";
}

INSTANTIATE_TEST_SUITE_P(Seeds, HotFramesModelTest, ::testing::Range(1u, 9u));

}  // namespace
}  // namespace kitlink::elf
