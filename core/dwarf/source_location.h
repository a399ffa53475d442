// Which function and source line of an object contains a place, read from the object's own DWARF. For messages only:
// slow, called on errors.
#ifndef CORE_DWARF_SOURCE_LOCATION_H_
#define CORE_DWARF_SOURCE_LOCATION_H_

#include <cstdint>
#include <string>

#include "core/input/model.h"

namespace kitlink::dwarf {

struct SourceLocation {
  std::string function;  // demangled enclosing symbol; empty when not known
  std::string file;      // as the compiler wrote it; empty without debug information
  int line = 0;
};

// The place `offset` in section `section` of `object`: a relocation's field (or a symbol's definition). Never fails;
// leaves out what it cannot find. For data the variable's declaration is used.
SourceLocation Locate(const ObjectFile& object, uint32_t section, uint64_t offset);

// Demangles C++ and Rust names; returns others unchanged.
std::string Demangle(absl::string_view name);

}  // namespace kitlink::dwarf

#endif  // CORE_DWARF_SOURCE_LOCATION_H_
