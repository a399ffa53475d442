#include "core/session/symbol_names.h"

#include <set>
#include <string>
#include <utility>

#include "gtest/gtest.h"

namespace kitlink {
namespace {

TEST(SymbolNames, KeepTheIdsOfTheLink) {
  NameTable table;
  const SymbolId a = table.Intern("a"), b = table.Intern("b");
  const uint32_t taken = table.capacity();
  SymbolNames names(std::move(table), taken);
  EXPECT_EQ(names.Find("a"), a);
  EXPECT_EQ(names.Intern("b"), b);
  EXPECT_EQ(names.Name(a), "a");
  EXPECT_EQ(names.Name(b), "b");
  EXPECT_EQ(names.count(), taken);
  EXPECT_FALSE(names.Find("c").valid());
}

TEST(SymbolNames, LaterNamesComeBehindWhatTheLinkHandedOut) {
  // The link gave three ids behind those of names to local symbols that own cells.
  NameTable table;
  std::set<uint32_t> old;
  for (int i = 0; i < 100; ++i) old.insert(table.Intern("old" + std::to_string(i)).value);
  const uint32_t taken = table.capacity() + 3;
  ASSERT_LT(*old.rbegin(), table.capacity());
  SymbolNames names(std::move(table), taken);
  std::set<uint32_t> later;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "later" + std::to_string(i);
    const SymbolId id = names.Intern(name);
    EXPECT_GE(id.value, taken);
    EXPECT_LT(id.value, names.count());
    EXPECT_TRUE(later.insert(id.value).second) << name;
  }
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "later" + std::to_string(i);
    const SymbolId id = names.Find(name);
    ASSERT_TRUE(id.valid());
    EXPECT_EQ(names.Intern(name), id);
    EXPECT_EQ(names.Name(id), name);
  }
  EXPECT_EQ(names.count(), taken + 1000);
}

TEST(SymbolNames, LaterNamesOutliveWhoAskedForThem) {
  SymbolNames names;
  SymbolId id;
  {
    const std::string name(40, 'x');
    id = names.Intern(name);
  }
  for (int i = 0; i < 200; ++i) names.Intern("n" + std::to_string(i));
  EXPECT_EQ(names.Name(id), std::string(40, 'x'));
  EXPECT_EQ(names.Find(std::string(40, 'x')), id);
}

TEST(SymbolNames, CountTheirBytes) {
  SymbolNames names;
  const uint64_t before = names.bytes();
  names.Intern(std::string(1000, 'x'));
  EXPECT_GE(names.bytes(), before + 1000);
}

}  // namespace
}  // namespace kitlink
