#include "core/session/gate.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/layout/assign.h"
#include "core/session/ifuncs.h"
#include "core/session/import_needs.h"
#include "core/session/liveness.h"
#include "core/symbols/linker_symbols.h"

namespace kitlink {
namespace {

using Refusal = std::optional<GateRefusal>;

std::string NameOf(const Memory& memory, SymbolId id) {
  return id.valid() ? std::string(memory.names.Name(id)) : std::string("a new name");
}

// The first name of the new object that the session has never seen.
std::string NewName(const Memory& memory, const ObjectFile& object, bool undefined) {
  for (uint32_t i = object.first_global; i < object.symbols.size(); ++i) {
    const InputSymbol& symbol = object.symbols[i];
    if (symbol.undefined() == undefined && !memory.names.Find(symbol.name).valid()) return std::string(symbol.name);
  }
  return "a new name";
}

GateReason ReasonFor(GlobalMemory::Role role) {
  switch (role) {
    case GlobalMemory::kUndefined: return GateReason::kUndefinedSetChanged;
    case GlobalMemory::kCommon: return GateReason::kCommonChanged;
    default: return GateReason::kDefinedSetChanged;
  }
}

Refusal CompareGlobal(const Memory& memory, const GlobalMemory& was, const GlobalMemory& is) {
  const std::string name = NameOf(memory, was.symbol);
  if (was.role != is.role) {
    const bool now_undefined = is.role == GlobalMemory::kUndefined;
    return GateRefusal{now_undefined ? GateReason::kDefinedSetChanged : ReasonFor(is.role), name};
  }
  if (was.binding != is.binding) return GateRefusal{ReasonFor(was.role), absl::StrCat(name, " changed its binding")};
  if (was.visibility != is.visibility) {
    return GateRefusal{GateReason::kSymbolKindChanged, absl::StrCat(name, " changed its visibility")};
  }
  if (was.type != is.type) return GateRefusal{GateReason::kSymbolKindChanged, absl::StrCat(name, " changed its type")};
  if (was.value != is.value || was.alignment != is.alignment) {
    return GateRefusal{was.role == GlobalMemory::kCommon ? GateReason::kCommonChanged : GateReason::kDefinedSetChanged, name};
  }
  return std::nullopt;
}

// Both lists are sorted by symbol; names new to the session sort last.
Refusal CompareGlobals(const Memory& memory, const UnitDiff& diff) {
  const std::vector<GlobalMemory>& was = memory.units[diff.unit.value].globals;
  const std::vector<GlobalMemory>& is = diff.globals;
  size_t w = 0, i = 0;
  while (w < was.size() || i < is.size()) {
    if (i < is.size() && !is[i].symbol.valid()) {
      return GateRefusal{ReasonFor(is[i].role),
                         NewName(memory, *diff.object, is[i].role == GlobalMemory::kUndefined)};
    }
    if (w == was.size() || (i < is.size() && is[i].symbol < was[w].symbol)) {
      return GateRefusal{ReasonFor(is[i].role), absl::StrCat(NameOf(memory, is[i].symbol), " is new")};
    }
    if (i == is.size() || was[w].symbol < is[i].symbol) {
      return GateRefusal{ReasonFor(was[w].role), absl::StrCat(NameOf(memory, was[w].symbol), " is gone")};
    }
    if (Refusal refusal = CompareGlobal(memory, was[w], is[i])) return refusal;
    ++w;
    ++i;
  }
  return std::nullopt;
}

Refusal CompareTraits(const UnitMemory& was, const UnitDiff& diff) {
  const UnitTraits& a = was.traits;
  const UnitTraits& b = diff.object->traits;
  if (a.has_stack_note == b.has_stack_note && a.exec_stack == b.exec_stack && a.has_feature_note == b.has_feature_note &&
      a.x86_feature_1_and == b.x86_feature_1_and && a.machine_flags == b.machine_flags) {
    return std::nullopt;
  }
  return GateRefusal{GateReason::kAggregateChanged, diff.object->DisplayName()};
}

Refusal CompareGroups(const Memory& memory, const UnitDiff& diff) {
  const UnitMemory& was = memory.units[diff.unit.value];
  std::vector<SymbolId> all = was.kept_groups;
  all.insert(all.end(), was.lost_groups.begin(), was.lost_groups.end());
  std::sort(all.begin(), all.end());
  if (all == diff.groups) return std::nullopt;
  return GateRefusal{GateReason::kComdatSetChanged, diff.object->DisplayName()};
}

std::string Where(const UnitDiff& diff, const InputSection& section) {
  return absl::StrCat(diff.object->DisplayName(), ":(", section.name, ")");
}

const SectionMemory* FindSection(const Memory& memory, absl::string_view name, uint32_t flags) {
  for (const SectionMemory& section : memory.sections) {
    if (section.flags & kSecMerge) continue;  // strings and constants of the same name, without room
    if (section.name == name && ((section.flags ^ flags) & (kSecAlloc | kSecTls)) == 0) return &section;
  }
  return nullptr;
}

// Whether thread variables may come, go and change here: the room must be there, and their block be aligned enough.
bool MayChangeThreadVariable(const Memory& memory, const SectionMemory* home, uint32_t alignment) {
  if (home == nullptr || home->exact) return false;
  return std::any_of(memory.sections.begin(), memory.sections.end(), [&](const SectionMemory& section) {
    return (section.flags & kSecTls) && section.alignment >= alignment;
  });
}

// What may change inside a section is the planner's business; here, that sections with fixed room keep their size.
Refusal CheckMatched(const Memory& memory, const UnitDiff& diff, const InputSection& is, const AtomMemory& was, bool exact) {
  const SectionMemory& home = memory.sections[was.section.value];
  const std::string where = Where(diff, is);
  constexpr uint32_t kKind = kSecAlloc | kSecWrite | kSecExec | kSecTls;
  if (((is.flags ^ was.flags) & kKind) != 0 || is.kind != was.kind) {
    return GateRefusal{GateReason::kUnsupportedSection, absl::StrCat(where, " changed its kind")};
  }
  if (is.flags & kSecTls) {
    if (exact && MayChangeThreadVariable(memory, &home, is.alignment)) return std::nullopt;
    if (is.size != was.size || is.alignment > was.alignment) return GateRefusal{GateReason::kTlsChanged, where};
  } else if (home.padded || (exact && home.rows)) {
    return std::nullopt;  // whether it fits is found out by placing it
  } else if (home.exact && is.size != was.size) {
    return GateRefusal{home.alloc() ? GateReason::kExactSectionChanged : GateReason::kUnsupportedSection, where};
  } else if (home.exact && is.alignment > was.alignment) {
    return GateRefusal{GateReason::kExactSectionChanged, where};
  }
  return std::nullopt;
}

Refusal CheckSections(const Memory& memory, const UnitDiff& diff, bool exact) {
  const UnitMemory& was = memory.units[diff.unit.value];
  for (uint32_t s = 0; s < diff.sections.size(); ++s) {
    const SectionDiff& section = diff.sections[s];
    const InputSection& is = diff.object->sections[s];
    if (section.fate == SectionDiff::kMatched) {
      const AtomMemory& atom = was.atoms[section.old];
      if (Refusal refusal = CheckMatched(memory, diff, is, atom, exact)) return refusal;
      // It would have to stand elsewhere among its like.
      const SectionMemory& home = memory.sections[atom.section.value];
      if (diff.moved && home.exact && !home.rows && home.alloc() && is.size != 0 && !(is.flags & kSecTls)) {
        return GateRefusal{GateReason::kExactSectionChanged, absl::StrCat(Where(diff, is), " would stand elsewhere")};
      }
    }
    if (section.fate != SectionDiff::kAdded) continue;
    const SectionMemory* home = FindSection(memory, OutputSectionName(memory.options, is), is.flags);
    if (is.flags & kSecTls) {
      if (is.size == 0) continue;
      if (!exact || !MayChangeThreadVariable(memory, home, is.alignment)) return GateRefusal{GateReason::kTlsChanged, Where(diff, is)};
    }
    // Even an empty section has bounds that others may ask for, if C can spell its name.
    const bool set = (is.flags & kSecAlloc) && IsCIdentifier(is.name);
    const bool row = exact && home != nullptr && (home->rows || home->padded);
    if ((is.size != 0 || set) && (home == nullptr || home->exact) && !row) {
      return GateRefusal{(is.flags & kSecAlloc) ? GateReason::kExactSectionChanged : GateReason::kUnsupportedSection,
                         Where(diff, is)};
    }
  }
  for (uint32_t old : diff.removed) {
    const AtomMemory& atom = was.atoms[old];
    if (atom.size == 0) continue;
    const std::string where = absl::StrCat(diff.object->DisplayName(), ":(", atom.name, ")");
    const SectionMemory& home = memory.sections[atom.section.value];
    if ((atom.flags & kSecTls) && (!exact || home.exact)) return GateRefusal{GateReason::kTlsChanged, where};
    if (home.exact && !(exact && (home.rows || home.padded))) return GateRefusal{GateReason::kExactSectionChanged, where};
  }
  return std::nullopt;
}

// With garbage collection, a section that comes or goes, or refers to something else, may keep something else alive.
Refusal CheckLivenessStrictly(const Memory& memory, const UnitDiff& diff) {
  if (!memory.options->gc_sections) return std::nullopt;
  const UnitMemory& was = memory.units[diff.unit.value];
  const auto refuse = [](std::string where) { return GateRefusal{GateReason::kLivenessChanged, std::move(where)}; };
  for (uint32_t s = 0; s < diff.sections.size(); ++s) {
    const SectionDiff& section = diff.sections[s];
    const InputSection& is = diff.object->sections[s];
    if (!diff.Collectable(s) || section.fate == SectionDiff::kDead) continue;
    if (section.old == kNoAtomMemory) return refuse(Where(diff, is));
    std::vector<uint32_t> now;
    for (uint32_t target : diff.references.Of(s)) {
      if (target & References::kOwn) {
        const uint32_t old = diff.sections[target & ~References::kOwn].old;
        // Sections of one name may have changed places.
        if (old == kNoAtomMemory || was.atoms[old].state == AtomMemory::kDead) return refuse(Where(diff, is));
        target = References::kOwn | old;
      }
      now.push_back(target);
    }
    std::sort(now.begin(), now.end());
    if (absl::MakeConstSpan(now) != was.references.Of(section.old)) return refuse(Where(diff, is));
  }
  for (uint32_t old : diff.removed) {
    const AtomMemory& atom = was.atoms[old];
    if (atom.size != 0 && (atom.flags & kSecAlloc)) return refuse(absl::StrCat(diff.object->DisplayName(), ":(", atom.name, ")"));
  }
  return std::nullopt;
}

// A copy of a library's variable, or a PLT entry that is a function's address, is there as long as somebody needs it.
Refusal CheckCopies(const Memory& memory, const std::vector<UnitDiff>& diffs) {
  absl::flat_hash_map<UnitId, const std::vector<GlobalMemory>*> changed;
  for (const UnitDiff& diff : diffs) changed[diff.unit] = &diff.globals;
  const auto copies = [&](UnitId unit, SymbolId id) {
    const auto it = changed.find(unit);
    const GlobalMemory* global = it == changed.end() ? memory.units[unit.value].Find(id) : FindGlobal(*it->second, id);
    return global != nullptr && global->copied;
  };
  for (const UnitDiff& diff : diffs) {
    for (const GlobalMemory& was : memory.units[diff.unit.value].globals) {
      if (!was.copied || copies(diff.unit, was.symbol)) continue;
      const std::vector<UnitId> users = memory.users.Of(was.symbol);
      if (std::any_of(users.begin(), users.end(), [&](UnitId user) { return copies(user, was.symbol); })) continue;
      return GateRefusal{GateReason::kImportSetChanged, absl::StrCat(NameOf(memory, was.symbol), " need not be copied")};
    }
  }
  return std::nullopt;
}

Refusal CheckStrictly(const Memory& memory, const UnitDiff& diff) {
  if (Refusal refusal = CompareGlobals(memory, diff)) return refusal;
  if (Refusal refusal = CompareGroups(memory, diff)) return refusal;
  if (Refusal refusal = CheckSections(memory, diff, false)) return refusal;
  return CheckLivenessStrictly(memory, diff);
}

bool NeedsStaticTls(const Memory& memory, const UnitDiff& diff) {
  const auto live = [&](uint32_t s) { return diff.sections[s].fate != SectionDiff::kDead; };
  return memory.output.shared && UsesStaticTls(*memory.arch, *diff.object, memory.output, live);
}

// A unit that comes or goes says what others say, too, of all that is merged over them.
Refusal CheckTraits(const Memory& memory, const std::vector<UnitDiff>& units) {
  absl::flat_hash_map<TraitsKey, int64_t> change;
  for (const UnitDiff& diff : units) {
    const UnitMemory& was = memory.units[diff.unit.value];
    if (diff.leaves && !was.gone) --change[{was.traits, was.static_tls}];
    if (diff.leaves || !was.gone) continue;
    const TraitsKey key{diff.object->traits, NeedsStaticTls(memory, diff)};
    const auto known = memory.traits.find(key);
    if (known == memory.traits.end() || known->second == 0) return GateRefusal{GateReason::kAggregateChanged, diff.object->DisplayName()};
    ++change[key];
  }
  // any order: whichever it is, the refusal is the same.
  for (const auto& [key, by] : change) {
    const auto it = memory.traits.find(key);
    const int64_t before = it == memory.traits.end() ? 0 : it->second;
    if (before + by <= 0) return GateRefusal{GateReason::kAggregateChanged, "the last unit of its kind"};
  }
  return std::nullopt;
}

Refusal CheckCaptured(const Memory& memory, const UnitDiff& diff) {
  const UnitMemory& was = memory.units[diff.unit.value];
  if (was.gone) return std::nullopt;
  if (!was.captured) return GateRefusal{GateReason::kUnitNotCaptured, diff.object->DisplayName()};
  // Resolvers of names that no other file knows run at start-up, and no memory tells them apart.
  if (was.local_ifuncs) return GateRefusal{GateReason::kSymbolKindChanged, absl::StrCat(diff.object->DisplayName(), " has IFUNCs of its own")};
  if (diff.leaves) return std::nullopt;
  return CompareTraits(was, diff);
}

// A library that has to be loaded at start-up for some unit's sake says so.
Refusal CheckStaticTls(const Memory& memory, const UnitDiff& diff) {
  const UnitMemory& was = memory.units[diff.unit.value];
  if (!memory.output.shared || diff.leaves || was.gone) return std::nullopt;  // CheckTraits has seen to those
  if (NeedsStaticTls(memory, diff) == was.static_tls) return std::nullopt;
  return GateRefusal{GateReason::kTlsChanged, absl::StrCat(diff.object->DisplayName(), ": DF_STATIC_TLS")};
}

}  // namespace

GateRefusal RefuseGlobal(const Memory& memory, const GlobalMemory& was, const GlobalMemory& is) {
  if (Refusal refusal = CompareGlobal(memory, was, is)) return *std::move(refusal);
  return {GateReason::kSymbolKindChanged, NameOf(memory, was.symbol)};
}

std::variant<GatePass, GateRefusal> CheckStrictGate(const Memory& memory, std::vector<UnitDiff> units) {
  for (UnitDiff& diff : units) {
    if (Refusal refusal = CheckCaptured(memory, diff)) return *refusal;
    if (Refusal refusal = CheckStaticTls(memory, diff)) return *refusal;
    if (Refusal refusal = CheckStrictly(memory, diff)) return *refusal;
    const std::vector<GlobalMemory>& was = memory.units[diff.unit.value].globals;
    for (size_t g = 0; g < was.size(); ++g) diff.globals[g].owner = was[g].owner;
  }
  if (Refusal refusal = CheckCopies(memory, units)) return *refusal;
  NameChanges names;
  if (Refusal refusal = SettleIfuncs(memory, units, &names)) return *refusal;
  for (const NameChanges::Ifunc& ifunc : names.ifuncs) {
    if (ifunc.entry == memory.tables->HasIfunc(ifunc.symbol)) continue;
    return GateRefusal{GateReason::kSymbolKindChanged, absl::StrCat(NameOf(memory, ifunc.symbol), " is an IFUNC")};
  }
  return GatePass(std::move(units), {});
}

std::variant<GatePass, GateRefusal> CheckExactGate(const Memory& memory, std::vector<UnitDiff>* units,
                                                   const std::vector<SymbolId>& reconsider) {
  for (const UnitDiff& diff : *units) {
    if (Refusal refusal = CheckCaptured(memory, diff)) return *refusal;
  }
  std::variant<NameChanges, GateRefusal> names = ResolveNames(memory, units, reconsider);
  if (GateRefusal* refusal = std::get_if<GateRefusal>(&names)) return std::move(*refusal);
  if (Refusal refusal = DecideLiveness(memory, units, &std::get<NameChanges>(names))) return *std::move(refusal);
  if (Refusal refusal = SettleImportNeeds(memory, *units, &std::get<NameChanges>(names))) return *refusal;
  if (Refusal refusal = SettleIfuncs(memory, *units, &std::get<NameChanges>(names))) return *refusal;
  if (Refusal refusal = CheckTraits(memory, *units)) return *refusal;  // what is left out asks for no static storage
  for (const UnitDiff& diff : *units) {
    if (Refusal refusal = CheckStaticTls(memory, diff)) return *refusal;
    if (Refusal refusal = CheckSections(memory, diff, true)) return *refusal;
  }
  if (Refusal refusal = CheckCopies(memory, *units)) return *refusal;
  return GatePass(std::move(*units), std::get<NameChanges>(std::move(names)));
}

}  // namespace kitlink
