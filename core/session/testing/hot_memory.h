// What a session remembers of a link of objects that are declared in a test.
#ifndef CORE_SESSION_TESTING_HOT_MEMORY_H_
#define CORE_SESSION_TESTING_HOT_MEMORY_H_

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/base/memory_files.h"
#include "core/input/command_line.h"
#include "core/input/testing/obj_builder.h"
#include "core/session/cold.h"
#include "core/session/diff.h"
#include "core/session/memory.h"
#include "gtest/gtest.h"

namespace kitlink::testing {

class HotMemory {
 public:
  // The objects of `inputs` must be in `files`. A test failure, and no memory, when they do not link.
  void Link(std::vector<std::string> arguments) {
    Diagnostics diagnostics;
    arguments.insert(arguments.begin(), {"-o", "out"});
    auto options = ParseCommandLine(arguments, files, diagnostics);
    ASSERT_TRUE(options.ok()) << options.status();
    absl::StatusOr<ColdLink> link = PlanColdLink(*options, files, diagnostics);
    for (const Diagnostic& diagnostic : diagnostics.Take()) ADD_FAILURE() << FormatDiagnostic(diagnostic);
    ASSERT_TRUE(link.ok()) << link.status();
    std::vector<uint8_t> image(link->image->size());
    auto written = link->image->Write(absl::MakeSpan(image), diagnostics);
    ASSERT_TRUE(written.ok()) << written.status();
    auto captured =
        CaptureMemory(*options, &*link, *written, 0, files, [&](uint64_t offset, MutableBytes into) {
          std::copy_n(image.begin() + static_cast<ptrdiff_t>(offset), into.size(), into.begin());
          return absl::OkStatus();
        });
    ASSERT_TRUE(captured.ok()) << captured.status();
    memory = *std::move(captured);
  }

  // Puts a shared library that exports and leaves open what the object does.
  void PutLibrary(const std::string& path, const ObjBuilder& object) {
    MemoryFiles inputs;
    Diagnostics diagnostics;
    inputs.Put("in.o", object.Build());
    auto options = ParseCommandLine({"-shared", "-soname", path, "-o", path, "in.o"}, inputs, diagnostics);
    ASSERT_TRUE(options.ok()) << options.status();
    absl::StatusOr<ColdLink> link = PlanColdLink(*options, inputs, diagnostics);
    ASSERT_TRUE(link.ok()) << link.status();
    std::vector<uint8_t> image(link->image->size());
    ASSERT_TRUE(link->image->Write(absl::MakeSpan(image), diagnostics).ok());
    files.Put(path, image);
  }

  // The unit of a plain object.
  UnitId UnitOf(const std::string& path) const { return memory->files[memory->file_of.at(path)].units.at(0); }
  UnitMemory& unit(const std::string& path) { return memory->units[UnitOf(path).value]; }

  UnitDiff Diff(const std::string& path, const ObjBuilder& now) const {
    return Diff(path, ReadBytes(now.Build(), path));
  }
  UnitDiff Diff(const std::string& path, std::unique_ptr<ObjectFile> now) const {
    return DiffUnit(*memory, UnitOf(path), std::move(now));
  }

  MemoryFiles files;
  std::unique_ptr<Memory> memory;
};

}  // namespace kitlink::testing

#endif  // CORE_SESSION_TESTING_HOT_MEMORY_H_
