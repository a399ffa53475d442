#include "core/base/memory_files.h"

#include "gtest/gtest.h"

namespace kitlink {
namespace {

TEST(MemoryFiles, OpensWhatWasPut) {
  MemoryFiles files;
  EXPECT_EQ(files.Open("a.o").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(files.Stat("a.o").status().code(), absl::StatusCode::kNotFound);
  files.Put("a.o", "one");
  auto opened = files.Open("a.o");
  ASSERT_TRUE(opened.ok());
  const FileStamp before = *files.Stat("a.o");
  EXPECT_EQ(before.size, 3u);
  EXPECT_EQ((*opened)->stamp(), before);
  files.Put("a.o", "two");
  EXPECT_NE(*files.Stat("a.o"), before);
  EXPECT_EQ(AsString((*opened)->bytes()), "one");
  EXPECT_FALSE((*opened)->torn());
  files.Remove("a.o");
  EXPECT_FALSE(files.Open("a.o").ok());
}

}  // namespace
}  // namespace kitlink
