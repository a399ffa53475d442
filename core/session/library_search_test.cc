#include "core/session/library_search.h"

#include <memory>
#include <string>
#include <vector>

#include "core/base/memory_files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace kitlink {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Notes what is asked for.
class AskedFiles : public FileSource {
 public:
  absl::StatusOr<std::shared_ptr<InputBytes>> Open(absl::string_view path) override { return files.Open(path); }
  absl::StatusOr<FileStamp> Stat(absl::string_view path) override {
    asked.emplace_back(path);
    return files.Stat(path);
  }

  MemoryFiles files;
  std::vector<std::string> asked;
};

class LibrarySearchTest : public ::testing::Test {
 protected:
  LibrarySearchTest() {
    LinkOptions options;
    options.library_paths = {"/first", "/second"};
    options.inputs = {{false, "main.o", {}}, {true, "c", {}}, {true, "m", {}}, {true, "c", {}}};
    options_ = SharedOptions(options);
    files_.files.Put("/second/libc.so", std::vector<uint8_t>{1});
    files_.files.Put("/first/libm.so", std::vector<uint8_t>{1});
    memory_.options = options_;
    AddInput("/second/libc.so");
    AddInput("/first/libm.so");
    for (const char* found : {"", "/second/libc.so", "/first/libm.so", "/second/libc.so"}) memory_.library_found.push_back(found);
  }

  void AddInput(const std::string& path) {
    memory_.file_of[path] = static_cast<uint32_t>(memory_.files.size());
    FileMemory file;
    file.path = path;
    memory_.files.push_back(file);
  }

  std::optional<GateRefusal> Compare() {
    files_.asked.clear();
    return search_.Compare(memory_, InputListChange(), options_, files_);
  }

  AskedFiles files_;
  SharedOptions options_;
  Memory memory_;
  LibrarySearch search_;
};

TEST_F(LibrarySearchTest, LooksAgainOnlyWhereNothingWas) {
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_THAT(files_.asked, ElementsAre("/first/libc.so", "/first/libc.a"));
  options_ = SharedOptions(*options_);  // equal, but who knows
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_EQ(files_.asked.size(), 3u + 1u + 3u);
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_EQ(files_.asked.size(), 2u);
}

TEST_F(LibrarySearchTest, FileInAnEarlierFolderIsAnotherInput) {
  for (const bool looked_before : {false, true}) {
    if (looked_before) {
      search_.Forget();
      EXPECT_EQ(Compare(), std::nullopt);
    }
    files_.files.Put("/first/libc.a", std::vector<uint8_t>{1});
    for (int again = 0; again < 2; ++again) {
      const std::optional<GateRefusal> refusal = Compare();
      ASSERT_TRUE(refusal);
      EXPECT_EQ(refusal->reason, GateReason::kInputListChanged);
      EXPECT_EQ(refusal->detail, "-lc finds another file now");
    }
    files_.files.Remove("/first/libc.a");
    EXPECT_EQ(Compare(), std::nullopt) << "it is gone again";
  }
}

// The full link that follows such a refusal finds the new file.
TEST_F(LibrarySearchTest, AnotherMemoryIsComparedAnew) {
  EXPECT_EQ(Compare(), std::nullopt);
  files_.files.Put("/first/libc.a", std::vector<uint8_t>{1});
  EXPECT_TRUE(Compare());
  memory_.library_found[1] = memory_.library_found[3] = "/first/libc.a";
  AddInput("/first/libc.a");
  search_.Forget();
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_THAT(files_.asked, ElementsAre("/first/libc.so"));
}

// A 32-bit library is passed over, as long as it is one.
TEST_F(LibrarySearchTest, FileThatWasPassedOverIsLookedAtAgain) {
  const std::vector<uint8_t> other_class = {0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 3, 0};
  files_.files.Put("/first/libc.so", other_class);
  for (int again = 0; again < 3; ++again) EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_THAT(files_.asked, ElementsAre("/first/libc.so", "/first/libc.a")) << "and no more than those";
  files_.files.Put("/first/libc.a", std::vector<uint8_t>{1});
  EXPECT_TRUE(Compare()) << "behind what was passed over, before what was found";
  files_.files.Remove("/first/libc.a");
  EXPECT_EQ(Compare(), std::nullopt);
  files_.files.Put("/first/libc.so", std::vector<uint8_t>{1});
  EXPECT_TRUE(Compare()) << "it takes part now";
  files_.files.Remove("/first/libc.so");
  EXPECT_EQ(Compare(), std::nullopt);
}

TEST_F(LibrarySearchTest, AnInputThatIsFoundEarlierIsAnother) {
  AddInput("/first/libc.so");  // by its path, say
  files_.files.Put("/first/libc.so", std::vector<uint8_t>{1});
  EXPECT_TRUE(Compare());
}

TEST_F(LibrarySearchTest, NothingFoundIsNothingLater) {
  memory_.library_found[1] = memory_.library_found[3] = "";
  files_.files.Remove("/second/libc.so");
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_EQ(files_.asked.size(), 4u);
  files_.files.Put("/second/libc.a", std::vector<uint8_t>{1});
  EXPECT_TRUE(Compare());
}

TEST_F(LibrarySearchTest, WithoutLibrariesNothingIsAsked) {
  LinkOptions options;
  options.inputs = {{false, "main.o", {}}};
  options_ = SharedOptions(options);
  EXPECT_EQ(Compare(), std::nullopt);
  EXPECT_THAT(files_.asked, IsEmpty());
}

}  // namespace
}  // namespace kitlink
