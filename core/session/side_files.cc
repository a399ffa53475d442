#include "core/session/side_files.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace kitlink {
namespace {

using SymbolsOf = absl::flat_hash_map<uint32_t, std::vector<const Symbol*>>;  // by AtomId value

SymbolsOf SymbolsByAtom(const Program& program) {
  SymbolsOf by_atom;
  for (const Symbol& symbol : program.symbols) {
    if (symbol.used && symbol.atom.valid() && !symbol.name.empty()) by_atom[symbol.atom.value].push_back(&symbol);
  }
  // any order: each list is sorted by itself.
  for (auto& [atom, list] : by_atom) {
    std::sort(list.begin(), list.end(), [](const Symbol* a, const Symbol* b) {
      return std::make_pair(a->value, a->name) < std::make_pair(b->value, b->name);
    });
  }
  return by_atom;
}

// Address, size and alignment of everything, in the order of the image; sizes are those of the contents, so the
// difference between neighbours is room for edits.
std::string LinkMap(const ColdLink& link) {
  const Program& program = *link.program;
  const Placement& placement = link.image->placement();
  const SymbolsOf symbols = SymbolsByAtom(program);
  std::string text = absl::StrFormat("%16s %10s %6s %s\n", "address", "size", "align", "section / input / symbol");
  for (const OutputSection& section : placement.sections) {
    absl::StrAppendFormat(&text, "%16x %10x %6d %s\n", section.address, section.size, section.alignment, section.name);
    for (AtomId id : section.atoms) {
      const Atom& atom = program.atoms[id.value];
      const InputSection& input = program.section(id);
      const uint64_t address = section.address + placement.places[id.value].offset;
      absl::StrAppendFormat(&text, "%16x %10x %6d         %s:(%s)\n", address, input.size, input.alignment,
                            program.object(atom.unit).DisplayName(), input.name);
      auto it = symbols.find(id.value);
      if (it == symbols.end()) continue;
      for (const Symbol* symbol : it->second) {
        absl::StrAppendFormat(&text, "%16x %10x %6d                 %s\n", address + symbol->value, symbol->size, 0,
                              symbol->name);
      }
    }
  }
  return text;
}

std::string MakeEscaped(const std::string& path) { return absl::StrReplaceAll(path, {{" ", "\\ "}, {"$", "$$"}}); }

// A rule for make: the output depends on every file that was read, and a file that is gone is no error.
std::string Dependencies(const LinkOptions& options, const Program& program) {
  std::vector<std::string> paths;
  absl::flat_hash_set<std::string> seen;
  for (const OpenedFile& file : program.opened) {
    if (seen.insert(file.path).second) paths.push_back(MakeEscaped(file.path));
  }
  std::string text = absl::StrCat(MakeEscaped(options.output), ":");
  for (const std::string& path : paths) absl::StrAppend(&text, " \\\n  ", path);
  absl::StrAppend(&text, "\n");
  for (const std::string& path : paths) absl::StrAppend(&text, "\n", path, ":\n");
  return text;
}

std::string Trace(const Program& program) {
  std::string text;
  for (const Unit& unit : program.units) {
    if (!unit.synthetic) absl::StrAppend(&text, unit.object->DisplayName(), "\n");
  }
  for (const Library& library : program.libraries) {
    if (library.needed) absl::StrAppend(&text, library.file->path, "\n");
  }
  return text;
}

std::string Collected(const Program& program) {
  std::string text;
  for (const Atom& atom : program.atoms) {
    if (atom.state != Atom::kDead) continue;
    const ObjectFile& object = program.object(atom.unit);
    absl::StrAppend(&text, "removing unused section ", object.DisplayName(), ":(",
                    object.sections[atom.section].name, ")\n");
  }
  return text;
}

}  // namespace

std::vector<SideFile> SideFiles(const LinkOptions& options, const ColdLink& link) {
  std::vector<SideFile> files;
  if (options.trace) files.push_back({"-", Trace(*link.program)});
  if (options.gc_sections && options.print_gc_sections) files.push_back({"-", Collected(*link.program)});
  if (!options.map_file.empty()) files.push_back({options.map_file, LinkMap(link)});
  if (!options.dependency_file.empty()) {
    files.push_back({options.dependency_file, Dependencies(options, *link.program)});
  }
  return files;
}

}  // namespace kitlink
