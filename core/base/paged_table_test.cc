#include "core/base/paged_table.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/base/memory_blobs.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

struct Inner {
  uint8_t small = 0;
  std::string text;
  KITLINK_FIELDS(small, text)
};

struct Thing {
  enum Kind : uint8_t { kA, kB } kind = kA;
  bool flag = false;
  int32_t number = 0;
  uint64_t large = 0;
  SymbolId symbol;
  std::string text;
  std::vector<Inner> inner;
  std::unique_ptr<int> elsewhere;
  absl::flat_hash_map<SymbolId, uint32_t> map;
  static constexpr size_t kFieldsElsewhere = 1;
  KITLINK_FIELDS(kind, flag, number, large, symbol, text, inner, map)
};

static_assert(FieldCount<Inner>() == 2);
static_assert(FieldCount<Thing>() == 9);

Thing Example() {
  Thing thing;
  thing.kind = Thing::kB;
  thing.flag = true;
  thing.number = -5;
  thing.large = ~uint64_t{0};
  thing.symbol = SymbolId(7);
  thing.text = "text";
  thing.inner.resize(2);
  thing.inner[1].text = "inner";
  for (uint32_t i = 0; i < 50; ++i) thing.map[SymbolId(i * 37 % 101)] = i;
  return thing;
}

std::string Bytes(const Thing& thing) {
  Encoder encoder;
  encoder.Put(thing);
  return encoder.Take();
}

TEST(CodecTest, DecodingAndEncodingAgainGivesTheSameBytes) {
  const std::string bytes = Bytes(Example());
  Decoder decoder(AsBytes(bytes));
  Thing thing;
  ASSERT_TRUE(decoder.Get(&thing));
  EXPECT_TRUE(decoder.Done());
  EXPECT_EQ(thing.number, -5);
  EXPECT_EQ(thing.inner[1].text, "inner");
  EXPECT_EQ(Bytes(thing), bytes);
}

TEST(CodecTest, NothingButWhatWasWrittenIsRead) {
  const std::string bytes = Bytes(Example());
  for (size_t cut = 0; cut < bytes.size(); ++cut) {
    Decoder decoder(AsBytes(bytes).subspan(0, cut));
    Thing thing;
    EXPECT_FALSE(decoder.Get(&thing)) << cut;
  }
  // Whatever can be read has exactly one encoding.
  for (size_t at = 0; at < bytes.size(); ++at) {
    for (int flip = 1; flip < 256; flip <<= 1) {
      std::string other = bytes;
      other[at] = static_cast<char>(other[at] ^ flip);
      Decoder decoder(AsBytes(other));
      Thing thing;
      if (decoder.Get(&thing) && decoder.Done()) {
        EXPECT_EQ(Bytes(thing), other);
      }
    }
  }
}

TEST(CodecTest, NumbersHaveOneForm) {
  for (const std::string& bytes : {std::string("\x80\x00", 2), std::string(10, '\xff')}) {
    Decoder decoder(AsBytes(bytes));
    uint64_t value = 0;
    EXPECT_FALSE(decoder.Get(&value));
  }
}

TEST(CodecTest, TheSchemaNamesFields) {
  EXPECT_EQ(SchemaOf<Inner>(), "{small, text:u8,text,}");
  EXPECT_NE(SchemaOf<Thing>().find("map(id,u32)"), std::string::npos);
}

using Table = PagedTable<Inner, 4>;

std::string EncodeTable(const Table& table, BlobStore* blobs) {
  Encoder encoder(blobs);
  encoder.Put(table);
  EXPECT_TRUE(encoder.status().ok());
  return encoder.Take();
}

Table Filled(size_t count) {
  Table table;
  for (size_t i = 0; i < count; ++i) {
    Inner row;
    row.text = absl::StrCat("row ", i);
    table.push_back(row);
  }
  return table;
}

TEST(PagedTableTest, IsReadPageByPage) {
  MemoryBlobs blobs;
  const std::string bytes = EncodeTable(Filled(1000), &blobs);
  auto source = std::make_shared<PageSource>(&blobs);
  Decoder decoder(AsBytes(bytes), source);
  Table table;
  ASSERT_TRUE(decoder.Get(&table));
  EXPECT_TRUE(decoder.Done());
  const uint64_t lists = blobs.gets;
  EXPECT_EQ(std::as_const(table)[999].text, "row 999");
  EXPECT_EQ(std::as_const(table)[998].text, "row 998");
  EXPECT_EQ(blobs.gets, lists + 1);
  EXPECT_EQ(EncodeTable(table, &blobs), bytes);
}

TEST(PagedTableTest, WritesWhatWasTouched) {
  MemoryBlobs blobs;
  Table table = Filled(100);
  const std::string before = EncodeTable(table, &blobs);
  const uint64_t puts = blobs.puts;
  EXPECT_EQ(std::as_const(table)[50].text, "row 50");
  EXPECT_EQ(EncodeTable(table, &blobs), before);
  EXPECT_EQ(blobs.puts, puts);
  table[50].text = "another";
  table.push_back({});
  EXPECT_NE(EncodeTable(table, &blobs), before);
  EXPECT_EQ(blobs.puts, puts + 2);
}

TEST(PagedTableTest, GrowsAndShrinks) {
  MemoryBlobs blobs;
  const std::string bytes = EncodeTable(Filled(10), &blobs);
  for (size_t size : {0, 1, 3, 4, 5, 8, 9, 10, 11, 12, 13, 30}) {
    auto source = std::make_shared<PageSource>(&blobs);
    Decoder decoder(AsBytes(bytes), source);
    Table table;
    ASSERT_TRUE(decoder.Get(&table));
    table.resize(size);
    ASSERT_EQ(table.size(), size);
    for (size_t i = 0; i < size; ++i) EXPECT_EQ(table[i].text, i < 10 ? absl::StrCat("row ", i) : "") << size;
    EXPECT_FALSE(source->damaged());
    // As if it had been that long from the beginning.
    Table whole = Filled(std::min<size_t>(size, 10));
    whole.resize(size);
    EXPECT_EQ(EncodeTable(table, &blobs), EncodeTable(whole, &blobs));
  }
}

TEST(PagedTableTest, EqualPagesAreKeptOnce) {
  MemoryBlobs blobs;
  Table table;
  table.resize(400);
  EncodeTable(table, &blobs);
  EXPECT_EQ(blobs.blobs.size(), 2u);  // the page, and the list of pages
}

TEST(PagedTableTest, BadPagesReadAsEmptyRows) {
  MemoryBlobs blobs;
  const std::string bytes = EncodeTable(Filled(8), &blobs);
  for (const bool missing : {false, true}) {
    MemoryBlobs bad = blobs;
    for (auto& [id, blob] : bad.blobs) blob[0] ^= 1;
    if (missing) bad.blobs.clear();
    auto source = std::make_shared<PageSource>(&bad);
    Decoder decoder(AsBytes(bytes), source);
    Table table;
    ASSERT_TRUE(decoder.Get(&table));
    EXPECT_FALSE(source->damaged());
    EXPECT_EQ(table[3].text, "");
    EXPECT_TRUE(source->damaged());
    EXPECT_NE(source->what().find("chunk"), std::string::npos);
  }
}

TEST(PagedTableTest, RowsBeyondTheEndAreDamage) {
  MemoryBlobs blobs;
  const std::string bytes = EncodeTable(Filled(8), &blobs);
  auto source = std::make_shared<PageSource>(&blobs);
  Decoder decoder(AsBytes(bytes), source);
  Table table;
  ASSERT_TRUE(decoder.Get(&table));
  EXPECT_EQ(table[100].text, "");
  EXPECT_TRUE(source->damaged());
}

}  // namespace
}  // namespace kitlink
