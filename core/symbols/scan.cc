#include "core/symbols/scan.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/base/parallel.h"
#include "core/dwarf/link_messages.h"
#include "core/dwarf/source_location.h"
#include "core/dwarf/suggest.h"

namespace kitlink {
namespace {

constexpr uint16_t kPerImage = kNeedTlsLd | kNeedStaticTls | kNeedGotBase;

struct UndefinedUse {
  SymbolId symbol;
  uint32_t section;
  uint64_t offset;
};

// What scanning one unit finds; merged in order of units.
struct UnitFindings {
  std::vector<SymbolId> touched;  // symbols that this unit was the first to need something of
  std::vector<std::pair<uint32_t, uint16_t>> locals;  // (symbol index, needs)
  std::vector<UndefinedUse> undefined;
  std::vector<std::string> errors;
};

class Scanner {
 public:
  Scanner(const LinkOptions& options, const Arch& arch, Program* program, Diagnostics& diagnostics)
      : options_(options), arch_(arch), program_(*program), diagnostics_(diagnostics), output_(TraitsOf(options)),
        needs_(program->symbols.size()) {}

  Demands Run() {
    findings_.resize(program_.units.size());
    facts_.resize(program_.symbols.size());
    ParallelFor(facts_.size(), 1 << 14, [&](size_t i) {
      facts_[i] = {TraitsOf(program_.symbols[i]), IsUndefined(program_.symbols[i])};
    });
    ParallelFor(program_.units.size(), 4, [&](size_t u) { ScanUnit(static_cast<uint32_t>(u)); });
    ReportErrors();
    Demands demands;
    Collect(&demands);
    PlaceCopies(&demands);
    return demands;
  }

 private:
  void ScanUnit(uint32_t u) {
    const Unit& unit = program_.units[u];
    for (uint32_t s = 0; s < unit.object->sections.size(); ++s) {
      Atom& atom = program_.atoms[unit.first_atom + s];
      const InputSection& section = unit.object->sections[s];
      if (atom.state != Atom::kLive || atom.eh_frame || (section.flags & kSecAlloc) == 0) continue;
      ScanList(u, section, s, section.relocs, &atom);
    }
    for (const EhFrame& frame : unit.eh_frames) {
      const InputSection& section = unit.object->sections[frame.section];
      const absl::Span<const Reloc> relocs(frame.sorted);
      for (const EhRecord& cie : frame.cies) {
        ScanList(u, section, frame.section, relocs.subspan(cie.first_reloc, cie.reloc_count), nullptr);
      }
    }
  }

  void ScanList(uint32_t u, const InputSection& section, uint32_t s, absl::Span<const Reloc> relocs, Atom* atom) {
    const Unit& unit = program_.units[u];
    UnitFindings& found = findings_[u];
    for (size_t r = 0; r < relocs.size();) {
      const Reloc& reloc = relocs[r];
      const uint32_t index = reloc.symbol;
      const SymbolId id = program_.GlobalOf(unit, index);
      if (id.valid() && facts_[id.value].undefined) found.undefined.push_back({id, s, reloc.offset});
      if (!id.valid() && atom != nullptr && InDiscarded(unit, index) && section.name != ".gcc_except_table") {
        found.errors.push_back(Describe(u, s, reloc, "is in a section that was discarded with its COMDAT group"));
      }
      const ScanResult result = arch_.Scan(relocs.subspan(r), section.bytes, (section.flags & kSecWrite) != 0,
                                           id.valid() ? facts_[id.value].traits : TraitsOf(program_, unit, index),
                                           output_);
      if (result.error != nullptr) found.errors.push_back(Describe(u, s, reloc, result.error));
      Note(u, id, index, result.needs, atom);
      r += std::max<uint16_t>(result.consumed, 1);
    }
  }

  bool InDiscarded(const Unit& unit, uint32_t index) const {
    const uint32_t section = unit.object->symbols[index].section;
    return section < kSectionCommon && program_.atoms[unit.first_atom + section].state == Atom::kDiscarded;
  }

  bool IsUndefined(const Symbol& symbol) const {
    return symbol.kind == SymbolKind::kUndefined && UndefinedIsError(options_, symbol);
  }

  void Note(uint32_t u, SymbolId id, uint32_t index, uint16_t needs, Atom* atom) {
    if (needs == 0) return;
    if (atom != nullptr) {
      if (needs & kNeedRelative) ++atom->relative_relocs;
      if (needs & kNeedSymbolic) ++atom->symbolic_relocs;
    }
    if (needs & kPerImage) image_needs_.fetch_or(needs & kPerImage, std::memory_order_relaxed);
    const uint16_t lasting = LastingNeeds(needs);
    if (lasting == 0) return;
    if (!id.valid()) {
      findings_[u].locals.push_back({index, lasting});
      return;
    }
    std::atomic<uint16_t>& all = needs_[id.value];
    if ((all.load(std::memory_order_relaxed) & lasting) == lasting) return;
    if (all.fetch_or(lasting, std::memory_order_relaxed) == 0) findings_[u].touched.push_back(id);
  }

  std::string Describe(uint32_t u, uint32_t s, const Reloc& reloc, absl::string_view error) {
    const ObjectFile& object = *program_.units[u].object;
    absl::string_view name = object.symbols[reloc.symbol].name;
    if (name.empty() && object.symbols[reloc.symbol].section < kSectionCommon) {
      name = object.sections[object.symbols[reloc.symbol].section].name;
    }
    return absl::StrCat(object.DisplayName(), ":(", object.sections[s].name, "+0x", absl::Hex(reloc.offset),
                        "): relocation ", arch_.RelocName(reloc.type), " against `", dwarf::Demangle(name), "': ",
                        error);
  }

  void ReportErrors() {
    std::vector<SymbolId> order;
    absl::flat_hash_map<SymbolId, std::vector<dwarf::SymbolUse>> uses;
    for (uint32_t u = 0; u < findings_.size(); ++u) {
      for (const UndefinedUse& use : findings_[u].undefined) {
        std::vector<dwarf::SymbolUse>& list = uses[use.symbol];
        if (list.empty()) order.push_back(use.symbol);
        list.push_back({program_.units[u].object.get(), use.section, use.offset});
      }
      for (const std::string& error : findings_[u].errors) diagnostics_.Error(error);
    }
    size_t left = options_.error_limit == 0 ? order.size() : options_.error_limit;
    for (SymbolId id : order) {
      const absl::string_view name = program_.symbols[id.value].name;
      std::string suggestion;
      if (left > 0) {
        --left;
        suggestion = Suggestion(name);
      }
      const std::string text = dwarf::UndefinedSymbolText(name, uses[id], uses[id].size(), suggestion);
      if (options_.unresolved == UnresolvedPolicy::kWarn) {
        diagnostics_.Warning(text);
      } else {
        diagnostics_.Error(text);
      }
    }
  }

  // The defined name most like `name`, for people who mistyped it.
  std::string Suggestion(absl::string_view name) {
    dwarf::Suggester suggester(name);
    for (const Symbol& symbol : program_.symbols) {
      if (symbol.used && symbol.kind != SymbolKind::kUndefined && symbol.kind != SymbolKind::kLinker) {
        suggester.Consider(symbol.name);
      }
    }
    return suggester.Result();
  }

  void Collect(Demands* demands) {
    std::vector<SymbolId> touched;
    for (const UnitFindings& found : findings_) touched.insert(touched.end(), found.touched.begin(), found.touched.end());
    auto key = [&](SymbolId id) {
      const Symbol& symbol = program_.symbols[id.value];
      return std::make_tuple(symbol.name, symbol.version, symbol.hidden_version);
    };
    std::sort(touched.begin(), touched.end(), [&](SymbolId a, SymbolId b) { return key(a) < key(b); });
    demands->ordered = std::move(touched);
    const uint16_t image = image_needs_.load();
    demands->tls_ld = (image & kNeedTlsLd) != 0;
    demands->static_tls = (image & kNeedStaticTls) != 0;
    demands->got_base = (image & kNeedGotBase) != 0;
    demands->needs.resize(program_.symbols.size());
    for (size_t i = 0; i < needs_.size(); ++i) demands->needs[i] = needs_[i].load(std::memory_order_relaxed);
    PromoteLocals(demands);
  }

  // Local symbols that need cells get a Symbol of their own.
  void PromoteLocals(Demands* demands) {
    for (uint32_t u = 0; u < findings_.size(); ++u) {
      Unit& unit = program_.units[u];
      std::sort(findings_[u].locals.begin(), findings_[u].locals.end());
      for (const auto& [index, needs] : findings_[u].locals) {
        auto [it, fresh] = unit.promoted.emplace(index, SymbolId(static_cast<uint32_t>(program_.symbols.size())));
        if (fresh) {
          program_.symbols.push_back(PromotedSymbol(unit, u, index));
          demands->needs.push_back(0);
          demands->ordered.push_back(it->second);
        }
        demands->needs[it->second.value] |= needs;
      }
    }
  }

  Symbol PromotedSymbol(const Unit& unit, uint32_t u, uint32_t index) {
    const InputSymbol& local = unit.object->symbols[index];
    Symbol symbol;
    symbol.kind = local.section == kSectionAbsolute ? SymbolKind::kAbsolute : SymbolKind::kDefined;
    symbol.binding = SymbolBinding::kLocal;
    symbol.type = local.type;
    symbol.visibility = Visibility::kHidden;
    symbol.used = true;
    symbol.file = u;
    symbol.index = index;
    symbol.value = local.value;
    symbol.size = local.size;
    if (local.section < kSectionCommon) symbol.atom = AtomId(unit.first_atom + local.section);
    if (local.undefined()) symbol.kind = SymbolKind::kUndefined;
    return symbol;
  }

  void PlaceCopies(Demands* demands) {
    SyntheticUnit room("<copied objects>");
    for (SymbolId id : std::vector<SymbolId>(demands->ordered)) {
      if ((demands->needs[id.value] & kNeedCopy) == 0) continue;
      const Symbol& wanted = program_.symbols[id.value];
      if (wanted.atom.valid() || wanted.kind != SymbolKind::kShared) continue;
      const SharedFile& file = *program_.libraries[wanted.file].file;
      const SharedSymbol& shared = file.defined[wanted.index];
      InputSection section;
      section.name = shared.readonly ? ".bss.rel.ro" : ".bss";
      section.kind = SectionKind::kNobits;
      section.flags = kSecAlloc | kSecWrite;
      section.alignment = shared.alignment;
      section.size = shared.size;
      CopiedObject copy;
      copy.library = wanted.file;
      copy.value = shared.value;
      copy.atom = room.Add(program_, section);
      copy.names.push_back(id);
      BindAliases(file, shared, id, &copy);
      demands->copies.push_back(std::move(copy));
    }
    if (!room.empty()) room.AddTo(&program_);
  }

  // The library itself may use its object by another name (environ and __environ): all of them must mean the copy.
  void BindAliases(const SharedFile& file, const SharedSymbol& shared, SymbolId wanted, CopiedObject* copy) {
    for (uint32_t i = 0; i < file.defined.size(); ++i) {
      const SharedSymbol& other = file.defined[i];
      if (other.value != shared.value || !other.default_version || other.type == SymbolType::kTls) continue;
      const SymbolId id = program_.names.Find(other.name);
      if (!id.valid() || id.value >= program_.symbols.size()) continue;
      Symbol& symbol = program_.symbols[id.value];
      const bool same = symbol.kind == SymbolKind::kShared && symbol.file == copy->library;
      if (symbol.used && !same) continue;
      if (!symbol.used) {
        symbol.name = program_.names.Name(id);
        symbol.kind = SymbolKind::kShared;
        symbol.binding = other.binding;
        symbol.type = other.type;
        symbol.file = copy->library;
        symbol.index = i;
        symbol.size = other.size;
        symbol.version = other.version;
        symbol.used = true;
        symbol.imported = true;
      }
      symbol.atom = copy->atom;
      symbol.value = 0;
      symbol.exported = true;
      if (id != wanted) copy->names.push_back(id);
    }
    Symbol& symbol = program_.symbols[wanted.value];
    symbol.atom = copy->atom;
    symbol.value = 0;
    symbol.exported = true;
  }

  const LinkOptions& options_;
  const Arch& arch_;
  Program& program_;
  Diagnostics& diagnostics_;
  const OutputTraits output_;
  // What most references ask of a symbol, in a tenth of a Symbol's memory: there are many more references than symbols.
  struct Facts {
    TargetTraits traits;
    bool undefined = false;
  };
  std::vector<Facts> facts_;                  // by SymbolId
  std::vector<std::atomic<uint16_t>> needs_;  // by SymbolId
  std::atomic<uint16_t> image_needs_{0};
  std::vector<UnitFindings> findings_;
};

}  // namespace

OutputTraits TraitsOf(const LinkOptions& options) {
  OutputTraits traits;
  traits.shared = options.kind == OutputKind::kShared;
  traits.pic = options.kind != OutputKind::kExecutable;
  traits.is_static = options.is_static || options.no_dynamic_linker;
  traits.relax = options.relax;
  // A position-independent static program begins to run with cells that nobody has filled.
  const bool unfilled = traits.is_static && traits.pic;
  traits.keep_cells = options.incremental && options.move == MovePolicy::kGot && !unfilled;
  traits.copy_relocs = options.z_copyreloc;
  traits.text_relocs = !options.z_text;
  return traits;
}

TargetTraits TraitsOf(const Symbol& symbol) {
  TargetTraits traits;
  const bool unsatisfied = symbol.kind == SymbolKind::kUndefined && !symbol.imported;
  traits.imported = symbol.imported;
  traits.undefined_weak = unsatisfied;
  traits.absolute = unsatisfied || (symbol.kind == SymbolKind::kAbsolute && !symbol.imported);
  traits.local = symbol.binding == SymbolBinding::kLocal;
  traits.tls = symbol.type == SymbolType::kTls;
  traits.ifunc = symbol.type == SymbolType::kIfunc && symbol.kind == SymbolKind::kDefined && !symbol.imported;
  traits.function = symbol.type == SymbolType::kFunction || symbol.type == SymbolType::kIfunc ||
                    (symbol.type == SymbolType::kNone && symbol.size == 0);
  return traits;
}

TargetTraits TraitsOf(const Program& program, const Unit& unit, uint32_t index) {
  TargetTraits traits;
  const SymbolId id = program.GlobalOf(unit, index);
  if (id.valid()) return TraitsOf(program.symbols[id.value]);
  const InputSymbol& symbol = unit.object->symbols[index];
  traits.local = true;
  traits.tls = symbol.type == SymbolType::kTls;
  traits.ifunc = symbol.type == SymbolType::kIfunc;
  traits.function = symbol.type == SymbolType::kFunction;
  if (symbol.section >= kSectionCommon) {
    traits.absolute = true;
    traits.undefined_weak = symbol.undefined();
  } else {
    const InputSection& section = unit.object->sections[symbol.section];
    if (section.flags & kSecTls) traits.tls = true;
    // A discarded section's address is 0, which does not move with the image.
    if (program.atoms[unit.first_atom + symbol.section].state != Atom::kLive) {
      traits.absolute = traits.undefined_weak = true;
    }
  }
  return traits;
}

bool UndefinedIsError(const LinkOptions& options, const Symbol& symbol) {
  if (!symbol.strongly_referenced) return false;
  if (options.unresolved == UnresolvedPolicy::kIgnore) return false;
  if (options.kind != OutputKind::kShared) return true;
  return options.z_defs || options.unresolved == UnresolvedPolicy::kError || symbol.visibility != Visibility::kDefault;
}

Demands ScanRelocations(const LinkOptions& options, const Arch& arch, Program* program, Diagnostics& diagnostics) {
  return Scanner(options, arch, program, diagnostics).Run();
}

}  // namespace kitlink
