// Programs for tests, resolved from objects that are declared in the test.
#ifndef CORE_SYMBOLS_TESTING_PROGRAM_BUILDER_H_
#define CORE_SYMBOLS_TESTING_PROGRAM_BUILDER_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/base/diagnostics.h"
#include "core/base/memory_files.h"
#include "core/input/inputs.h"
#include "core/input/testing/obj_builder.h"
#include "core/symbols/program.h"
#include "core/symbols/resolve.h"

namespace kitlink::testing {

inline SectionSpec Spec(uint32_t type, uint64_t flags, uint64_t alignment) {
  SectionSpec spec;
  spec.type = type;
  spec.flags = flags;
  spec.alignment = alignment;
  return spec;
}

class ProgramBuilder {
 public:
  ProgramBuilder() { options.entry = "main"; }

  ProgramBuilder& Object(const std::string& path, const ObjBuilder& object) { return File(path, object.Build()); }
  ProgramBuilder& Archive(const std::string& path, const std::vector<MemberSpec>& members) {
    return File(path, BuildArchive(members));
  }
  ProgramBuilder& File(const std::string& path, std::vector<uint8_t> bytes) {
    files.Put(path, std::move(bytes));
    InputArgument argument;
    argument.name = path;
    argument.flags = flags;
    options.inputs.push_back(std::move(argument));
    return *this;
  }

  // Read and Resolve; nothing when either fails, `messages` says why.
  std::optional<Program> Resolve() {
    Diagnostics diagnostics;
    std::optional<Program> program;
    absl::StatusOr<Inputs> inputs = ReadInputs(options, files, diagnostics);
    if (inputs.ok()) {
      absl::StatusOr<ExportRules> rules = ReadExportRules(options, files, &inputs->opened);
      if (rules.ok()) {
        absl::StatusOr<Program> resolved = kitlink::Resolve(options, *std::move(inputs), *std::move(rules), diagnostics);
        if (resolved.ok()) program = *std::move(resolved);
      } else {
        diagnostics.Error(std::string(rules.status().message()));
      }
    }
    Collect(diagnostics);
    return program;
  }

  void Collect(Diagnostics& diagnostics) {
    for (const Diagnostic& diagnostic : diagnostics.Take()) messages += FormatDiagnostic(diagnostic) + "\n";
  }

  MemoryFiles files;
  LinkOptions options;
  InputFlags flags;  // of inputs that are added from now on
  std::string messages;
};

inline const Symbol& SymbolNamed(const Program& program, absl::string_view name) {
  static const Symbol kNone;
  const SymbolId id = program.names.Find(name);
  return id.valid() && id.value < program.symbols.size() ? program.symbols[id.value] : kNone;
}

// The path or member name of the object that defines `name`; empty when none does.
inline std::string DefinerOf(const Program& program, absl::string_view name) {
  const Symbol& symbol = SymbolNamed(program, name);
  if (symbol.kind != SymbolKind::kDefined && symbol.kind != SymbolKind::kAbsolute) return "";
  return program.units[symbol.file].object->DisplayName();
}

}  // namespace kitlink::testing

#endif  // CORE_SYMBOLS_TESTING_PROGRAM_BUILDER_H_
