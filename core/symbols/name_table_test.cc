#include "core/symbols/name_table.h"

#include <string>
#include <vector>

#include "core/base/parallel.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

// Lists whose names repeat in themselves and in one another.
std::vector<std::string> Texts() {
  std::vector<std::string> texts;
  for (int i = 0; i < 5000; ++i) texts.push_back("_ZN4name" + std::to_string(i * 7919 % 1700) + "Ev");
  texts.push_back("");
  return texts;
}

std::vector<NameTable::Names> Lists(const std::vector<std::string>& texts) {
  std::vector<NameTable::Names> lists(1);
  for (const std::string& text : texts) {
    lists.back().push_back(text);
    if (lists.back().size() == lists.size() % 90) lists.emplace_back();
  }
  return lists;
}

TEST(NameTable, ListsGetTheIdsOfNamesThatComeOneAfterTheOther) {
  const std::vector<std::string> texts = Texts();
  NameTable one_by_one;
  NameTable::Ids expected;
  for (const std::string& text : texts) expected.push_back(one_by_one.Intern(text));
  for (int threads : {1, 2, 8}) {
    NameTable table;
    std::vector<NameTable::Ids> ids;
    WithThreadLimit(threads, [&] { ids = table.InternLists(Lists(texts)); });
    NameTable::Ids all;
    for (const NameTable::Ids& list : ids) all.insert(all.end(), list.begin(), list.end());
    EXPECT_TRUE(all == expected) << threads << " threads";
    EXPECT_EQ(table.capacity(), one_by_one.capacity());
  }
}

TEST(NameTable, NamesAreFoundAgain) {
  NameTable table;
  const std::vector<std::string> texts = Texts();
  const std::vector<NameTable::Names> lists = Lists(texts);
  const std::vector<NameTable::Ids> ids = table.InternLists(lists);
  for (size_t l = 0; l < lists.size(); ++l) {
    for (size_t n = 0; n < lists[l].size(); ++n) {
      EXPECT_EQ(table.Name(ids[l][n]), lists[l][n]);
      EXPECT_EQ(table.Find(lists[l][n]), ids[l][n]);
      EXPECT_LT(ids[l][n].value, table.capacity());
    }
  }
  EXPECT_FALSE(table.Find("_ZN4name").valid());
  EXPECT_EQ(table.Intern(lists[0][0]), ids[0][0]);
}

// No seed of the process, no address: the same in every process and on every machine.
TEST(NameTable, IdsFollowFromTheNames) {
  NameTable table;
  const auto ids = table.InternLists({{"main", "printf"}, {"_start", "main"}});
  EXPECT_EQ(ids[0][0].value, 30u);
  EXPECT_EQ(ids[0][1].value, 22u);
  EXPECT_EQ(ids[1][0].value, 24u);
  EXPECT_EQ(ids[1][1], ids[0][0]);
}

}  // namespace
}  // namespace kitlink
