// For tests: a small real program, compiled and linked with debug information by the system's tools, with holes
// between the units of its debug sections.
#ifndef CORE_DWARF_DEBUG_PROGRAM_H_
#define CORE_DWARF_DEBUG_PROGRAM_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/bytes.h"

namespace kitlink::dwarf {

struct CommandResult {
  int status = -1;
  std::string output;  // standard output and error, in the order written
};
// Runs `command` in `folder` with sh. Never fails; a command that does not start has a status.
CommandResult RunCommand(const std::string& folder, const std::string& command);
bool HaveTool(const std::string& tool);

struct Hole {
  std::string section;
  uint64_t offset = 0;  // in the section
  uint64_t size = 0;
};

class DebugProgram {
 public:
  // Compiles two C units and a C++ unit in a new folder with `compiler` ("gcc", "clang") and `flags`.
  DebugProgram(const std::string& compiler, const std::string& flags);
  ~DebugProgram();
  bool ok() const { return error_.empty(); }
  const std::string& error() const { return error_; }
  const std::string& folder() const { return folder_; }

  // True when some unit has section `name`.
  bool HasSection(const std::string& name) const;
  // Links to `output` with GNU ld; behind the first unit's part of each section in `holes` lie that many zero bytes,
  // and again at the section's end. Returns the holes; empty with error() set when the link failed.
  std::vector<Hole> Link(const std::string& output, const std::map<std::string, uint64_t>& holes);

  std::vector<uint8_t> Read(const std::string& name) const;
  void Write(const std::string& name, const std::vector<uint8_t>& bytes) const;

 private:
  std::string folder_;
  std::string error_;
  std::string compiler_;
};

// The bytes of section `name` in a little-endian ELF64 image, empty when there is none.
MutableBytes FindSection(std::vector<uint8_t>& image, const std::string& name);

}  // namespace kitlink::dwarf

#endif  // CORE_DWARF_DEBUG_PROGRAM_H_
