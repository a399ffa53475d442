#include "core/verify/unwind.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace kitlink::verify {
namespace {
std::string Hex(uint64_t n) { return absl::StrFormat("0x%x", n); }
}  // namespace

UnwindComparison::UnwindComparison(Walk& walk)
    : walk_(walk), cold_(FrameTable::Read(walk.cold())), here_(FrameTable::Read(walk.image())) {
  for (const std::string& problem : here_.problems()) walk_.Differ(problem);
  if (cold_.present() != here_.present()) {
    walk_.Differ(cold_.present() ? "PT_GNU_EH_FRAME is missing"
                                 : "PT_GNU_EH_FRAME, which a cold link has not");
  }
  for (uint32_t i = 0; i < cold_.entries().size(); ++i) by_start_.push_back(i);
  std::sort(by_start_.begin(), by_start_.end(),
            [&](uint32_t a, uint32_t b) { return cold_.entries()[a].start < cold_.entries()[b].start; });
  walk_.OnVisit(&UnwindComparison::Visit, this);
}

void UnwindComparison::Visit(Walk&, uint32_t atom, void* self) {
  static_cast<UnwindComparison*>(self)->CompareAtom(atom);
}

void UnwindComparison::CompareAtom(uint32_t atom) {
  const ReferenceAtom& a = walk_.reference().atoms[atom];
  if (!a.alloc || !a.executable || a.size == 0) return;
  const std::vector<FrameEntry>& entries = cold_.entries();
  auto it = std::lower_bound(by_start_.begin(), by_start_.end(), a.address,
                             [&](uint32_t i, uint64_t address) { return entries[i].start < address; });
  uint64_t covered = a.address;  // pcs of the atom up to here have been looked at
  auto gap = [&](uint64_t from, uint64_t to) {
    if (from >= to) return;
    for (uint64_t pc : {from, to - 1}) {
      const uint64_t place = walk_.place(atom) + (pc - a.address);
      if (here_.Search(place) != nullptr) {
        walk_.Differ(absl::StrCat(walk_.NameOf({atom, pc - a.address}),
                                  ": an FDE covers it here, none in a cold link"));
        return;
      }
    }
  };
  for (; it != by_start_.end() && entries[*it].start < a.address + a.size; ++it) {
    gap(covered, entries[*it].start);
    CompareEntry(atom, entries[*it]);
    covered = std::max(covered, entries[*it].start + entries[*it].size);
  }
  gap(covered, a.address + a.size);
}

void UnwindComparison::CompareEntry(uint32_t atom, const FrameEntry& cold) {
  const uint64_t offset = cold.start - walk_.reference().atoms[atom].address;
  const uint64_t place = walk_.place(atom) + offset;
  const std::string where = absl::StrCat(walk_.NameOf({atom, offset}), ": ");
  const FrameEntry* here = nullptr;
  for (uint64_t pc : {place, place + cold.size / 2, place + cold.size - 1}) {
    here = here_.Search(pc);
    if (here == nullptr) return walk_.Differ(absl::StrCat(where, "the unwinder finds no FDE for ", Hex(pc)));
    if (here->start != place || here->size != cold.size) {
      return walk_.Differ(absl::StrCat(where, "the FDE found for ", Hex(pc), " covers [", Hex(here->start),
                                       ", ", Hex(here->start + here->size), ")"));
    }
  }
  if (here->augmentation != cold.augmentation || here->code_alignment != cold.code_alignment ||
      here->data_alignment != cold.data_alignment || here->return_register != cold.return_register) {
    walk_.Differ(absl::StrCat(where, "its FDE has another kind of CIE"));
  }
  if (here->cie_program != cold.cie_program || here->program != cold.program) {
    walk_.Differ(absl::StrCat(where, "its FDE unwinds differently"));
  }
  if (!walk_.SameValue(cold.personality, here->personality, false)) {
    walk_.Differ(absl::StrCat(where, "its FDE has the personality ", walk_.Describe(here->personality),
                              " here, another in a cold link"));
  }
  if (cold.lsda.has_value() != here->lsda.has_value()) {
    walk_.Differ(absl::StrCat(where, "its FDE has ", here->lsda ? "an" : "no", " exception table"));
  } else if (cold.lsda) {
    AtomOffset table = walk_.AtomAt(*cold.lsda, false);
    if (table.atom != kNoAtom)
      walk_.Expect(table, *here->lsda, true, absl::StrCat(where, "its exception table is "));
  }
}

void UnwindComparison::Finish() {
  for (const auto& [address, island] : walk_.islands()) {
    const uint64_t body = walk_.reference().atoms[island.target.atom].address + island.target.offset;
    auto it = std::upper_bound(by_start_.begin(), by_start_.end(), body,
                               [&](uint64_t pc, uint32_t i) { return pc < cold_.entries()[i].start; });
    const bool covered = it != by_start_.begin() && cold_.entries()[*std::prev(it)].Covers(body);
    if (!covered) continue;  // hand-written code without unwind information needs none at its island either
    for (uint64_t pc : {address, address + island.length - 1}) {
      if (here_.Search(pc) != nullptr) continue;
      walk_.Differ(
          absl::StrCat("the island at ", Hex(address), " to ", walk_.NameOf(island.target), " has no FDE"));
      break;
    }
  }
  // No two FDEs may claim one pc, whether the table knows both or not: linear searches would find either.
  std::vector<const FrameEntry*> sorted;
  for (const FrameEntry& e : here_.entries()) sorted.push_back(&e);
  std::sort(sorted.begin(), sorted.end(),
            [](const FrameEntry* a, const FrameEntry* b) { return a->start < b->start; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i - 1]->Covers(sorted[i]->start)) {
      walk_.Differ(absl::StrCat("two FDEs for ", walk_.Describe(sorted[i]->start)));
    }
  }
}

}  // namespace kitlink::verify
