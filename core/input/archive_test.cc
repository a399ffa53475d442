#include "core/input/archive.h"

#include <elf.h>

#include "core/base/memory_files.h"
#include "core/input/testing/obj_builder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::BuildArchive;
using testing::ObjBuilder;

std::vector<uint8_t> Object(const std::string& symbol) {
  return ObjBuilder().Section(".text", "\xc3").Symbol(symbol, ".text").Undefined("other").Build();
}

absl::StatusOr<std::unique_ptr<Archive>> Read(std::vector<uint8_t> bytes, MemoryFiles* files = nullptr,
                                              std::vector<OpenedFile>* opened = nullptr) {
  MemoryFiles none;
  std::vector<OpenedFile> unused;
  return ReadArchive("lib/libx.a", std::make_shared<MemoryBytes>(std::move(bytes)), files ? *files : none,
                     opened ? *opened : unused);
}

std::vector<uint8_t> Bytes(absl::string_view text) { return std::vector<uint8_t>(text.begin(), text.end()); }

TEST(ReadArchive, IndexAndLongNames) {
  for (bool with_index : {true, false}) {
    auto archive = Read(BuildArchive({{"a.o", Object("a"), {"a"}},
                                      {"a_name_longer_than_sixteen.o", Object("b"), {"b"}}},
                                     with_index));
    ASSERT_TRUE(archive.ok()) << archive.status();
    ASSERT_EQ((*archive)->members.size(), 2u);
    EXPECT_EQ((*archive)->members[1].name, "a_name_longer_than_sixteen.o");
    EXPECT_THAT((*archive)->members[0].defines, ElementsAre("a"));
    EXPECT_THAT((*archive)->members[1].defines, ElementsAre("b"));
    auto member = ReadArchiveMember(**archive, (*archive)->members[1]);
    ASSERT_TRUE(member.ok()) << member.status();
    EXPECT_EQ((*member)->DisplayName(), "lib/libx.a(a_name_longer_than_sixteen.o)");
  }
}

TEST(ReadArchive, EmptyArchive) {
  auto archive = Read(Bytes("!<arch>\n"));
  ASSERT_TRUE(archive.ok());
  EXPECT_TRUE((*archive)->members.empty());
}

TEST(ReadArchive, BsdNames) {
  const std::string text = std::string("!<arch>\n#1/8            0           0     0     644     12        `\n") +
         std::string("name.o\0\0data", 12);
  auto archive = Read(Bytes(text));
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_EQ((*archive)->members[0].name, "name.o");
  EXPECT_EQ(AsString((*archive)->members[0].bytes), "data");
}

TEST(ReadArchive, ThinArchive) {
  const std::string names = "sub/a.o/\n\n";
  const std::string text = "!<thin>\n" +
                           std::string("//                                              10        `\n") + names +
                           "/0              0           0     0     644     4         `\n";
  MemoryFiles files;
  std::vector<OpenedFile> opened;
  EXPECT_EQ(Read(Bytes(text), &files, &opened).status().code(), absl::StatusCode::kNotFound);
  files.Put("lib/sub/a.o", Object("thin"));
  auto archive = Read(Bytes(text), &files, &opened);
  ASSERT_TRUE(archive.ok()) << archive.status();
  EXPECT_TRUE((*archive)->thin);
  EXPECT_THAT((*archive)->members[0].defines, ElementsAre("thin"));
  ASSERT_EQ(opened.size(), 1u);
  EXPECT_EQ(opened[0].path, "lib/sub/a.o");
  EXPECT_EQ(opened[0].role, OpenedFile::Role::kThinMember);
  EXPECT_TRUE(ReadArchiveMember(**archive, (*archive)->members[0]).ok());
}

TEST(ReadArchive, MalformedArchives) {
  EXPECT_FALSE(Read(Bytes("!<arch>\nx")).ok());
  std::vector<uint8_t> bytes = BuildArchive({{"a.o", Object("a"), {"a"}}});
  for (size_t length = 8; length < bytes.size(); ++length) {
    (void)Read(std::vector<uint8_t>(bytes.begin(), bytes.begin() + length));
  }
  std::vector<uint8_t> bad_index = bytes;
  bad_index[8 + 60 + 7] ^= 2;  // the offset of the first symbol's member
  EXPECT_THAT(Read(bad_index).status().message(), HasSubstr("index"));
  for (size_t at = 8; at < 200; ++at) {
    std::vector<uint8_t> flipped = bytes;
    flipped[at] ^= 0xff;
    (void)Read(flipped);
  }
}

}  // namespace
}  // namespace kitlink
