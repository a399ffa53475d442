#include "core/symbols/normalize.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"

namespace kitlink {
namespace {

bool Named(absl::string_view name, absl::string_view prefix) {
  return absl::StartsWith(name, prefix) && (name.size() == prefix.size() || name[prefix.size()] == '.');
}

// The words of `section`, last first. Relocations follow their words.
void ReverseWords(InputSection* section, ObjectFile* object) {
  const size_t words = section->bytes.size() / 8;
  auto bytes = std::make_unique<uint8_t[]>(words * 8);
  for (size_t w = 0; w < words; ++w) std::copy_n(&section->bytes[w * 8], 8, &bytes[(words - 1 - w) * 8]);
  auto relocs = std::make_unique<uint8_t[]>(section->relocs.size() * sizeof(Reloc));
  Reloc* out = reinterpret_cast<Reloc*>(relocs.get());
  for (size_t r = 0; r < section->relocs.size(); ++r) {
    Reloc reloc = section->relocs[section->relocs.size() - 1 - r];
    if (reloc.offset + 8 <= words * 8) reloc.offset = words * 8 - 8 - reloc.offset;
    out[r] = reloc;
  }
  section->bytes = ByteView(bytes.get(), words * 8);
  section->size = words * 8;
  section->relocs = absl::Span<const Reloc>(out, section->relocs.size());
  object->owned.push_back(std::move(bytes));
  object->owned.push_back(std::move(relocs));
}

}  // namespace

void NormalizeObject(ObjectFile* object) {
  for (InputSection& section : object->sections) {
    if (section.kind != SectionKind::kProgbits || (section.flags & kSecAlloc) == 0) continue;
    const bool ctors = Named(section.name, ".ctors"), dtors = Named(section.name, ".dtors");
    if (!ctors && !dtors) continue;
    section.kind = ctors ? SectionKind::kInitArray : SectionKind::kFiniArray;
    ReverseWords(&section, object);
  }
}

bool NeedsWholeProgram(const InputSection& section) {
  return section.name == ".gdb_index" || section.name == ".debug_gnu_pubnames" || section.name == ".debug_gnu_pubtypes";
}

bool Excluded(const LinkOptions& options, const InputSection& section) {
  if (options.strip == Strip::kNone || (section.flags & kSecAlloc) != 0) return false;
  return absl::StartsWith(section.name, ".debug") || absl::StartsWith(section.name, ".zdebug") ||
         section.name == ".gdb_index" || section.name == ".stab" || section.name == ".stabstr";
}

void NormalizeUnit(const LinkOptions& options, Unit* unit, Program* program) {
  NormalizeObject(unit->object.get());
  for (uint32_t s = 0; s < unit->object->sections.size(); ++s) {
    const InputSection& section = unit->object->sections[s];
    Atom& atom = program->atoms[unit->first_atom + s];
    if (Excluded(options, section)) atom.state = Atom::kAbsent;
    if (options.incremental && NeedsWholeProgram(section)) atom.state = Atom::kAbsent;
  }
}

}  // namespace kitlink
