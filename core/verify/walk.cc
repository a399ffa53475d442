#include "core/verify/walk.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kitlink::verify {
namespace {

constexpr size_t kMaxDifferences = 100;

std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }

std::string Permissions(const Elf64_Phdr* p) {
  if (p == nullptr) return "not loaded";
  std::string s;
  for (auto [bit, name] : {std::pair(PF_R, 'r'), std::pair(PF_W, 'w'), std::pair(PF_X, 'x')}) {
    s += (p->p_flags & bit) != 0 ? name : '-';
  }
  return s;
}

// Tables that are lengthened to fill their slot: their own length may be more than the cold link's.
bool IsLengthened(const ReferenceAtom& atom) {
  return !atom.alloc && atom.size >= 8 && (atom.section == ".debug_addr" || atom.section == ".debug_str_offsets");
}

// Whether the table at `place` of the file covers `size` bytes and has nothing but zeros behind them.
bool TailIsEmpty(ByteView file, uint64_t place, uint64_t size) {
  if (!InBounds(place, size, file.size())) return false;
  const uint64_t whole = uint64_t{Load<uint32_t>(file.data() + place)} + 4;
  if (whole < size || !InBounds(place, whole, file.size())) return false;
  const ByteView tail = file.subspan(place + size, whole - size);
  return std::all_of(tail.begin(), tail.end(), [](uint8_t b) { return b == 0; });
}

// Compares two runs of bytes but for windows in them, which come in order.
class OutsideWindows {
 public:
  OutsideWindows(ByteView a, ByteView b) : a_(a), b_(b) {}

  // Compares what lies between the last window and this one: where it starts and how long it is.
  void Skip(std::pair<uint64_t, uint64_t> window) {
    const uint64_t start = std::min<uint64_t>(window.first, a_.size());
    if (!mismatch_ && start > at_ && std::memcmp(a_.data() + at_, b_.data() + at_, start - at_) != 0) {
      while (a_[at_] == b_[at_]) ++at_;
      mismatch_ = at_;
    }
    at_ = std::max(at_, std::min<uint64_t>(start + window.second, a_.size()));
  }
  // The offset of the first difference.
  const std::optional<uint64_t>& mismatch() const { return mismatch_; }

 private:
  const ByteView a_, b_;
  uint64_t at_ = 0;
  std::optional<uint64_t> mismatch_;
};

}  // namespace

bool ContinuesSection(absl::string_view here, absl::string_view cold) {
  return here == cold ||
         (absl::StartsWith(here, cold) && here.size() > cold.size() && here[cold.size()] == '.');
}

absl::Status Walk::CheckReference(const Reference& reference, const Image& cold) {
  auto nonsense = [&](size_t i, absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("reference: atom ", i, " (", reference.atoms[i].name, ") ", what));
  };
  for (size_t i = 0; i < reference.atoms.size(); ++i) {
    const ReferenceAtom& a = reference.atoms[i];
    if (a.alignment == 0 || (a.alignment & (a.alignment - 1)) != 0) return nonsense(i, "has a bad alignment");
    if (!a.nobits && !InBounds(a.file_offset, a.size, cold.bytes().size()))
      return nonsense(i, "is not in the image");
    if (a.alloc && !a.nobits && a.size != 0 && !cold.FileBytes(a.address, a.size)) {
      return nonsense(i, "is not in a segment");
    }
    if (a.alloc && a.nobits && !a.tls && a.size != 0 && cold.LoadedBy(a.address, a.size) == nullptr) {
      return nonsense(i, "is not in a segment");
    }
  }
  for (size_t i = 0; i < reference.sites.size(); ++i) {
    const ReferenceSite& s = reference.sites[i];
    if (s.atom >= reference.atoms.size()) return absl::InvalidArgumentError("reference: a site in no atom");
    if (!InBounds(s.offset, s.width, reference.atoms[s.atom].size) ||
        (s.target_atom != kNoAtom && s.target_atom >= reference.atoms.size())) {
      return nonsense(s.atom, absl::StrCat("has a bad site at offset ", s.offset));
    }
    if (i != 0 &&
        std::pair(s.atom, s.offset) < std::pair(reference.sites[i - 1].atom, reference.sites[i - 1].offset)) {
      return absl::InvalidArgumentError("reference: sites are out of order");
    }
  }
  return absl::OkStatus();
}

bool Walk::IsTable(const ReferenceAtom& atom) {
  static constexpr absl::string_view kTables[] = {".eh_frame",
                                                  ".eh_frame_hdr",
                                                  ".dynamic",
                                                  ".dynsym",
                                                  ".dynstr",
                                                  ".gnu.hash",
                                                  ".hash",
                                                  ".gnu.version",
                                                  ".gnu.version_r",
                                                  ".gnu.version_d",
                                                  ".rela.dyn",
                                                  ".rela.plt",
                                                  ".rela.iplt",
                                                  ".relr.dyn",
                                                  ".got",
                                                  ".got.plt",
                                                  ".got.move",
                                                  ".plt",
                                                  ".plt.got",
                                                  ".plt.sec",
                                                  ".iplt",
                                                  ".symtab",
                                                  ".strtab",
                                                  ".shstrtab",
                                                  ".interp",
                                                  ".note.gnu.build-id",
                                                  ".note.gnu.property",
                                                  ".gdb_index"};
  return std::find(std::begin(kTables), std::end(kTables), atom.section) != std::end(kTables);
}

Walk::Walk(const Reference& reference, const LoadedImage& cold, const LoadedImage& image,
           VerifyReport& report)
    : reference_(reference), cold_(cold), image_(image), report_(report) {
  const std::vector<ReferenceAtom>& atoms = reference.atoms;
  place_.assign(atoms.size(), kUnplaced);
  first_site_.assign(atoms.size() + 1, 0);
  for (const ReferenceSite& s : reference.sites) ++first_site_[s.atom + 1];
  for (size_t i = 0; i < atoms.size(); ++i) {
    first_site_[i + 1] += first_site_[i];
    if (!atoms[i].alloc || atoms[i].size == 0) continue;
    if (atoms[i].tls) tls_by_address_.push_back(static_cast<uint32_t>(i));
    if (!atoms[i].tls || !atoms[i].nobits) by_address_.push_back(static_cast<uint32_t>(i));
  }
  in_order_.assign(atoms.size(), true);
  for (size_t i = 1; i < reference.sites.size(); ++i) {
    const ReferenceSite &before = reference.sites[i - 1], &site = reference.sites[i];
    if (site.atom == before.atom && RewrittenBytes(site).first < RewrittenBytes(before).first) in_order_[site.atom] = false;
  }
  auto by_address = [&](uint32_t a, uint32_t b) { return atoms[a].address < atoms[b].address; };
  std::stable_sort(by_address_.begin(), by_address_.end(), by_address);
  std::stable_sort(tls_by_address_.begin(), tls_by_address_.end(), by_address);
}

void Walk::Differ(std::string what) {
  if (report_.differences.size() < kMaxDifferences) report_.differences.push_back({std::move(what)});
}

std::pair<uint32_t, uint32_t> Walk::SitesOf(uint32_t atom) const {
  return {first_site_[atom], first_site_[atom + 1]};
}

AtomOffset Walk::AtomAt(uint64_t address, bool tls) const {
  const std::vector<uint32_t>& sorted = tls ? tls_by_address_ : by_address_;
  auto it = std::upper_bound(sorted.begin(), sorted.end(), address,
                             [&](uint64_t a, uint32_t i) { return a < reference_.atoms[i].address; });
  if (it == sorted.begin()) return {};
  const uint32_t i = *--it;
  const uint64_t offset = address - reference_.atoms[i].address;
  return offset < reference_.atoms[i].size ? AtomOffset{i, offset} : AtomOffset{};
}

AtomOffset Walk::AtomEndingAt(uint64_t address) const {
  if (address == 0) return {};
  AtomOffset last = AtomAt(address - 1, false);
  if (last.atom == kNoAtom || last.offset + 1 != reference_.atoms[last.atom].size) return {};
  return {last.atom, last.offset + 1};
}

AtomOffset Walk::PlacedAt(uint64_t address, bool tls) const {
  const auto& placed = tls ? tls_placed_ : placed_;
  auto it = placed.upper_bound(address);
  if (it == placed.begin()) return {};
  --it;
  const uint64_t offset = address - it->first;
  return offset < reference_.atoms[it->second].size ? AtomOffset{it->second, offset} : AtomOffset{};
}

std::string Walk::NameOf(AtomOffset target) const {
  if (target.atom == kNoAtom) return "nothing";
  const std::string& name = reference_.atoms[target.atom].name;
  return target.offset == 0 ? name : absl::StrCat(name, "+", Hex(target.offset));
}

std::string Walk::Describe(uint64_t address, bool tls) const {
  if (AtomOffset known = PlacedAt(address, tls); known.atom != kNoAtom) {
    return absl::StrCat(NameOf(known), " (", Hex(address), ")");
  }
  auto island = islands_.find(address);
  if (island != islands_.end()) return absl::StrCat("an island to ", NameOf(island->second.target));
  for (const ImageSymbol& s : image_.image().symtab()) {
    if (s.defined() && !s.name.empty() && s.type() != STT_FILE && s.type() != STT_SECTION &&
        image_.image().AddressOf(s) == address && (s.type() == STT_TLS) == tls) {
      return absl::StrCat(s.name, " (", Hex(address), ")");
    }
  }
  const ImageSection* section = image_.image().SectionCovering(address, 1, tls);
  if (section == nullptr) return Hex(address);
  return absl::StrCat(section->name, "+", Hex(address - section->header.sh_addr), " (", Hex(address), ")");
}

std::string Walk::Describe(const Value& value) const {
  const std::string plus = value.number == 0 ? "" : absl::StrCat("+", Hex(value.number));
  switch (value.kind) {
    case Value::Kind::kConstant:
      return absl::StrCat("the constant ", Hex(value.number));
    case Value::Kind::kAddress:
      return Describe(value.number);
    case Value::Kind::kIfunc:
      return absl::StrCat("what ", Describe(value.number), " resolves to");
    case Value::Kind::kSymbol:
      return absl::StrCat("the symbol ", value.name, plus);
    case Value::Kind::kSize:
      return absl::StrCat("the size of ", value.name, plus);
    case Value::Kind::kTls:
      return absl::StrCat("thread variable ", Describe(value.number, true));
    case Value::Kind::kTlsSymbol:
      return absl::StrCat("the thread variable ", value.name, plus);
    case Value::Kind::kTlsModule:
      return "the module's thread block";
    case Value::Kind::kBad:
      return value.name;
  }
  return "?";
}

FieldView Walk::ColdView(uint32_t atom) const {
  const ReferenceAtom& a = reference_.atoms[atom];
  ByteView bytes = a.nobits ? ByteView() : cold_.image().bytes().subspan(a.file_offset, a.size);
  return {&cold_, bytes, a.alloc ? a.address : 0, a.alloc};
}

FieldView Walk::HereView(uint32_t atom, uint64_t place) const {
  const ReferenceAtom& a = reference_.atoms[atom];
  FieldView view{&image_, ByteView(), a.alloc ? place : 0, a.alloc};
  if (a.nobits) return view;
  if (a.alloc) {
    view.bytes = image_.image().FileBytes(place, a.size).value_or(ByteView());
  } else if (InBounds(place, a.size, image_.image().bytes().size())) {
    view.bytes = image_.image().bytes().subspan(place, a.size);
  }
  return view;
}

std::optional<uint64_t> Walk::FirstMismatch(uint32_t atom, uint64_t place) const {
  const ReferenceAtom& a = reference_.atoms[atom];
  if (a.size == 0) return std::nullopt;
  if (a.nobits) {
    std::vector<uint8_t> chunk(std::min<uint64_t>(a.size, 1 << 16));
    for (uint64_t at = 0; at < a.size; at += chunk.size()) {
      MutableBytes out(chunk.data(), std::min<uint64_t>(chunk.size(), a.size - at));
      const Image& image = image_.image();
      if (place + at < place || !(a.tls ? image.ReadTls(place + at, out) : image.Read(place + at, out)))
        return at;
      auto bad = std::find_if(out.begin(), out.end(), [](uint8_t b) { return b != 0; });
      if (bad != out.end()) return at + (bad - out.begin());
    }
    return std::nullopt;
  }
  const ByteView cold = ColdView(atom).bytes, here = HereView(atom, place).bytes;
  if (here.size() != cold.size()) return 0;
  const bool lengthened = IsLengthened(a);
  if (lengthened && !TailIsEmpty(image_.image().bytes(), place, a.size)) return 0;
  // Most places do not fit at once: no more is looked at than leads up to the first difference.
  OutsideWindows outside(cold, here);
  if (lengthened) outside.Skip({0, 4});
  auto [first, last] = SitesOf(atom);
  if (in_order_[atom]) {
    for (uint32_t i = first; i < last && !outside.mismatch(); ++i) outside.Skip(RewrittenBytes(reference_.sites[i]));
  } else {
    std::vector<std::pair<uint64_t, uint64_t>> windows;
    windows.reserve(last - first);
    for (uint32_t i = first; i < last; ++i) windows.push_back(RewrittenBytes(reference_.sites[i]));
    std::sort(windows.begin(), windows.end());
    for (const auto& window : windows) outside.Skip(window);
  }
  outside.Skip({a.size, 0});
  return outside.mismatch();
}

// Whether an atom can be at `place`: what it would say there is what the cold link says, as far as bytes go.
bool Walk::Fits(uint32_t atom, uint64_t place) const {
  const ReferenceAtom& a = reference_.atoms[atom];
  if (a.size == 0) return true;
  if (a.nobits) {  // dirty zero-fill is reported where it is found, it does not make it another atom
    return a.tls || image_.image().LoadedBy(place, a.size) != nullptr;
  }
  return !FirstMismatch(atom, place);
}

bool Walk::Take(uint32_t atom, uint64_t place) {
  if (place_[atom] == place) return true;
  const ReferenceAtom& a = reference_.atoms[atom];
  if (place_[atom] != kUnplaced && !a.mergeable) return false;
  if (!Fits(atom, place)) return false;
  if (place_[atom] == kUnplaced) Claim(atom, place);
  return true;
}

void Walk::Claim(uint32_t atom, uint64_t place) {
  const ReferenceAtom& a = reference_.atoms[atom];
  place_[atom] = place;
  if (a.alloc && a.size != 0 && !a.mergeable) {
    if (a.tls) tls_placed_.emplace(place, atom);
    if (!a.tls || !a.nobits) placed_.emplace(place, atom);
  }
  queue_.push_back(atom);
}

bool Walk::Suggest(AtomOffset target, uint64_t address) {
  if (target.atom == kNoAtom || IsTable(reference_.atoms[target.atom])) return false;
  return Take(target.atom, address - target.offset);
}

bool Walk::FollowTo(AtomOffset target, uint64_t address, bool direct) {
  if (Take(target.atom, address - target.offset)) return true;
  if (direct || !reference_.atoms[target.atom].executable) return false;
  uint64_t at = address;
  for (int hops = 0; hops < 8; ++hops) {
    std::optional<uint64_t> next = image_.ThroughJump(at);
    if (!next) return false;
    if (Take(target.atom, *next - target.offset)) {
      for (uint64_t island = address; island != *next; island = *image_.ThroughJump(island)) {
        islands_[island] = {image_.JumpLength(island), target};
      }
      return true;
    }
    at = *next;
  }
  return false;
}

bool Walk::Expect(AtomOffset target, uint64_t address, bool direct, absl::string_view where) {
  if (FollowTo(target, address, direct)) return true;
  // Nobody else claims it and its own name says so: then it is this atom, with other bytes, which is worth
  // one precise message instead of one at each reference.
  const ReferenceAtom& a = reference_.atoms[target.atom];
  if (place_[target.atom] == kUnplaced && PlacedAt(address, a.tls).atom == kNoAtom && a.alloc) {
    for (const ImageSymbol& s : image_.image().symtab()) {
      if (s.symbol.st_value != address || s.name.empty() || target.offset != 0) continue;
      const ImageSymbol* other = cold_.image().FindSymbol(s.name);
      if (other == nullptr || cold_.image().AddressOf(*other) != a.address) continue;
      Claim(target.atom, address);
      return true;
    }
  }
  std::string why;
  if (place_[target.atom] == kUnplaced) {
    std::optional<uint64_t> bad = FirstMismatch(target.atom, address - target.offset);
    if (bad) why = absl::StrCat(", whose bytes differ from offset ", Hex(*bad), " on");
  }
  Differ(absl::StrCat(where, Describe(address, a.tls), why, " here, ", NameOf(target), " in a cold link",
                      place_[target.atom] == kUnplaced
                          ? ""
                          : absl::StrCat(" (which lies at ", Hex(place_[target.atom]), ")")));
  return false;
}

void Walk::Run() {
  while (!queue_.empty()) {
    const uint32_t atom = queue_.front();
    queue_.pop_front();
    Visit(atom);
  }
}

void Walk::CheckPlace(uint32_t atom) {
  const ReferenceAtom& a = reference_.atoms[atom];
  const uint64_t place = place_[atom];
  if (!a.alloc || a.size == 0) return;
  if (place % a.alignment != 0) {
    Differ(absl::StrCat(a.name, ": lies at ", Hex(place), ", which is not a multiple of ", a.alignment));
  }
  const ImageSection* section = image_.image().SectionCovering(place, a.size, a.tls);
  if (section == nullptr) {
    Differ(absl::StrCat(a.name, ": no section header covers its place ", Hex(place)));
  } else if (!ContinuesSection(section->name, a.section)) {
    Differ(absl::StrCat(a.name, ": lies in ", section->name, " here, in ", a.section, " in a cold link"));
  } else if (const ImageSection* other = cold_.image().SectionCovering(a.address, a.size, a.tls);
             other != nullptr) {
    constexpr uint64_t kWhat = SHF_WRITE | SHF_ALLOC | SHF_EXECINSTR | SHF_TLS;
    if ((section->header.sh_flags & kWhat) != (other->header.sh_flags & kWhat)) {
      Differ(absl::StrCat(a.name, ": its section ", section->name, " has flags ",
                          Hex(section->header.sh_flags), " here, ", Hex(other->header.sh_flags),
                          " in a cold link"));
    }
  }
  if (a.tls && a.nobits) return;  // takes no address space of its own
  const Elf64_Phdr* here = image_.image().LoadedBy(place, a.size);
  const Elf64_Phdr* cold = cold_.image().LoadedBy(a.address, a.size);
  if (Permissions(here) != Permissions(cold)) {
    Differ(absl::StrCat(a.name, ": its segment is ", Permissions(here), " here, ", Permissions(cold),
                        " in a cold link"));
  }
  if (image_.image().InRelro(place, a.size) != cold_.image().InRelro(a.address, a.size)) {
    Differ(absl::StrCat(a.name, ": ", cold_.image().InRelro(a.address, a.size) ? "not " : "",
                        "read-only after relocation here, unlike in a cold link"));
  }
}

void Walk::Visit(uint32_t atom) {
  const ReferenceAtom& a = reference_.atoms[atom];
  ++report_.atoms_compared;
  if (!a.alloc) report_.debug_bytes_compared += a.size;
  CheckPlace(atom);
  if (std::optional<uint64_t> bad = FirstMismatch(atom, place_[atom])) {
    Differ(a.nobits ? absl::StrCat(a.name, "+", Hex(*bad), ": not zero here")
                    : absl::StrCat(a.name, "+", Hex(*bad), ": bytes differ"));
  }
  const FieldView cold = ColdView(atom), here = HereView(atom, place_[atom]);
  uint64_t consumed_until = 0;
  auto [first, last] = SitesOf(atom);
  if (here.bytes.size() == cold.bytes.size() && !a.nobits) {
    for (uint32_t i = first; i < last; ++i)
      CompareSite(atom, reference_.sites[i], cold, here, consumed_until);
  }
  if (visitor_ != nullptr) visitor_(*this, atom, visitor_context_);
}

}  // namespace kitlink::verify
