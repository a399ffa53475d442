// What somebody may have meant by the name of a symbol that nothing defines.
#ifndef CORE_DWARF_SUGGEST_H_
#define CORE_DWARF_SUGGEST_H_

#include <bitset>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace kitlink::dwarf {

// Finds the nearest of many defined names: show it every one, then ask. A name costs some 20 ns when it is not near.
// The result does not depend on the order of the candidates. Not thread safe; the candidates need not outlive Consider.
class Suggester {
 public:
  // `wanted` is the undefined name as in the symbol table.
  explicit Suggester(absl::string_view wanted);
  void Consider(absl::string_view candidate);
  // A clause for a message: "did you mean: foo(long)", "did you mean: extern \"C\" foo", "did you mean to declare
  // foo() as extern \"C\"?"; empty when nothing is near.
  std::string Result() const;

 private:
  enum Kind { kNone, kNearName, kOtherCase, kOtherSignature, kWantedCpp, kWantedC };  // ever better

  void Offer(Kind kind, int distance, absl::string_view candidate);
  int Limit() const;
  int Distance(absl::string_view candidate, int limit);

  std::string wanted_;
  std::string base_;       // unqualified function name of a C++ name; else the name
  std::string qualified_;  // demangled without parameters; empty for C names
  std::string token_;      // what any mangled name of a function called base_ contains
  std::bitset<256> letters_;
  int max_distance_ = 0;
  Kind kind_ = kNone;
  int distance_ = 0;
  std::string best_;
  std::vector<int> row_, previous_;
};

}  // namespace kitlink::dwarf

#endif  // CORE_DWARF_SUGGEST_H_
