#include "core/input/model.h"

#include "absl/strings/str_cat.h"

namespace kitlink {

std::string ObjectFile::DisplayName() const {
  return member.empty() ? path : absl::StrCat(path, "(", member, ")");
}

}  // namespace kitlink
