// For tests: one source file, compiled in a folder of its own and read as a link would read it.
#ifndef CORE_DWARF_COMPILED_OBJECT_H_
#define CORE_DWARF_COMPILED_OBJECT_H_

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/memory_files.h"
#include "core/dwarf/debug_program.h"
#include "core/dwarf/link_messages.h"
#include "core/input/elf_object.h"
#include "core/input/model.h"

namespace kitlink::dwarf {

// `bytes` read as an object called `path`; nullptr when the reader refuses them.
inline std::unique_ptr<ObjectFile> ParseObject(const std::string& path, std::vector<uint8_t> bytes) {
  auto object = std::make_unique<ObjectFile>();
  object->path = path;
  object->file = std::make_shared<MemoryBytes>(std::move(bytes));
  object->image = object->file->bytes();
  if (!elf::ReadElfObject(*object).ok()) return nullptr;
  return object;
}

// The object that `command` + " SOURCE -o OUTPUT" makes of `text`, with names "unit.c" (or `extension`) and "unit.o".
inline std::vector<uint8_t> CompileToBytes(const std::string& command, const std::string& text,
                                           const std::string& extension = "c") {
  std::string folder = (std::filesystem::temp_directory_path() / "compiled.XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) return {};
  std::ofstream(absl::StrCat(folder, "/unit.", extension)) << text;
  RunCommand(folder, absl::StrCat(command, " -c unit.", extension, " -o unit.o"));
  std::ifstream in(folder + "/unit.o", std::ios::binary);
  std::vector<uint8_t> bytes(std::istreambuf_iterator<char>(in), {});
  std::error_code ignored;
  std::filesystem::remove_all(folder, ignored);
  return bytes;
}

// Where `name` is defined; object is nullptr when it is not.
inline SymbolUse DefinitionOf(const ObjectFile& object, absl::string_view name) {
  for (const InputSymbol& symbol : object.symbols) {
    if (symbol.name == name && symbol.defined()) return {&object, symbol.section, symbol.value};
  }
  return {};
}

// The relocations of allocated sections that name `name`.
inline std::vector<SymbolUse> UsesOf(const ObjectFile& object, absl::string_view name) {
  std::vector<SymbolUse> uses;
  for (uint32_t i = 0; i < object.sections.size(); ++i) {
    if ((object.sections[i].flags & kSecAlloc) == 0) continue;
    for (const Reloc& reloc : object.sections[i].relocs) {
      if (object.symbols[reloc.symbol].name == name) uses.push_back({&object, i, reloc.offset});
    }
  }
  return uses;
}

}  // namespace kitlink::dwarf

#endif  // CORE_DWARF_COMPILED_OBJECT_H_
