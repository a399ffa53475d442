// Discovers where each atom of the cold link lies in another image, by following relocated fields from the
// roots.
//
// The map is one-to-one but for mergeable atoms (strings, constants), whose content alone matters, and for
// functions, which may be entered through an island: a jump at another address that leads to the body. Such
// an address is then the function's canonical one, and every pointer to it must agree on it.
#ifndef CORE_VERIFY_WALK_H_
#define CORE_VERIFY_WALK_H_

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "core/output/reference.h"
#include "core/verify/instructions.h"
#include "core/verify/loader.h"
#include "core/verify/verify.h"

namespace kitlink::verify {

inline constexpr uint64_t kUnplaced = ~uint64_t{0};

// A position of the cold link: an atom and an offset in it.
struct AtomOffset {
  uint32_t atom = kNoAtom;
  uint64_t offset = 0;
};

// Whether what a cold link has in section `cold` may be in `here`: in the same one, or in a growth segment's,
// which is named after the one that it continues (".text.1").
bool ContinuesSection(absl::string_view here, absl::string_view cold);

// The comparison in progress. Not thread safe.
class Walk {
 public:
  // All three must outlive the walk.
  Walk(const Reference& reference, const LoadedImage& cold, const LoadedImage& image, VerifyReport& report);

  // Checks that the reference describes its own image: atoms inside the file, sites inside atoms, order.
  static absl::Status CheckReference(const Reference& reference, const Image& cold);

  // Adds a difference, unless there are 100.
  void Differ(std::string what);
  // What makes the reference itself nonsense; the first one found.
  const absl::Status& reference_status() const { return reference_status_; }

  // Says that `where` (a name for messages) of the cold link is at `address` here. A difference when it is
  // not. `direct`: no island may stand between. Debug and unwind tables mean the body.
  bool Expect(AtomOffset target, uint64_t address, bool direct, absl::string_view where);
  // Like Expect, but silent: a hint that may be wrong.
  bool Suggest(AtomOffset target, uint64_t address);
  // Compares everything that has been discovered until nothing new is found.
  void Run();

  const Reference& reference() const { return reference_; }
  const LoadedImage& cold() const { return cold_; }
  const LoadedImage& image() const { return image_; }
  // Address (loaded atoms) or file offset of an atom here; kUnplaced when not discovered.
  uint64_t place(uint32_t atom) const { return place_[atom]; }
  // The loaded atom of the cold link at an address; kNoAtom when there is none. `tls`: among thread
  // variables.
  AtomOffset AtomAt(uint64_t cold_address, bool tls) const;
  // The loaded atom that ends at an address, with its size as offset.
  AtomOffset AtomEndingAt(uint64_t cold_address) const;
  // The discovered atom that covers an address here, and the offset in it.
  AtomOffset PlacedAt(uint64_t address, bool tls) const;
  // Whether an address of the cold link in no atom (a linker-defined symbol, a place in a table) corresponds
  // to an address here. `name` may be empty.
  bool SameBoundary(absl::string_view name, uint64_t cold_address, uint64_t address) const;
  // "main.o:.text.f+0x12"
  std::string NameOf(AtomOffset target) const;
  // The same for an address here, as well as can be told.
  std::string Describe(uint64_t address, bool tls = false) const;
  std::string Describe(const Value& value) const;
  // Whether two values of the two images mean the same thing; `direct` as for Expect.
  bool SameValue(const Value& from, const Value& to, bool direct);
  // Says that `where` takes `address`, which was found to lead to `target`, for the target's address: a
  // pointer to a function must have the same value everywhere, or comparisons of pointers go wrong.
  void CheckPointer(AtomOffset target, uint64_t address, absl::string_view where);
  // Sites of an atom: [first, second) in reference().sites.
  std::pair<uint32_t, uint32_t> SitesOf(uint32_t atom) const;
  // First byte in which the atom's content, outside relocated fields, differs from what lies at `place`;
  // nullopt when it matches.
  std::optional<uint64_t> FirstMismatch(uint32_t atom, uint64_t place) const;
  // Whether the sites of an atom lead from `place` where they should, as far as is known. Finds nothing new and reports
  // nothing. `depth`: what is not loaded and not placed yet is followed over so many references.
  bool SitesFit(uint32_t atom, uint64_t place, int depth = 3) const;
  // Sections that are compared by meaning instead of atom by atom.
  static bool IsTable(const ReferenceAtom& atom);

  // Islands found so far: address -> (length in bytes, what it leads to).
  struct Island {
    uint64_t length = 0;
    AtomOffset target;
  };
  const std::map<uint64_t, Island>& islands() const { return islands_; }

  // Called for each atom when its place is known and its bytes were compared.
  using Visitor = void (*)(Walk&, uint32_t atom, void* context);
  void OnVisit(Visitor visitor, void* context) { visitor_ = visitor, visitor_context_ = context; }

 private:
  void Claim(uint32_t atom, uint64_t place);
  bool Fits(uint32_t atom, uint64_t place) const;
  bool Take(uint32_t atom, uint64_t place);
  void CheckPlace(uint32_t atom);
  void Visit(uint32_t atom);
  void CompareSite(uint32_t atom, const ReferenceSite& site, const FieldView& cold, const FieldView& here,
                   uint64_t& consumed_until);
  bool CompareTarget(const ReferenceSite& site, const Operand& cold, const Operand& here, bool loaded);
  bool CompareAbsolute(const ReferenceSite& site, const Value& cold, const Value& here);
  bool CompareUnnamed(const ReferenceSite& site, const Value& cold, const Value& here, bool direct);
  bool CompareNonLoaded(uint32_t target, uint64_t cold, uint64_t here);
  bool FollowTo(AtomOffset target, uint64_t address, bool direct);
  // Whether `address` is the target here, or an island that leads to it: where it was found, or could be found.
  bool Reaches(AtomOffset target, uint64_t address) const;
  // Whether a field of something loaded leads to its target, as far as that is a matter of addresses.
  bool LeadsThere(const ReferenceSite& site, const Value& cold, const Value& here) const;
  FieldView ColdView(uint32_t atom) const;
  FieldView HereView(uint32_t atom, uint64_t place) const;
  Value FollowPlt(const LoadedImage& in, Value value, uint64_t stop) const;
  void NonsenseSite(uint32_t atom, const ReferenceSite& site, const Value& found);

  const Reference& reference_;
  const LoadedImage& cold_;
  const LoadedImage& image_;
  VerifyReport& report_;
  absl::Status reference_status_;
  std::vector<uint32_t> first_site_;  // by atom, one more at the end
  std::vector<bool> in_order_;        // by atom: whether what its sites rewrite begins ever later
  std::vector<uint32_t> by_address_, tls_by_address_;
  std::vector<uint64_t> place_;
  std::deque<uint32_t> queue_;
  absl::btree_map<uint64_t, uint32_t> placed_, tls_placed_;  // what starts where here; not mergeable atoms
  std::map<std::pair<uint32_t, uint64_t>, uint64_t> canonical_;
  std::map<uint64_t, Island> islands_;
  Visitor visitor_ = nullptr;
  void* visitor_context_ = nullptr;
};

}  // namespace kitlink::verify

#endif  // CORE_VERIFY_WALK_H_
