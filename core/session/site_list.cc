#include "core/session/site_list.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace kitlink {
namespace {

void PutNumber(uint64_t value, std::vector<uint8_t>* out) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<uint8_t>(value | 0x80));
  out->push_back(static_cast<uint8_t>(value));
}

// Negative numbers near 0 are short, too.
uint64_t ZigZag(int64_t value) { return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63); }
int64_t UnZigZag(uint64_t value) { return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1); }

class Reader {
 public:
  Reader(const uint8_t* at, const uint8_t* end) : at_(at), end_(end) {}
  bool done() const { return at_ == end_; }
  const uint8_t* at() const { return at_; }
  uint64_t Number() {
    uint64_t value = 0;
    for (unsigned shift = 0; at_ != end_ && shift < 64; shift += 7) {
      const uint8_t byte = *at_++;
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) break;
    }
    return value;
  }
  const uint8_t* Take(uint64_t size) {
    const uint8_t* taken = at_;
    at_ += std::min<uint64_t>(size, static_cast<uint64_t>(end_ - at_));
    return taken;
  }

 private:
  const uint8_t* at_;
  const uint8_t* end_;
};

// The addend of a plain reference to the name, which most are.
int64_t UsualAddend(const RelocInfo& info) {
  const bool absolute = info.form == RelocForm::kAbsolute || info.form == RelocForm::kSize;
  return absolute ? 0 : -static_cast<int64_t>(info.width);
}

void PutSites(const Arch& arch, absl::Span<const Site> sites, std::vector<uint8_t>* out) {
  uint32_t atom = 0;
  uint64_t offset = 0;
  for (const Site& site : sites) {
    const RelocInfo info = arch.Info(site.type);
    const bool unusual = site.addend != UsualAddend(info);
    PutNumber(site.atom - atom, out);
    if (site.atom != atom) offset = 0;
    PutNumber(site.offset - offset, out);
    PutNumber(uint64_t{site.type} << 1 | (unusual ? 1 : 0), out);
    if (unusual) PutNumber(ZigZag(site.addend), out);
    out->insert(out->end(), site.lead.begin(), site.lead.begin() + std::min<size_t>(info.lead, Site::kMostLead));
    atom = site.atom;
    offset = site.offset;
  }
}

}  // namespace

SiteList::SiteList(const Arch& arch, std::vector<Site> sites) {
  std::sort(sites.begin(), sites.end(), [](const Site& a, const Site& b) {
    return std::tie(a.global, a.atom, a.offset) < std::tie(b.global, b.atom, b.offset);
  });
  std::vector<uint8_t> block;
  uint32_t before = 0;
  for (size_t first = 0; first < sites.size();) {
    size_t end = first;
    while (end < sites.size() && sites[end].global == sites[first].global) ++end;
    block.clear();
    PutSites(arch, absl::MakeConstSpan(sites).subspan(first, end - first), &block);
    PutNumber(sites[first].global - before, &packed_);
    PutNumber(block.size(), &packed_);
    packed_.insert(packed_.end(), block.begin(), block.end());
    before = sites[first].global;
    first = end;
  }
  packed_.shrink_to_fit();
}

void SiteList::ForEach(const Arch& arch, uint32_t global, absl::FunctionRef<void(const Site&)> each) const {
  Reader names(packed_.data(), packed_.data() + packed_.size());
  uint32_t name = 0;
  while (!names.done()) {
    name += static_cast<uint32_t>(names.Number());
    const uint64_t length = names.Number();
    const uint8_t* begin = names.Take(length);
    if (name > global) return;
    if (name < global) continue;
    Reader block(begin, names.at());
    Site site;
    site.global = global;
    while (!block.done()) {
      const uint64_t atoms = block.Number();
      if (atoms != 0) site.offset = 0;
      site.atom += static_cast<uint32_t>(atoms);
      site.offset += block.Number();
      const uint64_t type = block.Number();
      site.type = static_cast<uint32_t>(type >> 1);
      const RelocInfo info = arch.Info(site.type);
      site.addend = (type & 1) != 0 ? UnZigZag(block.Number()) : UsualAddend(info);
      const size_t lead = std::min<size_t>(info.lead, Site::kMostLead);
      site.lead = {};
      std::memcpy(site.lead.data(), block.Take(lead), lead);
      each(site);
    }
    return;
  }
}

void SiteList::ForEachName(absl::FunctionRef<void(uint32_t)> each) const {
  Reader names(packed_.data(), packed_.data() + packed_.size());
  uint32_t name = 0;
  while (!names.done()) {
    name += static_cast<uint32_t>(names.Number());
    names.Take(names.Number());
    each(name);
  }
}

}  // namespace kitlink
