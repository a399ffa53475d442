#include "core/symbols/pull.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "core/base/parallel.h"

namespace kitlink {
namespace {

constexpr uint32_t kNobody = 0xffffffffu;

// An object that is loaded only when wanted: an archive member, or an object between --start-lib and --end-lib.
struct LazyObject {
  uint32_t entry = 0;
  const Archive* archive = nullptr;
  uint32_t member = 0;
  std::unique_ptr<ObjectFile> object;  // already parsed, for --start-lib
  bool taken = false;
  std::vector<SymbolId> defines;

};

class Puller {
 public:
  Puller(const LinkOptions& options, Inputs& inputs, NameTable& names, Diagnostics& diagnostics)
      : options_(options), inputs_(inputs), names_(names), diagnostics_(diagnostics),
        wrap_(Wrappers(options)) {}

  absl::StatusOr<Pulled> Run() {
    SortInputs();
    InternLibraries();
    InternLazy();
    bool first = true;
    while (!fresh_.empty() || first) {
      InternFresh();
      GrowTables();
      if (first) NoteProviders();
      NoteDefinitions();
      std::vector<uint32_t> wanted = first ? WantRoots() : std::vector<uint32_t>();
      WantReferences(&wanted);
      Commit();
      if (wanted.empty()) WantForCommons(&wanted);
      Load(wanted);
      first = false;
    }
    std::stable_sort(pulled_.objects.begin(), pulled_.objects.end(),
                     [](const PulledObject& a, const PulledObject& b) { return a.rank < b.rank; });
    for (LazyObject& lazy : lazy_) {
      if (lazy.taken || lazy.archive != nullptr) continue;
      pulled_.offered.push_back({lazy.object->path, RankOf(lazy.entry, 0), std::move(lazy.defines)});
    }
    return std::move(pulled_);
  }

 private:
  static absl::flat_hash_map<std::string, std::string> Wrappers(const LinkOptions& options) {
    absl::flat_hash_map<std::string, std::string> wrappers;
    for (const std::string& name : options.wrap) wrappers[name] = absl::StrCat("__wrap_", name);
    return wrappers;
  }

  // Entries are numbered from their argument's place on.
  UnitRank RankOf(uint32_t entry, uint32_t member) const {
    const uint32_t argument = inputs_.order[entry].argument;
    uint32_t first = entry;
    while (first > 0 && inputs_.order[first - 1].argument == argument) --first;
    return {(uint64_t{argument} + 1) * UnitRank::kStride + (entry - first), member};
  }

  // Command-line entries become loaded objects, lazy ones, or libraries.
  void SortInputs() {
    for (uint32_t entry = 0; entry < inputs_.order.size(); ++entry) {
      const InputEntry& input = inputs_.order[entry];
      switch (input.kind) {
        case InputEntry::Kind::kObject: {
          std::unique_ptr<ObjectFile>& object = inputs_.objects[input.index];
          if (object == nullptr) break;  // named twice
          if (input.flags.lazy) {
            LazyObject lazy;
            lazy.entry = entry;
            lazy.object = std::move(object);
            lazy_.push_back(std::move(lazy));
          } else {
            fresh_.push_back({std::move(object), RankOf(entry, 0), false, {}, {}});
          }
          break;
        }
        case InputEntry::Kind::kArchive:
          inputs_.archives[input.index]->rank = std::min(inputs_.archives[input.index]->rank, RankOf(entry, 0).input);
          SortArchive(entry, *inputs_.archives[input.index], input.flags.whole_archive);
          break;
        case InputEntry::Kind::kShared:
          SortLibrary(entry, input);
          break;
      }
    }
    if (!whole_.empty()) LoadMembers(whole_, false);
  }

  void SortArchive(uint32_t entry, const Archive& archive, bool whole) {
    for (uint32_t m = 0; m < archive.members.size(); ++m) {
      LazyObject lazy;
      lazy.entry = entry;
      lazy.archive = &archive;
      lazy.member = m;
      if (whole) {
        lazy.taken = true;
        whole_.push_back(static_cast<uint32_t>(lazy_.size()));
      }
      lazy_.push_back(std::move(lazy));
    }
  }

  void SortLibrary(uint32_t entry, const InputEntry& input) {
    std::unique_ptr<SharedFile>& file = inputs_.libraries[input.index];
    if (file == nullptr) {  // named before: needed if any mention says so
      for (size_t i = 0; i < library_index_.size(); ++i) {
        if (library_index_[i] == input.index && !input.flags.as_needed) pulled_.libraries[i].as_needed = false;
      }
      return;
    }
    pulled_.libraries.push_back({std::move(file), input.flags.as_needed, {}});
    library_entry_.push_back(entry);
    library_index_.push_back(input.index);
  }

  void InternLibraries() {
    std::vector<NameTable::Names> names(pulled_.libraries.size());
    ParallelFor(names.size(), [&](size_t i) {
      for (const SharedSymbol& symbol : pulled_.libraries[i].file->defined) {
        if (symbol.default_version) names[i].push_back(symbol.name);
      }
    });
    const std::vector<NameTable::Ids> ids = names_.InternLists(names);
    ParallelFor(names.size(), [&](size_t i) {
      PulledLibrary& library = pulled_.libraries[i];
      library.defined.reserve(library.file->defined.size());
      auto next = ids[i].begin();
      for (const SharedSymbol& symbol : library.file->defined) {
        library.defined.push_back(symbol.default_version ? *next++ : SymbolId());
      }
    });
  }

  void InternLazy() {
    std::vector<NameTable::Names> names(lazy_.size());
    ParallelFor(lazy_.size(), 64, [&](size_t i) {
      const LazyObject& lazy = lazy_[i];
      if (lazy.taken) return;
      if (lazy.archive != nullptr) {
        for (absl::string_view name : lazy.archive->members[lazy.member].defines) names[i].push_back(DefinedName(name));
        return;
      }
      for (size_t s = lazy.object->first_global; s < lazy.object->symbols.size(); ++s) {
        const InputSymbol& symbol = lazy.object->symbols[s];
        if (symbol.defined() && !symbol.common()) names[i].push_back(DefinedName(symbol.name));
      }
    });
    std::vector<NameTable::Ids> ids = names_.InternLists(names);
    for (size_t i = 0; i < lazy_.size(); ++i) lazy_[i].defines = std::move(ids[i]);
  }

  // "name@@VERSION" defines what "name" means.
  static absl::string_view DefinedName(absl::string_view name) {
    const size_t at = name.find("@@");
    return at == absl::string_view::npos || at == 0 ? name : name.substr(0, at);
  }

  // The name that a reference or definition really means, --wrap considered.
  absl::string_view MeantName(const InputSymbol& symbol) const {
    if (symbol.defined()) return DefinedName(symbol.name);
    if (wrap_.empty()) return symbol.name;
    if (const auto it = wrap_.find(symbol.name); it != wrap_.end()) return it->second;
    absl::string_view real = symbol.name;
    return absl::ConsumePrefix(&real, "__real_") && wrap_.contains(real) ? real : symbol.name;
  }

  void InternFresh() {
    std::vector<NameTable::Names> names(fresh_.size());
    ParallelFor(fresh_.size(), 8, [&](size_t i) {
      const ObjectFile& object = *fresh_[i].object;
      names[i].reserve(object.symbols.size() - std::min<size_t>(object.first_global, object.symbols.size()) + object.groups.size());
      for (size_t s = object.first_global; s < object.symbols.size(); ++s) names[i].push_back(MeantName(object.symbols[s]));
      for (const SectionGroup& group : object.groups) {
        if (group.comdat) names[i].push_back(group.signature);
      }
    });
    std::vector<NameTable::Ids> ids = names_.InternLists(names);
    ParallelFor(fresh_.size(), 8, [&](size_t i) {
      PulledObject& unit = fresh_[i];
      const ObjectFile& object = *unit.object;
      const size_t globals = object.symbols.size() - std::min<size_t>(object.first_global, object.symbols.size());
      auto signature = ids[i].begin() + static_cast<ptrdiff_t>(globals);
      unit.group_signatures.reserve(object.groups.size());
      for (const SectionGroup& group : object.groups) {
        unit.group_signatures.push_back(group.comdat ? *signature++ : SymbolId());
      }
      ids[i].resize(globals);
      unit.globals = std::move(ids[i]);
    });
  }

  void GrowTables() {
    defined_.resize(names_.capacity(), 0);
    lazy_provider_.resize(names_.capacity(), kNobody);
    shared_entry_.resize(names_.capacity(), kNobody);
  }

  void NoteProviders() {
    for (uint32_t i = 0; i < lazy_.size(); ++i) {
      if (lazy_[i].taken) continue;
      for (SymbolId id : lazy_[i].defines) {
        if (lazy_provider_[id.value] == kNobody) lazy_provider_[id.value] = i;
      }
    }
    for (size_t i = 0; i < pulled_.libraries.size(); ++i) {
      for (SymbolId id : pulled_.libraries[i].defined) {
        if (id.valid()) shared_entry_[id.value] = std::min(shared_entry_[id.value], library_entry_[i]);
      }
    }
  }

  void NoteDefinitions() {
    for (const PulledObject& unit : fresh_) {
      for (size_t g = 0; g < unit.globals.size(); ++g) {
        const InputSymbol& symbol = unit.object->symbols[unit.object->first_global + g];
        if (!symbol.defined()) continue;
        uint8_t& defined = defined_[unit.globals[g].value];
        if (!symbol.common()) {
          defined = kDefinedWhole;
        } else if (defined == kNotDefined) {
          defined = kDefinedCommon;
          commons_.push_back(unit.globals[g]);
        }
      }
    }
  }

  void Want(SymbolId id, std::vector<uint32_t>* wanted) {
    if (id.value >= defined_.size() || defined_[id.value] != 0) return;
    const uint32_t provider = lazy_provider_[id.value];
    if (provider == kNobody || lazy_[provider].taken) return;
    if (shared_entry_[id.value] < lazy_[provider].entry) return;
    lazy_[provider].taken = true;
    wanted->push_back(provider);
  }

  std::vector<uint32_t> WantRoots() {
    std::vector<uint32_t> wanted;
    auto want = [&](absl::string_view name) {
      SymbolId id = names_.Find(name);
      if (id.valid()) Want(id, &wanted);
    };
    if (options_.kind != OutputKind::kShared) want(options_.entry.empty() ? "_start" : options_.entry);
    for (const std::string& name : options_.undefined) want(name);
    for (const auto& [name, expression] : options_.defsym) want(expression.substr(0, expression.find_first_of("+- ")));
    // What a library needs and no library has, an archive may provide.
    for (const PulledLibrary& library : pulled_.libraries) {
      for (absl::string_view name : library.file->undefined_strong) {
        const SymbolId id = names_.Find(name);
        if (id.valid() && shared_entry_[id.value] == kNobody) Want(id, &wanted);
      }
    }
    return wanted;
  }

  void WantReferences(std::vector<uint32_t>* wanted) {
    for (const PulledObject& unit : fresh_) {
      for (size_t g = 0; g < unit.globals.size(); ++g) {
        const InputSymbol& symbol = unit.object->symbols[unit.object->first_global + g];
        if (symbol.undefined() && symbol.binding != SymbolBinding::kWeak) Want(unit.globals[g], wanted);
      }
    }
  }

  // A COMMON symbol is only a request for room: an archive's true definition of it is fetched.
  void WantForCommons(std::vector<uint32_t>* wanted) {
    for (SymbolId id : std::exchange(commons_, {})) {
      const uint32_t provider = lazy_provider_[id.value];
      if (defined_[id.value] != kDefinedCommon || provider == kNobody || lazy_[provider].taken) continue;
      if (!DefinesWhole(lazy_[provider], names_.Name(id))) continue;
      lazy_[provider].taken = true;
      wanted->push_back(provider);
    }
  }

  // An archive's index does not tell COMMON symbols from others, so the member is read.
  bool DefinesWhole(const LazyObject& lazy, absl::string_view name) const {
    if (lazy.archive == nullptr) return true;
    auto object = ReadArchiveMember(*lazy.archive, lazy.archive->members[lazy.member]);
    if (!object.ok()) return false;
    const std::vector<InputSymbol>& symbols = (*object)->symbols;
    return std::any_of(symbols.begin(), symbols.end(), [&](const InputSymbol& symbol) {
      return symbol.name == name && symbol.defined() && !symbol.common() && symbol.binding == SymbolBinding::kGlobal;
    });
  }

  void Commit() {
    std::move(fresh_.begin(), fresh_.end(), std::back_inserter(pulled_.objects));
    fresh_.clear();
  }

  void Load(std::vector<uint32_t>& wanted) {
    std::sort(wanted.begin(), wanted.end());
    LoadMembers(wanted, true);
  }

  void LoadMembers(const std::vector<uint32_t>& list, bool when_needed) {
    std::vector<PulledObject> loaded(list.size());
    ParallelFor(list.size(), 4, [&](size_t i) {
      LazyObject& lazy = lazy_[list[i]];
      loaded[i].rank = RankOf(lazy.entry, lazy.member);
      loaded[i].lazy = when_needed;
      if (lazy.object != nullptr) {
        loaded[i].object = std::move(lazy.object);
        return;
      }
      auto object = ReadArchiveMember(*lazy.archive, lazy.archive->members[lazy.member]);
      if (object.ok()) {
        loaded[i].object = *std::move(object);
      } else {
        diagnostics_.Error(std::string(object.status().message()));
      }
    });
    for (PulledObject& unit : loaded) {
      if (unit.object != nullptr) fresh_.push_back(std::move(unit));
    }
  }

  const LinkOptions& options_;
  Inputs& inputs_;
  NameTable& names_;
  Diagnostics& diagnostics_;
  const absl::flat_hash_map<std::string, std::string> wrap_;  // what is meant instead

  Pulled pulled_;
  std::vector<uint32_t> library_entry_, library_index_;  // beside pulled_.libraries
  std::vector<LazyObject> lazy_;        // in order of precedence
  std::vector<uint32_t> whole_;         // of them, those under --whole-archive
  std::vector<PulledObject> fresh_;     // loaded, not yet looked at

  // By SymbolId.
  enum : uint8_t { kNotDefined, kDefinedCommon, kDefinedWhole };
  std::vector<uint8_t> defined_;
  std::vector<SymbolId> commons_;        // defined as COMMON and not yet looked up in archives
  std::vector<uint32_t> lazy_provider_;  // index in lazy_
  std::vector<uint32_t> shared_entry_;   // first command-line entry of a library that defines it
};

}  // namespace

absl::StatusOr<Pulled> PullObjects(const LinkOptions& options, Inputs& inputs, NameTable& names,
                                   Diagnostics& diagnostics) {
  return Puller(options, inputs, names, diagnostics).Run();
}

}  // namespace kitlink
