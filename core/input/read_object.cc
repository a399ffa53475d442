// The entry point for objects of any format.
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/input/elf_object.h"
#include "core/input/file_type.h"
#include "core/input/inputs.h"

namespace kitlink {

absl::StatusOr<std::unique_ptr<ObjectFile>> ReadObject(std::string path, std::string member,
                                                       std::shared_ptr<InputBytes> file, ByteView image) {
  auto object = std::make_unique<ObjectFile>();
  object->path = std::move(path);
  object->member = std::move(member);
  object->file = std::move(file);
  object->image = image;
  absl::Status status;
  switch (DetectFileType(image)) {
    case FileType::kElfObject:
    case FileType::kElfShared:
    case FileType::kElfExecutable:
      status = elf::ReadElfObject(*object);
      break;
    case FileType::kBitcode:
      status = absl::InvalidArgumentError(absl::StrCat(
          object->DisplayName(), ": was compiled with -flto; kitlink does not do link-time optimisation"));
      break;
    case FileType::kEmpty:
      status = absl::InvalidArgumentError(absl::StrCat(object->DisplayName(), ": is empty"));
      break;
    default:
      status = absl::InvalidArgumentError(absl::StrCat(object->DisplayName(), ": is not an object file"));
      break;
  }
  // What was found in a file that shrank meanwhile, errors included, means nothing.
  if (object->file != nullptr && object->file->torn()) {
    return absl::AbortedError(absl::StrCat(object->DisplayName(), ": was cut short while it was being read"));
  }
  if (!status.ok()) return status;
  return object;
}

}  // namespace kitlink
