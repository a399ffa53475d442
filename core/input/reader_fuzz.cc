// One fuzzer for every reader of input files: the first byte of the input picks the reader, so that one corpus and
// one run cover them all.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/base/memory_files.h"
#include "core/input/archive.h"
#include "core/input/elf_shared.h"
#include "core/input/inputs.h"
#include "core/input/linker_script.h"
#include "core/input/version_script.h"

namespace kitlink {
namespace {

// Touches everything that later steps index without checking.
uint64_t Walk(const ObjectFile& object) {
  uint64_t sum = 0;
  for (const InputSection& section : object.sections) {
    for (uint8_t byte : section.bytes) sum += byte;
    for (const Reloc& reloc : section.relocs) sum += object.symbols[reloc.symbol].value;
    if (section.group >= 0) sum += object.groups[section.group].members.size();
    if ((section.flags & kSecLinkOrder) != 0) sum += object.sections[section.link].size;
  }
  for (const InputSymbol& symbol : object.symbols) {
    for (char c : symbol.name) sum += c;
    if (symbol.section < kSectionCommon) sum += object.sections[symbol.section].size;
  }
  for (const SectionGroup& group : object.groups) {
    for (uint32_t member : group.members) sum += object.sections[member].size;
  }
  return sum;
}

void ReadOne(uint8_t reader, std::shared_ptr<MemoryBytes> file) {
  MemoryFiles files;
  std::vector<OpenedFile> opened;
  const absl::string_view text = AsString(file->bytes());
  volatile uint64_t sink = 0;
  switch (reader % 5) {
    case 0: {
      auto object = ReadObject("f.o", "", file, file->bytes());
      if (object.ok()) sink = Walk(**object);
      break;
    }
    case 1: {
      auto archive = ReadArchive("f.a", file, files, opened);
      if (!archive.ok()) break;
      for (const ArchiveMember& member : (*archive)->members) {
        auto object = ReadArchiveMember(**archive, member);
        if (object.ok()) sink = sink + Walk(**object);
      }
      break;
    }
    case 2:
      (void)elf::ReadSharedFile("f.so", "f.so", file);
      break;
    case 3:
      (void)ParseLinkerScript("f.so", text);
      break;
    default:
      (void)ParseVersionScript("f.map", text);
      (void)ParseDynamicList("f.list", text);
      (void)GlobMatches(text.substr(0, text.size() / 2), text.substr(text.size() / 2));
      break;
  }
}

}  // namespace
}  // namespace kitlink

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  kitlink::ReadOne(data[0], std::make_shared<kitlink::MemoryBytes>(std::vector<uint8_t>(data + 1, data + size)));
  return 0;
}
