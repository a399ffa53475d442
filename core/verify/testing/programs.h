// Compiles and links the programs in fixture/ with the linkers of this machine.
#ifndef CORE_VERIFY_TESTING_PROGRAMS_H_
#define CORE_VERIFY_TESTING_PROGRAMS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/output/reference.h"

namespace kitlink::verify {

// How a fixture is built.
struct Variant {
  std::string name;
  std::string compiler = "gcc";  // "gcc" or "clang"
  std::string compile_flags;
  std::string link_flags;
};

// A temporary folder with the fixture's objects. Fails the test (and is not ok()) when the compiler does.
class Objects {
 public:
  // `sources`: files of fixture/, separated by spaces.
  Objects(const Variant& variant, const std::string& sources);
  ~Objects();
  Objects(const Objects&) = delete;
  Objects& operator=(const Objects&) = delete;

  bool ok() const { return ok_; }
  // Links them with -fuse-ld=LINKER; empty when that fails. `more` are further arguments.
  std::vector<uint8_t> Link(const std::string& linker, const std::string& more = "");
  // Links them with lld and describes the result.
  Reference LinkReference(const std::string& more = "");
  // Runs a shell command in the folder; true when it succeeds.
  bool Run(const std::string& command) const;
  const std::string& folder() const { return folder_; }

 private:
  Variant variant_;
  std::string folder_, objects_;
  bool ok_ = true;
};

std::vector<uint8_t> ReadBytes(const std::string& path);

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_TESTING_PROGRAMS_H_
