// The comparison of one relocated field.
#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "core/verify/walk.h"

namespace kitlink::verify {
namespace {

using Form = ReferenceSite::Form;
using Kind = Value::Kind;

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

bool NeedsDecoding(Form form) { return form == Form::kGotPcRelative || form == Form::kTlsSequence; }

bool IsTransfer(Operation o) {
  return o == Operation::kTransfer || o == Operation::kCall || o == Operation::kJump;
}

absl::string_view Verb(Operation o) { return IsTransfer(o) ? "calls " : "refers to "; }

// Whether the field refers to its symbol as such (in code, -4 and below is the distance to the end of the
// instruction). With an offset on top, a jump table's entry for instance, it means the body, never an island.
bool MeansEntry(const ReferenceSite& site, bool in_code) {
  switch (site.form) {
    case Form::kAbsolute:
    case Form::kGotRelative:
      return site.addend == 0;
    case Form::kPcRelative:
    case Form::kPltPcRelative:
      return in_code ? site.addend <= -4 : site.addend == 0;
    default:
      return true;
  }
}

// Start and end of every section and segment: where linker-defined symbols such as _end and _edata may be.
bool IsBoundary(const Image& image, uint64_t address) {
  for (const ImageSection& s : image.sections()) {
    if ((s.header.sh_flags & SHF_ALLOC) == 0) continue;
    if (address == s.header.sh_addr || address == s.header.sh_addr + s.header.sh_size) return true;
  }
  for (const Elf64_Phdr& p : image.segments()) {
    if (p.p_type != PT_LOAD) continue;
    if (address == p.p_vaddr || address == p.p_vaddr + p.p_memsz || address == p.p_vaddr + p.p_filesz)
      return true;
  }
  return false;
}

// Whether both are the start, or both the end, of sections with one name.
bool SameSide(const Image& cold, uint64_t cold_address, const Image& image, uint64_t address) {
  for (const ImageSection& a : cold.sections()) {
    const uint64_t start = a.header.sh_addr, end = start + a.header.sh_size;
    if ((a.header.sh_flags & SHF_ALLOC) == 0 || (cold_address != start && cold_address != end)) continue;
    for (const ImageSection& b : image.sections()) {
      if (b.name != a.name || (b.header.sh_flags & SHF_ALLOC) == 0) continue;
      if (cold_address == start && address == b.header.sh_addr) return true;
      if (cold_address == end && address == b.header.sh_addr + b.header.sh_size) return true;
    }
  }
  return false;
}

std::optional<uint64_t> OffsetIn(const Image& image, absl::string_view section, uint64_t address) {
  const ImageSection* s = image.SectionNamed(section);
  if (s == nullptr || address - s->header.sh_addr >= s->header.sh_size) return std::nullopt;
  return address - s->header.sh_addr;
}

// Ends of what is loaded: which section comes last may differ. And tables of constructors, which are somewhere when there
// are none.
bool IsEndSymbol(absl::string_view name) {
  if (absl::EndsWith(name, "_array_start") || absl::EndsWith(name, "_array_end")) return true;
  static constexpr absl::string_view kNames[] = {"_end",   "end",    "__end__",     "_edata", "edata",
                                                 "_etext", "etext",  "__etext",     "__bss_start",
                                                 "__bss_start__",    "__TMC_END__", "__data_start"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

// Where a symbol that linkers define is, from the image's own headers. nullopt: not such a name, or not
// there.
std::optional<uint64_t> LinkerSymbol(const Image& image, absl::string_view name) {
  auto section = [&](absl::string_view which, bool end) -> std::optional<uint64_t> {
    const ImageSection* s = image.SectionNamed(which);
    if (s == nullptr) return std::nullopt;
    return s->header.sh_addr + (end ? s->header.sh_size : 0);
  };
  auto segment = [&](uint32_t type) -> std::optional<uint64_t> {
    const Elf64_Phdr* p = image.Segment(type);
    return p == nullptr ? std::nullopt : std::optional<uint64_t>(p->p_vaddr);
  };
  absl::string_view rest = name;
  if (absl::ConsumePrefix(&rest, "__start_")) return section(rest, false);
  if (absl::ConsumePrefix(&rest, "__stop_")) return section(rest, true);
  for (absl::string_view table : {"preinit_array", "init_array", "fini_array"}) {
    const std::string dotted = absl::StrCat(".", table);
    if (name == absl::StrCat("__", table, "_start")) return section(dotted, false);
    if (name == absl::StrCat("__", table, "_end")) return section(dotted, true);
  }
  if (name == "_DYNAMIC") return segment(PT_DYNAMIC);
  if (name == "__GNU_EH_FRAME_HDR") return segment(PT_GNU_EH_FRAME);
  if (name == "__ehdr_start" || name == "__executable_start") return segment(PT_LOAD);
  if (name == "_TLS_MODULE_BASE_") return segment(PT_TLS);
  return std::nullopt;
}

}  // namespace

bool Walk::SameBoundary(absl::string_view name, uint64_t cold_address, uint64_t address) const {
  if (std::optional<uint64_t> here = LinkerSymbol(image_.image(), name)) return *here == address;
  // A table that does not exist: all that counts is that start and end are equal, which their readers
  // compare.
  if (LinkerSymbol(cold_.image(), name)) return false;
  if (cold_address == address && cold_address == 0) return true;
  const ImageSection* cold = cold_.image().SectionCovering(cold_address, 0, false);
  const ImageSection* here = image_.image().SectionCovering(address, 0, false);
  const bool same_section = cold != nullptr && here != nullptr && cold->name == here->name;
  if (name == "_GLOBAL_OFFSET_TABLE_" && image_.got()) return address == *image_.got();
  if (absl::StartsWith(name, "__rela_iplt_")) {  // the loader's model goes by the symbol
    const ImageSymbol* symbol = image_.image().FindSymbol(name);
    return symbol == nullptr || symbol->symbol.st_value == address;
  }
  if (same_section && cold_address - cold->header.sh_addr == address - here->header.sh_addr) return true;
  // A label in a table whose rows have no order of their own, such as __FRAME_END__.
  if (same_section && IsTable({.name = {}, .section = std::string(cold->name)})) return true;
  if (SameSide(cold_.image(), cold_address, image_.image(), address)) return true;
  return IsEndSymbol(name) && IsBoundary(cold_.image(), cold_address) && IsBoundary(image_.image(), address);
}

Value Walk::FollowPlt(const LoadedImage& in, Value value, uint64_t stop) const {
  for (int hops = 0; hops < 4 && value.kind == Kind::kAddress && value.number != stop; ++hops) {
    std::optional<Value> next = in.ThroughPlt(value.number);
    if (!next) break;
    value = *next;
  }
  return value;
}

void Walk::NonsenseSite(uint32_t atom, const ReferenceSite& site, const Value& found) {
  if (!reference_status_.ok()) return;
  auto describe = [&](const Value& v) {  // Describe() speaks of the other image
    if (v.kind == Kind::kAddress || v.kind == Kind::kTls) {
      return absl::StrCat(NameOf(AtomAt(v.number, v.kind == Kind::kTls)), " (", Hex(v.number), ")");
    }
    return Describe(v);
  };
  const bool named = site.target_atom != kNoAtom;
  reference_status_ = absl::InvalidArgumentError(absl::StrCat(
      "reference: ", NameOf({atom, site.offset}), " should lead to ",
      named ? NameOf({site.target_atom, site.target_offset}) : site.symbol,
      named ? absl::StrCat(" (", Hex(reference_.atoms[site.target_atom].address + site.target_offset), ")")
            : "",
      ", but in its own image leads to ", describe(found), " (form ", static_cast<int>(site.form), ")"));
}

void Walk::CheckPointer(AtomOffset target, uint64_t address, absl::string_view where) {
  if (!reference_.atoms[target.atom].executable) return;
  auto [it, added] = canonical_.try_emplace({target.atom, target.offset}, address);
  if (added || it->second == address) return;
  Differ(absl::StrCat(where, ": takes ", Hex(address), " for the address of ", NameOf(target),
                      ", another reference takes ", Hex(it->second)));
}

bool Walk::CompareNonLoaded(uint32_t target, uint64_t cold, uint64_t here) {
  const ReferenceAtom& t = reference_.atoms[target];
  const ImageSection* section = image_.image().SectionNamed(t.section);
  const ImageSection* other = cold_.image().SectionNamed(t.section);
  if (section == nullptr || other == nullptr) return false;
  const uint64_t offset = cold + other->header.sh_offset - t.file_offset;  // in the atom
  const uint64_t place = section->header.sh_offset + here - offset;
  if (here < offset || !InBounds(here - offset, t.size, section->header.sh_size)) return false;
  return Take(target, place);
}

bool Walk::CompareAbsolute(const ReferenceSite& site, const Value& cold, const Value& here) {
  // As written in the field: the loader's model takes a number that happens to be a copied variable's address for it.
  auto written = [](const Value& v) { return v.origin != 0 ? v.origin : v.number; };
  auto plain = [](const Value& v) {
    return v.kind == Kind::kConstant || v.kind == Kind::kAddress || (v.kind == Kind::kSymbol && v.origin != 0);
  };
  if (!plain(cold)) return cold == here;  // exported by a library, which anybody may override
  const uint64_t mask = site.width >= 4 ? 0xffffffffu : (uint64_t{1} << (site.width * 8)) - 1;
  if (((written(cold) ^ site.absolute) & mask) != 0) NonsenseSite(site.atom, site, cold);
  // Where nothing moves, a number is a number, whether something happens to lie there or not.
  const bool fixed = !cold_.image().relocatable() && !image_.image().relocatable();
  return plain(here) && written(here) == written(cold) && (fixed || here.kind == cold.kind);
}

namespace {
uint64_t TlsStart(const LoadedImage& image) {
  const Elf64_Phdr* p = image.image().Segment(PT_TLS);
  return p == nullptr ? 0 : p->p_vaddr;
}

bool InTls(const LoadedImage& image, uint64_t address) {
  const Elf64_Phdr* p = image.image().Segment(PT_TLS);
  return p != nullptr && address - p->p_vaddr < p->p_memsz;
}
}  // namespace

bool Walk::CompareUnnamed(const ReferenceSite& site, const Value& cold, const Value& here, bool direct) {
  // An undefined weak symbol of a program at a fixed address, by mov or by lea.
  const bool fixed = !cold_.image().relocatable() && !image_.image().relocatable();
  auto null = [](const Value& v) {
    return (v.kind == Kind::kAddress || v.kind == Kind::kConstant) && v.number == 0;
  };
  if (fixed && null(cold) && null(here)) return true;
  if (cold.kind != here.kind) return false;
  if (cold.kind == Kind::kTls && !reference_.atoms[site.atom].alloc) {
    // Debug information of a variable that another unit's copy stands for: a tombstone, as an offset in the block.
    return cold.number - TlsStart(cold_) == here.number - TlsStart(image_);
  }
  if (cold.kind == Kind::kTls && AtomAt(cold.number, true).atom == kNoAtom) {
    // A weak thread variable that nobody defines: it is nowhere, which code finds out before it goes there.
    return cold.number - TlsStart(cold_) == here.number - TlsStart(image_) || !InTls(image_, here.number);
  }
  switch (cold.kind) {
    case Kind::kAddress: {
      if (!reference_.atoms[site.atom].alloc) return cold.number == here.number;
      if (const std::optional<uint64_t> record = OffsetIn(cold_.image(), ".eh_frame", cold.number)) {
        // Start-up code says where unwind records begin. Or what ends there is meant: see below.
        if (OffsetIn(image_.image(), ".eh_frame", here.number) == record) return true;
      } else if (SameBoundary(site.symbol, cold.number, here.number)) {
        return true;
      }
      if (AtomOffset t = AtomAt(cold.number, false); t.atom != kNoAtom)
        return FollowTo(t, here.number, direct);
      AtomOffset end = AtomEndingAt(cold.number);
      return end.atom != kNoAtom && FollowTo(end, here.number, true);
    }
    case Kind::kIfunc:
    case Kind::kTls:
      return SameValue(cold, here, direct);
    default:
      return cold == here;
  }
}

bool Walk::SameValue(const Value& from, const Value& to, bool direct) {
  const bool plt = from.kind == Kind::kAddress && AtomAt(from.number, false).atom == kNoAtom;
  const Value cold = plt ? FollowPlt(cold_, from, kUnplaced) : from;
  const Value here = cold.kind == Kind::kSymbol ? FollowPlt(image_, to, kUnplaced) : to;
  if (cold.kind != here.kind) return false;
  if (cold.kind != Kind::kAddress && cold.kind != Kind::kIfunc && cold.kind != Kind::kTls)
    return cold == here;
  const bool tls = cold.kind == Kind::kTls;
  AtomOffset target = AtomAt(cold.number, tls);
  if (target.atom == kNoAtom || IsTable(reference_.atoms[target.atom])) {
    return SameBoundary("", cold.number, here.number);
  }
  return FollowTo(target, here.number, direct);
}

bool Walk::CompareTarget(const ReferenceSite& site, const Operand& cold, const Operand& here, bool loaded) {
  const bool direct = !loaded || !MeansEntry(site, reference_.atoms[site.atom].executable);
  if (site.target_atom == kNoAtom && site.absolute != 0 && loaded) {
    return CompareAbsolute(site, cold.target, here.target);
  }
  if (site.target_atom == kNoAtom) {
    return CompareUnnamed(site, FollowPlt(cold_, cold.target, kUnplaced),
                          FollowPlt(image_, here.target, kUnplaced), direct);
  }
  const ReferenceAtom& t = reference_.atoms[site.target_atom];
  if (!t.alloc) {
    const uint64_t base = cold_.image().SectionNamed(t.section) == nullptr
                              ? 0
                              : cold_.image().SectionNamed(t.section)->header.sh_offset;
    if (cold.target.number + base != t.file_offset + site.target_offset)
      NonsenseSite(site.atom, site, cold.target);
    return here.target.kind == Kind::kAddress &&
           CompareNonLoaded(site.target_atom, cold.target.number, here.target.number);
  }
  const uint64_t expected = t.address + site.target_offset;
  Value from = FollowPlt(cold_, cold.target, expected);
  Value goal = here.target;
  if (site.target_offset == t.size) {  // the label at its end may be where a copied variable starts
    if (from.origin == expected) from = Value::Address(expected);
    if (goal.origin != 0 && (t.size == 0 || goal.origin == place_[site.target_atom] + t.size))
      goal = Value::Address(goal.origin);
  }
  const bool modelled =
      from.kind == Kind::kSymbol || from.kind == Kind::kTlsSymbol || from.kind == Kind::kTlsModule;
  if (!modelled && from.number != expected) {
    NonsenseSite(site.atom, site, from);
    return true;
  }
  const AtomOffset target{site.target_atom, site.target_offset};
  if (from.kind == Kind::kAddress && goal.kind == Kind::kAddress) {
    const bool there = FollowTo(target, goal.number, direct);
    if (there) {
      if (!direct && !IsTransfer(here.operation)) {
        CheckPointer(target, goal.number, NameOf({site.atom, site.offset}));
      }
      return true;
    }
  }
  const Value to = FollowPlt(image_, goal, kUnplaced);
  if (to.kind != from.kind) return false;
  switch (from.kind) {
    case Kind::kAddress:
    case Kind::kTls:
    case Kind::kIfunc:
      return FollowTo(target, to.number, direct);
    default:
      return from == to;
  }
}

void Walk::CompareSite(uint32_t atom, const ReferenceSite& site, const FieldView& cold, const FieldView& here,
                       uint64_t& consumed_until) {
  if (site.form == Form::kOther) return;
  if (site.offset < consumed_until) return;  // the call of a thread-local access that both linkers removed
  ++report_.sites_compared;
  const Operand from = DecodeField(cold, site), to = DecodeField(here, site);
  const std::string where = absl::StrCat(NameOf({atom, site.offset}), ": ");
  if (from.operation == Operation::kUnknown) {
    if (reference_status_.ok()) {
      reference_status_ = absl::InvalidArgumentError(
          absl::StrCat("reference: ", where, "no known instruction of form ", static_cast<int>(site.form)));
    }
    return;
  }
  if (NeedsDecoding(site.form)) {
    if (to.operation != from.operation || to.detail != from.detail) {
      Differ(absl::StrCat(where, "another instruction here than in a cold link"));
      return;
    }
    if (from.relaxed || to.relaxed)
      consumed_until = site.offset + site.width + std::max<uint64_t>(site.trail, 8);
    if (from.operation == Operation::kTlsBlock && from.target.kind != to.target.kind) {
      Differ(absl::StrCat(where, "refers to ", Describe(to.target),
                          " here, the module's thread block in a cold link"));
    }
    if (from.operation == Operation::kTlsDescriptorCall || from.operation == Operation::kTlsBlock) return;
  }
  if (site.form == Form::kSize) {
    if (from.target != to.target) {
      Differ(absl::StrCat(where, "holds ", Describe(to.target), " here, ", Describe(from.target),
                          " in a cold link, for the size of ", site.symbol));
    }
    return;
  }
  if (CompareTarget(site, from, to, cold.loaded)) return;
  const ReferenceAtom* t = site.target_atom == kNoAtom ? nullptr : &reference_.atoms[site.target_atom];
  std::string expected = t == nullptr ? Describe(FollowPlt(cold_, from.target, kUnplaced))
                                      : NameOf({site.target_atom, site.target_offset});
  if (!site.symbol.empty()) absl::StrAppend(&expected, " [", site.symbol, "]");
  // Sections that are not loaded are numbered from their own start.
  const Value through = t == nullptr ? FollowPlt(image_, to.target, kUnplaced) : to.target;
  std::string found =
      t == nullptr || t->alloc ? Describe(through) : absl::StrCat(t->section, "+", Hex(to.target.number));
  const bool near = t != nullptr && t->alloc && to.target.kind == Kind::kAddress &&
                    FollowPlt(cold_, from.target, t->address + site.target_offset).kind == Kind::kAddress;
  if (near) {
    Expect({site.target_atom, site.target_offset}, to.target.number,
           !cold.loaded || !MeansEntry(site, reference_.atoms[atom].executable),
           absl::StrCat(where, Verb(to.operation)));
    return;
  }
  Differ(absl::StrCat(where, Verb(to.operation), found, " here, ", expected, " in a cold link"));
}

bool Walk::Reaches(AtomOffset target, uint64_t address) const {
  const ReferenceAtom& t = reference_.atoms[target.atom];
  const uint64_t known = t.mergeable ? kUnplaced : place_[target.atom];
  for (int hops = 0; hops < 8; ++hops) {
    const uint64_t place = address - target.offset;
    if (known == kUnplaced ? Fits(target.atom, place) : known == place) return true;
    if (!t.executable) return false;
    const std::optional<uint64_t> next = image_.ThroughJump(address);
    if (!next) return false;
    address = *next;
  }
  return false;
}

bool Walk::LeadsThere(const ReferenceSite& site, const Value& cold, const Value& here) const {
  const ReferenceAtom& t = reference_.atoms[site.target_atom];
  if (!t.alloc || t.tls || t.size == 0 || IsTable(t)) return true;
  const auto number = [](const Value& v) { return (v.kind == Kind::kAddress || v.kind == Kind::kConstant) && v.origin == 0; };
  if (!number(cold) || cold.number != t.address + site.target_offset) return true;
  // A word that nothing relocates is no pointer: room is full of zeros.
  if (here.kind == Kind::kBad || (number(here) && here.kind != cold.kind)) return false;
  const Value to = FollowPlt(image_, here, kUnplaced);
  if (!number(here) || !number(to)) return true;
  const AtomOffset target{site.target_atom, site.target_offset};
  return Reaches(target, here.number) || Reaches(target, to.number);
}

bool Walk::SitesFit(uint32_t atom, uint64_t place, int depth) const {
  const FieldView cold = ColdView(atom), here = HereView(atom, place);
  if (cold.bytes.size() != here.bytes.size()) return false;
  const bool loaded = reference_.atoms[atom].alloc;
  auto [first, last] = SitesOf(atom);
  absl::flat_hash_map<uint32_t, uint64_t> fitted;  // where targets that are nowhere yet would be
  for (uint32_t i = first; i < last; ++i) {
    const ReferenceSite& site = reference_.sites[i];
    const bool relative = site.form == Form::kPcRelative || site.form == Form::kPltPcRelative || site.form == Form::kGotPcRelative;
    if (site.form != Form::kAbsolute && !(loaded && relative)) continue;
    const Operand from = DecodeField(cold, site), to = DecodeField(here, site);
    if (loaded) {
      if (site.target_atom != kNoAtom && !LeadsThere(site, from.target, to.target)) return false;
      continue;
    }
    if (site.target_atom == kNoAtom) {
      if (from.target.number != to.target.number) return false;
      continue;
    }
    const ReferenceAtom& t = reference_.atoms[site.target_atom];
    uint64_t target = to.target.number - site.target_offset;
    if (!t.alloc) {
      const ImageSection* section = image_.image().SectionNamed(t.section);
      const ImageSection* other = cold_.image().SectionNamed(t.section);
      if (section == nullptr || other == nullptr || target > section->header.sh_size) return false;
      target += section->header.sh_offset;
    }
    const bool known = place_[site.target_atom] != kUnplaced && !t.mergeable;
    if (known) {
      if (place_[site.target_atom] != target) return false;
      continue;
    }
    // A unit of debug information has thousands of references to one list of locations.
    const auto [it, fresh] = fitted.try_emplace(site.target_atom, target);
    if (!fresh && it->second == target) continue;
    if (!Fits(site.target_atom, target)) return false;
    // Tables of two units may be equal but for what they refer to in their turn: addresses, names of files.
    if (depth > 1 && !t.alloc && !t.mergeable && !IsTable(t) && !SitesFit(site.target_atom, target, depth - 1)) return false;
  }
  return true;
}

}  // namespace kitlink::verify
