#include "core/dwarf/link_messages.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "core/dwarf/source_location.h"

namespace kitlink::dwarf {

std::string DescribePlace(const SymbolUse& use) {
  const SourceLocation location = Locate(*use.object, use.section, use.offset);
  std::string place = use.object->DisplayName();
  if (!location.function.empty()) {
    absl::StrAppend(&place, ":", location.function);
  } else if (use.section < use.object->sections.size()) {
    absl::StrAppend(&place, ":(", use.object->sections[use.section].name, "+0x", absl::Hex(use.offset), ")");
  }
  if (location.file.empty()) return place;
  return absl::StrCat(location.file, ":", location.line, " (", place, ")");
}

std::string UndefinedSymbolText(absl::string_view name, absl::Span<const SymbolUse> uses, uint64_t total_uses,
                                absl::string_view suggestion) {
  std::string text = absl::StrCat("undefined symbol: ", Demangle(name));
  uint64_t shown = 0;
  for (const SymbolUse& use : uses) {
    if (use.object == nullptr) continue;
    if (shown == kShownUses) break;
    absl::StrAppend(&text, "\n>>> referenced by ", DescribePlace(use));
    ++shown;
  }
  const uint64_t total = std::max<uint64_t>(total_uses, uses.size());
  if (shown != 0 && total > shown) {
    absl::StrAppend(&text, "\n>>> referenced ", total - shown, total - shown == 1 ? " more time" : " more times");
  }
  if (!suggestion.empty()) absl::StrAppend(&text, "\n>>> ", suggestion);
  return text;
}

std::string DuplicateSymbolText(absl::string_view name, absl::Span<const SymbolUse> definitions) {
  std::string text = absl::StrCat("duplicate symbol: ", Demangle(name));
  for (const SymbolUse& use : definitions) {
    if (use.object == nullptr) continue;
    const SourceLocation location = Locate(*use.object, use.section, use.offset);
    absl::StrAppend(&text, "\n>>> defined at ");
    if (location.file.empty()) {
      absl::StrAppend(&text, use.object->DisplayName());
    } else {
      absl::StrAppend(&text, location.file, ":", location.line, " (", use.object->DisplayName(), ")");
    }
  }
  return text;
}

}  // namespace kitlink::dwarf
