// The texts of symbol errors: which name, who refers to it from which line, and what may have been meant. Texts for
// Diagnostics::Error, without the leading "error: ". All functions are thread safe.
#ifndef CORE_DWARF_LINK_MESSAGES_H_
#define CORE_DWARF_LINK_MESSAGES_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "core/input/model.h"

namespace kitlink::dwarf {

// A place in an object: a relocation's field, or a definition. `object` may be nullptr for what is in no object (the
// command line, a linker script); the use is then left out.
struct SymbolUse {
  const ObjectFile* object = nullptr;
  uint32_t section = 0;
  uint64_t offset = 0;
};

// References shown of one undefined symbol; the rest are counted.
inline constexpr size_t kShownUses = 3;

//   undefined symbol: foo(int)
//   >>> referenced by main.c:12 (main.o:main)
//   >>> referenced 5 more times
//   >>> did you mean: foo(long)
// `uses` are some of the references, at least the first kShownUses; `total_uses` says how many there are (no less than
// uses.size() is assumed). `suggestion` is Suggester::Result(), may be empty.
std::string UndefinedSymbolText(absl::string_view name, absl::Span<const SymbolUse> uses, uint64_t total_uses,
                                absl::string_view suggestion);

//   duplicate symbol: foo
//   >>> defined at a.c:3 (a.o)
//   >>> defined at b.c:7 (libx.a(b.o))
std::string DuplicateSymbolText(absl::string_view name, absl::Span<const SymbolUse> definitions);

// "main.c:12 (main.o:main)"; "main.o:main" without debug information, "main.o:(.data+0x8)" without a symbol.
std::string DescribePlace(const SymbolUse& use);

}  // namespace kitlink::dwarf

#endif  // CORE_DWARF_LINK_MESSAGES_H_
