#include "core/session/users.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

TEST(Users, AreWhoNamesASymbol) {
  Users users;
  users.Build(3, {{SymbolId(0), SymbolId(2)}, {}, {SymbolId(2)}});
  EXPECT_THAT(users.Of(SymbolId(0)), ElementsAre(UnitId(0)));
  EXPECT_THAT(users.Of(SymbolId(1)), IsEmpty());
  EXPECT_THAT(users.Of(SymbolId(2)), UnorderedElementsAre(UnitId(0), UnitId(2)));
}

TEST(Users, NothingIsKnownBeforeTheLink) {
  const Users users;
  EXPECT_THAT(users.Of(SymbolId(0)), IsEmpty());
  EXPECT_THAT(users.Of(SymbolId(7)), IsEmpty());
}

TEST(Users, CountOnceHoweverOftenTheyNameIt) {
  Users users;
  users.Build(2, {{SymbolId(1), SymbolId(1)}, {SymbolId(1)}});
  EXPECT_THAT(users.Of(SymbolId(1)), UnorderedElementsAre(UnitId(0), UnitId(1)));
}

TEST(Users, ComeLater) {
  Users users;
  users.Build(2, {{SymbolId(0)}, {SymbolId(1)}});
  users.Add(SymbolId(0), UnitId(1));
  users.Add(SymbolId(0), UnitId(1));
  users.Add(SymbolId(0), UnitId(0));  // known
  EXPECT_THAT(users.Of(SymbolId(0)), UnorderedElementsAre(UnitId(0), UnitId(1)));
  // Symbols that the link did not have, with or without a link.
  users.Add(SymbolId(9), UnitId(1));
  EXPECT_THAT(users.Of(SymbolId(9)), ElementsAre(UnitId(1)));
  EXPECT_THAT(users.Of(SymbolId(8)), IsEmpty());
  users.Build(1, {{}, {SymbolId(0)}});
  EXPECT_THAT(users.Of(SymbolId(0)), ElementsAre(UnitId(1)));
  EXPECT_THAT(users.Of(SymbolId(9)), IsEmpty());
}

TEST(Users, CountTheirBytes) {
  Users users;
  users.Build(2, {{SymbolId(0)}});
  const uint64_t before = users.bytes();
  EXPECT_GE(before, 3 * sizeof(uint32_t) + sizeof(UnitId));
  users.Add(SymbolId(1), UnitId(0));
  EXPECT_GT(users.bytes(), before);
}

}  // namespace
}  // namespace kitlink
