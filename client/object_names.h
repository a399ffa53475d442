// What the doctor looks at in an object: names, and which section each function is in.
#ifndef CLIENT_OBJECT_NAMES_H_
#define CLIENT_OBJECT_NAMES_H_

#include <set>
#include <string>
#include <string_view>

namespace kitlink::client {

struct ObjectNames {
  bool object = false;  // an ELF relocatable object for a 64-bit machine
  bool bitcode = false;  // of a link-time optimiser, in whole or in part
  bool debug = false;
  bool compressed = false;  // debug sections are
  std::set<std::string> sections;
  std::set<std::string> symbols;           // of functions and data, local ones included
  std::set<std::string> shared_functions;  // that lie in a section with another
  std::set<std::string> shared_data;       // likewise; without read-only sections whose content is merged
};

// Whatever `bytes` are; what makes no sense is left out.
ObjectNames ReadObjectNames(std::string_view bytes);

}  // namespace kitlink::client

#endif  // CLIENT_OBJECT_NAMES_H_
